// For clangd alone (see .clangd), never compiled: clang before version 16 lacks what std::source_location of GCC's
// library needs.
#pragma once

#include <cstdint>
#include <source_location>

#ifndef __cpp_lib_source_location
namespace std {
struct source_location {
    static constexpr source_location current() { return {}; }
    constexpr const char* file_name() const { return ""; }
    constexpr const char* function_name() const { return ""; }
    constexpr uint_least32_t line() const { return 0; }
    constexpr uint_least32_t column() const { return 0; }
};
}  // namespace std
#endif
