// Any bytes at all as a .npy file: parsed or refused with one line, and what parses survives being written.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>

#include "common/tensor/npy.hpp"

namespace {

void require(bool holds) {
    if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    attn::Array array;
    try {
        array = attn::parse_npy(std::as_bytes(std::span(data, size)), "input.npy");
    } catch (const attn::BadCase& error) {
        require(std::string_view(error.what()).starts_with("input.npy: found "));
        for (const char* letter = error.what(); *letter != '\0'; ++letter) require(*letter >= ' ' && *letter <= '~');
        return 0;
    }
    require(array.bytes.size() == static_cast<std::size_t>(array.count()) * attn::size_of(array.dtype));
    require(attn::parse_npy(attn::format_npy(array), "again.npy") == array);
    return 0;
}
