// Judges scan_with_resets. The answer has no state: each number is a sum over the tokens of the document. Of sequences
// for which that takes too long, it is the recurrence in double.
#include "chapters/07_beyond_attention/exercises/scan_with_resets.hpp"

#include "tests/07_beyond_attention/exercises/scans.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::scans;
using namespace attn::exercises::scan_with_resets;

constexpr int long_sequence = 300000;

double step_size(float delta, std::string_view mistake) {
    if (mistake == "softplus_missing") return delta;
    if (mistake == "softplus_by_log") return std::log(1.0f + std::exp(delta));  // in float, as it was written
    return softplus(delta);
}

// Token by token, with the mistake made at its place; without any where there is none.
void scan_by_steps(const Inputs& in, std::string_view mistake, Result& result) {
    const int B = in.u.extent(0), D = in.u.extent(1), L = in.u.extent(2), S = in.a.extent(1);
    State state(S);
    for (int b = 0; b < B; ++b)
        for (int d = 0; d < D; ++d) {
            if (mistake != "state_of_previous_channel" || in.initial) state.set(in.initial, b, d);
            if (mistake == "initial_state_ignored") state.clear();
            const auto position = in.position.slice(mistake == "positions_of_first_sequence" ? 0 : b);
            for (int t = 0; t < L; ++t) {
                bool border = position(t) == 0;
                if (mistake == "from_the_chapter") border = false;
                if (mistake == "border_where_position_falls") border = t > 0 && position(t) < position(t - 1);
                if (mistake == "border_where_position_jumps") border = t > 0 && position(t) != position(t - 1) + 1;
                if (mistake == "reset_early") border = t + 1 < L && position(t + 1) == 0;
                if (mistake == "initial_state_at_token_0") border = border && t > 0;
                const auto reset = [&] {
                    if (mistake == "initial_state_at_border") return state.set(in.initial, b, d);
                    if (mistake != "reset_times_0") return state.clear();
                    for (double& h : state.h) h *= 0;
                };
                if (border && mistake != "reset_late") reset();

                const double delta = step_size(in.delta(b, d, t), mistake), u = in.u(b, d, t);
                double y = mistake == "skip_missing" ? 0 : in.d(d) * u, absolute = std::abs(y);
                for (int s = 0; s < S; ++s) {
                    const double c = in.c(b, s, mistake == "c_of_previous_token" ? std::max(t - 1, 0) : t);
                    double &h = state.h[static_cast<std::size_t>(s)],
                           &size = state.absolute[static_cast<std::size_t>(s)];
                    const auto read = [&] { y = overflow(y + overflow(c * h)), absolute += std::abs(c) * size; };
                    if (mistake == "read_before_write") read();
                    // What float makes of it: 0 · ∞ is NaN.
                    const float fades = std::exp(static_cast<float>((mistake == "exp_of_a" ? 1 : delta) * in.a(d, s)));
                    const double exact = std::exp((mistake == "exp_of_a" ? 1 : delta) * in.a(d, s));
                    const double factor = mistake == "softplus_by_log" ? fades : exact;
                    const double written = (mistake == "written_without_delta" ? 1 : delta) * in.b(b, s, t) * u;
                    if (mistake == "reset_drops_token" && border)
                        h = size = 0;
                    else if (mistake == "decay_after_write")
                        h = overflow(factor * overflow(h + written)), size = factor * (size + std::abs(written));
                    else
                        h = overflow(overflow(factor * h) + written), size = factor * size + std::abs(written);
                    if (mistake != "read_before_write") read();
                }
                result.out(b, d, t) = y, raise(result.out_magnitude, absolute);
                if (border && mistake == "reset_late") reset();
            }
            for (int s = 0; s < S; ++s) {
                result.last(b, d, s) = state.h[static_cast<std::size_t>(s)];
                raise(result.last_magnitude, state.absolute[static_cast<std::size_t>(s)]);
            }
        }
}

judge::Answer answer(const Inputs& in, const Options&, std::string_view mistake) {
    const int L = in.u.extent(2);
    Result result(Outputs::shaped(in));
    if (mistake.empty() && L < 500)
        scan_by_sums(in, softplus, result);
    else
        scan_by_steps(in, mistake, result);
    judge::Answer answer;
    const double relative = 2e-5 + 1e-8 * L;  // of sums of that many numbers, in float
    answer.add("out", result.out, {relative, result.out_magnitude});
    answer.add("last", result.last, {relative, result.last_magnitude});
    if (mistake == "sums_over_tokens" && L > 1000) answer.finding = judge::Answer::Finding::perhaps;
    return answer;
}

const judge::Exercise<Inputs, Options> exercise = {
    "scan_with_resets",
    &answer,
    {
        {"from_the_chapter",
         "equals the chapter's scan, for which all tokens are one document. What must the state be before the first "
         "token "
         "of the next one?"},
        {"decay_after_write",
         "equals the answer in which a token's own Δ B u has already faded by exp(Δ A) when it is read: the state "
         "fades after the token is written. Which of the two terms has exp(Δ A) before it?"},
        {"exp_of_a",
         "equals the answer in which the state fades by exp(A), the same for every token. What of the token says how "
         "much is forgotten?"},
        {"written_without_delta",
         "equals the answer in which B u is written, without Δ. Which two places of the formula has Δ?"},
        {"softplus_missing",
         "equals the answer with delta itself for Δ. What is between them, and what becomes of a state that fades by "
         "exp(Δ A) where delta is below 0?"},
        {"softplus_by_log",
         "equals the answer with log(1 + exp(delta)) in float: 0 for what is below -17, and infinite above 88. How can "
         "the 1 be kept out of the sum (std::log1p), and exp of large numbers be avoided?"},
        {"reset_times_0",
         "equals the answer in which the state is multiplied by 0 where a document begins. What is 0 · NaN?"},
        {"reset_late",
         "equals the answer in which the state is set to 0 one token late: the first token of a document is written "
         "to the state before, and lost to its own. In which order do reset, write and read come?"},
        {"reset_early",
         "equals the answer in which the state is set to 0 one token early, before the last token of a document. "
         "Whose position is 0 where a document begins?"},
        {"reset_drops_token",
         "equals the answer in which the first token of a document is not written: where the state is set to 0 "
         "nothing is added. What is Δ B u to be added to there?"},
        {"border_where_position_falls",
         "equals the answer in which a document begins only where the position is smaller than the one before. What "
         "are the positions of documents of one token, and may positions fall within a document?"},
        {"border_where_position_jumps",
         "equals the answer in which a document begins wherever the position is not that of the token before, plus 1. "
         "What does the interface say of positions that skip?"},
        {"initial_state_ignored",
         "equals the answer in which the state before token 0 is 0. What came before a token 0 whose position is not "
         "0?"},
        {"initial_state_at_border",
         "equals the answer in which the state goes back to `initial` where a document begins. Which document is that "
         "the state of?"},
        {"initial_state_at_token_0",
         "equals the answer in which token 0 goes on from `initial` even where its position is 0. Is it looked at like "
         "any other token?"},
        {"read_before_write",
         "equals the answer in which out is read from the state before the token is written to it. Does out(t) have "
         "h(t) or h(t-1)?"},
        {"c_of_previous_token",
         "equals the answer in which the state is read by C of the token before. Which t has C in the formula?"},
        {"skip_missing", "has the right last state, and an out without D u. What goes past the state?"},
        {"state_of_previous_channel",
         "equals the answer in which, without `initial`, a channel begins with what the one before it has left. What "
         "does the state begin with where `initial` is absent?"},
        {"positions_of_first_sequence",
         "equals the answer in which all sequences have the positions of sequence 0. Which one is this?"},
        {"all_states_held",
         "the outputs are right; you allocate memory for every token of the sequence. How many states are needed at "
         "one time?",
         "", "", "memory"},
        {"sums_over_tokens",
         "the outputs of short sequences are right; a long one takes too long: the work grows with the square of L. "
         "What of the sum of the token before does the next token need, if it fades as a whole?",
         "timed_out"},
    },
    false};

Sizes draw_sizes(std::uint64_t seed, int least, int most) {
    return {random_integer(seed, 1, 1, 3), random_integer(seed, 2, 1, 4), random_integer(seed, 3, least, most),
            random_integer(seed, 4, 1, 8)};
}

judge::Report run(judge::Test& test, const Data& data) { return test.run(exercise, data.inputs<Inputs>(), {}); }

TEST_CASE("scan_with_resets: one document", "[scan_with_resets]") {
    judge::Test test;
    int which = 0;
    for (int tokens : {1, 2, 5, 20, 70}) {
        const std::uint64_t seed = test.seed(which++);
        run(test, draw(seed, draw_sizes(seed, tokens, tokens + tokens / 4), 0, false, which));
    }
    test.conclude();
}

TEST_CASE("scan_with_resets: several documents", "[scan_with_resets]") {
    judge::Test test;
    for (int which = 0; which < 12; ++which) {
        const std::uint64_t seed = test.seed(which);
        Sizes size = draw_sizes(seed, 12, 60);
        if (which % 3 == 0) size.B = 2 + which % 2;
        if (which % 3 == 1) size.D = 2 + which % 2;
        run(test, draw(seed, size, 2 + which % 6, false, which));
    }
    test.conclude();
}

TEST_CASE("scan_with_resets: documents of one token", "[scan_with_resets]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        run(test, draw(seed, draw_sizes(seed, 2, 20), 1, which % 2, which));
    }
    test.conclude();
}

TEST_CASE("scan_with_resets: tokens before the first one", "[scan_with_resets]") {
    judge::Test test;
    for (int which = 0; which < 8; ++which) {
        const std::uint64_t seed = test.seed(which);
        run(test, draw(seed, draw_sizes(seed, 5, 30), which < 2 ? 0 : 8, true, which));
    }
    test.conclude();
}

TEST_CASE("scan_with_resets: steps tiny and large", "[scan_with_resets]") {
    judge::Test test;
    for (int which = 0; which < 6; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(seed, draw_sizes(seed, 5, 30), which < 2 ? 0 : 6, which % 2, which);
        std::uint64_t counter = 1000;
        for (float& delta : data.delta) {
            const double uniform = random_uniform(seed, counter++);
            if (which < 3)
                delta = static_cast<float>(-20 - 10 * uniform);
            else if (random_integer(seed, counter++, 0, 3) == 0)
                delta = static_cast<float>(100 + 500 * uniform);
        }
        if (which < 3)
            data.initial.fill(0);  // it would hide what such a step writes
        else
            data.delta(0, 0, 0) = 300;
        run(test, data);
    }
    test.conclude();
}

// From some token of a document on, one or several of its numbers are NaN until it ends, or infinite where it does; the
// document after it has none. In some cases the state before the first token is NaN too.
TEST_CASE("scan_with_resets: what came before may be NaN", "[scan_with_resets]") {
    judge::Test test;
    for (int which = 0; which < 8; ++which) {
        const std::uint64_t seed = test.seed(which);
        const Sizes size = draw_sizes(seed, 20, 50);
        Data data = draw(seed, size, 6, which % 2, which);
        if (which % 4 == 1) data.initial.fill(nan_value);
        std::uint64_t counter = 1000;
        for (int b = 0; b < size.B; ++b)
            for (int t = 0, place = 0, spoiled = which / 2 % 2; t < size.L; ++t) {
                if (data.position(b, t) == 0) spoiled = !spoiled, place = t + random_integer(seed, counter++, 0, 3);
                const int what = random_integer(seed, counter++, 0, 3);
                if (!spoiled || t < place) continue;
                const bool ends = t + 1 < size.L && data.position(b, t + 1) == 0;
                for (int d = 0; d < size.D; ++d) {
                    if (what == 0) data.u(b, d, t) = ends ? HUGE_VALF : nan_value;
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

TEST_CASE("scan_with_resets: memory for a state, not for all tokens", "[scan_with_resets]") {
    judge::Test test;
    for (int which = 0; which < 3; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int tokens = random_integer(seed, 0, 1500, 2500);
        const Data data = draw(seed, {1, 1, tokens, 8}, which * 50, which == 2, which);
        // What the worker holds for the inputs and outputs. Afterwards it holds the outputs twice: of what is allocated
        // by the student, as much as one of them cannot be told from that.
        std::int64_t given = 0, outputs = 0;
        Inputs in = data.inputs<Inputs>();
        in.visit([&]<class T, int N>(const char*, TensorView<const T, N>& view, auto...) {
            if (view) given += view.count() * static_cast<std::int64_t>(sizeof(T));
        });
        Outputs::shaped(in).visit([&]<class T, int N>(const char*, TensorView<T, N>& view) {
            outputs += view.count() * static_cast<std::int64_t>(sizeof(T));
        });
        const judge::Report report = run(test, data);
        if (!report.right) continue;
        const std::int64_t own = static_cast<std::int64_t>(report.peak_bytes) - given - outputs;
        test.expect("memory", own <= outputs + 2 * std::int64_t{tokens},
                    fmt::format("{} bytes are held beside inputs and outputs, where the states of the {} tokens would "
                                "take {}; expected one state, which does not grow with them",
                                own, tokens, 4 * 8 * tokens));
    }
    test.conclude();
}

TEST_CASE("scan_with_resets: a long sequence", "[scan_with_resets]") {
    judge::Test test;
    const std::uint64_t seed = test.seed();
    Data data = draw(seed, {1, 1, long_sequence, 1}, 0, false);
    data.position(0, random_integer(seed, 1, 50, 200)) = 0;
    for (float& delta : data.delta) delta -= 4;
    run(test, data);
    test.conclude();
}

}  // namespace
