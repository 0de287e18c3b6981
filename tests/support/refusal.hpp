// Checks of what a reader refuses.
#pragma once

#include <initializer_list>
#include <string>

#include "common/tensor/npy.hpp"
#include "tests/support/catch.hpp"

namespace attn::testing {

template <class Action>
std::string refusal(Action action) {
    try {
        action();
    } catch (const BadCase& error) {
        return error.what();
    }
    return "(not refused)";
}

/// The message must be one line that starts with the file and holds all parts: what was found and what was expected.
inline void check_message(const std::string& message, const std::string& file,
                          std::initializer_list<std::string> parts) {
    INFO(message);
    CHECK(message.starts_with(file + ": found "));
    CHECK(message.find(", expected ") != std::string::npos);
    CHECK(message.find('\n') == std::string::npos);
    for (const std::string& part : parts) {
        INFO("wanted: " << part);
        CHECK(message.find(part) != std::string::npos);
    }
}

}  // namespace attn::testing
