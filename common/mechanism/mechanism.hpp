// The registry of mechanisms: each adds itself once, beside its code, and the program, the table and the tests find it
// here.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/measure/costs.hpp"
#include "common/mechanism/cuda_versions.hpp"
#include "common/tensor/case.hpp"

namespace attn {

enum class Precision { float64, float32, float16, bfloat16 };
const char* name(Precision precision);

using NamedArrays = std::map<std::string, Array>;

// One way in which a mechanism takes part in the recall experiment (recall.hpp).
struct RecallEntry {
    std::string name;  // of the row, "identity, D = 32"
    int key_dim;       // D
    // How long a query is, as a multiple of the key that it asks for: what suits the mechanism, or several of which the
    // best counts.
    std::vector<double> gains;
    std::function<std::int64_t(int pairs)> state_numbers;  // kept of so many pairs, to answer any question
    // Whether out is Σ (q·k_j) v_j as it stands, of which the theory knows the error.
    bool plain_sum;
    // From a case with q, k and v, [1, 1, pairs, dim], to one of the mechanism, the last `pairs` rows of whose out are
    // the answers. The seed is for what else it draws.
    std::function<void(Case&, std::uint64_t seed)> prepare;
    // Whether out is [1, dim, n], so that an answer is a column.
    bool answers_in_columns = false;
};

struct Mechanism {
    std::string name;     // as in case.json
    std::string section;  // of the book
    std::string chapter;  // folder
    std::vector<Precision> naive_precisions;

    // Throws BadCase when the case is not one of this mechanism. Computes nothing.
    std::function<void(const Case&)> check;
    // The same for what only the naive version does; empty where the CUDA versions do everything.
    std::function<void(const Case&)> check_cuda;
    std::function<NamedArrays(const Case&, Precision)> run_naive;
    std::function<NamedArrays(const Case&, const CudaVersion&)> run_cuda;

    // A problem of sequence length n for measurements, and what the naive version costs on a case: by formula, and
    // counted while it runs.
    std::function<Case(int n)> sized_case;
    std::function<Costs(const Case&)> predicted_costs, counted_costs;

    // Prints a hand-checkable example step by step.
    std::function<void()> trace;

    std::vector<RecallEntry> recall;
};

bool add_mechanism(Mechanism mechanism);
const std::vector<Mechanism>& mechanisms();  // sorted by name
// Null where there is none.
const Mechanism* find_mechanism(std::string_view name);

}  // namespace attn
