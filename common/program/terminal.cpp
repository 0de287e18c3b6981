#include "common/program/terminal.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <sstream>

namespace attn {

namespace {

constexpr int page_width = 80;

std::string painted(std::string_view text, const char* colour) {
    if (!has_colours()) return std::string(text);
    return "\033[" + std::string(colour) + "m" + std::string(text) + "\033[0m";
}

bool continues(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

}  // namespace

bool has_colours() {
    const char* no_color = std::getenv("NO_COLOR");
    const char* terminal = std::getenv("TERM");
    return ::isatty(STDOUT_FILENO) && !(no_color && *no_color) && terminal && std::string_view(terminal) != "dumb";
}

std::string green(std::string_view text) { return painted(text, "32"); }
std::string red(std::string_view text) { return painted(text, "31"); }
std::string bold(std::string_view text) { return painted(text, "1"); }
std::string dim(std::string_view text) { return painted(text, "2"); }

int columns_of(int descriptor, int otherwise) {
    winsize size{};
    return ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : otherwise;
}

int columns(std::string_view text) {
    int count = 0;
    for (char byte : text) count += !continues(byte);
    return count;
}

std::string cut(std::string_view text, int longest) {
    if (columns(text) <= longest) return std::string(text);
    std::size_t end = 0;
    for (int count = 0; end < text.size(); ++end)
        if (!continues(text[end]) && ++count == longest) break;
    return std::string(text.substr(0, end)) + "…";
}

std::string wrapped(std::string_view text, std::string_view first, std::string_view indent) {
    std::string result(first), line, word;
    int used = columns(first);
    std::istringstream lines{std::string(text)};
    for (bool is_first = true; std::getline(lines, line); is_first = false) {
        if (!is_first) result += indent, used = columns(indent);
        std::istringstream words(line);
        for (bool at_start = true; words >> word; at_start = false) {
            if (!at_start && used + 1 + columns(word) > page_width) {
                result += '\n';
                result += indent;
                used = columns(indent);
            } else if (!at_start) {
                result += ' ', ++used;
            }
            result += word;
            used += columns(word);
        }
        result += '\n';
    }
    return result;
}

}  // namespace attn
