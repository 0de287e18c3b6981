// Judges scan_combine. The answer combines nothing: each combination stands for a range of steps, and these are applied
// to the state one after the other. The mistakes are made in the order of the combinations.
#include "chapters/07_beyond_attention/exercises/scan_combine.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/tensor/random.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::exercises::scan_combine;

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN(), infinity = HUGE_VALF;

// Steps from … to - 1, one after the other.
struct Range {
    int from, to;
};

std::vector<Range> ranges_of(const Inputs& in) {
    const int L = in.fades.extent(1);
    std::vector<Range> ranges;
    for (int t = 0; t < L; ++t) ranges.push_back({t, t + 1});
    ranges.push_back({0, 0});
    for (int p = 0; p < in.first.extent(0); ++p) {
        const Range first = ranges[static_cast<std::size_t>(in.first(p))];
        const Range then = ranges[static_cast<std::size_t>(in.then(p))];
        ranges.push_back(first.from == first.to ? then : then.from == then.to ? first : Range{first.from, then.to});
    }
    return ranges;
}

Tensor<double, 2> by_steps(const Inputs& in) {
    auto after = make_tensor<double, 2>(Outputs::shaped(in).after.shape());
    const std::vector<Range> ranges = ranges_of(in);
    for (int n = 0; n < in.fades.extent(0); ++n)
        for (std::size_t which = 0; which < ranges.size(); ++which) {
            double h = in.before(n);
            for (int t = ranges[which].from; t < ranges[which].to; ++t)
                h = in.begins(n, t) ? in.enters(n, t) : static_cast<double>(in.fades(n, t)) * h + in.enters(n, t);
            after(n, static_cast<int>(which)) = h;
        }
    return after;
}

// A mistake of its own kind, with what is made of it: T is float where the mistake is one of float.
template <class T>
struct Step {
    T fades, enters;
    bool begins;
};

template <class T>
Step<T> make_step(T fades, T enters, bool begins, std::string_view mistake) {
    if (mistake == "from_the_chapter") return {fades, enters, false};
    if (mistake == "begin_times_0") return {begins ? 0 : fades, enters, false};
    if (mistake == "begin_drops_token") return {fades, begins ? 0 : enters, begins};
    if (mistake == "decay_after_write") return {fades, begins ? enters : fades * enters, begins};
    if (mistake == "prefix_products") return {fades, enters / fades, begins};
    if (mistake == "fades_as_logarithms") return {std::log(fades), enters, begins};
    return {fades, enters, begins};
}

template <class T>
Step<T> combine(Step<T> first, Step<T> then, std::string_view mistake) {
    if (mistake == "order_reversed") std::swap(first, then);
    Step<T> both{then.fades * first.fades, then.fades * first.enters + then.enters, first.begins};
    if (mistake == "prefix_products") both.enters = first.enters + then.enters / first.fades;
    if (mistake == "fades_as_logarithms")
        both.fades = then.fades + first.fades, both.enters = std::exp(then.fades) * first.enters + then.enters;
    if (mistake == "fades_of_then") both.fades = then.fades;
    if (mistake == "enters_not_faded") both.enters = first.enters + then.enters;
    if (mistake == "begin_of_first_forgotten") both.begins = false;
    if (mistake == "begin_only_noted") return {both.fades, both.enters, first.begins || then.begins};
    if (mistake == "begin_of_first_asked") {
        if (first.begins) return {then.fades, then.enters, true};
        return {both.fades, both.enters, then.begins};
    }
    return then.begins ? then : both;
}

template <class T>
T apply(Step<T> step, T before, std::string_view mistake) {
    if (mistake == "before_ignored") return step.enters;
    if (mistake == "prefix_products") return step.fades * (step.begins ? step.enters : before + step.enters);
    if (mistake == "fades_as_logarithms") step.fades = std::exp(step.fades);
    if (step.begins && mistake != "begin_not_applied") return step.enters;
    return step.fades * before + step.enters;
}

template <class T>
Tensor<double, 2> by_combinations(const Inputs& in, std::string_view mistake) {
    auto after = make_tensor<double, 2>(Outputs::shaped(in).after.shape());
    const int L = in.fades.extent(1);
    for (int n = 0; n < in.fades.extent(0); ++n) {
        std::vector<Step<T>> all;
        for (int t = 0; t < L; ++t)
            all.push_back(make_step<T>(in.fades(n, t), in.enters(n, t), in.begins(n, t) != 0, mistake));
        all.push_back({static_cast<T>(mistake != "identity_of_zeros" && mistake != "fades_as_logarithms"), 0,
                       mistake == "identity_begins"});
        for (int p = 0; p < in.first.extent(0); ++p)
            all.push_back(combine(all[static_cast<std::size_t>(in.first(p))], all[static_cast<std::size_t>(in.then(p))],
                                  mistake));
        for (std::size_t which = 0; which < all.size(); ++which)
            after(n, static_cast<int>(which)) = apply<T>(all[which], in.before(n), mistake);
    }
    return after;
}

Tensor<double, 2> answered(const Inputs& in, std::string_view mistake) {
    if (mistake.empty()) return by_steps(in);
    return mistake == "prefix_products" ? by_combinations<float>(in, mistake) : by_combinations<double>(in, mistake);
}

judge::Answer answer(const Inputs& in, const Options&, std::string_view mistake) {
    // How large the numbers are where nothing cancels.
    auto fades = make_tensor<float, 2>(in.fades.shape()), enters = fades;
    auto before = make_tensor<float, 1>(in.before.shape());
    const auto size = [](float x) { return std::abs(x); };
    std::transform(in.fades.data(), in.fades.data() + in.fades.count(), fades.data(), size);
    std::transform(in.enters.data(), in.enters.data() + in.enters.count(), enters.data(), size);
    std::transform(in.before.data(), in.before.data() + in.before.count(), before.data(), size);
    Inputs sizes = in;
    sizes.fades = view(fades), sizes.enters = view(enters), sizes.before = view(before);
    double magnitude = 0;
    for (const double element : answered(sizes, mistake))
        if (std::isfinite(element)) magnitude = std::max(magnitude, element);

    judge::Answer answer;
    answer.add("after", answered(in, mistake), {2e-5, magnitude});
    return answer;
}

const judge::Exercise<Inputs, Options> exercise = {
    "scan_combine",
    &answer,
    {
        {"from_the_chapter",
         "equals the chapter's pairs, for which all steps are of one document. What does a step do to h where a "
         "document begins, and where is that kept?"},
        {"order_reversed",
         "equals the answer in which `then` is done before `first`. Write fades · h + enters of the one into that of "
         "the other: which of the two fades multiplies which of the two enters?"},
        {"enters_not_faded",
         "equals the answer in which the two enters are added as they are. What does the second step do to what the "
         "first one has written?"},
        {"fades_of_then",
         "equals the answer in which two steps fade as the second one does. What is left of an h that goes through "
         "both?"},
        {"decay_after_write",
         "equals the answer in which h becomes fades · (h + enters). What of a step fades by its own factor: what was "
         "there, or what it writes too?"},
        {"before_ignored",
         "equals the answer in which every state begins with 0: `before` is not used. What does apply make of h = 1 "
         "with fades = 1 and enters = 0?"},
        {"begin_times_0",
         "equals the answer in which a step that begins a document has a fades of 0. What is 0 · NaN, and where else "
         "could it be kept that a document begins?"},
        {"begin_drops_token",
         "equals the answer in which h becomes 0 where a document begins, and not enters. What does the first token of "
         "a document leave?"},
        {"begin_only_noted",
         "equals the answer in which combine notes that a document begins in one of the two, but multiplies and adds "
         "all the same: later steps still see what `first` has written. What is left of `first` where `then` begins a "
         "document?"},
        {"begin_of_first_forgotten",
         "equals the answer in which a combination begins a document only where its second half does. What does "
         "combine(first, then) do to an h from before, if a document begins in `first`?"},
        {"begin_of_first_asked",
         "equals the answer in which `first` is left out where a document begins in `first`. In which of the two must "
         "a document begin for the other one's past to be gone?"},
        {"begin_not_applied",
         "equals the answer in which apply multiplies h by fades even where a document begins. What does such a step "
         "make of h?"},
        {"identity_of_zeros",
         "equals the answer with an identity of zeros: it makes 0 of every state. Which fades and enters leave h as it "
         "is?"},
        {"identity_begins",
         "equals the answer with an identity that begins a document: what came before it is gone. Which Step leaves h "
         "as it is?"},
        {"prefix_products",
         "equals the answer in which sums of enters / product of fades are kept, and multiplied by the product at the "
         "end. What is that product in float after 100 steps that fade by exp(-2), or one that fades by 0, and what is "
         "a number divided by it?"},
        {"fades_as_logarithms", "is NaN where a fades is negative: its logarithm is taken. Products need none."},
    },
    false};

// Combinations, as they are added.
struct Plan {
    int L;
    std::vector<int> first, then;

    int identity() const { return L; }
    int add(int one, int other) {
        first.push_back(one), then.push_back(other);
        return L + static_cast<int>(first.size());
    }

    // Steps from … to - 1 in any grouping, now and then with an identity before, between or behind.
    int add_any(int from, int to, std::uint64_t seed, std::uint64_t& counter) {
        int result = from;
        if (to - from > 1) {
            const int middle = random_integer(seed, counter++, from + 1, to - 1);
            const int one = add_any(from, middle, seed, counter), other = add_any(middle, to, seed, counter);
            result = add(one, other);
        }
        const int what = random_integer(seed, counter++, 0, 9);
        return what == 0 ? add(identity(), result) : what == 1 ? add(result, identity()) : result;
    }

    void add_one_by_one() {
        for (int t = 1, sum = 0; t < L; ++t) sum = add(sum, t);
    }
    void add_from_the_end() {
        for (int t = L - 2, sum = L - 1; t >= 0; --t) sum = add(t, sum);
    }
    // Each of log2(L) rounds doubles how many steps a place stands for.
    void add_doubling() {
        std::vector<int> places;
        for (int t = 0; t < L; ++t) places.push_back(t);
        for (std::size_t distance = 1; distance < places.size(); distance *= 2) {
            std::vector<int> next = places;
            for (std::size_t t = distance; t < places.size(); ++t) next[t] = add(places[t - distance], places[t]);
            places = next;
        }
    }
    // Up to the sum of all, padded with identities, and down again to the sums of what is before each step.
    void add_sweeps() {
        std::vector<std::vector<int>> levels(1);
        for (int t = 0; t < L; ++t) levels[0].push_back(t);
        while (levels.back().size() > 1) {
            if (levels.back().size() % 2) levels.back().push_back(identity());
            const std::vector<int> below = levels.back();
            levels.emplace_back();
            for (std::size_t pair = 0; pair < below.size(); pair += 2)
                levels.back().push_back(add(below[pair], below[pair + 1]));
        }
        std::vector<int> before{identity()};
        for (std::size_t level = levels.size() - 1; level-- > 0;) {
            std::vector<int> below;
            for (std::size_t pair = 0; 2 * pair < levels[level].size(); ++pair) {
                below.push_back(before[pair]);
                below.push_back(add(before[pair], levels[level][2 * pair]));
            }
            before = below;
        }
    }
};

struct Data {
    Tensor<float, 2> fades, enters;
    Tensor<int, 2> begins;
    Tensor<float, 1> before;
};

// A document begins at each step with the probability 1/`mean`; with a mean of 0 nowhere.
Data draw(std::uint64_t seed, int N, int L, int mean) {
    Data data{make_tensor<float, 2>({N, L}), make_tensor<float, 2>({N, L}), make_tensor<int, 2>({N, L}),
              make_tensor<float, 1>({{N}})};
    fill_normal(view(data.enters), seed), fill_normal(view(data.before), seed + 1, 2);
    std::uint64_t counter = 0;
    for (float& fades : data.fades) fades = static_cast<float>(0.3 + 0.7 * random_uniform(seed + 2, counter++));
    for (int& begins : data.begins)
        begins =
            mean > 0 && random_integer(seed + 3, counter++, 1, mean) == 1 ? random_integer(seed, counter, 1, 3) : 0;
    return data;
}

// Some are 0, some negative, some 1.
void any_fades(Data& data, std::uint64_t seed) {
    std::uint64_t counter = 0;
    for (float& fades : data.fades) {
        const int what = random_integer(seed, counter++, 0, 7);
        if (what == 0) fades = 0;
        if (what == 1) fades = 1;
        if (what > 4) fades = -fades;
    }
}

void run(judge::Test& test, const Data& data, const Plan& plan) {
    auto first = make_tensor<int, 1>({{static_cast<int>(plan.first.size())}}), then = first;
    std::copy(plan.first.begin(), plan.first.end(), first.begin());
    std::copy(plan.then.begin(), plan.then.end(), then.begin());
    test.run(exercise,
             Inputs{view(data.fades), view(data.enters), view(data.begins), view(data.before), view(first), view(then)},
             {});
}

Plan any_plan(std::uint64_t seed, int L) {
    Plan plan{L, {}, {}};
    std::uint64_t counter = 0;
    for (int repeat = 0; repeat < 4; ++repeat) plan.add_any(0, L, seed, counter);
    return plan;
}

TEST_CASE("scan_combine: one and two steps", "[scan_combine]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(seed, 8, 2, which % 2 ? 2 : 0);
        any_fades(data, seed + 9);
        Plan plan{2, {}, {}};
        plan.add(0, 1);
        run(test, data, plan);
    }
    test.conclude();
}

TEST_CASE("scan_combine: one document in any grouping", "[scan_combine]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int L = random_integer(seed, 0, 3, 40);
        Data data = draw(seed, random_integer(seed, 1, 1, 4), L, 0);
        if (which % 2) any_fades(data, seed + 9);
        run(test, data, any_plan(seed, L));
    }
    test.conclude();
}

TEST_CASE("scan_combine: several documents in any grouping", "[scan_combine]") {
    judge::Test test;
    for (int which = 0; which < 8; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int L = random_integer(seed, 0, 8, 40);
        Data data = draw(seed, random_integer(seed, 1, 2, 4), L, 1 + which);
        if (which % 2) any_fades(data, seed + 9);
        run(test, data, any_plan(seed, L));
    }
    test.conclude();
}

TEST_CASE("scan_combine: one by one, from either end", "[scan_combine]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int L = random_integer(seed, 0, 8, 40);
        Plan plan{L, {}, {}};
        which % 2 ? plan.add_one_by_one() : plan.add_from_the_end();
        run(test, draw(seed, 3, L, which < 2 ? 0 : 6), plan);
    }
    test.conclude();
}

TEST_CASE("scan_combine: by doubling, and by sweeps up and down", "[scan_combine]") {
    judge::Test test;
    for (int which = 0; which < 6; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int L = which < 2 ? 32 : random_integer(seed, 0, 8, 70);
        Plan plan{L, {}, {}};
        which % 2 ? plan.add_doubling() : plan.add_sweeps();
        run(test, draw(seed, 3, L, which < 2 ? 0 : 8), plan);
    }
    test.conclude();
}

TEST_CASE("scan_combine: the identity", "[scan_combine]") {
    judge::Test test;
    for (int which = 0; which < 3; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int L = random_integer(seed, 0, 2, 6);
        Plan plan{L, {}, {}};
        plan.add(plan.identity(), plan.identity());
        for (int t = 0; t < L; ++t) {
            const int left = plan.add(plan.identity(), t), right = plan.add(t, plan.identity());
            plan.add(plan.identity(), right), plan.add(left, plan.identity());
            if (t > 0) plan.add(t - 1, left), plan.add(plan.add(t - 1, plan.identity()), t);
        }
        run(test, draw(seed, 3, L, which), plan);
    }
    test.conclude();
}

TEST_CASE("scan_combine: hundreds of steps that fade by exp(-2)", "[scan_combine]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int L = random_integer(seed, 0, 200, 400);
        Data data = draw(seed, 2, L, which < 2 ? 0 : 150);
        data.fades.fill(std::exp(-2.0f));
        Plan plan = any_plan(seed, L);
        which % 2 ? plan.add_sweeps() : plan.add_one_by_one();
        run(test, data, plan);
    }
    test.conclude();
}

// One step of every other document is NaN or infinite, and what came before the first one is now and then.
TEST_CASE("scan_combine: what came before may be NaN or infinite", "[scan_combine]") {
    judge::Test test;
    for (int which = 0; which < 6; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int N = random_integer(seed, 0, 2, 4), L = random_integer(seed, 1, 8, 24);
        Data data = draw(seed, N, L, 4);
        std::uint64_t counter = 1000;
        for (int n = 0; n < N; ++n) {
            if (n % 2) data.before(n) = which % 2 ? nan_value : infinity;
            for (int t = 0, spoiled = n % 2, place = -1; t < L; ++t) {
                if (data.begins(n, t)) spoiled = !spoiled, place = t + random_integer(seed, counter++, 0, 2);
                if (!spoiled || t != place) continue;
                const int what = random_integer(seed, counter++, 0, 2);
                if (what == 0) data.enters(n, t) = nan_value;
                if (what == 1) data.enters(n, t) = infinity;
                if (what == 2) data.fades(n, t) = nan_value;
            }
        }
        run(test, data, any_plan(seed, L));
    }
    test.conclude();
}

}  // namespace
