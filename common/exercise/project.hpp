// Where the project's files are.
#pragma once

#include <cstdlib>
#include <filesystem>

namespace attn {

// The folder that the program was built from; ATTN_PROJECT_FOLDER names another one, so that tests have one to spoil.
inline std::filesystem::path project_folder() {
    const char* other = std::getenv("ATTN_PROJECT_FOLDER");
    return other && *other ? other : ATTN_SOURCE_FOLDER;
}

}  // namespace attn
