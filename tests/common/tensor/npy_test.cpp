// .npy files: what NumPy writes is read, what this project cannot use is refused with a line that helps.
#include "common/tensor/npy.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/refusal.hpp"

using namespace attn;
using attn::testing::check_message;
using attn::testing::refusal;

namespace {

const std::string header_2_3 = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
const std::string elements_2_3(24, '\x01');

/// The bytes of a file made by hand: magic, version, header length, header, elements.
std::string file_of(int version, const std::string& header, const std::string& elements) {
    std::string text = "\x93NUMPY";
    text += {static_cast<char>(version), '\0'};
    for (int shift = 0; shift < (version == 1 ? 16 : 32); shift += 8) {
        text += static_cast<char>(header.size() >> shift & 0xff);
    }
    return text + header + elements;
}

/// As NumPy pads a header: spaces and a newline up to a multiple of 64 bytes.
std::string padded(std::string header, int version = 1) {
    const std::size_t preamble = version == 1 ? 10 : 12;
    while ((preamble + header.size() + 1) % 64 != 0) header += ' ';
    return header + '\n';
}

Array parse(const std::string& text) { return parse_npy(std::as_bytes(std::span(text)), "some/q.npy"); }

void check_refused(const std::string& text, std::initializer_list<std::string> parts) {
    check_message(refusal([&] { parse(text); }), "some/q.npy", parts);
}

void check_header_refused(const std::string& dict, std::initializer_list<std::string> parts) {
    check_refused(file_of(1, padded(dict), elements_2_3), parts);
}

/// A folder that goes away with the test.
struct TemporaryFolder {
    TemporaryFolder() {
        std::string name = (std::filesystem::temp_directory_path() / "npy_test.XXXXXX").string();
        REQUIRE(mkdtemp(name.data()) != nullptr);
        path = name;
    }
    ~TemporaryFolder() { std::filesystem::remove_all(path); }
    std::filesystem::path path;
};

void write_text(const std::filesystem::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}

}  // namespace

TEST_CASE("npy: the files that NumPy writes are read", "[npy]") {
    for (const int version : {1, 2, 3}) {
        DYNAMIC_SECTION("version " << version) {
            const Array array = parse(file_of(version, padded(header_2_3, version), elements_2_3));
            CHECK(array.dtype == DType::float32);
            CHECK(array.shape == std::vector<std::int64_t>{2, 3});
            CHECK(array.count() == 6);
            CHECK(array.bytes == std::vector<std::byte>(24, std::byte{1}));
        }
    }
    SECTION("np.save of np.array([1.5, -2.0], '<f4'), byte by byte") {
        const std::string file = std::string("\x93NUMPY\x01\x00\x76\x00", 10) +
                                 "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }" + std::string(60, ' ') +
                                 '\n' + std::string("\x00\x00\xc0\x3f\x00\x00\x00\xc0", 8);
        REQUIRE(file.size() == 128 + 8);
        const Array array = parse(file);
        CHECK(array.shape == std::vector<std::int64_t>{2});
        CHECK(array.data<float>()[0] == 1.5f);
        CHECK(array.data<float>()[1] == -2.0f);
        const std::vector<std::byte> written = format_npy(array);
        CHECK(std::string(reinterpret_cast<const char*>(written.data()), written.size()) == file);
    }
    SECTION("each dtype") {
        const std::pair<const char*, DType> types[] = {
            {"<f4", DType::float32}, {"<f8", DType::float64}, {"<i4", DType::int32}, {"<i8", DType::int64}};
        for (const auto& [text, dtype] : types) {
            const std::string dict = "{'descr': '" + std::string(text) + "', 'fortran_order': False, 'shape': (3,), }";
            CHECK(parse(file_of(1, padded(dict), std::string(3 * size_of(dtype), 'x'))).dtype == dtype);
        }
    }
    SECTION("keys in another order, double quotes, no trailing comma, no alignment, as other writers have them") {
        const std::string dict = R"({"shape":(2,3),"fortran_order":False,"descr":"<f4"})";
        CHECK(parse(file_of(1, dict + "\n", elements_2_3)).shape == std::vector<std::int64_t>{2, 3});
    }
    SECTION("six dimensions") {
        const std::string dict = "{'descr': '<i4', 'fortran_order': False, 'shape': (1, 1, 1, 1, 1, 1), }";
        CHECK(parse(file_of(1, padded(dict), "\x07" + std::string(3, '\0'))).data<std::int32_t>()[0] == 7);
    }
}

TEST_CASE("npy: what is written is read back, elements aligned to 64 bytes", "[npy]") {
    const std::vector<std::vector<std::int64_t>> shapes = {{1},        {7}, {2, 3}, {2, 3, 7, 5}, {1, 1, 1, 1, 1, 1},
                                                           {5, 1, 100}};
    for (const DType dtype : {DType::float32, DType::float64, DType::int32, DType::int64}) {
        for (const auto& shape : shapes) {
            Array array = zeros(dtype, shape);
            for (std::size_t i = 0; i < array.bytes.size(); ++i) array.bytes[i] = static_cast<std::byte>(i * 37 + 11);
            const std::vector<std::byte> bytes = format_npy(array);
            CHECK((bytes.size() - array.bytes.size()) % 64 == 0);
            CHECK(parse_npy(bytes, "x.npy") == array);
        }
    }
    SECTION("NaN, infinities and -0 keep their bits") {
        Array array = zeros(DType::float64, {4});
        const double values[] = {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
                                 -std::numeric_limits<double>::infinity(), -0.0};
        std::memcpy(array.bytes.data(), values, sizeof values);
        CHECK(parse_npy(format_npy(array), "x.npy").bytes == array.bytes);
    }
    SECTION("through a file") {
        const TemporaryFolder folder;
        Array array = zeros(DType::int64, {3, 2});
        for (int i = 0; i < 6; ++i) array.data<std::int64_t>()[i] = i - 3;
        write_npy(folder.path / "x.npy", array);
        CHECK(read_npy(folder.path / "x.npy") == array);
        array.data<std::int64_t>()[0] = 99;
        write_npy(folder.path / "x.npy", array);
        CHECK(read_npy(folder.path / "x.npy") == array);
        const std::filesystem::directory_iterator files(folder.path);
        CHECK(std::distance(begin(files), end(files)) == 1);  // no temporary is left
    }
    SECTION("a file longer than the longest header") {
        const TemporaryFolder folder;
        Array array = zeros(DType::float32, {50, 1000});
        for (int i = 0; i < 50000; ++i) array.data<float>()[i] = static_cast<float>(i);
        write_npy(folder.path / "x.npy", array);
        CHECK(read_npy(folder.path / "x.npy") == array);
    }
}

TEST_CASE("npy: files that are not .npy, or not whole, are refused", "[npy]") {
    const std::string valid = file_of(1, padded(header_2_3), elements_2_3);
    SECTION("another format") { check_refused("PK\x03\x04 a zip", {R"("PK\x03\x04 a")", "\\x93NUMPY"}); }
    SECTION("an empty file") { check_refused("", {"found 0 bytes", "complete .npy header"}); }
    SECTION("truncated in the magic") { check_refused(valid.substr(0, 4), {"found 4 bytes", "complete .npy header"}); }
    SECTION("truncated before the header length") {
        check_refused(valid.substr(0, 9), {"found 9 bytes", "complete .npy header"});
    }
    SECTION("truncated in the header") {
        check_refused(valid.substr(0, 100), {"found 100 bytes", "complete .npy header"});
    }
    SECTION("truncated in the elements") {
        check_refused(valid.substr(0, valid.size() - 1), {"found 23 bytes", "float32 [2, 3]", "truncated"});
    }
    SECTION("trailing bytes") {
        check_refused(valid + "x", {"found 25 bytes", "expected 24", "float32 [2, 3]", "trailing"});
    }
    SECTION("version 4") {
        check_refused(file_of(4, padded(header_2_3, 4), elements_2_3), {"version 4.0", "1.0, 2.0 or 3.0"});
    }
    SECTION("version 0") { check_refused(file_of(0, padded(header_2_3), elements_2_3), {"version 0.0"}); }
    SECTION("version 1.1") {
        std::string text = valid;
        text[7] = '\x01';
        check_refused(text, {"version 1.1", "1.0, 2.0 or 3.0"});
    }
    SECTION("a header length of 4 GB") {
        std::string text = file_of(2, padded(header_2_3, 2), elements_2_3);
        for (int i = 8; i < 12; ++i) text[static_cast<std::size_t>(i)] = '\xff';
        check_refused(text, {"4294967295 bytes", "at most 65535"});
    }
    SECTION("a header length beyond the file") {
        std::string text = valid;
        text[9] = '\x10';
        check_refused(text, {"found 152 bytes", "complete .npy header"});
    }
}

TEST_CASE("npy: dtypes and orders that are not used here are refused", "[npy]") {
    const auto with_type = [](const std::string& type) {
        return "{'descr': " + type + ", 'fortran_order': False, 'shape': (2, 3), }";
    };
    for (const char* type :
         {">f4", ">i8", "=f4", "|f4", "|i1", "<f2", "<u4", "<c8", "|b1", "f4", "float32", "", "<f4 "}) {
        DYNAMIC_SECTION("dtype " << type) {
            check_header_refused(with_type("'" + std::string(type) + "'"),
                                 {"descr \"" + std::string(type) + "\"", "'<f4', '<f8', '<i4' or '<i8'"});
        }
    }
    SECTION("an object array") { check_header_refused(with_type("'|O'"), {"descr \"|O\" (Python objects)", "'<f4'"}); }
    SECTION("a structured dtype") {
        check_header_refused(with_type("[('a', '<f4'), ('b', '<f4')]"), {"[('a', '<f4')", "'<f4', '<f8', '<i4'"});
    }
    SECTION("Fortran order") {
        check_header_refused("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }",
                             {"fortran_order True", "C order"});
    }
    SECTION("an order that is neither") {
        check_header_refused("{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3), }", {"\"0, 'shape'", "False"});
    }
}

TEST_CASE("npy: shapes that cannot be are refused before memory is taken", "[npy]") {
    const auto with_shape = [](const std::string& shape) {
        return "{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + ", }";
    };
    SECTION("a scalar") { check_header_refused(with_shape("()"), {"the shape []", "1 to 6 dimensions"}); }
    SECTION("seven dimensions") {
        check_header_refused(with_shape("(1, 1, 1, 1, 1, 1, 6)"), {"more than 6", "1 to 6 dimensions"});
    }
    SECTION("a dimension of 0") {
        check_header_refused(with_shape("(2, 0)"), {"the shape [2, 0]", "every dimension is at least 1"});
    }
    SECTION("a negative dimension") { check_header_refused(with_shape("(2, -3)"), {"\"-3)", "decimal digits"}); }
    SECTION("more elements than the file holds") {
        check_header_refused(with_shape("(1000000, 1000000)"), {"24 bytes", "float32 [1000000, 1000000]"});
    }
    SECTION("a product that overflows to something small") {
        // 2^32 * 2^32 * 6 is 0 modulo 2^64, and with 2^62 + 6 elements the bytes are 24 modulo 2^64.
        check_header_refused(with_shape("(4294967296, 4294967296, 6)"), {"24 bytes", "[4294967296, 4294967296, 6]"});
        check_header_refused(with_shape("(4611686018427387910,)"), {"24 bytes", "[4611686018427387910]"});
    }
    SECTION("a dimension that no integer holds") {
        check_header_refused(with_shape("(9223372036854775808,)"), {"9223372036854775808", "below 2^63"});
        check_header_refused(with_shape("(18446744073709551622,)"), {"18446744073709551622", "below 2^63"});
    }
    SECTION("a number is not a tuple") {
        check_header_refused(with_shape("(6)"), {"tuple of one element"});
        check_header_refused(with_shape("6"), {"\"6, }", "\"(\""});
    }
    SECTION("not Python") {
        check_header_refused(with_shape("(2 3)"), {"\"3), }", "',' or ')'"});
        check_header_refused(with_shape("(2,, 3)"), {"\", 3), }", "decimal digits"});
        check_header_refused(with_shape("(, 6)"), {"\", 6), }", "decimal digits"});
        check_header_refused(with_shape("(02, 3)"), {"\"02, 3)", "decimal digits"});
        check_header_refused(with_shape("(2.0, 3)"), {"\".0, 3)", "',' or ')'"});
        check_header_refused(with_shape("(2L, 3L)"), {"\"L, 3L)", "',' or ')'"});
        check_header_refused(with_shape("(2, 3"), {"\"}", "decimal digits"});
    }
}

TEST_CASE("npy: headers that are not exactly that dict are refused", "[npy]") {
    SECTION("a duplicate key") {
        check_header_refused("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }",
                             {"'descr' twice", "each key once"});
    }
    SECTION("an unknown key") {
        check_header_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'extra': 1, }",
                             {"key \"extra\"", "only 'descr', 'fortran_order' and 'shape'"});
    }
    SECTION("a missing key") {
        check_header_refused("{'fortran_order': False, 'shape': (2, 3), }", {"without 'descr'", "the keys"});
        check_header_refused("{'descr': '<f4', 'shape': (2, 3), }", {"without 'fortran_order'"});
        check_header_refused("{'descr': '<f4', 'fortran_order': False, }", {"without 'shape'"});
        check_header_refused("{}", {"without 'descr'"});
    }
    SECTION("no dict") { check_header_refused("[1, 2]", {"\"[1, 2]", "\"{\""}); }
    SECTION("nothing") { check_header_refused("", {"at byte", "\"{\""}); }
    SECTION("an empty header") { check_refused(file_of(1, "", elements_2_3), {"the end at byte 0", "\"{\""}); }
    SECTION("an unclosed string") {
        check_header_refused("{'descr': '<f4", {"a closing quote"});
        check_header_refused("{'descr", {"a closing quote"});
    }
    SECTION("no comma between keys") {
        check_header_refused("{'descr': '<f4' 'fortran_order': False, 'shape': (2, 3), }",
                             {"'fortran_order'", "\",\""});
    }
    SECTION("something after the dict") {
        check_header_refused(header_2_3 + " # hello", {"# hello", "only spaces and a newline"});
    }
    SECTION("no newline at the end") {
        check_refused(file_of(1, header_2_3 + "   ", elements_2_3), {"the end at byte", "only spaces and a newline"});
    }
    SECTION("bytes after the newline") {
        check_refused(file_of(1, header_2_3 + "\n ", elements_2_3), {"\" \" at byte", "the end of the header"});
    }
    SECTION("a hostile string cannot break the line or the terminal") {
        check_header_refused("{'descr': '\n\x1b[2J\xff', }", {R"("\x0a\x1b[2J\xff")"});
        check_header_refused("{'descr': '" + std::string(5000, 'a') + "', }", {"aaa...\""});
    }
}

TEST_CASE("npy: what is not a readable regular file is refused", "[npy]") {
    const TemporaryFolder folder;
    const auto refused = [&](const std::filesystem::path& path, std::initializer_list<std::string> parts) {
        check_message(refusal([&] { read_npy(path); }), path.string(), parts);
    };
    SECTION("missing") { refused(folder.path / "k.npy", {"no such file", "a .npy file"}); }
    SECTION("a folder") { refused(folder.path, {"a folder", "a .npy file"}); }
    SECTION("a fifo, without waiting for a writer") {
        const auto path = folder.path / "fifo.npy";
        REQUIRE(mkfifo(path.c_str(), 0600) == 0);
        refused(path, {"a fifo", "a .npy file"});
    }
    SECTION("a device") { refused("/dev/zero", {"a device", "a .npy file"}); }
    SECTION("a symbolic link to nothing") {
        std::filesystem::create_symlink("nowhere", folder.path / "k.npy");
        refused(folder.path / "k.npy", {"no such file"});
    }
    SECTION("not permitted") {
        const auto path = folder.path / "k.npy";
        write_text(path, file_of(1, padded(header_2_3), elements_2_3));
        std::filesystem::permissions(path, std::filesystem::perms::none);
        if (geteuid() == 0) WARN("not run as root, who may read everything");
        if (geteuid() != 0) refused(path, {"cannot be opened", "a .npy file"});
    }
    SECTION("bad contents, named by path") {
        const auto path = folder.path / "k.npy";
        write_text(path, file_of(1, padded(header_2_3), elements_2_3 + "x"));
        refused(path, {"found 25 bytes", "expected 24"});
    }
    SECTION("a sparse file that announces 2^60 elements is not allocated") {
        const auto path = folder.path / "k.npy";
        const std::string dict = "{'descr': '<f4', 'fortran_order': False, 'shape': (1152921504606846976,), }";
        write_text(path, file_of(1, padded(dict), ""));
        std::filesystem::resize_file(path, 1 << 30);
        refused(path, {"[1152921504606846976]", "truncated"});
    }
}

TEST_CASE("npy: arrays that contradict themselves are not written", "[npy]") {
    const TemporaryFolder folder;
    const auto path = folder.path / "x.npy";
    const auto failure = [&](const std::filesystem::path& where, const Array& array) -> std::string {
        try {
            write_npy(where, array);
        } catch (const std::runtime_error& error) {
            return error.what();
        }
        return "(written)";
    };
    const auto contains = [](const std::string& message, const std::string& part) {
        INFO(message);
        CHECK(message.find(part) != std::string::npos);
    };
    SECTION("too few bytes") {
        Array array = zeros(DType::float32, {2, 3});
        array.bytes.pop_back();
        contains(failure(path, array), path.string() + ": an array of 23 bytes");
    }
    SECTION("no dimension, too many, or one of 0") {
        contains(failure(path, Array{DType::float32, {}, std::vector<std::byte>(4)}), "shape []");
        contains(failure(path, zeros(DType::float32, {1, 1, 1, 1, 1, 1, 1})), "1 to 6 dimensions");
        contains(failure(path, zeros(DType::float32, {2, 0})), "shape [2, 0]");
    }
    SECTION("a folder that is missing, a target that is a folder") {
        contains(failure(folder.path / "no" / "x.npy", zeros(DType::float32, {1})), "no/x.npy: No such file");
        std::filesystem::create_directories(path);
        contains(failure(path, zeros(DType::float32, {1})), "cannot write " + path.string());
    }
    const std::filesystem::directory_iterator files(folder.path);
    for (const auto& entry : files) CHECK(entry.path() == path);  // no temporary is left
}

TEST_CASE("npy: elements are only handed out as what they are", "[npy]") {
    Array array = zeros(DType::int32, {2});
    CHECK_THROWS_AS(array.data<float>(), std::logic_error);
    CHECK_THROWS_AS(array.data<std::int64_t>(), std::logic_error);
    CHECK(array.data<std::int32_t>()[1] == 0);
    CHECK(std::string(name(DType::float64)) == "float64");
    CHECK(shape_text({2, 3, 7, 5}) == "[2, 3, 7, 5]");
    CHECK(shape_text({}) == "[]");
}

TEST_CASE("npy: a damaged file is parsed or refused, nothing else", "[npy]") {
    constexpr unsigned seed = 20240611;
    CAPTURE(seed);
    std::mt19937 random(seed);
    for (const int version : {1, 2, 3}) {
        const std::string valid = file_of(version, padded(header_2_3, version), elements_2_3);
        for (std::size_t length = 0; length < valid.size(); ++length) {
            CHECK(refusal([&] { parse(valid.substr(0, length)); }) != "(not refused)");
        }
        for (int trial = 0; trial < 3000; ++trial) {
            std::string text = valid;
            for (std::size_t flips = random() % 4 + 1; flips > 0; --flips) {
                text[random() % text.size()] ^= static_cast<char>(1 << random() % 8);
            }
            if (random() % 4 == 0) text.resize(random() % text.size());
            try {
                const Array array = parse(text);
                CHECK(parse_npy(format_npy(array), "again") == array);
            } catch (const BadCase& error) {
                CHECK(std::string(error.what()).find('\n') == std::string::npos);
            }
        }
    }
}
