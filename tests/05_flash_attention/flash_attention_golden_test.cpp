// Every golden case, made by PyTorch, through every implementation; and those of dense attention, which is the same
// function.
#include "tests/support/golden.hpp"

#include "chapters/05_flash_attention/flash_attention_naive.hpp"
#include "common/mechanism/run_case.hpp"

using namespace attn;

namespace {

// The cases of this mechanism and of `dense`.
std::vector<Case> all_cases() {
    std::vector<Case> cases = testing::golden_cases("flash_attention");
    for (Case& golden : testing::golden_cases("dense")) {
        golden.mechanism = "flash_attention";
        cases.push_back(std::move(golden));
    }
    return cases;
}

// What `described_by` asks for, with another naive version: `run_naive_as` runs it on a case.
template <class Forward>
struct Variant {
    template <class T>
    using Inputs = flash_attention::Inputs<T>;
    template <class T>
    using Outputs = flash_attention::Outputs<T>;
    using Options = flash_attention::Options;
    static std::vector<std::string> params() { return {"causal", "scale"}; }
    template <class T>
    static Options options(const Params& params, const Inputs<T>& in) {
        return {params.boolean("causal", false), params.number("scale").value_or(1 / std::sqrt(in.sizes().D))};
    }
    template <class T>
    static void check(const Inputs<T>& in, const Options&) {
        flash_attention::check_shapes(in);
    }
    template <class T>
    static void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
        Forward{}(in, options, out);
        if (in.d_out) flash_attention::naive_backward(in, options, out, Forward::tiles);
    }
};

template <int Br, int Bc>
struct Flash1 {
    static constexpr flash_attention::Tiles tiles{Br, Bc};
    void operator()(const auto& in, const auto& options, const auto& out) const {
        flash_attention::naive_forward_flash1(in, options, out, tiles);
    }
};
template <int Br, int Bc>
struct Flash2 {
    static constexpr flash_attention::Tiles tiles{Br, Bc};
    void operator()(const auto& in, const auto& options, const auto& out) const {
        flash_attention::naive_forward(in, options, out, tiles);
    }
};
template <int Keys>
struct Split {
    static constexpr flash_attention::Tiles tiles{16, 32};
    void operator()(const auto& in, const auto& options, const auto& out) const {
        flash_attention::naive_forward_split(in, options, out, Keys, tiles);
    }
};

template <class Forward>
void check_on_all_cases() {
    for (const Case& golden : all_cases()) {
        testing::check_outputs(golden, run_naive_as<Variant<Forward>, double>(golden), 1e-10, 30);
        testing::check_outputs(golden, run_naive_as<Variant<Forward>, float>(golden), 2e-5, 30);
    }
}

}  // namespace

TEST_CASE("flash: there are golden cases of each kind") {
    std::vector<Case> cases = testing::golden_cases("flash_attention");
    REQUIRE(cases.size() >= 40);
    auto count = [&](auto is_kind) { return std::count_if(cases.begin(), cases.end(), is_kind); };
    auto extent = [](const Case& c, const char* tensor, int dimension) { return c.inputs.at(tensor).shape[dimension]; };
    CHECK(count([](const Case& c) { return c.inputs.count("d_out") > 0; }) >= 15);
    CHECK(count([](const Case& c) { return c.params.boolean("causal", false); }) >= 20);
    CHECK(count([&](const Case& c) { return extent(c, "k", 1) < extent(c, "q", 1); }) >= 5);
    CHECK(count([&](const Case& c) { return extent(c, "k", 2) > 128; }) >= 10);  // two tiles and more, of any size
    CHECK(count([&](const Case& c) { return extent(c, "q", 2) > extent(c, "k", 2); }) >= 4);
    CHECK(count([&](const Case& c) { return extent(c, "q", 2) == 1 && extent(c, "k", 2) >= 64; }) >= 3);
    for (int D : {32, 64, 96, 128}) CHECK(count([&](const Case& c) { return extent(c, "q", 3) == D; }) >= 1);
}

TEST_CASE("flash: naive agrees with PyTorch in every precision") {
    testing::check_naive_on_golden_cases("flash_attention");
}

TEST_CASE("flash: naive agrees with PyTorch on the cases of dense attention") {
    const Mechanism& mechanism = *find_mechanism("flash_attention");
    for (const Case& golden : all_cases()) {
        mechanism.check(golden);
        testing::check_outputs(golden, mechanism.run_naive(golden, Precision::float64), 1e-10, 30);
        testing::check_outputs(golden, mechanism.run_naive(golden, Precision::float32), 2e-5, 30);
    }
}

TEST_CASE("flash: both loop orders and the split agree with PyTorch, whatever the tiles") {
    // Kills: an order of loops that is right for tiles of one size, or as long as one tile holds everything.
    check_on_all_cases<Flash1<64, 64>>();
    check_on_all_cases<Flash1<128, 32>>();  // rows that see nothing of a key tile on the diagonal
    check_on_all_cases<Flash1<1, 1>>();
    check_on_all_cases<Flash2<128, 32>>();
    check_on_all_cases<Flash2<32, 128>>();
    check_on_all_cases<Flash2<5, 7>>();
    check_on_all_cases<Flash2<1, 1>>();
    check_on_all_cases<Flash2<500, 500>>();
    check_on_all_cases<Split<64>>();
    check_on_all_cases<Split<5>>();
}

TEST_CASE("flash: costs by formula equal the counts on every golden case") {
    // Kills: a rescaling of rows that see nothing of a tile, masked pairs computed, a division for each weight.
    const Mechanism& mechanism = *find_mechanism("flash_attention");
    for (const Case& golden : all_cases()) {
        INFO(golden.folder);
        CHECK(mechanism.counted_costs(golden) == mechanism.predicted_costs(golden));
    }
}

TEST_CASE("flash: every CUDA stage agrees with PyTorch") { testing::check_cuda_on_golden_cases("flash_attention", 4); }

TEST_CASE("flash: every CUDA stage agrees with PyTorch on the cases of dense attention") {
    const Mechanism& mechanism = *find_mechanism("flash_attention");
    const std::vector<CudaVersion> versions = cuda_versions("flash_attention", ATTN_TEST_DEVICE);
    REQUIRE(versions.size() == 4);
    for (const CudaVersion& version : versions)
        for (const Case& golden : all_cases()) {
            INFO(version.name);
            testing::check_outputs(golden, mechanism.run_cuda(golden, version), 2e-5, 30);
        }
}
