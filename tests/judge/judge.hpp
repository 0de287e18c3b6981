// The judge of an exercise: draws inputs, hands them to a worker as cases, and holds what comes back against an answer
// of its own, computed in double. It tells where the outputs are wrong, and which usual mistake gives just these.
//
// The environment says what is judged (attn::judge sets it):
//     ATTN_WORKERS         folder of the workers, each an executable named as its exercise; or
//     ATTN_WORKER_COMMAND  the command that runs the worker, a word in each line, and ATTN_WORK, the folder that it
//     sees ATTN_SEED            of all inputs (1) ATTN_RESULTS         file to which a line of JSON is added for each
//     test ATTN_KEEP            folder where the first failing case of each test is kept
#pragma once

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/emulator/emulator.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/tensor/tensor.hpp"

namespace attn::judge {

// Of one output: an element is right where |found - expected| <= relative · max(|expected|, magnitude), and NaN and the
// infinities stand in the same places. 0: equal.
struct Tolerance {
    double relative = 0;
    double magnitude = 0;  // of the numbers whose sum the element is, where they may cancel
};

// What a worker gives for an input: outputs by name, float64, or int32 or int64 where the output is one; or, of a
// mistake that breaks a rule there, a finding.
struct Answer {
    NamedArrays outputs;
    std::map<std::string, Tolerance> tolerances;
    enum class Finding { never, perhaps, always } finding = Finding::never;  // in place of the outputs

    template <class T, std::size_t N>
    void add(const std::string& name, const xt::xtensor<T, N>& tensor, Tolerance tolerance = {}) {
        Array array = zeros(dtype_of<T>(), extents(view(tensor)));
        std::copy(tensor.data(), tensor.data() + array.count(), array.data<T>());
        outputs[name] = std::move(array);
        tolerances[name] = tolerance;
    }
};

// A usual wrong answer, known by what it computes: answer(inputs, options, name) makes the mistake on purpose. On
// inputs where that is not defined (a race, memory that nobody wrote: Answer::finding) by what the emulator finds;
// where the outputs are right, by the expectation that they cost too much to meet.
struct Mistake {
    std::string name;               // of its file in tests/<chapter>/mistakes/<exercise>/
    std::string says;               // to the student: what the answer equals, and what to look at
    std::string finding = "";       // its kind or kinds ("never_written|race"), or "crashed"
    std::string finding_says = "";  // a part of its text
    std::string expectation = "";   // the key given to Test::expect
};

template <class Inputs, class Options>
struct Exercise {
    std::string name;
    Answer (*answer)(const Inputs&, const Options&, std::string_view mistake);  // "": none
    std::vector<Mistake> mistakes;
    bool kernels = true;  // outputs must come from a kernel
};

// What a worker tells of itself. It explains, and may fail a test; it never passes one.
struct Report {
    bool right = false;
    std::optional<emulator::Counts> counts;  // none on a GPU, which does not tell, and for exercises without kernels
    std::uint64_t peak_bytes = 0;            // the most that the worker's operator new had handed out at one time
    std::uint64_t peak_device_bytes = 0;     // the same of device memory; 0 where `counts` is none
};

// One test of an exercise: any number of cases, then conclude().
class Test {
  public:
    Test();  // takes its name from the Catch2 test case: "masked_softmax: any mask"
    ~Test();
    Test(const Test&) = delete;

    // Seed number `which` of this test: every input is drawn from it, and graders use others than students do.
    std::uint64_t seed(std::uint64_t which = 0) const;

    template <class Inputs, class Options>
    Report run(const Exercise<Inputs, Options>& exercise, Inputs in, Options options) {
        Trial trial;
        trial.input.mechanism = exercise.name;
        trial.input.origin = "the judge";
        trial.kernels = exercise.kernels;
        in.visit([&]<class T, int N>(const char* name, TensorView<const T, N>& view, auto...) {
            if (!view) return;
            Array array = zeros(dtype_of<T>(), extents(view));
            std::copy(view.data(), view.data() + view.count(), array.data<T>());
            trial.what += fmt::format("{}{} {}", trial.what.empty() ? "" : ", ", name, text(view.shape()));
            trial.input.inputs[name] = std::move(array);
        });
        std::string params;
        options.visit([&](const char* name, auto& value) {
            params += fmt::format("{}\"{}\": {}", params.empty() ? "" : ", ", name, value);
            trial.what += fmt::format(", {} {}", name, value);
        });
        trial.input.params = Params::parse("{" + params + "}");
        trial.answer = [&](std::string_view mistake) { return exercise.answer(in, options, mistake); };
        return run(exercise.name, exercise.mistakes, trial);
    }

    // `key` is what Mistake::expectation names; `text` says what was found and what was expected.
    void expect(const std::string& key, bool holds, const std::string& text);

    void conclude();

  private:
    struct Trial {
        Case input;
        std::string what;
        bool kernels = true;
        std::function<Answer(std::string_view mistake)> answer;
    };
    Report run(const std::string& exercise, const std::vector<Mistake>& mistakes, const Trial& trial);
    Report judge_trial(const std::string& exercise, const std::vector<Mistake>& mistakes, const Trial& trial);

    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace attn::judge
