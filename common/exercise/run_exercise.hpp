// From a case to the structs of an exercise and back.
#pragma once

#include "common/mechanism/run_case.hpp"

namespace attn {

// Describes an exercise as run_case.hpp wants a mechanism described. The names of the params are those of the options.
template <class Inputs_, class Options_, class Outputs_>
struct ExerciseCase {
    template <class>
    using Inputs = Inputs_;
    template <class>
    using Outputs = Outputs_;
    using Options = Options_;

    static std::vector<std::string> params() {
        std::vector<std::string> names;
        Options_().visit([&](const char* name, auto&) { names.push_back(name); });
        return names;
    }

    static Options options(const Params& params, const Inputs_&) {
        Options_ result;
        result.visit([&]<class T>(const char* name, T& value) {
            if constexpr (std::is_same_v<T, bool>)
                value = params.boolean(name, value);
            else if constexpr (std::is_integral_v<T>)
                value = static_cast<T>(
                    params.integer(name, std::numeric_limits<T>::min(), std::numeric_limits<T>::max(), value));
            else
                value = params.number(name).value_or(value);
        });
        return result;
    }

    static void check(const Inputs_&, const Options&) {}
};

template <class Inputs, class Options, class Outputs>
NamedArrays run_exercise_on(const Case& input_case, void (*exercise)(const Inputs&, const Options&, const Outputs&)) {
    using Description = ExerciseCase<Inputs, Options, Outputs>;
    Problem<Description, float> problem(input_case);
    Results<Description, float> results(problem);
    exercise(problem.inputs, problem.options, results.outputs);
    return results.arrays();
}

}  // namespace attn
