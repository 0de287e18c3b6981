// What must hold of a mixture of experts, naive and on the device. Beside each property stands the wrong answer that it
// kills.
#include <fmt/format.h>

#include <numeric>

#include "chapters/07_beyond_attention/mixture_of_experts/mixture_of_experts_naive.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/tensor/random.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/refusal.hpp"
#include "tests/support/tensors.hpp"
#include "tests/support/xtensor.hpp"

using namespace attn;
using namespace attn::mixture_of_experts;
using testing::error, testing::same_bits;

namespace {

template <class T>
struct Layer {
    Sizes size;
    Options options;
    Tensor<T, 3> hidden, gate, up, down, out;
    Tensor<T, 2> router;
    Tensor<std::int32_t, 3> experts;

    // Scores are sums of multiples of 1/64: the same in float and double, and now and then equal.
    Layer(Sizes sizes, int top_k, std::uint64_t seed) : size(sizes), options{top_k, seed % 3 == 0} {
        const auto [B, N, Dm, E, Df] = sizes;
        hidden = make_tensor<T, 3>({B, N, Dm}), router = make_tensor<T, 2>({E, Dm});
        gate = make_tensor<T, 3>({E, Df, Dm}), up = gate, down = make_tensor<T, 3>({E, Dm, Df});
        auto fill_grid = [](auto tensor, std::uint64_t of) {
            fill_normal(tensor, of, 8);
            for (std::int64_t i = 0; i < tensor.count(); ++i) tensor.data()[i] = std::round(tensor.data()[i]) / 8;
        };
        fill_grid(view(hidden), seed), fill_grid(view(router), seed + 1);
        fill_normal(view(gate), seed + 2, 1 / std::sqrt(Dm)), fill_normal(view(up), seed + 3, 1 / std::sqrt(Dm));
        fill_normal(view(down), seed + 4, 1 / std::sqrt(Df));
        clear();
    }
    template <class U>
    explicit Layer(const Layer<U>& other) : size(other.size), options(other.options) {
        hidden = other.hidden, router = other.router, gate = other.gate, up = other.up, down = other.down;
        clear();
    }
    void clear() {
        out = make_tensor<T, 3>({size.B, size.N, size.Dm}, static_cast<T>(std::nanf("")));
        experts = make_tensor<std::int32_t, 3>({size.B, size.N, options.top_k}, -1);
    }
    Inputs<T> inputs() const { return {view(hidden), view(router), view(gate), view(up), view(down)}; }
    Outputs<T> outputs() { return {view(out), view(experts)}; }

    // The positions in this order, of every batch.
    Layer positions(const std::vector<int>& order) const {
        Layer result = *this;
        result.size.N = static_cast<int>(order.size());
        result.hidden = rows(hidden, order);
        result.clear();
        return result;
    }
    template <class U>
    static Tensor<U, 3> rows(const Tensor<U, 3>& tensor, const std::vector<int>& order) {
        Tensor<U, 3> result = xt::view(tensor, xt::all(), xt::keep(order), xt::all());
        return result;
    }
};

template <class T>
Layer<T> solved(Layer<T> layer) {
    layer.clear();
    naive(layer.inputs(), layer.options, layer.outputs());
    return layer;
}
Layer<float> solved(Layer<float> layer, const CudaVersion& version) {
    layer.clear();
    cuda_function<CudaFunction>(version)(layer.inputs(), layer.options, layer.outputs());
    return layer;
}
std::vector<CudaVersion> stages() { return cuda_versions("mixture_of_experts", ATTN_TEST_DEVICE); }

struct Generated {
    Sizes size;
    int top_k;
};
Generated generated(std::uint64_t seed) {
    auto pick = [&](std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); };
    const int E = seed % 5 ? pick(1, 1, 9) : pick(1, 30, 70);
    Sizes size{pick(2, 1, 2), pick(3, 1, 40), pick(4, 1, 40), E, pick(5, 1, 50)};
    if (seed % 4 == 0) size.Dm = 4 * pick(4, 1, 20), size.Df = 4 * pick(5, 1, 20);                  // 16-byte accesses
    if (seed % 7 == 0) size.B = 1, size.N = 280, size.Dm = pick(4, 1, 9), size.Df = pick(5, 1, 9);  // chunks of choices
    const int top_k = std::min(E, seed % 6 ? pick(6, 1, 4) : E);
    if (top_k > 9) size.N = pick(3, 1, 5);
    return {size, top_k};
}

std::vector<int> range(int first, int count) {
    std::vector<int> result(static_cast<std::size_t>(count));
    std::iota(result.begin(), result.end(), first);
    return result;
}

// The formula a second time: all experts, of which a mask leaves some.
Tensor<double, 3> masked_mixture(const Layer<double>& l) {
    Tensor<double, 3> out = make_tensor<double, 3>({l.size.B, l.size.N, l.size.Dm}, 0);
    for (int b = 0; b < l.size.B; ++b)
        for (int i = 0; i < l.size.N; ++i) {
            auto product = [](const auto& matrix, const xt::xarray<double>& vector) {
                return xt::xarray<double>(xt::sum(matrix * vector, {1}));
            };
            const xt::xarray<double> x = xt::view(l.hidden, b, i, xt::all());
            xt::xarray<double> p = xt::exp(product(l.router, x));
            p /= xt::sum(p)();
            xt::xarray<double> mask = xt::zeros<double>({l.size.E});
            for (int e = 0; e < l.size.E; ++e) {
                int before = 0;
                for (int other = 0; other < l.size.E; ++other)
                    before += p(other) > p(e) || (p(other) == p(e) && other < e);
                mask(e) = before < l.options.top_k;
            }
            p *= mask;
            if (l.options.renormalize) p /= xt::sum(p)();
            for (int e = 0; e < l.size.E; ++e) {
                const xt::xarray<double> z = product(xt::view(l.gate, e), x);
                const xt::xarray<double> units = z / (1 + xt::exp(-z)) * product(xt::view(l.up, e), x);
                xt::view(out, b, i, xt::all()) += p(e) * product(xt::view(l.down, e), units);
            }
        }
    return out;
}

}  // namespace

TEST_CASE("mixture of experts: there are golden cases of each kind") {
    const std::vector<Case> cases = testing::golden_cases("mixture_of_experts");
    REQUIRE(cases.size() >= 30);
    auto count = [&](auto is_kind) { return std::count_if(cases.begin(), cases.end(), is_kind); };
    auto experts = [](const Case& c) { return c.inputs.at("router").shape[0]; };
    auto top_k = [](const Case& c) { return c.params.integer("top_k", 1, 1000); };
    CHECK(count([](const Case& c) { return c.params.boolean("renormalize", false); }) >= 6);
    CHECK(count([&](const Case& c) { return top_k(c) == 1 && experts(c) > 1; }) >= 4);
    CHECK(count([&](const Case& c) { return top_k(c) == experts(c) && experts(c) > 1; }) >= 4);
    CHECK(count([&](const Case& c) { return experts(c) == 1; }) >= 2);
    CHECK(count([&](const Case& c) { return experts(c) > 32; }) >= 2);
    CHECK(count([](const Case& c) { return c.inputs.at("hidden").shape[0] * c.inputs.at("hidden").shape[1] > 64; }) >=
          3);
}

TEST_CASE("mixture of experts: naive agrees with Jamba's and Mixtral's blocks in every precision") {
    testing::check_naive_on_golden_cases("mixture_of_experts");
}

TEST_CASE("mixture of experts: both CUDA stages agree with Jamba's and Mixtral's blocks") {
    testing::check_cuda_on_golden_cases("mixture_of_experts", 2);
}

TEST_CASE("mixture of experts: naive is the sum over all experts with a mask") {
    // Kills: an expert chosen twice, weights of the wrong expert, k - 1 or k + 1 of them.
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        const auto [size, top_k] = generated(seed);
        const Layer<double> layer = solved(Layer<double>(size, top_k, 10 * seed + seed));
        INFO("seed " << seed << " E" << size.E << " k" << top_k);
        CHECK(error(layer.out, masked_mixture(layer)) <= 1e-13);
    }
}

TEST_CASE("mixture of experts: one expert is a dense layer, to the bit") {
    // Kills: a weight that is 1 only within rounding.
    for (bool renormalize : {false, true}) {
        Layer<double> layer({2, 7, 5, 1, 9}, 1, 3);
        layer.options.renormalize = renormalize;
        layer = solved(layer);
        auto units = make_tensor<double, 1>({{9}});
        for (int b = 0; b < 2; ++b)
            for (int i = 0; i < 7; ++i) {
                auto y = make_tensor<double, 1>({{5}});
                const Inputs<double> in = layer.inputs();
                add_expert(in.hidden.slice(b, i), in.gate.slice(0), in.up.slice(0), in.down.slice(0), 1., view(units),
                           view(y));
                for (int d = 0; d < 5; ++d) CHECK(layer.out(b, i, d) == y(d));
            }
    }
}

TEST_CASE("mixture of experts: equal experts are one expert, times the weights of those chosen") {
    // Kills: weights that are renormalised although nobody asked, and the other way round.
    for (int k = 1; k <= 4; ++k) {
        Layer<double> layer({1, 9, 6, 4, 5}, k, 5);
        for (auto* tensor : {&layer.gate, &layer.up, &layer.down})
            for (int e = 1; e < 4; ++e) xt::view(*tensor, e) = xt::view(*tensor, 0);
        layer.options.renormalize = true;
        const auto once = solved(layer);
        layer.options.renormalize = false;
        const auto plain = solved(layer);
        for (int i = 0; i < 9; ++i) {
            xt::xarray<double> p = xt::exp(xt::sum(layer.router * xt::view(layer.hidden, 0, i, xt::all()), {1}));
            p /= xt::sum(p)();
            double chosen = 0;
            for (int r = 0; r < k; ++r) chosen += p(plain.experts(0, i, r));
            for (int d = 0; d < 6; ++d) CHECK(plain.out(0, i, d) == Approx(chosen * once.out(0, i, d)).epsilon(1e-12));
            if (k == 4) CHECK(chosen == Approx(1));
        }
    }
}

TEST_CASE("mixture of experts: without a router the first k experts weigh 1/E each") {
    // Kills: ties to the higher index, a softmax over the chosen only.
    Layer<double> layer({1, 5, 4, 7, 3}, 3, 7);
    layer.options.renormalize = false;
    layer.router.fill(0);
    const auto result = solved(layer);
    Layer<double> mean = layer;
    mean.size.E = 3;
    mean.router = make_tensor<double, 2>({3, 4}, 0.);
    for (auto* tensor : {&mean.gate, &mean.up, &mean.down}) {
        const Tensor<double, 3> first = xt::view(*tensor, xt::range(0, 3));
        *tensor = first;
    }
    const Tensor<double, 3> expected = solved(mean).out * 3. / 7.;
    CHECK(error(result.out, expected) <= 1e-14);
    for (int i = 0; i < 5; ++i)
        for (int r = 0; r < 3; ++r) CHECK(result.experts(0, i, r) == r);
}

TEST_CASE("mixture of experts: experts in another order, with their rows of the router, are the same layer") {
    // Kills: an index that is taken from the sorted weights, a tile that takes its neighbour's matrices.
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        const auto [size, top_k] = generated(seed);
        Layer<double> layer(size, top_k, 20 * seed), turned = layer;
        // No two scores are equal: in another order the lower index would be another expert's.
        fill_normal(view(layer.router), seed), turned.router = layer.router;
        std::vector<int> order = range(0, size.E);
        for (int e = size.E - 1; e > 0; --e)
            std::swap(order[static_cast<std::size_t>(e)],
                      order[static_cast<std::size_t>(random_integer(seed, 100 + static_cast<std::uint64_t>(e), 0, e))]);
        for (int e = 0; e < size.E; ++e) {
            const int from = order[static_cast<std::size_t>(e)];
            xt::view(turned.router, e) = xt::view(layer.router, from);
            xt::view(turned.gate, e) = xt::view(layer.gate, from), xt::view(turned.up, e) = xt::view(layer.up, from);
            xt::view(turned.down, e) = xt::view(layer.down, from);
        }
        const auto expected = solved(layer), result = solved(turned);
        CHECK(error(result.out, expected.out) <= 1e-13);
        bool same_choice = true;
        for (std::size_t i = 0; i < result.experts.size(); ++i)
            same_choice &= order[static_cast<std::size_t>(result.experts.flat(i))] == expected.experts.flat(i);
        CHECK(same_choice);
        for (const CudaVersion& version : stages()) {
            INFO("seed " << seed << " " << version.name);
            const auto a = solved(Layer<float>(layer), version), b = solved(Layer<float>(turned), version);
            CHECK(error(a.out, b.out) <= 1e-6);  // the sum of the softmax is in another order
        }
    }
}

TEST_CASE("mixture of experts: weights that are 0 in float still have an order") {
    // Kills: ranks by the weights themselves. Scores 0, -200, -300 and -250: all weights but one are 0 in float.
    Layer<float> layer({1, 1, 1, 4, 2}, 4, 1);
    layer.hidden(0, 0, 0) = 1;
    const float scores[] = {0, -200, -300, -250};
    for (int e = 0; e < 4; ++e) layer.router(e, 0) = scores[e];
    const std::int32_t expected[] = {0, 1, 3, 2};
    auto check = [&](const Layer<float>& result) {
        for (int r = 0; r < 4; ++r) CHECK(result.experts(0, 0, r) == expected[r]);
    };
    check(solved(layer));
    for (const CudaVersion& version : stages()) check(solved(layer, version));
}

TEST_CASE("mixture of experts: a NaN token has the first experts, and spoils no other token") {
    // Kills: 0 · NaN in the padding of a tile; an index that is never set where no comparison is true; a NaN that is
    // dropped by a maximum.
    const std::vector<int> others = {0, 1, 2, 3, 4, 6, 7, 8, 9};
    const Layer<float> clean({2, 10, 6, 5, 7}, 3, 11);
    for (float poison : {std::nanf(""), INFINITY}) {
        Layer<float> poisoned = clean;
        xt::view(poisoned.hidden, xt::all(), 5, xt::all()) = poison;
        auto check = [&](const Layer<float>& found, const Layer<float>& expected) {
            const auto rows = [&](const auto& tensor) { return Layer<float>::rows(tensor, others); };
            CHECK(same_bits(rows(found.out), rows(expected.out)));
            CHECK(same_bits(rows(found.experts), rows(expected.experts)));
            for (int b = 0; b < 2; ++b) {
                for (int r = 0; r < 3; ++r) CHECK(found.experts(b, 5, r) == r);
                for (int d = 0; d < 6; ++d) CHECK(std::isnan(found.out(b, 5, d)));
            }
        };
        check(solved(poisoned), solved(clean));
        for (const CudaVersion& version : stages()) {
            INFO(version.name << ", " << poison);
            check(solved(poisoned, version), solved(clean, version));
        }
    }
}

TEST_CASE("mixture of experts: NaN in an expert reaches the tokens that chose it, and in the router all of them") {
    // Kills: experts that are computed with the weight 0 although nobody chose them.
    const Layer<float> clean({1, 40, 6, 5, 7}, 2, 13);
    auto check = [&](auto solve) {
        const Layer<float> expected = solve(clean);
        for (auto tensor : {&Layer<float>::gate, &Layer<float>::up, &Layer<float>::down}) {
            Layer<float> poisoned = clean;
            xt::view(poisoned.*tensor, 2) = std::nanf("");
            const Layer<float> found = solve(poisoned);
            CHECK(same_bits(found.experts, expected.experts));
            int reached = 0;
            for (int i = 0; i < 40; ++i) {
                const bool chose_it = found.experts(0, i, 0) == 2 || found.experts(0, i, 1) == 2;
                reached += chose_it;
                for (int d = 0; d < 6; ++d) {
                    const float value = found.out(0, i, d);
                    CHECK((chose_it ? std::isnan(value) : value == expected.out(0, i, d)));
                }
            }
            CHECK((reached > 0 && reached < 40));
        }
        Layer<float> poisoned = clean;
        poisoned.router(3, 1) = std::nanf("");
        const Layer<float> found = solve(poisoned);
        for (int i = 0; i < 40; ++i) {
            CHECK((found.experts(0, i, 0) == 0 && found.experts(0, i, 1) == 1));
            for (int d = 0; d < 6; ++d) CHECK(std::isnan(found.out(0, i, d)));
        }
    };
    check([](const Layer<float>& layer) { return solved(layer); });
    for (const CudaVersion& version : stages()) {
        INFO(version.name);
        check([&](const Layer<float>& layer) { return solved(layer, version); });
    }
}

TEST_CASE("mixture of experts: costs by formula equal the counts") {
    // Kills: E in the place of k, or k in the place of E.
    const Mechanism& mechanism = *find_mechanism("mixture_of_experts");
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        const auto [s, top_k] = generated(seed);
        Case input = random_case("mixture_of_experts", s.N,
                                 {{"hidden", {s.B, s.N, s.Dm}},
                                  {"router", {s.E, s.Dm}},
                                  {"gate", {s.E, s.Df, s.Dm}},
                                  {"up", {s.E, s.Df, s.Dm}},
                                  {"down", {s.E, s.Dm, s.Df}}});
        input.params = Params::parse(
            fmt::format(R"({{"top_k": {}, "renormalize": {}}})", top_k, seed % 2 ? "true" : "false"), "generated");
        INFO("seed " << seed);
        CHECK(mechanism.counted_costs(input) == mechanism.predicted_costs(input));
    }
    // Of Jamba's layer, 2 of 16 experts: twice the work of a dense one, and the router, whose part is 1/1300.
    const Sizes jamba{1, 1, 4096, 16, 14336};
    const std::int64_t experts = expert_multiply_adds_per_token(jamba, 2);
    CHECK(experts == 2 * 176'160'768);
    CHECK(forward_cost(jamba, {.top_k = 2}, 4).multiply_adds == experts + 16 * 4096 + 2 * 4096);
}

TEST_CASE("mixture of experts, on the device: every stage equals double") {
    // Kills: a last tile of tokens, columns or depth that is forgotten; a second chunk of choices that begins at place
    // 0.
    for (std::uint64_t seed = 1; seed <= 24; ++seed) {
        const auto [size, top_k] = generated(seed);
        Layer<float> layer(size, top_k, 10 * seed + seed);
        if (seed % 8 == 0) layer.router *= 64.f;  // large scores
        const auto exact = solved(Layer<double>(layer));
        for (const CudaVersion& version : stages()) {
            const auto result = solved(layer, version);
            INFO("seed " << seed << " " << version.name << " B" << size.B << " N" << size.N << " Dm" << size.Dm << " E"
                         << size.E << " Df" << size.Df << " k" << top_k);
            CHECK(error(result.out, exact.out) <= 2e-6);
            CHECK(same_bits(result.experts, exact.experts));
        }
    }
}

TEST_CASE("mixture of experts, on the device: a token has the same bits alone, among others, and in any order") {
    // Kills: places by an atomic counter, sums in the order of the experts' tiles.
    const Layer<float> layer({1, 300, 12, 5, 20}, 3, 17);
    std::vector<int> reversed = range(0, 300);
    std::reverse(reversed.begin(), reversed.end());
    auto check = [&](auto solve) {
        const Layer<float> all = solve(layer);
        for (const std::vector<int>& part :
             {range(0, 1), range(299, 1), range(64, 1), range(0, 65), range(85, 87), range(100, 200), reversed}) {
            const Layer<float> found = solve(layer.positions(part));
            CHECK(same_bits(found.out, Layer<float>::rows(all.out, part)));
            CHECK(same_bits(found.experts, Layer<float>::rows(all.experts, part)));
        }
    };
    check([](const Layer<float>& l) { return solved(l); });
    for (const CudaVersion& version : stages()) {
        INFO(version.name);
        check([&](const Layer<float>& l) { return solved(l, version); });
    }
}

TEST_CASE("mixture of experts: inputs that contradict each other are refused by name") {
    const Layer<double> layer({2, 5, 6, 4, 3}, 2, 1);
    auto refusal = [&](auto change) {
        Inputs<double> in = layer.inputs();
        Options options = layer.options;
        change(in, options);
        try {
            check_shapes(in, options);
        } catch (const ShapeError& wrong) {
            return std::string(wrong.what());
        }
        return std::string("(not refused)");
    };
    using In = Inputs<double>;
    CHECK(refusal([](In&, Options&) {}) == "(not refused)");
    CHECK(refusal([](In& in, Options&) {
              in.router = {in.router.data(), {{4, 5}}};
          }) == "router has shape [4, 5], expected [4, 6] = [E, Dm] with Dm of hidden");
    CHECK(refusal([](In& in, Options&) {
              in.gate = {in.gate.data(), {{3, 3, 6}}};
          }) == "gate has shape [3, 3, 6], expected [4, 3, 6] = [E, Df, Dm] with E of router and Dm of hidden");
    CHECK(refusal([](In& in, Options&) {
              in.up = {in.up.data(), {{4, 2, 6}}};
          }) == "up has shape [4, 2, 6], expected [4, 3, 6] = [E, Df, Dm], the shape of gate");
    CHECK(refusal([](In& in, Options&) {
              in.down = {in.down.data(), {{4, 3, 6}}};
          }) ==
          "down has shape [4, 3, 6], expected [4, 6, 3] = [E, Dm, Df] with E of router, Dm of hidden, Df of gate");
    for (int k : {0, 5})
        CHECK(refusal([&](In&, Options& options) { options.top_k = k; }) ==
              fmt::format("router has 4 experts, expected a top_k of 1 to that many, not {}", k));
    // The naive version checks before it computes.
    Layer<double> wrong = layer;
    wrong.options.top_k = 5;
    CHECK_THROWS_AS(naive(wrong.inputs(), wrong.options, wrong.outputs()), ShapeError);
}

TEST_CASE("mixture of experts: a bad case is refused with the file or the param") {
    const Mechanism& mechanism = *find_mechanism("mixture_of_experts");
    auto refusal = [&](const char* params, auto change) {
        Case sized = mechanism.sized_case(3);
        sized.folder = "case";
        sized.params = Params::parse(params, "case/case.json");
        change(sized);
        return testing::refusal([&] { mechanism.check(sized); });
    };
    auto nothing = [](Case&) {};
    CHECK(refusal(R"({"top_k": 8})", nothing) == "(not refused)");
    using testing::check_message;
    check_message(refusal("{}", nothing), "case/case.json", {"top_k", "1...8"});
    check_message(refusal(R"({"top_k": 0})", nothing), "case/case.json", {"top_k", "0", "1...8"});
    check_message(refusal(R"({"top_k": 9})", nothing), "case/case.json", {"top_k", "9", "1...8"});
    check_message(refusal(R"({"top_k": 2, "renormalize": 1})", nothing), "case/case.json", {"renormalize", "true"});
    check_message(refusal(R"({"top_k": 2, "capacity": 1})", nothing), "case/case.json", {"capacity"});
    check_message(refusal(R"({"top_k": 2})", [](Case& c) { c.inputs.erase("router"); }), "case/router.npy",
                  {"no such file"});
    check_message(refusal(R"({"top_k": 2})", [](Case& c) { c.inputs["bias"] = random_array({8}, 1); }), "case/bias.npy",
                  {"mixture_of_experts does not take"});
    check_message(refusal(R"({"top_k": 2})",
                          [](Case& c) {
                              c.inputs["down"] = random_array({8, 16}, 1);
                          }),
                  "case/down.npy", {"[8, 16]", "3 dimensions"});
    check_message(refusal(R"({"top_k": 2})",
                          [](Case& c) {
                              c.expected["experts"] = zeros(DType::int32, {1, 3, 3});
                          }),
                  "case/expected/experts.npy", {"[1, 3, 3]", "[1, 3, 2]"});
}
