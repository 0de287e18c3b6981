// The recall experiment: m pairs of a key and a value are stored, and each is asked for once, with its own key. What
// comes back is held against its value (error), and it is a hit where its value is the nearest of all m.
//
// Keys and values are random vectors of length √D and √Dv, independent of each other; nothing is trained. So it shows
// what a state has room for, not what a trained model, which chooses its keys, makes of that room.
#pragma once

#include "common/mechanism/mechanism.hpp"

namespace attn {

constexpr int recall_value_dim = 32;
constexpr int recall_seeds = 5;

struct RecallResult {
    double hits = 0, hits_margin = 0;  // share of the questions; the margin is twice the standard error over the seeds
    double error = 0, error_margin = 0;  // √ of the mean of ‖out - v‖² / ‖v‖²
    double gain = 0;                     // the one of the entry's that has the most hits, and of these the least error
};

// For a mechanism that takes one token after the other: from a case with q, k and v, [1, 1, pairs, dim], to one of
// twice as many tokens, of which the first store a pair each and the others ask. q is 0 where a token stores, k and v
// are where it asks.
void store_then_ask(Case& question);

// Throws what the mechanism throws.
RecallResult recall(const Mechanism& mechanism, const RecallEntry& entry, int pairs);

// The number of pairs at which the error reaches 1, that of giving nothing back; looked for up to `most`, which it is
// where the error stays below. Between powers of two the squared error is taken to grow evenly.
double recall_limit(const Mechanism& mechanism, const RecallEntry& entry, int most);

// The error of a sum Σ (q·k_j) v_j where q is the key that is asked for, and independent random keys of length 1 have D
// dimensions: each of the others adds its value times a number of variance 1/D.
double recall_error_in_theory(int pairs, int D);

}  // namespace attn
