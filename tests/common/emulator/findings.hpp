// Kernels that break one rule each, and kernels whose accesses are known in number: see findings.cu.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "common/emulator/emulator.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::test {

struct Scenario {
    std::string name;
    emulator::FindingKind kind;
    int error;  // CUDA's number
    std::string kernel;
    int line;  // in findings.cu
    std::array<unsigned, 3> block, thread;
    std::string message_part;
    std::function<int()> run;  // returns the error of the launch
};
std::vector<Scenario> scenarios();

// Of `blocks` blocks of 4 threads, those from `first_bad` on read past the end, in thread 2.
int fail_from_block(unsigned blocks, unsigned first_bad);

// The runtime's functions, by their error numbers.
int malloc_error(std::size_t bytes);
int free_twice();
int copy_in_wrong_direction();
int copy_past_the_end();
int set_past_the_end();
int launch_harmless(unsigned blocks, unsigned threads, std::size_t shared_bytes);
int ask_for_shared(int bytes);
int last_error();
int peek_at_last_error();
int synchronize();
int reset_device();
int leak(std::size_t bytes);  // allocates, and forgets the pointer

std::vector<int> order(bool of_threads, int count);  // of blocks of one thread, or of a block's threads

// 3 blocks of 32 threads; each thread does what findings_test.cpp counts. Returns the first block's first output.
float run_counted();
// A class type in shared memory: 32 threads write 2 bytes each and read them.
float run_shared_halves();

std::vector<float> sum_of_all_blocks(int blocks);  // floats whose sum depends on the order
void print_from_all_blocks(int blocks);            // two threads each
std::vector<int> vote_after_some_returned();       // lanes 0 … 27 of a warp: any + 2 · all
void copy_to_and_fro(int times);
std::vector<int> fill_large_allocations(int count, std::size_t bytes);

// Also instantiated in findings_test.cpp, without the memory hooks: the kernels must not end up with that one.
template <class T>
__attribute__((noinline)) T read_at(const T* pointer, int index) {
    return pointer[index];
}

template <class T>
__attribute__((noinline)) T read_element(const TensorView<T, 2>& view, int row, int column) {
    return view(row, column);
}

}  // namespace attn::test
