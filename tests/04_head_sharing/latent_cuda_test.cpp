// The kernels of latent attention on generated problems. Beside each property stands the wrong answer that it kills.
#include <cstring>

#include "chapters/04_head_sharing/latent/latent_naive.hpp"
#include "common/mechanism/mechanism.hpp"
#include "common/mechanism/run_case.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/property.hpp"

using namespace attn;
using namespace attn::latent;

namespace {

struct Layer {
    int B, N, Dm, H, Rq, Rkv, Dn, Dr, Dv;  // Rq = 0: queries come from hidden directly
};

// Weights such that every product stays close to standard normal.
Case problem(const Layer& s, const std::string& params, std::uint64_t seed) {
    Case result;
    result.mechanism = "latent";
    result.params = Params::parse("{\"heads\": " + std::to_string(s.H) + ", \"nope_dim\": " + std::to_string(s.Dn) +
                                  ", \"rope_dim\": " + std::to_string(s.Dr) +
                                  ", \"value_dim\": " + std::to_string(s.Dv) + params + "}");
    auto add = [&](const char* name, std::vector<std::int64_t> shape, double factor) {
        Array array = random_array(shape, ++seed);
        for (std::int64_t i = 0; i < array.count(); ++i) array.data<float>()[i] *= static_cast<float>(factor);
        result.inputs[name] = std::move(array);
    };
    auto weight = [&](const char* name, int rows, int columns) { add(name, {rows, columns}, 1 / std::sqrt(columns)); };
    add("hidden", {s.B, s.N, s.Dm}, 1);
    if (s.Rq > 0) {
        weight("w_dq", s.Rq, s.Dm), weight("w_uq", s.H * (s.Dn + s.Dr), s.Rq);
        add("norm_q", {s.Rq}, 1);
    } else {
        weight("w_q", s.H * (s.Dn + s.Dr), s.Dm);
    }
    weight("w_dkv", s.Rkv + s.Dr, s.Dm), weight("w_ukv", s.H * (s.Dn + s.Dv), s.Rkv), weight("w_o", s.Dm, s.H * s.Dv);
    add("norm_kv", {s.Rkv}, 1);
    return result;
}

NamedArrays on_device(const Case& input) {
    return find_mechanism("latent")->run_cuda(input, cuda_versions("latent", ATTN_TEST_DEVICE).at(0));
}

bool same_bits(const NamedArrays& a, const NamedArrays& b) {
    for (const auto& [name, array] : a)
        if (std::memcmp(array.data<float>(), b.at(name).data<float>(),
                        static_cast<std::size_t>(array.count()) * sizeof(float)) != 0)
            return false;
    return true;
}

TensorView<const float, 1> flat(const Array& array) {
    return {array.data<float>(), {{static_cast<int>(array.count())}}};
}
TensorView<const double, 1> flat_double(const Array& array) {
    return {array.data<double>(), {{static_cast<int>(array.count())}}};
}

constexpr const char* forms[] = {"expanded", "absorbed"};

}  // namespace

TEST_CASE("latent, on the device: equals the naive version in double on generated sizes") {
    // Kills: a tail of rows, columns, keys or heads forgotten; heads whose weights begin in the wrong row.
    for (std::uint64_t seed = 1; seed <= 16; ++seed)
        for (const char* form : forms) {
            auto pick = [&](std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); };
            Layer size{pick(0, 1, 2),  pick(1, 1, 40), pick(2, 1, 80),    pick(3, 1, 7), pick(4, 0, 1) * pick(5, 1, 70),
                       pick(6, 1, 90), pick(7, 1, 40), 2 * pick(8, 1, 9), pick(9, 1, 40)};
            if (seed % 4 == 0) size.Dm = 64, size.Rkv = 128, size.Dn = 32, size.Dr = 16, size.Dv = 32, size.Rq = 64;
            if (seed % 7 == 0) size.Rkv = 530, size.N = 20;  // the columns of two blocks
            if (seed == 9) size.N = 300, size.B = 1;         // two splits
            const Case input = problem(size, std::string(", \"form\": \"") + form + "\"", 100 * seed);
            INFO("seed " << seed << " " << form << " N" << size.N << " H" << size.H << " Rkv" << size.Rkv);
            const NamedArrays found = on_device(input);
            const NamedArrays exact = find_mechanism("latent")->run_naive(input, Precision::float64);
            for (const char* output : {"out", "cache"})
                CHECK(testing::relative_error(flat(found.at(output)), flat_double(exact.at(output))) <= 5e-6);
        }
}

TEST_CASE("latent, on the device: token by token equals all at once, bit by bit, within one form") {
    // Kills: products whose order of sums depends on the number of rows, splits whose number depends on the length.
    for (const char* form : forms)
        for (int N : {33, 270}) {
            const Layer size{N == 33 ? 2 : 1, N, 24, 5, 12, 20, 8, 6, 10};
            const std::string params = std::string(", \"form\": \"") + form + "\"";
            const NamedArrays at_once = on_device(problem(size, params, 3));
            for (int prefill : {1, N / 2, N - 4, N - 1, N}) {
                if (N > 100 && prefill < N - 10) continue;
                INFO(form << " N " << N << " prefill " << prefill);
                CHECK(same_bits(on_device(problem(size, params + ", \"prefill\": " + std::to_string(prefill), 3)),
                                at_once));
            }
        }
}

TEST_CASE("latent, on the device: a NaN token spoils no earlier one") {
    for (const char* form : forms) {
        const Layer size{1, 40, 16, 3, 0, 20, 8, 4, 6};
        Case clean = problem(size, std::string(", \"form\": \"") + form + "\"", 7), poisoned = clean;
        for (int d = 0; d < size.Dm; ++d) poisoned.inputs["hidden"].data<float>()[21 * size.Dm + d] = std::nanf("");
        const NamedArrays before = on_device(clean), after = on_device(poisoned);
        for (int i = 0; i < size.N * size.Dm; ++i) {
            const float value = after.at("out").data<float>()[i];
            if (i < 21 * size.Dm)
                REQUIRE(value == before.at("out").data<float>()[i]);
            else
                REQUIRE(std::isnan(value));
        }
    }
}
