#include "common/tensor/npy.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <limits>
#include <optional>
#include <system_error>
#include <utility>

namespace attn {

static_assert(std::endian::native == std::endian::little, "elements are used as the file holds them: little endian");

namespace {

constexpr std::string_view magic = "\x93NUMPY";
constexpr std::size_t longest_preamble = 12;   // magic, two version bytes, four bytes of header length
constexpr std::size_t longest_header = 65535;  // what version 1 can express; NumPy writes a few hundred bytes at most
constexpr std::size_t highest_rank = 6;
constexpr std::size_t alignment = 64;
constexpr const char* accepted_types = "'<f4', '<f8', '<i4' or '<i8' (little endian)";

constexpr std::pair<std::string_view, DType> types[] = {
    {"<f4", DType::float32}, {"<f8", DType::float64}, {"<i4", DType::int32}, {"<i8", DType::int64}};

struct Header {
    DType dtype = DType::float32;
    std::vector<std::int64_t> shape;
    std::size_t data_offset = 0;
};

/// `text` with every control byte written as \xNN, and every byte outside ASCII too where `ascii_only`.
std::string escaped(std::string_view text, bool ascii_only) {
    constexpr char digits[] = "0123456789abcdef";
    std::string result;
    for (const char character : text) {
        const auto byte = static_cast<unsigned char>(character);
        if (byte < 0x20 || byte == 0x7f || (ascii_only && byte > 0x7f)) {
            result += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
        } else {
            result += character;
        }
    }
    return result;
}

/// The bytes of an array of this shape; nothing when there are more than `limit`, so nothing can overflow.
std::optional<std::uint64_t> byte_count(const std::vector<std::int64_t>& shape, DType dtype, std::uint64_t limit) {
    std::uint64_t product = size_of(dtype);
    for (const std::int64_t dimension : shape) {
        if (static_cast<std::uint64_t>(dimension) > limit / product) return std::nullopt;
        product *= static_cast<std::uint64_t>(dimension);
    }
    return product;
}

/// Reads the Python dict literal of a header, for instance
/// {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
/// followed by spaces and one newline: those three keys once each, in any order, and nothing else.
class HeaderParser {
  public:
    HeaderParser(std::string_view text, std::string_view file) : text_(text), file_(file) {}

    Header parse() {
        Header header;
        std::vector<std::string> seen;
        take("{");
        while (!next_is("}")) {
            const std::string key(string("'descr', 'fortran_order' or 'shape'"));
            if (std::find(seen.begin(), seen.end(), key) != seen.end()) {
                throw BadCase(file_, "the header key '" + key + "' twice", "each key once");
            }
            seen.push_back(key);
            take(":");
            if (key == "descr") {
                header.dtype = type();
            } else if (key == "fortran_order") {
                if (next_is("True")) throw BadCase(file_, "fortran_order True", "C order (fortran_order False)");
                take("False");
            } else if (key == "shape") {
                header.shape = shape();
            } else {
                throw BadCase(file_, "the header key " + in_quotes(key), "only 'descr', 'fortran_order' and 'shape'");
            }
            if (!next_is("}")) take(",");
        }
        take("}");
        for (const char* key : {"descr", "fortran_order", "shape"}) {
            if (std::find(seen.begin(), seen.end(), key) == seen.end()) {
                throw BadCase(file_, "a header without '" + std::string(key) + "'",
                              "the keys 'descr', 'fortran_order' and 'shape'");
            }
        }
        take("\n");
        if (position_ != text_.size()) fail("the end of the header");
        return header;
    }

  private:
    [[noreturn]] void fail(std::string_view expected) const {
        const std::string where = " at byte " + std::to_string(position_) + " of the header";
        if (position_ == text_.size()) throw BadCase(file_, "the end" + where, expected);
        throw BadCase(file_, in_quotes(text_.substr(position_)) + where, expected);
    }

    /// Skips spaces, then tells whether `token` comes next.
    bool next_is(std::string_view token) {
        while (position_ < text_.size() && text_[position_] == ' ') ++position_;
        return text_.substr(position_).starts_with(token);
    }

    void take(std::string_view token) {
        if (!next_is(token)) fail(token == "\n" ? "only spaces and a newline after the dict" : in_quotes(token));
        position_ += token.size();
    }

    /// A quoted string without escapes. `expected` is the text of a refusal.
    std::string_view string(std::string_view expected) {
        if (!next_is("'") && !next_is("\"")) fail(expected);
        const std::size_t end = text_.find(text_[position_], position_ + 1);
        if (end == std::string_view::npos) fail("a closing quote");
        const std::string_view content = text_.substr(position_ + 1, end - position_ - 1);
        position_ = end + 1;
        return content;
    }

    DType type() {
        const std::string_view found = string(accepted_types);  // a structured type is a list, and fails here
        for (const auto& [text, dtype] : types) {
            if (found == text) return dtype;
        }
        throw BadCase(file_, "descr " + in_quotes(found) + (found == "|O" ? " (Python objects)" : ""), accepted_types);
    }

    std::int64_t dimension() {
        next_is("");
        const std::size_t start = position_;
        std::int64_t value = 0;
        while (position_ < text_.size() && text_[position_] >= '0' && text_[position_] <= '9') {
            const std::int64_t digit = text_[position_++] - '0';
            if (value > (std::numeric_limits<std::int64_t>::max() - digit) / 10) {
                position_ = start;
                fail("a dimension below 2^63");
            }
            value = 10 * value + digit;
        }
        const std::size_t length = position_ - start;
        if (length == 0 || (length > 1 && text_[start] == '0')) {
            position_ = start;
            fail("a dimension in decimal digits");
        }
        return value;
    }

    std::vector<std::int64_t> shape() {
        std::vector<std::int64_t> result;
        bool comma = false;
        take("(");
        while (!next_is(")")) {
            if (!result.empty() && !comma) fail("',' or ')'");
            result.push_back(dimension());
            if (result.size() > highest_rank) {
                throw BadCase(file_, "a shape of more than 6 dimensions", "1 to 6 dimensions");
            }
            comma = next_is(",");
            if (comma) take(",");
        }
        if (result.size() == 1 && !comma) fail("',' (a Python tuple of one element)");
        take(")");
        if (result.empty()) throw BadCase(file_, "the shape [] (a scalar)", "1 to 6 dimensions");
        if (std::find(result.begin(), result.end(), 0) != result.end()) {
            throw BadCase(file_, "the shape " + shape_text(result), "every dimension is at least 1");
        }
        return result;
    }

    std::string_view text_;
    std::string_view file_;
    std::size_t position_ = 0;
};

/// Reads the header at the start of a file of `file_size` bytes and checks that the file holds exactly the elements
/// that the header announces. `start` is at least as much of the file as the longest header needs.
Header parse_header(std::span<const std::byte> start, std::uint64_t file_size, std::string_view file) {
    const std::string_view text(reinterpret_cast<const char*>(start.data()), start.size());
    const std::string_view found_magic = text.substr(0, magic.size());
    if (found_magic != magic.substr(0, found_magic.size())) {
        throw BadCase(file, "a file that starts with " + in_quotes(found_magic),
                      "a .npy file, which starts with \"\\x93NUMPY\"");
    }
    const auto refuse_short = [&] {
        throw BadCase(file, std::to_string(file_size) + " bytes", "a complete .npy header (truncated?)");
    };
    if (text.size() < magic.size() + 2) refuse_short();
    const auto byte_at = [&](std::size_t index) { return std::to_integer<std::size_t>(start[index]); };
    const std::size_t version = byte_at(6);
    if (version < 1 || version > 3 || byte_at(7) != 0) {
        throw BadCase(file, ".npy version " + std::to_string(version) + "." + std::to_string(byte_at(7)),
                      "version 1.0, 2.0 or 3.0");
    }
    const std::size_t preamble = version == 1 ? 10 : longest_preamble;
    if (text.size() < preamble) refuse_short();
    std::size_t length = 0;
    for (std::size_t index = preamble; index-- > 8;) length = length << 8 | byte_at(index);
    if (length > longest_header) {
        throw BadCase(file, "a header of " + std::to_string(length) + " bytes",
                      "at most " + std::to_string(longest_header));
    }
    if (text.size() - preamble < length) refuse_short();

    Header header = HeaderParser(text.substr(preamble, length), file).parse();
    header.data_offset = preamble + length;
    const std::uint64_t available = file_size - header.data_offset;
    const std::string announced = std::string(name(header.dtype)) + " " + shape_text(header.shape);
    const auto needed = byte_count(header.shape, header.dtype, available);
    if (!needed) {
        throw BadCase(file, std::to_string(available) + " bytes of elements",
                      "more, for " + announced + " (truncated?)");
    }
    if (*needed < available) {
        throw BadCase(file, std::to_string(available) + " bytes of elements",
                      std::to_string(*needed) + ", for " + announced + " (trailing bytes?)");
    }
    return header;
}

void read_exactly(std::ifstream& stream, std::span<std::byte> into, std::string_view file) {
    stream.read(reinterpret_cast<char*>(into.data()), static_cast<std::streamsize>(into.size()));
    if (static_cast<std::size_t>(stream.gcount()) != into.size()) {
        throw BadCase(file, "a file that could not be read to its end", std::to_string(into.size()) + " bytes more");
    }
}

std::string_view kind(std::filesystem::file_type type) {
    switch (type) {
        case std::filesystem::file_type::not_found: return "no such file";
        case std::filesystem::file_type::directory: return "a folder";
        case std::filesystem::file_type::fifo: return "a fifo";
        case std::filesystem::file_type::character:
        case std::filesystem::file_type::block: return "a device";
        case std::filesystem::file_type::socket: return "a socket";
        default: return "something that is no regular file";
    }
}

}  // namespace

BadCase::BadCase(std::string_view file, std::string_view found, std::string_view expected)
    : std::runtime_error(escaped(
          std::string(file) + ": found " + std::string(found) + ", expected " + std::string(expected), false)) {}

BadCase::BadCase(const std::string& line) : std::runtime_error(escaped(line, false)) {}

std::string in_quotes(std::string_view text, std::size_t longest) {
    return '"' + escaped(text.substr(0, longest), true) + (text.size() > longest ? "...\"" : "\"");
}

const char* name(DType dtype) {
    switch (dtype) {
        case DType::float32: return "float32";
        case DType::float64: return "float64";
        case DType::int32: return "int32";
        case DType::int64: return "int64";
    }
    throw std::logic_error("not a DType");
}

std::size_t size_of(DType dtype) { return dtype == DType::float32 || dtype == DType::int32 ? 4 : 8; }

std::string shape_text(const std::vector<std::int64_t>& shape) {
    std::string result = "[";
    for (std::size_t i = 0; i < shape.size(); ++i) result += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
    return result + "]";
}

std::int64_t Array::count() const {
    std::int64_t product = 1;
    for (const std::int64_t dimension : shape) product *= dimension;
    return product;
}

void Array::require(DType wanted) const {
    if (dtype == wanted) return;
    throw std::logic_error("an array of " + std::string(name(dtype)) + " was accessed as " + name(wanted));
}

Array zeros(DType dtype, std::vector<std::int64_t> shape) {
    Array array{dtype, std::move(shape), {}};
    array.bytes.resize(static_cast<std::size_t>(array.count()) * size_of(dtype));
    return array;
}

Array parse_npy(std::span<const std::byte> bytes, std::string_view file) {
    Header header = parse_header(bytes, bytes.size(), file);
    const auto elements = bytes.subspan(header.data_offset);
    return Array{header.dtype, std::move(header.shape), {elements.begin(), elements.end()}};
}

Array read_npy(const std::filesystem::path& path) {
    const std::string file = path.string();
    auto [stream, size] = open_file(path, "a .npy file");
    std::vector<std::byte> start(std::min<std::uint64_t>(size, longest_preamble + longest_header));
    read_exactly(stream, start, file);
    Header header = parse_header(start, size, file);

    Array array{header.dtype, std::move(header.shape), {}};
    array.bytes.resize(size - header.data_offset);
    stream.seekg(static_cast<std::streamoff>(header.data_offset));
    read_exactly(stream, array.bytes, file);
    return array;
}

std::vector<std::byte> format_npy(const Array& array) {
    const auto positive = [](std::int64_t dimension) { return dimension >= 1; };
    if (array.shape.empty() || array.shape.size() > highest_rank ||
        !std::all_of(array.shape.begin(), array.shape.end(), positive)) {
        throw std::runtime_error("an array of shape " + shape_text(array.shape) +
                                 ", expected 1 to 6 dimensions of at least 1");
    }
    if (byte_count(array.shape, array.dtype, array.bytes.size()) != array.bytes.size()) {
        throw std::runtime_error("an array of " + std::to_string(array.bytes.size()) + " bytes, expected those of " +
                                 name(array.dtype) + " " + shape_text(array.shape));
    }

    std::string shape = shape_text(array.shape);
    shape.front() = '(';
    shape.back() = ')';
    if (array.shape.size() == 1) shape.insert(shape.size() - 1, ",");
    const auto type = std::find_if(std::begin(types), std::end(types),
                                   [&](const auto& candidate) { return candidate.second == array.dtype; });
    std::string header =
        "{'descr': '" + std::string(type->first) + "', 'fortran_order': False, 'shape': " + shape + ", }";
    constexpr std::size_t preamble = 10;
    const std::size_t unpadded = preamble + header.size() + 1;  // the newline
    header.append(alignment - unpadded % alignment, ' ');
    header += '\n';

    std::string text(magic);
    text += {'\x01', '\x00', static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
    text += header;
    std::vector<std::byte> result(text.size() + array.bytes.size());
    std::memcpy(result.data(), text.data(), text.size());
    std::copy(array.bytes.begin(), array.bytes.end(), result.begin() + static_cast<std::ptrdiff_t>(text.size()));
    return result;
}

void write_npy(const std::filesystem::path& path, const Array& array) {
    std::vector<std::byte> bytes;
    try {
        bytes = format_npy(array);
    } catch (const std::runtime_error& error) {
        throw std::runtime_error("cannot write " + path.string() + ": " + error.what());
    }
    write_file(path, bytes);
}

OpenFile open_file(const std::filesystem::path& path, std::string_view expected) {
    std::error_code error;
    const auto type = std::filesystem::status(path, error).type();  // before opening: opening a fifo blocks
    if (type == std::filesystem::file_type::none) {
        throw BadCase(path.string(), "something that cannot be examined (" + error.message() + ")", expected);
    }
    if (type != std::filesystem::file_type::regular) throw BadCase(path.string(), kind(type), expected);
    OpenFile file{std::ifstream(path, std::ios::binary), std::filesystem::file_size(path, error)};
    if (!file.stream || error) throw BadCase(path.string(), "a file that cannot be opened", expected);
    return file;
}

void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
    static std::atomic<unsigned> written = 0;  // with the process id, makes the temporary's name unique
    const std::string suffix = "." + std::to_string(getpid()) + "." + std::to_string(written++) + ".partial";
    const auto temporary = path.parent_path() / ("." + path.filename().string() + suffix);

    errno = 0;
    std::ofstream stream(temporary, std::ios::binary | std::ios::trunc);
    stream.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    stream.close();
    std::error_code error;
    if (!stream) {
        error = std::error_code(errno == 0 ? EIO : errno, std::generic_category());
    } else {
        std::filesystem::rename(temporary, path, error);
    }
    if (!error) return;
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    throw std::runtime_error("cannot write " + path.string() + ": " + error.message());
}

void write_file(const std::filesystem::path& path, std::string_view text) {
    write_file(path, std::as_bytes(std::span(text)));
}

std::string read_text(const std::filesystem::path& path) {
    std::ifstream stream(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
}

}  // namespace attn
