// NumPy's .npy files: how every tensor enters and leaves a program of this project.
// Read strictly, since a file misread in silence costs more time than one refused aloud.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace attn {

/// A case that is refused. The message is one line: "FILE: found FOUND, expected EXPECTED".
struct BadCase : std::runtime_error {
    BadCase(std::string_view file, std::string_view found, std::string_view expected);
    /// A line that says all that in its own words.
    explicit BadCase(const std::string& line);
};

/// `text` in double quotes, printable ASCII only and shortened to `longest` bytes, so that a hostile file cannot break
/// a message.
std::string in_quotes(std::string_view text, std::size_t longest = 60);

enum class DType { float32, float64, int32, int64 };

/// "float32", "float64", "int32" or "int64".
const char* name(DType dtype);

/// Bytes per element.
std::size_t size_of(DType dtype);

/// The DType of float, double, std::int32_t or std::int64_t.
template <class T>
constexpr DType dtype_of() {
    if constexpr (std::is_same_v<T, float>) return DType::float32;
    if constexpr (std::is_same_v<T, double>) return DType::float64;
    if constexpr (std::is_same_v<T, std::int32_t>) return DType::int32;
    if constexpr (std::is_same_v<T, std::int64_t>) return DType::int64;
    static_assert(std::is_same_v<T, float> || std::is_same_v<T, double> || std::is_same_v<T, std::int32_t> ||
                  std::is_same_v<T, std::int64_t>);
}

/// "[2, 3, 7, 5]"
std::string shape_text(const std::vector<std::int64_t>& shape);

/// A dense tensor of any rank as a file holds it: C order, little endian.
struct Array {
    DType dtype = DType::float32;
    std::vector<std::int64_t> shape;
    std::vector<std::byte> bytes;

    /// The number of elements: the product of the shape.
    std::int64_t count() const;

    /// The elements, `count()` of them. Throws std::logic_error when T is not the array's dtype.
    template <class T>
    T* data() {
        require(dtype_of<T>());
        return reinterpret_cast<T*>(bytes.data());
    }
    template <class T>
    const T* data() const {
        require(dtype_of<T>());
        return reinterpret_cast<const T*>(bytes.data());
    }

    bool operator==(const Array&) const = default;

  private:
    void require(DType wanted) const;
};

/// An array of zeros.
Array zeros(DType dtype, std::vector<std::int64_t> shape);

/// The array in the bytes of a .npy file; `file` is what messages call it.
/// Accepted are format versions 1, 2 and 3; C order; '<f4', '<f8', '<i4', '<i8'; 1 to 6 dimensions, each at least 1;
/// not a byte too few or too many. Throws BadCase for anything else.
Array parse_npy(std::span<const std::byte> bytes, std::string_view file);

/// The same from a regular file. Memory for the elements is only taken once the file is known to hold them.
/// Throws BadCase, also when the file is missing, unreadable or not regular (a folder, a fifo).
Array read_npy(const std::filesystem::path& path);

/// The bytes of a .npy file, version 1, its elements aligned to 64 bytes as NumPy does.
/// Throws std::runtime_error when shape and bytes contradict each other or parse_npy would refuse the shape.
std::vector<std::byte> format_npy(const Array& array);

/// Writes a .npy file as write_file does. Throws std::runtime_error that names the path.
void write_npy(const std::filesystem::path& path, const Array& array);

/// A regular file that is open for reading, and its size when it was opened.
struct OpenFile {
    std::ifstream stream;
    std::uint64_t size = 0;
};

/// Throws BadCase when `path` is missing, unreadable or not a regular file; `expected` is what should have been there.
OpenFile open_file(const std::filesystem::path& path, std::string_view expected);

/// Writes a hidden temporary in the same folder and renames it: whoever is interrupted leaves the old file or the new
/// one, never half of it. Throws std::runtime_error that names the path.
void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_file(const std::filesystem::path& path, std::string_view text);

/// All of a file; empty where it cannot be read.
std::string read_text(const std::filesystem::path& path);

}  // namespace attn
