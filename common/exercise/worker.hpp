// A worker: a program that holds one exercise and nothing to compare it with. It is handed cases in folders and writes
// the outputs beside what it noticed:
//
//     worker                     reads lines "CASE OUT" from its standard input, one request each, and answers each
//     with
//                                a line: "done", "not implemented", "no GPU" or "failed: " and why
//     worker CASE OUT            one request; for a debugger
//
// OUT gets <output>.npy and report.json. Nothing that a worker says of itself earns points: its judge looks at the
// outputs, and only at those.
#pragma once

#include "common/mechanism/mechanism.hpp"

namespace attn {

// Calls the exercise on the case. Made for each exercise from exercise.cpp.in.
NamedArrays run_exercise(const Case& input_case);

// What the exercise needs is there: a GPU, for kernels that nvcc compiled.
extern bool (*exercise_can_run)();

// What the emulator found and counted since it was called last, as JSON without the braces; and whether it prints what
// it finds. Null where the exercise has no kernels or runs on a GPU.
extern std::string (*emulator_report)();
extern void (*print_emulator_findings)(bool print);

}  // namespace attn
