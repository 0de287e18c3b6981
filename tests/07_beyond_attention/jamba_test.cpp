// What must hold of Jamba, naive and on the device. Beside each property stands the wrong answer that it kills.
#include "chapters/07_beyond_attention/jamba/jamba_naive.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/tensor/random.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/property.hpp"
#include "tests/support/refusal.hpp"

using namespace attn;

namespace {

// The sizes of a stack. Periods and offsets say which layer is what.
struct Stack {
    jamba::Options options;
    int B, L, Dm, Di, S, W, R, Dh, Df;
};

Stack generated(std::uint64_t seed) {
    const auto pick = [&](std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); };
    Stack s{{},
            pick(1, 1, 2),
            pick(2, 1, 20),
            pick(3, 2, 9),
            pick(4, 1, 12),
            pick(5, 1, 6),
            pick(6, 1, 5),
            pick(7, 1, 3),
            pick(8, 1, 6),
            pick(9, 1, 11)};
    s.options.num_hidden_layers = pick(10, 1, 4);
    s.options.attn_layer_period = pick(11, 1, 3),
    s.options.attn_layer_offset = pick(12, 0, s.options.attn_layer_period - 1);
    s.options.expert_layer_period = pick(13, 1, 2);
    s.options.expert_layer_offset = pick(14, 0, s.options.expert_layer_period - 1);
    s.options.num_key_value_heads = pick(15, 1, 2);
    s.options.num_attention_heads = s.options.num_key_value_heads * pick(16, 1, 2);
    s.options.num_experts = pick(17, 1, 5), s.options.num_experts_per_tok = pick(18, 1, s.options.num_experts);
    return s;
}

Case case_of(const Stack& s, std::uint64_t seed, bool final_norm = false, int prefill = 0) {
    const auto& o = s.options;
    Case result;
    result.mechanism = "jamba", result.folder = "generated";
    std::uint64_t stream = 1000 * seed;
    const auto add = [&](const std::string& name, std::vector<std::int64_t> shape, double factor, double mean = 0) {
        Array array = random_array(std::move(shape), ++stream);
        for (std::int64_t i = 0; i < array.count(); ++i)
            array.data<float>()[i] = static_cast<float>(mean + factor * array.data<float>()[i]);
        result.inputs[name] = std::move(array);
    };
    add("hidden", {s.B, s.L, s.Dm}, 1);
    if (final_norm) add("final_norm", {s.Dm}, 0.25, 1);
    for (int i = 0; i < o.num_hidden_layers; ++i) {
        const auto in_layer = [&](const char* name, std::vector<std::int64_t> shape, double factor, double mean = 0) {
            add(jamba::name_in_layer(static_cast<std::size_t>(i), name), std::move(shape), factor, mean);
        };
        const double by_Dm = 1 / std::sqrt(s.Dm), by_Di = 1 / std::sqrt(s.Di), by_Df = 1 / std::sqrt(s.Df);
        in_layer("input_norm", {s.Dm}, 0.25, 1), in_layer("feed_forward_norm", {s.Dm}, 0.25, 1);
        if (o.has_attention(i)) {
            const int H = o.num_attention_heads, G = o.num_key_value_heads;
            in_layer("w_q", {H * s.Dh, s.Dm}, by_Dm), in_layer("w_k", {G * s.Dh, s.Dm}, by_Dm);
            in_layer("w_v", {G * s.Dh, s.Dm}, by_Dm), in_layer("w_o", {s.Dm, H * s.Dh}, 1 / std::sqrt(H * s.Dh));
        } else {
            in_layer("in_proj", {2 * s.Di, s.Dm}, by_Dm), in_layer("conv_weight", {s.Di, s.W}, 0.5);
            in_layer("conv_bias", {s.Di}, 1), in_layer("x_proj", {s.R + 2 * s.S, s.Di}, by_Di);
            in_layer("dt_proj", {s.Di, s.R}, 1), in_layer("dt_bias", {s.Di}, 1, -2), in_layer("a_log", {s.Di, s.S}, 1);
            in_layer("d", {s.Di}, 1), in_layer("out_proj", {s.Dm, s.Di}, by_Di), in_layer("dt_norm", {s.R}, 0.25, 1);
            in_layer("b_norm", {s.S}, 0.25, 1), in_layer("c_norm", {s.S}, 0.25, 1);
        }
        if (o.has_experts(i)) {
            in_layer("router", {o.num_experts, s.Dm}, 1), in_layer("gate", {o.num_experts, s.Df, s.Dm}, by_Dm);
            in_layer("up", {o.num_experts, s.Df, s.Dm}, by_Dm), in_layer("down", {o.num_experts, s.Dm, s.Df}, by_Df);
        } else {
            in_layer("gate", {s.Df, s.Dm}, by_Dm), in_layer("up", {s.Df, s.Dm}, by_Dm);
            in_layer("down", {s.Dm, s.Df}, by_Df);
        }
    }
    result.params =
        Params::parse(fmt::format(R"({{"num_hidden_layers": {}, "attn_layer_period": {}, "attn_layer_offset": {},
                         "expert_layer_period": {}, "expert_layer_offset": {}, "num_attention_heads": {},
                         "num_key_value_heads": {}, "num_experts": {}, "num_experts_per_tok": {}, "rms_norm_eps": 1e-6
                         {}}})",
                                  o.num_hidden_layers, o.attn_layer_period, o.attn_layer_offset, o.expert_layer_period,
                                  o.expert_layer_offset, o.num_attention_heads, o.num_key_value_heads, o.num_experts,
                                  o.num_experts_per_tok, prefill ? fmt::format(", \"prefill\": {}", prefill) : ""),
                      "generated");
    return result;
}

const Mechanism& jamba_mechanism() { return *find_mechanism("jamba"); }

std::vector<double> naive_out(const Case& input) {
    const Array array = jamba_mechanism().run_naive(input, Precision::float64).at("out");
    return {array.data<double>(), array.data<double>() + array.count()};
}
std::vector<float> device_out(const Case& input) {
    const std::vector<CudaVersion> versions = cuda_versions("jamba", ATTN_TEST_DEVICE);
    REQUIRE(versions.size() == 1);
    const Array array = jamba_mechanism().run_cuda(input, versions[0]).at("out");
    return {array.data<float>(), array.data<float>() + array.count()};
}
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}
template <class A>
double error(const std::vector<A>& a, const std::vector<double>& b) {
    return testing::relative_error(TensorView<const A, 1>{a.data(), {{static_cast<int>(a.size())}}},
                                   TensorView<const double, 1>{b.data(), {{static_cast<int>(b.size())}}});
}

}  // namespace

TEST_CASE("jamba: there are golden cases of each kind") {
    const std::vector<Case> cases = testing::golden_cases("jamba");
    REQUIRE(cases.size() >= 10);
    const auto count = [&](auto is_kind) { return std::count_if(cases.begin(), cases.end(), is_kind); };
    CHECK(count([](const Case& c) { return c.inputs.count("final_norm") > 0; }) >= 3);
    CHECK(count([](const Case& c) { return c.inputs.count("layers.0.w_q") > 0; }) >= 2);
    CHECK(count([](const Case& c) { return c.inputs.count("layers.1.router") > 0; }) >= 3);
}

TEST_CASE("jamba: naive agrees with transformers in every precision") { testing::check_naive_on_golden_cases("jamba"); }

TEST_CASE("jamba: the CUDA version agrees with transformers") { testing::check_cuda_on_golden_cases("jamba", 1); }

TEST_CASE("jamba: a prefill and then token by token is all at once, to the bit, on the device too") {
    // Kills: a cache that is read beyond its end or from another sequence, a state of another layer, positions that
    // count.
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        const Stack s = generated(seed);
        const Case at_once = case_of(s, seed, seed % 3 == 0);
        const Case in_steps = case_of(s, seed, seed % 3 == 0, 1 + static_cast<int>(seed) % s.L);
        INFO("seed " << seed << ", " << s.options.num_hidden_layers << " layers, L " << s.L);
        const std::vector<double> expected = naive_out(at_once);
        CHECK(same_bits(naive_out(in_steps), expected));
        const std::vector<float> on_device = device_out(at_once);
        CHECK(error(on_device, expected) <= 1e-5);
        CHECK(same_bits(device_out(in_steps), on_device));
    }
}

TEST_CASE("jamba: later tokens change nothing, and one sequence nothing in another") {
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        Stack s = generated(seed);
        s.B = 2, s.L = 9;
        const Case clean = case_of(s, seed);
        Case poisoned = clean;
        float* hidden = poisoned.inputs["hidden"].data<float>();
        std::fill(hidden + 5 * s.Dm, hidden + 9 * s.Dm, std::nanf(""));  // of sequence 0
        std::vector<double> expected = naive_out(clean), result = naive_out(poisoned);
        const auto kept = [&](std::vector<double>& out) { out.erase(out.begin() + 5 * s.Dm, out.begin() + 9 * s.Dm); };
        kept(expected), kept(result);
        CHECK(same_bits(result, expected));
    }
}

TEST_CASE("jamba: without Mamba it does not know the order of the tokens, with it it does") {
    // Kills: positions in attention. Of attention alone, without positions, the last token's answer is the same
    // whatever the order of the tokens before it.
    for (bool with_mamba : {false, true}) {
        Stack s = generated(5);
        s.B = 1, s.L = 7, s.options.num_hidden_layers = 2, s.options.attn_layer_period = with_mamba ? 2 : 1;
        s.options.attn_layer_offset = 0;
        if (!with_mamba) s.options.num_hidden_layers = 1;  // in the next layer, tokens have seen those before them
        const Case input = case_of(s, 5);
        Case turned = input;
        float* hidden = turned.inputs["hidden"].data<float>();
        std::rotate(hidden, hidden + 2 * s.Dm, hidden + 6 * s.Dm);
        const std::vector<double> a = naive_out(input), b = naive_out(turned);
        const std::vector<double> last_a(a.end() - s.Dm, a.end()), last_b(b.end() - s.Dm, b.end());
        if (with_mamba)
            CHECK(error(last_b, last_a) > 1e-3);
        else
            CHECK(error(last_b, last_a) <= 1e-13);
    }
}

TEST_CASE("jamba: one expert is a dense network") {
    // Kills: a weight other than 1, a router whose softmax is taken over something else.
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        Stack s = generated(seed);
        s.options.num_experts = s.options.num_experts_per_tok = 1, s.options.expert_layer_period = 1;
        s.options.expert_layer_offset = 0;
        Case experts = case_of(s, seed);
        Stack dense_stack = s;
        dense_stack.options.expert_layer_period = 1000, dense_stack.options.expert_layer_offset = 999;
        Case dense = case_of(dense_stack, seed);
        for (auto& [name, array] : dense.inputs) {
            array = experts.inputs.at(name);
            if (array.shape.size() == 3 && name != "hidden") array.shape.erase(array.shape.begin());
        }
        CHECK(same_bits(naive_out(dense), naive_out(experts)));
    }
}

TEST_CASE("jamba: costs by formula equal the counts") {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        const Stack s = generated(seed);
        const Case input = case_of(s, seed, seed % 3 == 0, seed % 2 ? 1 + static_cast<int>(seed) % s.L : 0);
        INFO("seed " << seed);
        CHECK(jamba_mechanism().counted_costs(input) == jamba_mechanism().predicted_costs(input));
    }
}

TEST_CASE("jamba: only the layers of attention keep more for more tokens") {
    // Counted: generating token by token, what is held grows by the keys and values of the layers of attention, and by
    // the scores of one query.
    Stack s = generated(3);
    s.B = 1, s.options.num_hidden_layers = 8, s.options.attn_layer_period = 8, s.options.attn_layer_offset = 4;
    const auto held = [&](int n) {
        s.L = n;
        return jamba_mechanism().counted_costs(case_of(s, 3, false, 1)).bytes_held;
    };
    constexpr int number = sizeof(Counted);
    const auto cache = [&](int n) { return jamba::kv_cache_bytes(s.options, s.Dh, n, number); };
    CHECK(s.options.attention_layers() == 1);
    CHECK(held(1024) - held(512) == cache(1024) - cache(512) + 512 * number);
}

TEST_CASE("jamba: the released model keeps 4 GiB at 256K tokens, where all layers of attention would keep 32") {
    // Lieber et al. 2024, table 1: 4 GB, and 32 GB for Mistral and Mixtral. 32 layers, 4 of them attention with 8
    // key/value heads of 128, in 16 bits.
    jamba::Options options;
    options.num_hidden_layers = 32, options.num_attention_heads = 32, options.num_key_value_heads = 8;
    constexpr std::int64_t GiB = std::int64_t{1} << 30;
    CHECK(options.attention_layers() == 4);
    CHECK(jamba::kv_cache_bytes(options, 128, 256 << 10, 2) == 4 * GiB);
    const mamba::Sizes sizes{4096, 8192, 16, 4, 256};
    CHECK(jamba::state_bytes(options, sizes, 2) == 28 * 8192 * (16 + 3) * 2);  // 8.3 MiB, whatever the length
    options.attn_layer_period = 1, options.attn_layer_offset = 0;
    CHECK(jamba::kv_cache_bytes(options, 128, 256 << 10, 2) == 32 * GiB);
    CHECK(jamba::state_bytes(options, sizes, 2) == 0);
}

TEST_CASE("jamba: what contradicts itself is refused by name") {
    Stack s = generated(1);
    s.options.num_hidden_layers = 2, s.options.attn_layer_period = 2, s.options.attn_layer_offset = 0;
    s.options.num_attention_heads = 4, s.options.num_key_value_heads = 2, s.Dh = 3;
    const Case input = case_of(s, 1);
    const auto check = [&](Case wrong, std::initializer_list<const char*> parts) {
        const std::string message = testing::refusal([&] { jamba_mechanism().check(wrong); });
        for (const char* part : parts) {
            INFO(message << "\nwanted: " << part);
            CHECK(message.find(part) != std::string::npos);
        }
    };
    Case wrong = input;
    wrong.inputs.erase("layers.1.in_proj");
    check(wrong, {"layers.1.in_proj.npy", "no such file"});
    wrong = input;
    wrong.inputs["layers.1.w_q"] = random_array({3, 3}, 1);
    check(wrong, {"layers.1.w_q.npy", "does not take", "layers.0.w_q"});
    wrong = input;
    wrong.inputs["layers.0.w_k"] = random_array({5, s.Dm}, 1);
    check(wrong, {"layers.0.w_k.npy", "[G·Dh, Dm]"});
    wrong = input;
    wrong.inputs["layers.1.x_proj"] = random_array({1, s.Di}, 1);
    check(wrong, {"layers.1.x_proj.npy", "[R+2S, Di]"});
    wrong = input;
    wrong.params = Params::parse("{}", "case.json");
    check(wrong, {"case.json", "num_hidden_layers"});
}
