// What a block, a warp and a thread of CUDA can do, each as a function of host values: runs one kernel of primitives.cu
// and returns what its threads wrote. The same tests run on the emulator and on what nvcc compiled.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

namespace attn::test {

// ---- blocks --------------------------------------------------------------------------------------------------------

// One block; thread i writes in[i] to shared memory and reads what the thread at the other end wrote.
std::vector<int> reverse_in_static_shared(std::vector<int> in);
std::vector<float> reverse_in_dynamic_shared(std::vector<float> in);
std::vector<double> square_in_dynamic_shared(std::vector<double> in);  // in an array of another name
std::vector<float> reverse_in_template_float(std::vector<float> in);   // 64 elements
std::vector<short> reverse_in_template_short(std::vector<short> in);   // 32 elements
// Fills `count` floats of dynamic shared memory with 0, 1, … and adds them up in another order.
double sum_of_large_dynamic_shared(int count);

struct BlockVotes {
    std::vector<int> count, all, any;
};
// One thread for each predicate; the last `leavers` threads return first and have no part.
BlockVotes block_votes(std::vector<int> predicates, int leavers);

struct Place {
    std::array<unsigned, 3> thread, block, block_extent, grid_extent;
};
using Extent = std::array<unsigned, 3>;
// One for each thread, x fastest, blocks of the grid in the same order.
std::vector<Place> places(Extent grid, Extent block);
// The linear index of lane 0 of each thread's warp, as a shuffle delivers it; one block.
std::vector<int> first_of_warp(Extent block);

// Every block sums its part of `in`, and the block that is done last sums what all blocks left.
float sum_by_last_block(std::vector<float> in, int blocks);

// ---- warps ---------------------------------------------------------------------------------------------------------

enum class Shuffle { indexed, up, down, exclusive_or };
using Sixteen = std::array<float, 4>;
// One warp; arguments[i] is the source lane, delta or lane mask that lane i passes.
std::vector<int> shuffle(Shuffle kind, std::vector<int> values, std::vector<int> arguments, int width);
std::vector<float> shuffle(Shuffle kind, std::vector<float> values, std::vector<int> arguments, int width);
std::vector<double> shuffle(Shuffle kind, std::vector<double> values, std::vector<int> arguments, int width);
// nvcc has no such shuffle: four shuffles there.
std::vector<Sixteen> shuffle(Shuffle kind, std::vector<Sixteen> values, std::vector<int> arguments, int width);

// Lane i writes to shared memory, and reads what lane (i + 1) % 32 wrote after a __syncwarp().
std::vector<int> rotate_with_syncwarp(std::vector<int> in);

struct WarpVotes {
    std::vector<unsigned> ballot;
    std::vector<int> any, all;
};
// One warp, of which the lanes in the mask vote; the others keep -1.
WarpVotes warp_votes(std::vector<int> predicates, unsigned mask);

struct Matches {
    std::vector<unsigned> any, all;
    std::vector<int> all_agree;
};
Matches match(std::vector<unsigned> values, unsigned mask);
Matches match(std::vector<std::uint64_t> values, unsigned mask);

template <class T>
struct Reductions {
    T add, min, max, bit_and, bit_or, bit_xor;  // the last three: of unsigned values only
};
// What the lowest lane of the mask got; nothing on a GPU older than compute capability 8.0, which cannot.
std::optional<Reductions<unsigned>> reduce(std::vector<unsigned> values, unsigned mask);
std::optional<Reductions<int>> reduce(std::vector<int> values, unsigned mask);

// One warp; lanes 0 … 15 shuffle `low_rounds` times among themselves, lanes 16 … 31 `high_rounds` times. In round r a
// lane adds the value of the lane whose index differs in bit r % 4.
std::vector<int> diverged_halves(std::vector<int> in, int low_rounds, int high_rounds);

struct PartialWarp {
    std::vector<int> from_below;   // what __shfl_up_sync by 1 gave
    std::vector<unsigned> ballot;  // of all lanes, named by a full mask
};
PartialWarp partial_warp(std::vector<int> in);  // one block of in.size() threads

// ---- memory --------------------------------------------------------------------------------------------------------

enum class Atomic { add, sub, exch, min, max, bit_and, bit_or, bit_xor, inc, dec };
template <class T>
struct AtomicRun {
    T result;
    std::vector<T> old;
};
// Thread i applies the operation with values[i] to one variable that starts as `start`. For the operations that the
// type has in CUDA.
AtomicRun<int> apply(Atomic operation, int start, std::vector<int> values);
AtomicRun<unsigned> apply(Atomic operation, unsigned start, std::vector<unsigned> values);
AtomicRun<float> apply(Atomic operation, float start, std::vector<float> values);
float maximum_with_compare_and_swap(std::vector<float> values);
std::vector<int> histogram_in_shared(std::vector<int> values, int bins);  // up to 64

std::vector<float> polynomial_from_constant(std::vector<float> coefficients, std::vector<float> x);  // 4 coefficients
std::vector<int> count_in_device_variable(std::vector<int> start, int times);                        // 8 counters

std::vector<float> scale_pairs(std::vector<float> in, float factor);
std::vector<float> scale_quadruples(std::vector<float> in, float factor);
std::vector<unsigned> complement_quadruples(std::vector<unsigned> in);

std::vector<int> memset_then_copy_on_device(int count, int byte);
struct StreamRun {
    std::vector<int> doubled;
    float milliseconds;
};
StreamRun double_in_stream(std::vector<int> in);

struct Parameters {
    float scale;
    int offset;
    int weights[5];
};
std::vector<float> apply_parameters(std::vector<float> in, Parameters parameters);

// ---- arithmetic ----------------------------------------------------------------------------------------------------

enum class Fast { exp, exp10, log, log2, log10, sin, cos, reciprocal_root, root, reciprocal, saturate };
std::vector<float> fast(Fast function, std::vector<float> x);
std::vector<float> fast_divide(std::vector<float> x, std::vector<float> y);
std::vector<float> fused_multiply_add(std::vector<float> x, std::vector<float> y, std::vector<float> z);
std::vector<float> half_multiply_add(std::vector<float> x, std::vector<float> y, std::vector<float> z);
std::vector<float> bfloat16_multiply_add(std::vector<float> x, std::vector<float> y, std::vector<float> z);

struct Bits {
    int ones, leading_zeros, first_set;
    unsigned reversed;
};
std::vector<Bits> bits(std::vector<unsigned> in);
std::vector<std::array<int, 4>> round_to_int(std::vector<float> in);  // nearest, to zero, down, up

}  // namespace attn::test
