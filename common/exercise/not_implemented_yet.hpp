// What an exercise throws until it is solved.
#pragma once

#include <stdexcept>
#include <string>

namespace attn {

struct NotImplementedYet : std::logic_error {
    explicit NotImplementedYet(const std::string& exercise) : std::logic_error(exercise + " is not implemented yet") {}
};

}  // namespace attn
