// Judges scores_kernel. The answer asks of each key which queries see it, goes through the depths from the end, and
// makes the tanh of an exponential that cannot overflow.
#include "chapters/00_dense_attention/exercises/scores_kernel.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/tensor/random.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::exercises::scores_kernel;

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr int tile = 16;

int start(int position) { return position / tile * tile; }  // of its tile

// The emulator finds what it finds of the mistake on such an input, and nothing elsewhere.
bool is_found(const Inputs& in, std::string_view mistake) {
    const bool edges = in.q.extent(2) % tile != 0 || in.k.extent(2) % tile != 0;
    if (mistake == "missing_barrier") return true;
    if (mistake == "no_barrier_after") return in.q.extent(3) > tile;
    if (mistake == "returns_before_barrier") return edges;
    if (mistake == "no_bounds") return edges || in.q.extent(3) % tile != 0;
    if (mistake == "key_head_of_query") return in.q.extent(1) > in.k.extent(1);
    if (mistake == "edges_left_out") return in.q.extent(2) < tile || in.k.extent(2) < tile;
    return false;
}

// One head: q [Nq, D] and k [Nk, D], and 0 around them.
struct Head {
    TensorView<const float, 2> q, k;

    double query(int i, int d) const { return i < q.extent(0) && d < q.extent(1) ? q(i, d) : 0; }
    double key(int j, int d) const { return j < k.extent(0) && d < k.extent(1) ? k(j, d) : 0; }

    double dot(int i, int j, std::string_view mistake) const {
        const int D = q.extent(1), y = i % tile, x = j % tile;
        double sum = 0;
        if (mistake == "tile_turned") return dot(start(i) + x, start(j) + y, "");
        if (mistake == "keys_not_turned") {
            for (int d = 0; d < start(D - 1) + tile; ++d) sum += query(i, d) * key(start(j) + d % tile, start(d) + x);
            return sum;
        }
        for (int d = (mistake == "rest_of_depths_left_out" ? start(D) : D) - 1; d >= 0; --d)
            sum += query(i, d) * key(j, d);
        return sum;
    }
};

double capped(double score, double cap, std::string_view mistake) {
    const double grown = std::exp(-2 * std::abs(score) / cap);
    const double tanh = std::copysign((1 - grown) / (1 + grown), score);
    if (mistake == "no_cap" || mistake == "from_the_chapter") return score;
    if (mistake == "clamped") return std::clamp(score, -cap, cap);
    if (mistake == "cap_before_tanh_only") return tanh;
    if (mistake == "cap_after_tanh_only") return cap * std::tanh(score);
    if (mistake == "tanh_overflows" && 2 * score / cap > std::log(std::numeric_limits<float>::max())) return nan_value;
    return cap * tanh;
}

judge::Answer answer(const Inputs& in, const Options& options, std::string_view mistake) {
    const int B = in.q.extent(0), H = in.q.extent(1), G = in.k.extent(1), Nq = in.q.extent(2), Nk = in.k.extent(2);
    const double scale = options.scale, cap = options.cap;
    auto scores = make_tensor<double, 4>({B, H, Nq, Nk}, nan_value);
    auto score = [&](const Head& head, int i, int j) {
        if (mistake == "scale_forgotten") return capped(head.dot(i, j, mistake), cap, mistake);
        if (mistake == "scale_after_cap") return scale * capped(head.dot(i, j, mistake), cap, mistake);
        return capped(scale * head.dot(i, j, mistake), cap, mistake);
    };
    for (int g = 0; g < G; ++g)
        for (int member = 0; member < H / G; ++member)
            for (int b = 0; b < (mistake == "batch_forgotten" ? 1 : B); ++b)
                for (int j = 0; j < Nk; ++j) {
                    const int h = g * (H / G) + member;
                    const Head head{in.q.slice(b, h), in.k.slice(b, mistake == "key_head_by_remainder" ? h % G : g)};
                    int first = options.causal ? j + Nq - Nk : 0;  // query that sees j
                    if (mistake == "mask_forgotten") first = 0;
                    if (mistake == "mask_top_left" && options.causal) first = j;
                    if (mistake == "mask_without_last" && options.causal) ++first;
                    for (int i = 0; i < Nq; ++i) {
                        if (mistake == "edges_left_out" && (i >= start(Nq) || j >= start(Nk))) continue;
                        double& result = scores(b, h, i, j);
                        if (i >= first)
                            result = score(head, i, j);
                        else if (mistake == "mask_under_cap")
                            result = -cap;
                        else if (mistake == "mask_not_infinite")
                            result = -1e9;
                        else if (mistake == "mask_added")
                            result = score(head, i, j) - infinity;
                        else if (mistake != "from_the_chapter")
                            result = -infinity;
                    }
                }
    double largest = 0;  // of the sums behind the scores
    for (std::int64_t position = 0; position < in.q.count(); ++position)
        if (std::isfinite(in.q.data()[position])) largest = std::max(largest, std::abs(double{in.q.data()[position]}));
    const double sums = scale * largest * in.q.extent(3);
    judge::Answer result;
    if (is_found(in, mistake)) result.finding = judge::Answer::Finding::always;
    // A mistake is recognised in spite of what it loses by rounding where the right answer does not.
    result.add("scores", scores,
               mistake.empty() ? judge::Tolerance{3e-6, std::min(cap, sums)} : judge::Tolerance{3e-5, cap});
    return result;
}

const judge::Exercise<Inputs, Options> exercise = {
    "scores_kernel",
    &answer,
    {
        {"from_the_chapter",
         "equals the scores of the chapter's first stage: no cap, and nothing is written for a key that is not seen. "
         "Read which two steps of the formula come after the scale."},
        {"no_cap",
         "equals the answer without the cap: scale · q·k. What does the formula do to a score after the scale?"},
        {"clamped",
         "equals the answer in which scores beyond the cap are cut off, and the others stay as they are. The cap of "
         "this exercise is soft: it bends all of them."},
        {"cap_after_tanh_only",
         "equals cap · tanh(scale · q·k). How large must a score be for tanh to bend it, and how large for the "
         "formula?"},
        {"cap_before_tanh_only",
         "equals tanh(scale · q·k / cap), so that no score is beyond 1. Between which two numbers should they lie?"},
        {"tanh_overflows",
         "equals the answer with a tanh made of exp(2x), which overflows for large scores: infinity divided by "
         "infinity is NaN. Which function of CUDA does that for you?"},
        {"scale_forgotten", "equals the answer with a scale of 1. Where does options.scale come in?"},
        {"scale_after_cap",
         "equals the answer that is scaled after the cap. The cap bounds what comes out: what must have happened to "
         "q·k before?"},
        {"mask_forgotten",
         "equals the answer without the mask: every query sees every key. Where do you use options.causal?"},
        {"mask_top_left",
         "equals the answer in which query i sees the keys j <= i. With as many queries as keys that is the same; "
         "otherwise, where does the last query belong?"},
        {"mask_without_last",
         "equals the answer in which a query does not see the last of its keys. Does the last query see all of them, "
         "as it should?"},
        {"mask_under_cap",
         "equals the answer in which a key that is not seen has the score -cap: its -inf went through tanh. Which of "
         "the two comes first, the cap or the mask?"},
        {"mask_not_infinite",
         "equals the answer in which a key that is not seen has the score -1e9. What does the exercise ask for "
         "there?"},
        {"mask_added",
         "equals the answer in which -inf is added to scores that are not seen. NaN stays NaN under any sum: is the "
         "score chosen or changed?"},
        {"key_head_by_remainder",
         "equals the answer in which query head h reads key head h % G. Which query heads share a key head: those at "
         "a distance of G, or neighbours?"},
        {"batch_forgotten",
         "equals the answer in which only the first element of the batch is written. Which part of the block's "
         "number says which head of which batch element it works on?"},
        {"rest_of_depths_left_out",
         "equals the answer in which D is rounded down to a multiple of 16. How often must the loop over the depths "
         "run if the last part is not full?"},
        {"keys_not_turned",
         "equals the answer in which the tile of keys is read as in a product of two matrices, a depth for its row "
         "and a key for its column. Which row of which tile holds the key of this thread?"},
        {"tile_turned",
         "equals the answer in which each tile of scores is transposed. Which of threadIdx.x and threadIdx.y counts "
         "queries where you multiply, and which where you store?"},
        {"no_barrier_after",
         "the emulator found a data race, and only where D is more than 16: threads load the next depths while others "
         "still multiply these. At which two places of the loop must all threads wait?",
         "race", "in shared memory"},
        {"edges_left_out",
         "equals the answer without the tiles that are not full; a matrix smaller than a tile gets no block at all, "
         "which CUDA refuses to launch. Is the number of tiles rounded up?",
         "launch_limit", "blocks"},
        {"missing_barrier",
         "the emulator found a thread that reads from a tile before another thread has written there, even where all "
         "tiles are full. What must all threads wait for before they multiply?",
         "never_written", "shared memory"},
        {"returns_before_barrier",
         "the emulator found reads of a tile where nothing was loaded, and only where queries or keys do not fill "
         "their tiles. Which threads had already returned, and what should they have loaded for others?",
         "never_written", "shared memory"},
        {"no_bounds",
         "the emulator found reads beyond the end of q or k, and only where a size is not a multiple of 16. What "
         "does a thread load whose query, key or depth does not exist?",
         "out_of_bounds", "reads"},
        {"key_head_of_query",
         "the emulator found reads beyond the end of k, and only where there are fewer key heads than query heads. "
         "Which key head does query head h read?",
         "out_of_bounds", "reads"},
        {"no_tile",
         "the outputs are right; the counts say that nothing goes through shared memory. Each thread loads a whole "
         "query and a whole key for itself: which other threads of its block load the same?",
         "", "", "tile"},
        {"queries_not_shared",
         "the outputs are right; the counts say that elements are loaded many times although there is a tile. Does "
         "all of q and all of k come from shared memory in the innermost loop?",
         "", "", "loaded_once"},
    }};

struct Data {
    Tensor<float, 4> q, k;
    Options options;

    Inputs inputs() const { return {view(q), view(k)}; }
};

struct Sizes {
    int B, H, G, Nq, Nk, D;
};

// One key is larger than the others, so that the cap bends its scores; the scale is near 1/sqrt(D), and not 1.
Data draw(std::uint64_t seed, const Sizes& size, double factor = 1) {
    Data data{make_tensor<float, 4>({size.B, size.H, size.Nq, size.D}),
              make_tensor<float, 4>({size.B, size.G, size.Nk, size.D}),
              {false, (0.6 + 0.3 * random_uniform(seed, 100)) / std::sqrt(size.D), 1 + 3 * random_uniform(seed, 101)}};
    fill_normal(view(data.q), seed, factor);
    fill_normal(view(data.k), seed + 1);
    for (int d = 0; d < size.D; ++d) data.k(0, 0, size.Nk / 2, d) *= 5;
    return data;
}

judge::Report run(judge::Test& test, const Data& data) { return test.run(exercise, data.inputs(), data.options); }

TEST_CASE("scores_kernel: any sizes", "[scores_kernel]") {
    judge::Test test;
    int which = 0;
    auto next = [&] { return test.seed(which++); };
    run(test, draw(next(), {1, 1, 1, 1, 1, 1}));
    const struct {
        int B, H, G, Nq[2], Nk[2], D[2];  // from, to
    } sizes[] = {{1, 1, 1, {2, 5}, {2, 5}, {2, 4}},       {1, 1, 1, {2, 15}, {2, 15}, {9, 15}},
                 {1, 2, 1, {16, 16}, {16, 16}, {16, 16}}, {1, 2, 2, {16, 16}, {16, 16}, {16, 16}},
                 {1, 1, 1, {16, 16}, {16, 16}, {17, 31}}, {2, 4, 2, {17, 20}, {33, 36}, {17, 31}},
                 {1, 6, 2, {3, 9}, {33, 40}, {5, 12}},    {2, 3, 1, {33, 40}, {3, 9}, {33, 36}},
                 {1, 2, 2, {9, 15}, {20, 31}, {64, 64}},  {2, 2, 1, {1, 1}, {49, 60}, {16, 16}},
                 {1, 8, 4, {18, 24}, {1, 1}, {3, 3}}};
    for (const auto& [B, H, G, Nq, Nk, D] : sizes) {
        const std::uint64_t seed = next();
        run(test, draw(seed, {B, H, G, random_integer(seed, 0, Nq[0], Nq[1]), random_integer(seed, 1, Nk[0], Nk[1]),
                              random_integer(seed, 2, D[0], D[1])}));
    }
    for (int repeat = 0; repeat < 12; ++repeat) {
        const std::uint64_t seed = next();
        const int G = random_integer(seed, 0, 1, 3);
        Data data = draw(
            seed, {random_integer(seed, 1, 1, 2), G * random_integer(seed, 2, 1, 2), G, random_integer(seed, 3, 1, 36),
                   random_integer(seed, 4, 1, 36), random_integer(seed, 5, 1, 40)});
        data.options.causal = repeat % 2;
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("scores_kernel: causal", "[scores_kernel]") {
    judge::Test test;
    int which = 0;
    auto judge_sizes = [&](int Nq, int Nk) {
        const std::uint64_t seed = test.seed(which++);
        Data data = draw(seed, {random_integer(seed, 0, 1, 2), 4, 2, Nq, Nk, random_integer(seed, 1, 4, 20)});
        data.options.causal = true;
        run(test, data);
    };
    auto drawn = [&](int low, int high) { return random_integer(test.seed(which), 2, low, high); };
    judge_sizes(3, 3);
    judge_sizes(2, drawn(4, 9));
    judge_sizes(drawn(4, 9), 2);
    const int equal = drawn(17, 24);
    judge_sizes(equal, equal);
    judge_sizes(drawn(4, 9), 37);
    judge_sizes(37, drawn(4, 9));
    judge_sizes(1, drawn(15, 25));
    judge_sizes(drawn(15, 25), 1);
    judge_sizes(33, 32);
    judge_sizes(16, 48);
    judge_sizes(48, 16);
    test.conclude();
}

TEST_CASE("scores_kernel: what is not seen may be NaN", "[scores_kernel]") {
    judge::Test test;
    for (int which = 0; which < 3; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int Nk = which ? random_integer(seed, 0, 17, 30) : 3, unseeing = random_integer(seed, 1, 2, 18);
        const int D = random_integer(seed, 2, 5, 25);
        Data data = draw(seed, {1, 2, 1, Nk + unseeing, Nk, D});
        data.options.causal = true;
        for (int h = 0; h < 2; ++h)
            for (int i = 0; i < unseeing; ++i)  // queries that see no key
                for (int d = 0; d < D; ++d)
                    data.q(0, h, i, d) =
                        i % 2 ? nan_value : static_cast<float>(random_integer(seed, i, 0, 1) ? infinity : -infinity);
        run(test, data);
    }
    test.conclude();
}

// All elements are integers, so that the sums are exact: a rounding of a large sum would move a score near 0 by more
// than the tolerance.
TEST_CASE("scores_kernel: large logits", "[scores_kernel]") {
    judge::Test test;
    for (int which = 0; which < 3; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(
            seed,
            {1, 2, 1, random_integer(seed, 0, 2, 20), random_integer(seed, 1, 2, 35), random_integer(seed, 2, 8, 24)},
            500);
        for (float& element : data.q) element = std::nearbyint(element);
        for (float& element : data.k) element = std::nearbyint(3 * element);
        data.options = {which > 0, which > 1 ? 0.5 : 1, 50};
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("scores_kernel: a block loads each element once", "[scores_kernel]") {
    judge::Test test;
    for (int which = 0; which < 2; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int G = random_integer(seed, 0, 1, 2);
        const Sizes size = {random_integer(seed, 1, 1, 2),
                            G * random_integer(seed, 2, 1, 2),
                            G,
                            tile * random_integer(seed, 3, 1, 2),
                            tile * random_integer(seed, 4, 1, 2),
                            random_integer(seed, 5, 20, 40)};
        const auto counts = run(test, draw(seed, size)).counts;
        if (!counts) continue;
        const std::uint64_t blocks = static_cast<std::uint64_t>(size.B * size.H * (size.Nq / tile) * (size.Nk / tile));
        const std::uint64_t once = blocks * sizeof(float) * static_cast<std::uint64_t>(2 * tile * size.D);
        const bool has_tile = counts->shared_store_bytes > 0;
        test.expect("tile", has_tile, "nothing is stored to shared memory: each thread loads all it needs by itself");
        test.expect("loaded_once", !has_tile || counts->global_load_bytes <= once,
                    fmt::format("{} bytes are loaded from device memory, expected {} or less: each element of q and k "
                                "once by each block that needs it",
                                counts->global_load_bytes, once));
    }
    test.conclude();
}

}  // namespace
