// The kernels of broken/ and correct/, one in each file: CMakeLists.txt makes a unit of each folder, in which every
// file stands in a namespace of its own.
#pragma once

#include <string>
#include <vector>

namespace attn::test {

struct Launch {
    unsigned blocks, threads;
    std::size_t shared_bytes = 0;
};

struct KernelCase {
    std::string file;  // in this folder
    int (*run)();      // returns the error of the launch
};
std::vector<KernelCase> broken_cases();
std::vector<KernelCase> correct_cases();

}  // namespace attn::test
