// Judges scan_chunks_kernel. The answer knows neither chunks nor a state: each number is a sum over the tokens of the
// document. The mistakes are made warp by warp and chunk by chunk.
#include "chapters/07_beyond_attention/exercises/scan_chunks_kernel.hpp"

#include "tests/07_beyond_attention/exercises/scans.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::scans;
using namespace attn::exercises::scan_chunks_kernel;

constexpr int warps = 4, chunk = 32 * warps;  // of the solution, and so of the mistakes

// What steps do to a number of the state: it becomes fades · h + enters. T is float where the mistake is one of float.
template <class T>
struct Steps {
    T fades = 1, enters = 0;
};

// One number of the state of one channel, a chunk after the other.
template <class T>
void scan_number(const Inputs& in, int b, int d, int s, std::string_view mistake, Result& result) {
    const int L = in.u.extent(2);
    const auto position = in.position.slice(mistake == "positions_of_first_sequence" ? 0 : b);
    const T rate = in.a(mistake == "rates_of_first_channel" ? 0 : d, s);
    const bool has_initial = in.initial && mistake != "initial_ignored";
    const T initial = has_initial ? in.initial(b, d, s) : 0;
    T state = initial;
    for (int first = 0; first < L; first += chunk) {
        if (mistake == "last_chunk_left_out" && L - first < chunk) break;
        T before = mistake == "carry_lost" ? initial : state, h = 0;
        for (int warp = 0; warp < warps; ++warp) {
            bool begins[32];
            Steps<T> steps[32];
            for (int lane = 0; lane < 32; ++lane) {
                const int t = first + 32 * warp + lane;
                begins[lane] = t < L && position(t) == 0;
                if (mistake == "initial_kept_at_token_0") begins[lane] = begins[lane] && t > 0;
                if (mistake == "from_the_chapter") begins[lane] = false;
                if (t >= L) {
                    if (mistake == "tail_of_zeros") steps[lane] = {0, 0};
                    continue;
                }
                const T delta = in.delta(b, d, t);
                steps[lane] = {std::exp(delta * rate), delta * in.b(b, s, t) * in.u(b, d, t)};
                if (mistake == "border_times_0" && begins[lane]) steps[lane].fades = 0;
            }

            // By doubling: within a document, where the mistake knows of it.
            const bool knows = mistake != "border_times_0" && mistake != "scan_across_borders";
            int from[32];
            for (int lane = 0; lane < 32; ++lane) from[lane] = begins[lane] ? lane : lane > 0 ? from[lane - 1] : -1;
            const auto double_up = [&](auto combine) {
                for (int distance = 1; distance < 32; distance *= 2)
                    for (int lane = 31; lane >= distance; --lane)
                        if (!knows || lane - distance >= from[lane]) combine(steps[lane - distance], steps[lane]);
            };
            if (mistake == "prefix_products") {
                double_up([](const Steps<T>& one, Steps<T>& other) { other.fades *= one.fades; });
                for (Steps<T>& own : steps) own.enters /= own.fades;
                double_up([](const Steps<T>& one, Steps<T>& other) { other.enters += one.enters; });
            } else if (mistake == "order_reversed") {
                double_up([](const Steps<T>& one, Steps<T>& other) {
                    other = {other.fades * one.fades, one.fades * other.enters + one.enters};
                });
            } else {
                double_up([](const Steps<T>& one, Steps<T>& other) {
                    other = {other.fades * one.fades, other.fades * one.enters + other.enters};
                });
            }

            const T own_before = mistake == "warps_alone" ? state : before;
            for (int lane = 0; lane < 32; ++lane) {
                const int t = first + 32 * warp + lane;
                const bool goes_on = from[lane] < 0 || mistake == "border_times_0" || mistake == "carry_across_borders";
                h = goes_on ? steps[lane].fades * own_before + steps[lane].enters : steps[lane].enters;
                if (mistake == "prefix_products")
                    h = steps[lane].fades * ((goes_on ? own_before : 0) + steps[lane].enters);
                if (t < L) result.out(b, d, t) += in.c(b, s, t) * h;
            }
            // What the next warp begins with.
            const Steps<T>& all = steps[31];
            const bool is_cut =
                from[31] >= 0 && mistake != "border_of_earlier_warp_missed" && mistake != "border_times_0";
            const T left = mistake == "prefix_products" ? all.fades * all.enters : all.enters;
            before = is_cut ? left : all.fades * before + left;
        }
        state = h;
    }
    result.last(b, d, s) = state;
}

void scan_by_chunks(const Inputs& in, std::string_view mistake, Result& result) {
    const int B = in.u.extent(0), D = in.u.extent(1), L = in.u.extent(2), S = in.a.extent(1);
    for (int b = 0; b < B; ++b)
        for (int d = 0; d < D; ++d) {
            const int written = mistake == "last_chunk_left_out" ? L / chunk * chunk : L;
            for (int t = 0; t < written; ++t) result.out(b, d, t) = static_cast<double>(in.d(d)) * in.u(b, d, t);
            for (int s = 0; s < S; ++s)
                mistake == "prefix_products" ? scan_number<float>(in, b, d, s, mistake, result)
                                             : scan_number<double>(in, b, d, s, mistake, result);
        }
}

// What the emulator finds of the mistake on such an input.
judge::Answer::Finding finding(const Inputs& in, std::string_view mistake) {
    using enum judge::Answer::Finding;
    if (mistake == "missing_barrier") return always;
    if (mistake == "one_buffer" && in.a.extent(1) > 1) return always;
    if (mistake == "no_barrier_after_chunk" && in.u.extent(2) > chunk) return always;
    return never;
}

judge::Answer answer(const Inputs& in, const Options&, std::string_view mistake) {
    Result result(Outputs::shaped(in));
    if (mistake.empty()) {
        scan_by_sums(
            in, [](double delta) { return delta; }, result);
    } else {
        scan_by_chunks(in, mistake, result);
        // How large the numbers are where nothing cancels.
        Data sizes;
        const auto take = []<int N>(auto& tensor, TensorView<const float, N> view) {
            tensor = make_tensor<float, N>(view.shape());
            std::transform(view.data(), view.data() + view.count(), tensor.data(), [](float x) { return std::abs(x); });
        };
        take(sizes.u, in.u), take(sizes.b, in.b), take(sizes.c, in.c), take(sizes.d, in.d);
        Inputs absolute = in;
        absolute.u = view(sizes.u), absolute.b = view(sizes.b), absolute.c = view(sizes.c), absolute.d = view(sizes.d);
        if (in.initial) take(sizes.initial, in.initial), absolute.initial = view(sizes.initial);
        Result of_sizes(Outputs::shaped(in));
        scan_by_chunks(absolute, mistake, of_sizes);
        for (const double element : of_sizes.out) raise(result.out_magnitude, element);
        for (const double element : of_sizes.last) raise(result.last_magnitude, element);
    }
    judge::Answer answer;
    answer.add("out", result.out, {2e-5, result.out_magnitude});
    answer.add("last", result.last, {2e-5, result.last_magnitude});
    answer.finding = finding(in, mistake);
    return answer;
}

const judge::Exercise<Inputs, Options> exercise = {
    "scan_chunks_kernel",
    &answer,
    {
        {"from_the_chapter",
         "equals the chapter's scan, for which all tokens are one document. What may a token see of the lanes, warps "
         "and "
         "chunks before it, if a document has begun since?"},
        {"carry_lost",
         "equals the answer in which every chunk begins as the first one does. What does the last thread of a chunk "
         "know, and who needs it?"},
        {"warps_alone",
         "equals the answer in which each warp goes on from the state before the chunk, as if the warps before it in "
         "the chunk were not there. In which order do the steps of four warps act on that state?"},
        {"border_of_earlier_warp_missed",
         "equals the answer in which the warps behind one with a border in it still see what came before that border. "
         "What does a warp do to the state, if a document begins in it?"},
        {"carry_across_borders",
         "equals the answer in which the state before the warp is added behind a border in the warp as well. Which "
         "lanes still belong to the document of that state?"},
        {"scan_across_borders",
         "equals the answer in which the rounds within a warp put together steps of different documents. For a lane "
         "whose document began at lane `from`, which of the lanes before it may it take steps from?"},
        {"order_reversed",
         "equals the answer in which a later step is done before an earlier one. Of the two that are put together, "
         "whose enters fades, and by whose fade?"},
        {"border_times_0",
         "equals the answer in which the first step of a document has a factor of 0. What is 0 · NaN? Is what came "
         "before left out, or multiplied by 0?"},
        {"prefix_products",
         "equals the answer in which each token's enters is divided by the product of all factors so far in its warp. "
         "What is that product in float after 20 steps that fade by exp(-5), and what is a number divided by it?"},
        {"tail_of_zeros",
         "equals the answer in which threads behind the end of the sequence have a step that makes 0 of the state. "
         "Which step leaves the state of the last token as it is?"},
        {"last_chunk_left_out",
         "equals the answer in which the last tokens are left out where they do not fill a chunk of 128. How often "
         "must the loop over the chunks run?"},
        {"initial_ignored",
         "equals the answer in which the state before token 0 is 0. What came before a token 0 whose position is not "
         "0?"},
        {"initial_kept_at_token_0",
         "equals the answer in which token 0 goes on from `initial` even where its position is 0. Is it looked at like "
         "any other token?"},
        {"positions_of_first_sequence",
         "equals the answer in which all sequences have the positions of sequence 0. Whose row of `position` does this "
         "block need?"},
        {"rates_of_first_channel",
         "equals the answer in which all channels fade at the rates of channel 0. Whose row of A does this block "
         "need?"},
        {"missing_barrier",
         "the emulator found threads that read from shared memory before other threads have written there, even where "
         "there is one number of state and one chunk only. What must all warps have left there before it is read?",
         "never_written|race", "shared memory"},
        {"one_buffer",
         "the emulator found a data race, and only where a channel has more than one number of state: a warp leaves "
         "its steps of the next one while others still read those of this one. Where else could it leave them, or "
         "where must all threads wait once more?",
         "race", "in shared memory"},
        {"no_barrier_after_chunk",
         "the emulator found a data race, and only where there is more than one chunk: threads begin the next one "
         "while others still read what was left in this one. Where must all threads wait once more?",
         "race", "in shared memory"},
        {"states_in_memory",
         "the outputs are right; the counts say that more is written to device memory than the outputs, or held there. "
         "Who needs the state of a token, and for how long?",
         "", "", "states_on_chip"},
        {"token_loaded_for_each_number",
         "the outputs are right; the counts say that more is loaded from device memory than the inputs, b and c once "
         "for each channel. Which of a token's numbers are the same for all s?",
         "", "", "loaded_once"},
        {"thread_for_each_channel",
         "the outputs are right; the counts say that a warp's loads are spread over many sectors of memory, or that "
         "most of its lanes load nothing. Which tokens do neighbouring threads take, if all of a chunk are to be "
         "worked on at the same time?",
         "", "", "coalesced"},
    }};

struct Range {
    int from, to;
};

// As for scan_with_resets, with Δ as it is.
Data draw_chunks(std::uint64_t seed, const Sizes& size, int mean, bool has_initial, int kind = 0) {
    Data data = draw(seed, size, mean, has_initial, kind);
    for (float& delta : data.delta) delta = static_cast<float>(softplus(delta));
    return data;
}

judge::Report run(judge::Test& test, const Data& data) { return test.run(exercise, data.inputs<Inputs>(), {}); }

// Sequence b gets documents that begin at these tokens; at token 0 where it is one of them.
void set_borders(Data& data, int b, const std::vector<int>& borders) {
    int next = 3;
    for (int t = 0; t < static_cast<int>(data.position.shape()[1]); ++t) {
        if (std::find(borders.begin(), borders.end(), t) != borders.end()) next = 0;
        data.position(b, t) = next++;
    }
}

TEST_CASE("scan_chunks_kernel: any sizes", "[scan_chunks_kernel]") {
    judge::Test test;
    const struct {
        int B, D;
        Range L, S;
        int mean;
    } sizes[] = {{1, 1, {1, 1}, {1, 1}, 0},      {1, 2, {2, 9}, {2, 4}, 4},       {2, 1, {32, 32}, {1, 3}, 12},
                 {1, 1, {33, 90}, {16, 16}, 25}, {2, 2, {128, 128}, {1, 4}, 40},  {1, 3, {129, 170}, {2, 5}, 60},
                 {3, 1, {100, 127}, {3, 7}, 20}, {2, 2, {256, 256}, {1, 3}, 100}, {1, 2, {257, 330}, {2, 4}, 90}};
    int which = 0;
    for (const auto& [B, D, L, S, mean] : sizes) {
        const std::uint64_t seed = test.seed(which);
        const Sizes size{B, D, random_integer(seed, 0, L.from, L.to), random_integer(seed, 1, S.from, S.to)};
        run(test, draw_chunks(seed, size, mean, false, which++));
    }
    test.conclude();
}

TEST_CASE("scan_chunks_kernel: one document", "[scan_chunks_kernel]") {
    judge::Test test;
    int which = 0;
    for (int L : {5, 32, 64, 100, 128, 129, 200, 300}) {
        const std::uint64_t seed = test.seed(which);
        const Sizes size{random_integer(seed, 0, 1, 2), random_integer(seed, 1, 1, 2),
                         L + (L > 129 ? random_integer(seed, 2, 0, 40) : 0), random_integer(seed, 3, 1, 4)};
        Data data = draw_chunks(seed, size, 0, false, which++);
        if (which % 2)
            for (float& delta : data.delta) delta *= 0.1f;  // the state lives for longer than a chunk
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("scan_chunks_kernel: documents begin anywhere", "[scan_chunks_kernel]") {
    judge::Test test;
    const std::vector<int> borders[] = {{0, 32, 64, 96, 128, 160, 192},
                                        {31, 63, 65, 127, 129, 191},
                                        {128},
                                        {0, 40},
                                        {5, 6, 7, 20, 140, 150},
                                        {0, 127, 128},
                                        {1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144}};
    int which = 0;
    for (const std::vector<int>& first : borders) {
        const std::uint64_t seed = test.seed(which);
        const Sizes size{random_integer(seed, 0, 1, 2), random_integer(seed, 1, 1, 2),
                         random_integer(seed, 2, 193, 240), random_integer(seed, 3, 1, 4)};
        Data data = draw_chunks(seed, size, 50, which % 2, which);
        for (float& delta : data.delta) delta *= 0.1f;
        set_borders(data, 0, first);
        run(test, data);
        ++which;
    }
    const std::uint64_t seed = test.seed(which);  // every token, in the first sequence
    Data data = draw_chunks(seed, {2, 1, random_integer(seed, 0, 40, 150), 2}, 30, true);
    data.position.fill(0);
    set_borders(data, 1, {random_integer(seed, 1, 1, 30)});
    run(test, data);
    test.conclude();
}

TEST_CASE("scan_chunks_kernel: tokens before the first one", "[scan_chunks_kernel]") {
    judge::Test test;
    for (int which = 0; which < 6; ++which) {
        const std::uint64_t seed = test.seed(which);
        const Sizes size{random_integer(seed, 0, 1, 2), random_integer(seed, 1, 1, 2), random_integer(seed, 2, 5, 180),
                         random_integer(seed, 3, 1, 4)};
        Data data = draw_chunks(seed, size, which < 2 ? 0 : 70, true, which);
        for (float& delta : data.delta) delta *= 0.05f;
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("scan_chunks_kernel: steps that fade by exp(-5)", "[scan_chunks_kernel]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        const Sizes size{1, random_integer(seed, 0, 1, 2), random_integer(seed, 1, 60, 200),
                         random_integer(seed, 2, 1, 4)};
        Data data = draw_chunks(seed, size, which < 2 ? 0 : 50, which % 2, which);
        data.delta.fill(which % 2 ? 10 : 20);
        for (float& rate : data.a) rate = which % 2 ? -0.5f : -0.25f;
        run(test, data);
    }
    test.conclude();
}

// From some token of a document on, one or several of its numbers are NaN until it ends; the document after it has
// none. In some cases the state before the first token is NaN too.
TEST_CASE("scan_chunks_kernel: what came before may be NaN", "[scan_chunks_kernel]") {
    judge::Test test;
    for (int which = 0; which < 6; ++which) {
        const std::uint64_t seed = test.seed(which);
        const Sizes size{random_integer(seed, 0, 1, 2), random_integer(seed, 1, 1, 2),
                         random_integer(seed, 2, 150, 250), random_integer(seed, 3, 1, 4)};
        Data data = draw_chunks(seed, size, which < 3 ? 15 : 45, which % 2, which);
        if (which % 4 == 1) data.initial.fill(nan_value);
        std::uint64_t counter = 1000;
        for (int b = 0; b < size.B; ++b)
            for (int t = 0, place = 0, spoiled = which / 2 % 2; t < size.L; ++t) {
                if (data.position(b, t) == 0) spoiled = !spoiled, place = t + random_integer(seed, counter++, 0, 5);
                const int what = random_integer(seed, counter++, 0, 3);
                if (!spoiled || t < place) continue;
                for (int d = 0; d < size.D; ++d) {
                    if (what == 0) data.u(b, d, t) = nan_value;
                    if (what == 1) data.delta(b, d, t) = nan_value;
                }
                for (int s = 0; s < size.S; ++s) {
                    if (what == 2) data.b(b, s, t) = nan_value;
                    if (what == 3) data.c(b, s, t) = nan_value;
                }
            }
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("scan_chunks_kernel: everything loaded once, and no state in memory", "[scan_chunks_kernel]") {
    judge::Test test;
    for (int which = 0; which < 2; ++which) {
        const std::uint64_t seed = test.seed(which);
        const Sizes size{1, 1 + which, random_integer(seed, 0, 260, 380), 16};
        const Data data = draw_chunks(seed, size, which * 100, false, which);
        Inputs in = data.inputs<Inputs>();
        std::uint64_t given = 0, results = 0;
        in.visit([&](const char*, const auto& view, auto...) {
            if (view) given += static_cast<std::uint64_t>(view.count()) * 4;
        });
        Outputs::shaped(in).visit(
            [&](const char*, const auto& view) { results += static_cast<std::uint64_t>(view.count()) * 4; });
        const std::uint64_t numbers = static_cast<std::uint64_t>(size.D * size.L) * 4;  // one for each token
        const std::uint64_t states = numbers * static_cast<std::uint64_t>(size.S);
        const judge::Report report = run(test, data);
        if (!report.counts) continue;

        const bool lean = report.counts->global_store_bytes <= results * 3 / 2 &&
                          report.peak_device_bytes <= given + results + states / 4;
        test.expect(
            "states_on_chip", lean,
            fmt::format("{} bytes are written to device memory, where the outputs have {}, and {} held there "
                        "at one time, where inputs and outputs have {}; the states of all tokens have {}",
                        report.counts->global_store_bytes, results, report.peak_device_bytes, given + results, states));
        if (!lean) continue;                                  // else the others would fail by the same accesses
        const std::uint64_t once = 3 * numbers + 2 * states;  // u, delta and position; b and c
        const bool loaded_once = report.counts->global_load_bytes <= once * 7 / 4;
        test.expect("loaded_once", loaded_once,
                    fmt::format("{} bytes are loaded from device memory, expected {} for the inputs, each once, and no "
                                "more than three quarters of that for anything else",
                                report.counts->global_load_bytes, once));
        if (loaded_once)
            test.expect("coalesced", report.counts->global_load_sectors <= once / 16,
                        fmt::format("{} sectors of 32 bytes are loaded from device memory, expected {} or less: the "
                                    "inputs fill {}",
                                    report.counts->global_load_sectors, once / 16, once / 32));
    }
    test.conclude();
}

}  // namespace
