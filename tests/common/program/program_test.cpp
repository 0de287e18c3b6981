// The program as its users meet it, from outside: exit status, what is printed, which files are written, what is left
// behind.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <toml++/toml.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "common/mechanism/mechanism.hpp"
#include "common/tensor/case.hpp"
#include "common/tensor/random.hpp"
#include "tests/support/catch.hpp"

using namespace attn;
namespace fs = std::filesystem;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;  // slow, and an address space that no limit may bound
#else
constexpr bool sanitized = false;
#endif

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// A folder that goes away with the test.
struct TemporaryFolder {
    TemporaryFolder() {
        std::string name = (fs::temp_directory_path() / "program_test.XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        path = name;
    }
    ~TemporaryFolder() {
        std::error_code ignored;
        fs::remove_all(path, ignored);
    }
    TemporaryFolder(const TemporaryFolder&) = delete;
    fs::path path;
};

std::string contents(const fs::path& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
}

void write_text(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

/// Every file under a folder: contents and time of its last change. Links and fifos are not followed or opened.
using Snapshot = std::map<std::string, std::string>;

Snapshot snapshot(const fs::path& folder) {
    Snapshot files;
    if (!fs::is_directory(folder)) return files;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
        const bool regular = entry.symlink_status().type() == fs::file_type::regular;
        files[entry.path().string()] =
            regular ? fmt::format("{} {}", entry.last_write_time().time_since_epoch().count(), contents(entry.path()))
                    : "not regular";
    }
    return files;
}

struct Ended {
    int status = -1;  // of the exit; -1 when a signal ended it
    int signal = 0;
    std::string out, err;
};

/// The program, started in a folder of its own: its TMPDIR must be empty when it has ended, and its working directory
/// too unless it was told to write there.
class Started {
  public:
    Started(const std::vector<std::string>& arguments, const fs::path& working_folder = {},
            const std::function<void()>& in_child = {}) {
        fs::create_directory(temporaries());
        sigset_t all, before;
        ::sigfillset(&all);
        ::sigprocmask(SIG_BLOCK, &all, &before);  // or the child might run Catch's handlers
        process_ = ::fork();
        if (process_ != 0) {
            ::sigprocmask(SIG_SETMASK, &before, nullptr);
            REQUIRE(process_ > 0);
            return;
        }
        for (int number : {SIGINT, SIGTERM, SIGHUP, SIGSEGV, SIGFPE, SIGCHLD}) ::signal(number, SIG_DFL);
        ::sigprocmask(SIG_SETMASK, &before, nullptr);
        ::setpgid(0, 0);  // a group of its own, as a shell gives to a job
        ::setenv("TMPDIR", temporaries().c_str(), 1);
        redirect("out", 1);
        redirect("err", 2);
        if (!working_folder.empty() && ::chdir(working_folder.c_str()) != 0) std::_Exit(126);
        if (in_child) in_child();
        std::vector<char*> words = {const_cast<char*>(ATTN_PROGRAM)};
        for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
        words.push_back(nullptr);
        ::execv(ATTN_PROGRAM, words.data());
        std::_Exit(127);
    }
    ~Started() {
        if (process_ > 0) ::kill(-process_, SIGKILL), ::waitpid(process_, nullptr, 0);
    }
    Started(const Started&) = delete;

    pid_t process() const { return process_; }

    /// What it started in its turn, once there is such a process.
    pid_t child() const {
        for (auto start = Clock::now(); seconds_since(start) < 10;) {
            for (const auto& entry : fs::directory_iterator("/proc")) {
                if (entry.path().filename().string().find_first_not_of("0123456789") != std::string::npos) continue;
                const std::string stat = contents(entry.path() / "stat");  // "12 (name) S 11 …"
                const std::size_t name_end = stat.rfind(')');
                if (name_end == std::string::npos) continue;
                if (std::atoi(stat.c_str() + name_end + 4) == process_) return std::atoi(stat.c_str());
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
        return 0;
    }

    std::string printed(const char* name) const { return contents(folder_.path / name); }
    fs::path temporaries() const { return folder_.path / "tmp"; }

    Ended end(double limit = 120) {
        Ended ended;
        int status = 0;
        const auto start = Clock::now();
        while (::waitpid(process_, &status, WNOHANG) == 0) {
            if (seconds_since(start) > limit) {
                ::kill(-process_, SIGKILL);
                ::waitpid(process_, &status, 0);
                process_ = 0;
                FAIL("did not end within " << limit << " s");
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        process_ = 0;
        if (WIFEXITED(status)) ended.status = WEXITSTATUS(status);
        if (WIFSIGNALED(status)) ended.signal = WTERMSIG(status);
        ended.out = contents(folder_.path / "out");
        ended.err = contents(folder_.path / "err");
        return ended;
    }

  private:
    void redirect(const char* name, int descriptor) {
        const int file = ::open((folder_.path / name).c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (file < 0 || ::dup2(file, descriptor) < 0) std::_Exit(125);
    }

    TemporaryFolder folder_;
    pid_t process_ = 0;
};

/// Runs the program to its end.
Ended attn_program(const std::vector<std::string>& arguments, const fs::path& working_folder = {},
                   const std::function<void()>& in_child = {}) {
    Started started(arguments, working_folder, in_child);
    Ended ended = started.end();
    INFO(ended.err);
    CHECK(fs::is_empty(started.temporaries()));
    return ended;
}

std::vector<std::string> operator+(std::vector<std::string> first, const std::vector<std::string>& second) {
    first.insert(first.end(), second.begin(), second.end());
    return first;
}

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// A refusal is one line on stderr that begins with the program's name and holds all `words`.
void check_refusal(const Ended& ended, const std::vector<std::string>& words) {
    INFO("stderr: " << ended.err);
    INFO("stdout: " << ended.out);
    CHECK(ended.status == 2);
    CHECK(ended.err.starts_with("attn: "));
    CHECK(ended.err.size() <= 1000);
    CHECK(std::count(ended.err.begin(), ended.err.end(), '\n') == 1);
    CHECK(ended.err.ends_with("\n"));
    CHECK(ended.out.empty());
    for (const std::string& word : words) {
        INFO("wanted: " << word);
        CHECK(holds(ended.err, word));
    }
}

Array random_tensor(std::vector<std::int64_t> shape, std::uint64_t seed, DType dtype = DType::float32) {
    Array array = zeros(dtype, std::move(shape));
    for (std::int64_t index = 0; index < array.count(); ++index) {
        const double value = random_normal(seed, static_cast<std::uint64_t>(index));
        if (dtype == DType::float32) array.data<float>()[index] = static_cast<float>(value);
        if (dtype == DType::float64) array.data<double>()[index] = value;
        if (dtype == DType::int32) array.data<std::int32_t>()[index] = static_cast<std::int32_t>(index);
        if (dtype == DType::int64) array.data<std::int64_t>()[index] = index;
    }
    return array;
}

void write_tensor(const fs::path& path, std::vector<std::int64_t> shape, DType dtype = DType::float32) {
    write_npy(path, random_tensor(std::move(shape), 9, dtype));
}

/// B = 2, H = 4, G = 2, Nq = 5, Nk = 6, D = 3, Dv = 4, with d_out. Its expected values are not those of the mechanism.
void write_good_case(const fs::path& folder) {
    Case good;
    good.mechanism = "dense";
    good.params = Params::parse(R"({"causal": true, "scale": 0.5})");
    good.inputs = {{"q", random_tensor({2, 4, 5, 3}, 1)},
                   {"k", random_tensor({2, 2, 6, 3}, 2)},
                   {"v", random_tensor({2, 2, 6, 4}, 3)},
                   {"d_out", random_tensor({2, 4, 5, 4}, 4)}};
    good.expected = {{"out", random_tensor({2, 4, 5, 4}, 5, DType::float64)}};
    good.has_expected = true;
    write_case(folder, good);
}

/// A .npy file of any header, right or wrong, version 1.
std::string npy(const std::string& header_dict, std::size_t data_bytes) {
    std::string header = header_dict;
    header.append(63 - (10 + header.size()) % 64, ' ');
    header += '\n';
    std::string text = "\x93NUMPY";
    text += {'\x01', '\x00', static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
    return text + header + std::string(data_bytes, '\0');
}

std::string npy(const std::string& descr, const std::string& fortran_order, const std::string& shape,
                std::size_t data_bytes) {
    return npy("{'descr': '" + descr + "', 'fortran_order': " + fortran_order + ", 'shape': " + shape + ", }",
               data_bytes);
}

struct Broken {
    std::string kind;
    std::function<void(const fs::path& folder)> break_it;
    std::vector<std::string> words;  // of the refusal
    std::vector<std::string> options = {};
};

/// A kind that is a case.json of this text.
Broken json(const std::string& kind, const std::string& text, std::vector<std::string> words) {
    words.push_back("case.json");
    return {kind, [text](const fs::path& folder) { write_text(folder / "case.json", text); }, words};
}

/// A kind that is these params.
Broken params(const std::string& kind, const std::string& text, std::vector<std::string> words) {
    return json(kind, R"({"mechanism": "dense", "params": )" + text + "}", std::move(words));
}

/// A kind that is a file of these bytes.
Broken bytes(const std::string& kind, const std::string& file, const std::string& text,
             std::vector<std::string> words) {
    words.push_back(file);
    return {kind, [=](const fs::path& folder) { write_text(folder / file, text); }, words};
}

/// A kind that is a well-formed tensor of this shape and type.
Broken tensor(const std::string& kind, const std::string& file, const std::vector<std::int64_t>& shape, DType dtype,
              std::vector<std::string> words) {
    words.push_back(file);
    return {kind, [=](const fs::path& folder) { write_tensor(folder / file, shape, dtype); }, words};
}

/// A kind that is a good case with these options.
Broken options(const std::string& kind, const std::vector<std::string>& given, const std::vector<std::string>& words) {
    return {kind, [](const fs::path&) {}, words, given};
}

const std::string q_shape = "(2, 4, 5, 3)";
constexpr std::size_t q_count = 2 * 4 * 5 * 3;

std::vector<Broken> broken_folders() {
    return {
        {"no such folder", [](const fs::path& folder) { fs::remove_all(folder); }, {"no such folder", "expected"}},
        {"not a folder",
         [](const fs::path& folder) {
             fs::remove_all(folder);
             write_text(folder, "x");
         },
         {"not a folder", "expected the folder of a case"}},
        {"no case.json",
         [](const fs::path& folder) { fs::remove(folder / "case.json"); },
         {"case.json: found no such file", "expected a case.json"}},
        {"case.json is a folder",
         [](const fs::path& folder) {
             fs::remove(folder / "case.json");
             fs::create_directory(folder / "case.json");
         },
         {"case.json: found a folder"}},
        {"a fifo for a tensor",
         [](const fs::path& folder) {
             fs::remove(folder / "q.npy");
             ::mkfifo((folder / "q.npy").c_str(), 0600);
         },
         {"q.npy: found a fifo", "expected a .npy file"}},
        {"a dangling link for a tensor",
         [](const fs::path& folder) {
             fs::remove(folder / "q.npy");
             fs::create_symlink("nowhere", folder / "q.npy");
         },
         {"q.npy: found no such file", "expected a .npy file"}},
        {"expected is a file",
         [](const fs::path& folder) {
             fs::remove_all(folder / "expected");
             write_text(folder / "expected", "");
         },
         {"expected: found something that is not a folder", "expected a folder of the expected outputs"}},
        {"expected is empty",
         [](const fs::path& folder) { fs::remove(folder / "expected" / "out.npy"); },
         {"expected: found no .npy file", "expected at least one"}},
        {"a missing tensor",
         [](const fs::path& folder) { fs::remove(folder / "v.npy"); },
         {"v.npy: found no such file", "expected the tensor v of 4 dimensions"}},
    };
}

std::vector<Broken> broken_json() {
    return {
        json("empty", "", {"expected valid JSON"}),
        json("invalid JSON", R"({"mechanism": "dense",})", {"line 1, column 23", "expected valid JSON"}),
        json("text after it", R"({"mechanism": "dense"} {})", {"expected valid JSON"}),
        json("no object", R"(["dense"])", {R"(found ["dense"])", "expected a JSON object"}),
        json("a duplicate key", R"({"mechanism": "dense", "mechanism": "dense"})", {R"("mechanism" twice)", "once"}),
        json("a duplicate param", R"({"mechanism": "dense", "params": {"causal": true, "causal": false}})",
             {R"("causal" twice)", "expected once"}),
        json("an unknown key", R"({"mechanism": "dense", "param": {}})",
             {R"(unknown key "param")", R"(did you mean "params"?)", "mechanism, params, origin"}),
        json("an unknown mechanism", R"({"mechanism": "dence"})", {R"(found mechanism "dence")", R"("dense"?)"}),
        json("a mechanism like no other", R"({"mechanism": "zzzzzzzzzz\n\u001b"})",
             {R"(found mechanism "zzzzzzzzzz\x0a\x1b")", "expected one of", "dense"}),
        json("no mechanism", R"({"params": {}})", {"found no mechanism", "expected the name of one"}),
        json("an empty mechanism", R"({"mechanism": ""})", {R"(mechanism = "")", "expected the name of one"}),
        json("a mechanism of another type", R"({"mechanism": 3})", {"mechanism = 3", "expected a string"}),
        json("an origin of another type", R"({"mechanism": "dense", "origin": []})", {"origin = []", "a string"}),
        params("params a list", "[]", {"params = []", "expected an object"}),
        params("params null", "null", {"params = null", "expected an object"}),
        params("an unknown param", R"({"casual": true})",
               {R"(unknown param "casual")", R"(did you mean "causal"?)", "only causal, scale, tolerance"}),
        params("a param of another mechanism", R"({"window": 3})", {R"(unknown param "window")", "only causal"}),
        params("causal a number", R"({"causal": 1})", {"params.causal = 1", "expected true or false"}),
        params("causal a string", R"({"causal": "true"})", {R"(params.causal = "true")", "expected true or false"}),
        params("causal null", R"({"causal": null})", {"params.causal = null", "expected true or false"}),
        params("scale a string", R"({"scale": "0.5"})", {R"(params.scale = "0.5")", "expected a finite number"}),
        params("scale infinite", R"({"scale": 1e999})", {"1e999", "expected"}),
        params("scale NaN", R"({"scale": NaN})", {"expected valid JSON"}),
        params("a negative tolerance", R"({"tolerance": -1})", {"params.tolerance = -1", "a positive number"}),
        params("a tolerance of zero", R"({"tolerance": 0})", {"params.tolerance = 0", "a positive number"}),
        params("a tolerance of another type", R"({"tolerance": "1e-3"})",
               {"params.tolerance", "a number or an object"}),
        params("a tolerance for an unknown dtype", R"({"tolerance": {"float31": 1}})",
               {R"("float31")", R"(did you mean "float32"?)", "only float64"}),
    };
}

std::vector<Broken> broken_npy() {
    std::string truncated = npy("<f4", "False", q_shape, 4 * q_count - 1);
    return {
        bytes("Fortran order", "q.npy", npy("<f4", "True", q_shape, 4 * q_count),
              {"found fortran_order True", "expected C order"}),
        bytes("an object array", "q.npy", npy("|O", "False", q_shape, 8 * q_count), {R"(found descr "|O")", "<f4"}),
        bytes("big endian", "q.npy", npy(">f4", "False", q_shape, 4 * q_count),
              {R"(found descr ">f4")", "little endian"}),
        bytes("float16", "q.npy", npy("<f2", "False", q_shape, 2 * q_count),
              {R"(found descr "<f2")", "expected '<f4'"}),
        bytes("booleans", "q.npy", npy("|b1", "False", q_shape, q_count), {R"(found descr "|b1")", "expected '<f4'"}),
        bytes("truncated", "q.npy", truncated, {"found 479 bytes", "float32 [2, 4, 5, 3]", "truncated?"}),
        bytes("truncated in the header", "q.npy", truncated.substr(0, 40), {"found 40 bytes", "complete .npy header"}),
        bytes("empty", "q.npy", "", {"found 0 bytes", "complete .npy header"}),
        bytes("no .npy", "q.npy", "PK\x03\x04 and so on", {R"(starts with "PK\x03\x04)", "NUMPY"}),
        bytes("trailing bytes", "q.npy", npy("<f4", "False", q_shape, 4 * q_count + 1),
              {"found 481 bytes", "expected 480", "trailing"}),
        bytes("an overflowing shape", "q.npy",
              npy("<f4", "False", "(4294967296, 4294967296, 4294967296, 4)", 4 * q_count),
              {"4294967296", "truncated?"}),
        bytes("a dimension of 2^64", "q.npy", npy("<f4", "False", "(18446744073709551616, 1, 1, 1)", 4),
              {"a dimension below 2^63"}),
        bytes("a zero dimension", "q.npy", npy("<f4", "False", "(2, 4, 0, 3)", 0),
              {"found the shape [2, 4, 0, 3]", "at least 1"}),
        bytes("a negative dimension", "q.npy", npy("<f4", "False", "(2, 4, -5, 3)", 4),
              {"-5", "a dimension in decimal"}),
        bytes("a scalar", "q.npy", npy("<f4", "False", "()", 4), {"found the shape []", "1 to 6 dimensions"}),
        bytes("version 4", "q.npy", std::string("\x93NUMPY\x04\x00", 8) + truncated.substr(8),
              {"version 4.0", "expected version 1.0"}),
        bytes("an expected tensor that is no .npy", "expected/out.npy", "nonsense", {"found a file that starts with"}),
    };
}

std::vector<Broken> broken_tensors() {
    const auto f4 = DType::float32;
    return {
        tensor("an unknown tensor", "mask.npy", {5, 6}, f4, {"a tensor that dense does not take", "q, k, v, d_out"}),
        tensor("a wrong rank", "q.npy", {4, 5, 3}, f4, {"found shape [4, 5, 3]", "expected 4 dimensions"}),
        tensor("an integer tensor", "q.npy", {2, 4, 5, 3}, DType::int32, {"found int32", "float32 or float64"}),
        tensor("an int64 tensor", "v.npy", {2, 2, 6, 4}, DType::int64, {"found int64", "float32 or float64"}),
        tensor("k of another D", "k.npy", {2, 2, 6, 7}, f4, {"[2, 2, 6, 7]", "expected [2, 2, 6, 3]"}),
        tensor("k of another B", "k.npy", {3, 2, 6, 3}, f4, {"[3, 2, 6, 3]", "expected [2, 2, 6, 3]"}),
        tensor("v of another B", "v.npy", {1, 2, 6, 4}, f4, {"[1, 2, 6, 4]", "expected [2, 2, 6, 4]"}),
        tensor("v of another Nk", "v.npy", {2, 2, 5, 4}, f4, {"[2, 2, 5, 4]", "expected [2, 2, 6, 4]"}),
        tensor("v of another G", "v.npy", {2, 4, 6, 4}, f4, {"[2, 4, 6, 4]", "expected [2, 2, 6, 4]"}),
        {"H no multiple of G",
         [](const fs::path& folder) {
             write_tensor(folder / "k.npy", {2, 3, 6, 3});
             write_tensor(folder / "v.npy", {2, 3, 6, 4});
         },
         {"4 heads", "3", "expected", "multiple"}},
        {"more key heads than query heads",
         [](const fs::path& folder) {
             write_tensor(folder / "k.npy", {2, 8, 6, 3});
             write_tensor(folder / "v.npy", {2, 8, 6, 4});
         },
         {"4 heads", "8", "expected", "multiple"}},
        tensor("d_out of q's shape", "d_out.npy", {2, 4, 5, 3}, f4, {"[2, 4, 5, 3]", "expected [2, 4, 5, 4]"}),
        tensor("an expected tensor of another shape", "expected/out.npy", {2, 4, 5, 5}, f4,
               {"found shape [2, 4, 5, 5]", "expected [2, 4, 5, 4]"}),
        tensor("an expected tensor of another rank", "expected/log_sum_exp.npy", {2, 4, 5, 1}, f4,
               {"found shape [2, 4, 5, 1]", "expected [2, 4, 5]"}),
        tensor("an expected tensor of another name", "expected/output.npy", {2, 4, 5, 4}, f4,
               {"an output that this case does not have", "out, log_sum_exp, d_q, d_k, d_v"}),
        tensor("an expected tensor of integers", "expected/out.npy", {2, 4, 5, 4}, DType::int32,
               {"found int32", "expected float32 or float64"}),
        {"an expected gradient without d_out",
         [](const fs::path& folder) {
             fs::remove(folder / "d_out.npy");
             write_tensor(folder / "expected" / "d_q.npy", {2, 4, 5, 3});
         },
         {"expected/d_q.npy", "an output that this case does not have", "out, log_sum_exp"}},
    };
}

std::vector<Broken> bad_options() {
    return {
        options("float16 optimised", {"--dtype", "float16"}, {"dense", "optimized", "float32", "not in float16"}),
        options("float64 stage1", {"--dtype", "float64", "--impl", "stage1"}, {"stage1", "not in float64"}),
        options("an unknown dtype", {"--dtype", "float31"}, {"float31", "float32"}),
        options("an unknown implementation", {"--impl", "fast"}, {R"("fast")", "naive|optimized", "stage1"}),
        options("an exercise", {"--impl", "exercise"}, {"dense has no exercise", "naive|optimized"}),
        options("a solution", {"--impl", "solution"}, {"dense has no exercise", "naive|optimized"}),
        options("--exercise alone", {"--exercise", "row_maximum"}, {"--exercise needs --impl exercise"}),
        options("--device with naive", {"--impl", "naive", "--device", "emulated"}, {"--device", "naive", "CPU"}),
        options("an unknown device", {"--device", "tpu"}, {"tpu", "emulated", "cuda"}),
        options("a timeout of 0", {"--timeout", "0"}, {"--timeout", R"(found "0")", "above 0"}),
        options("a timeout of NaN", {"--timeout", "nan"}, {"--timeout", R"(found "nan")", "above 0"}),
        options("a timeout in words", {"--timeout", "long"}, {"--timeout", R"(found "long")", "above 0"}),
        options("two implementations", {"--impl", "naive", "--impl", "optimized"}, {"--impl"}),
        options("an unknown option", {"--precision", "float32"}, {"--precision"}),
        options("two cases", {"another_case"}, {"another_case"}),
    };
}

std::vector<Broken> all_broken() {
    std::vector<Broken> all;
    for (const auto& some : {broken_folders(), broken_json(), broken_npy(), broken_tensors(), bad_options()})
        all.insert(all.end(), some.begin(), some.end());
    return all;
}

fs::path golden(const std::string& name) { return fs::path(ATTN_SOURCE_FOLDER "/tests/golden/dense") / name; }

/// The arrays of a folder that `attn run --out` wrote, and nothing else may be there.
NamedArrays written(const fs::path& folder) {
    NamedArrays arrays;
    for (const auto& entry : fs::directory_iterator(folder)) {
        CHECK(entry.path().extension() == ".npy");
        arrays[entry.path().stem().string()] = read_npy(entry.path());
    }
    return arrays;
}

/// A naive run of this takes seconds: time enough to interrupt it.
void write_long_case(const fs::path& folder) {
    Case large;
    large.mechanism = "dense";
    for (const char* name : {"q", "k", "v"}) large.inputs[name] = random_tensor({1, 8, 2048, 256}, 1);
    write_case(folder, large);
}

bool alive(pid_t process) {
    const std::string stat = contents("/proc/" + std::to_string(process) + "/stat");
    const std::size_t name_end = stat.rfind(')');
    return name_end != std::string::npos && stat[name_end + 2] != 'Z';  // a zombie computes no more
}

bool ends_soon(pid_t process) {
    for (auto start = Clock::now(); seconds_since(start) < 5;) {
        if (!alive(process)) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return false;
}

}  // namespace

TEST_CASE("a broken case is refused with one line, and nothing is written") {
    for (const Broken& broken : all_broken()) {
        INFO(broken.kind);
        TemporaryFolder temporary;
        const fs::path folder = temporary.path / "case", out = temporary.path / "new" / "out";
        write_good_case(folder);
        broken.break_it(folder);
        const Snapshot before = snapshot(temporary.path);
        const Ended ended =
            attn_program(std::vector<std::string>{"run", folder.string(), "--out", out.string()} + broken.options);
        std::vector<std::string> words = broken.words;
        if (broken.options.empty()) words.push_back(folder.string());  // the file, whole
        check_refusal(ended, words);
        CHECK(snapshot(temporary.path) == before);
    }
}

TEST_CASE("the implementations other than the default refuse the same") {
    TemporaryFolder temporary;
    const fs::path folder = temporary.path / "case", out = temporary.path / "out";
    write_good_case(folder);
    write_tensor(folder / "k.npy", {2, 2, 6, 7});
    for (const char* implementation : {"naive", "stage1"}) {
        check_refusal(attn_program({"run", folder.string(), "--impl", implementation, "--out", out.string()}),
                      {folder.string(), "k.npy", "[2, 2, 6, 7]", "[2, 2, 6, 3]"});
        CHECK(!fs::exists(out));
    }
}

TEST_CASE("a case is never written into, nor is a file replaced by a folder") {
    TemporaryFolder temporary;
    const fs::path folder = temporary.path / "case", link = temporary.path / "link", file = temporary.path / "file";
    write_good_case(folder);
    fs::create_directory_symlink(folder, link);
    write_text(file, "mine");
    const Snapshot before = snapshot(temporary.path);
    for (const fs::path& out : {folder, folder / "", folder / "expected", folder / "a/b", link, link / "c",
                                temporary.path / "none" / ".." / "case", fs::path("."), fs::path("d")})
        check_refusal(attn_program({"run", folder.string(), "--impl", "naive", "--out", out.string()}, folder),
                      {"--out", out.string(), "of the case", "expected one outside it"});
    check_refusal(attn_program({"run", folder.string(), "--impl", "naive", "--out", file.string()}),
                  {"--out", file.string(), "not a folder"});
    check_refusal(attn_program({"run", folder.string(), "--impl", "naive", "--out", (file / "x/y").string()}),
                  {"--out", (file / "x/y").string(), "not a folder"});
    CHECK(snapshot(temporary.path) == before);
}

TEST_CASE("good cases, through every implementation and precision") {
    struct Way {
        std::string implementation, dtype;
        bool given_device;
    };
    const std::vector<Way> ways = {{"naive", "float64", false},    {"naive", "float32", false},
                                   {"naive", "float16", false},    {"naive", "bfloat16", false},
                                   {"optimized", "float32", true}, {"stage1", "float32", true}};
    for (const char* name : {"plain", "causal", "grouped_query", "plain_backward", "grouped_query_backward",
                             "causal_more_queries_poisoned", "without expected"}) {
        TemporaryFolder temporary;
        const fs::path folder = temporary.path / "a case";
        const bool judged = std::string(name) != "without expected";
        fs::copy(golden(judged ? name : "plain_backward"), folder, fs::copy_options::recursive);
        const Case input_case = read_case(folder);
        if (!judged) fs::remove_all(folder / "expected");
        const Snapshot before = snapshot(folder);
        for (const Way& way : ways) {
            INFO(name << ", " << way.implementation << ", " << way.dtype);
            const fs::path out = temporary.path / way.implementation / way.dtype / "out";  // nested, not there yet
            std::vector<std::string> arguments = {"run",     folder.string(), "--impl", way.implementation,
                                                  "--dtype", way.dtype,       "--out",  out.string()};
            if (way.given_device) arguments = arguments + std::vector<std::string>{"--device", "emulated"};
            const Ended ended = attn_program(arguments);
            INFO(ended.out << ended.err);
            REQUIRE(ended.status == 0);
            CHECK(ended.err.empty());
            CHECK(holds(ended.out, "dense, "));
            CHECK(holds(ended.out, way.dtype));
            const NamedArrays arrays = written(out);
            CHECK(arrays.size() == (input_case.inputs.contains("d_out") ? 5 : 2));
            for (const auto& [output, reference] : input_case.expected) {
                INFO(output);
                REQUIRE(arrays.contains(output));
                CHECK(arrays.at(output).shape == reference.shape);
                CHECK(arrays.at(output).dtype == (way.dtype == "float64" ? DType::float64 : DType::float32));
                CHECK(holds(ended.out, "\n" + output + " ") == judged);
            }
            CHECK(holds(ended.out, "max abs error") == judged);
            CHECK(snapshot(folder) == before);

            // Into a folder that holds an earlier result, and the same bits once more.
            const Ended again = attn_program(arguments);
            CHECK(again.status == 0);
            CHECK(written(out).size() == arrays.size());
            for (const auto& [output, array] : written(out)) CHECK(array.bytes == arrays.at(output).bytes);
        }
        CHECK(attn_program({"run", folder.string()}).status == 0);
        CHECK(snapshot(folder) == before);
    }
}

TEST_CASE("a wrong result is status 1, and the element is named") {
    TemporaryFolder temporary;
    const fs::path folder = temporary.path / "case";
    fs::copy(golden("plain"), folder, fs::copy_options::recursive);
    Array expected = read_npy(folder / "expected" / "out.npy");
    REQUIRE(expected.shape.size() == 4);
    REQUIRE(expected.dtype == DType::float64);
    const auto& s = expected.shape;
    const std::int64_t b = s[0] - 1, h = s[1] - 1, i = s[2] - 2, d = s[3] - 3;
    expected.data<double>()[((b * s[1] + h) * s[2] + i) * s[3] + d] += 1;
    write_npy(folder / "expected" / "out.npy", expected);
    const std::string element = fmt::format("({},{},{},{})", b, h, i, d);
    for (const char* implementation : {"naive", "optimized"}) {
        const fs::path out = temporary.path / implementation;
        const Ended ended = attn_program({"run", folder.string(), "--impl", implementation, "--out", out.string()});
        INFO(ended.out << ended.err);
        CHECK(ended.status == 1);
        CHECK(holds(ended.out, "1 of "));
        CHECK(holds(ended.out, "the first at " + element));
        CHECK(holds(ended.out, "the worst at " + element));
        CHECK(holds(ended.out, "outside"));
        CHECK(holds(ended.out, "ok"));    // log_sum_exp
        CHECK(written(out).size() == 2);  // to look at
    }

    Array nan = read_npy(golden("plain") / "expected" / "out.npy");
    nan.data<double>()[0] = std::numeric_limits<double>::quiet_NaN();
    write_npy(folder / "expected" / "out.npy", nan);
    const Ended ended = attn_program({"run", folder.string(), "--impl", "naive"});
    CHECK(ended.status == 1);
    CHECK(holds(ended.out, "NaN"));
    CHECK(holds(ended.out, "(0,0,0,0)"));
}

TEST_CASE("params.tolerance tightens and widens the bound") {
    TemporaryFolder temporary;
    const fs::path folder = temporary.path / "case";
    fs::copy(golden("plain"), folder, fs::copy_options::recursive);
    auto status = [&](const std::string& tolerance, const std::string& dtype) {
        write_text(folder / "case.json", R"({"mechanism": "dense", "params": {"tolerance": )" + tolerance + "}}");
        const Ended ended = attn_program({"run", folder.string(), "--impl", "naive", "--dtype", dtype});
        INFO(ended.out << ended.err);
        CHECK(ended.err.empty());
        return ended.status;
    };
    CHECK(status("1e-12", "float32") == 1);
    CHECK(status("1e-3", "float32") == 0);
    CHECK(status("1e-6", "float16") == 1);
    CHECK(status("{}", "float32") == 0);
    CHECK(status(R"({"float32": 1e-12})", "float32") == 1);
    CHECK(status(R"({"float32": 1e-12})", "float16") == 0);
    CHECK(status(R"({"float32": 1e-12})", "float64") == 0);
    CHECK(status(R"({"float64": 1e-30})", "float64") == 1);

    Array off = read_npy(golden("plain") / "expected" / "out.npy");  // by one part in a hundred
    for (std::int64_t index = 0; index < off.count(); ++index) off.data<double>()[index] *= 1.01;
    write_npy(folder / "expected" / "out.npy", off);
    CHECK(status("{}", "float32") == 1);
    CHECK(status("0.02", "float32") == 0);
    CHECK(status(R"({"float32": 0.02})", "float32") == 0);
    CHECK(status(R"({"float32": 0.02})", "float64") == 1);
}

TEST_CASE("a case by any path") {
    TemporaryFolder temporary;
    const fs::path folder = temporary.path / "with space" / "Öl \"und\" 'Wasser'";
    fs::create_directory(folder.parent_path());
    fs::copy(golden("plain"), folder, fs::copy_options::recursive);
    fs::create_directory_symlink(folder, temporary.path / "link");
    const Snapshot before = snapshot(folder);
    for (const std::string& path : {folder.string(), folder.string() + "/", folder.string() + "//",
                                    std::string("with space/") + folder.filename().string(), std::string("link"),
                                    std::string("./with space/../link/")})
        CHECK(attn_program({"run", path, "--impl", "naive"}, temporary.path).status == 0);
    CHECK(attn_program({"run", ".", "--impl", "naive"}, folder).status == 0);
    CHECK(attn_program({"run", ".", "--impl", "naive", "--out", "../relative/out"}, folder).status == 0);
    CHECK(written(temporary.path / "with space" / "relative" / "out").size() == 2);
    CHECK(snapshot(folder) == before);

    check_refusal(attn_program({"run", "../none"}, folder), {"../none: found no such folder"});
    check_refusal(attn_program({"run", "a\nb"}, folder), {R"(a\x0ab: found no such folder)"});
    write_good_case(folder / "a\nb");
    write_tensor(folder / "a\nb" / "k.npy", {2, 2, 6, 7});
    check_refusal(attn_program({"run", "a\nb"}, folder), {R"(a\x0ab/k.npy)", "[2, 2, 6, 7]"});
}

TEST_CASE("files that are no part of a case are let be") {
    TemporaryFolder temporary;
    const fs::path folder = temporary.path / "case";
    fs::copy(golden("plain"), folder, fs::copy_options::recursive);
    write_text(folder / "README.md", "about");
    write_text(folder / ".q.npy.1.0.partial", "half");
    write_text(folder / ".hidden.npy", "half");
    CHECK(attn_program({"run", folder.string(), "--impl", "naive"}).status == 0);
}

TEST_CASE("a run that takes too long is status 4") {
    TemporaryFolder temporary;
    const fs::path folder = temporary.path / "case", out = temporary.path / "out";
    write_long_case(folder);
    for (const char* timeout : {"0.001", "0.2"}) {
        const auto start = Clock::now();
        const Ended ended =
            attn_program({"run", folder.string(), "--impl", "naive", "--timeout", timeout, "--out", out.string()});
        CHECK(ended.status == 4);
        CHECK(ended.err == fmt::format("attn: timed out after {} s\n", timeout));
        CHECK(!fs::exists(out));
        CHECK(seconds_since(start) < (sanitized ? 60 : 5));
    }
    CHECK(attn_program({"run", golden("plain").string(), "--impl", "naive", "--timeout", "1e300"}).status == 0);
}

TEST_CASE("a run that crashes or has no memory is status 4") {
    TemporaryFolder temporary;
    const fs::path folder = temporary.path / "case", out = temporary.path / "out";
    write_long_case(folder);
    const std::vector<std::string> arguments = {"run", folder.string(), "--impl", "naive", "--out", out.string()};
    for (int number : {SIGSEGV, SIGFPE, SIGKILL}) {
        Started started(arguments);
        const pid_t child = started.child();
        REQUIRE(child > 0);
        ::kill(child, number);
        const Ended ended = started.end();
        INFO(ended.err);
        // A sanitizer turns the signal into a report and an exit of its own.
        if (!sanitized || number == SIGKILL) {
            CHECK(ended.status == 4);
            CHECK(ended.err == fmt::format("attn: the implementation crashed: {}\n", ::strsignal(number)));
        }
        CHECK(ended.signal == 0);
        CHECK(!fs::exists(out));
        CHECK(fs::is_empty(started.temporaries()));
    }
    if (sanitized) return;

    // The matrix of one head does not fit, the tensors do.
    Case wide;
    wide.mechanism = "dense";
    for (const char* name : {"q", "k", "v"}) wide.inputs[name] = random_tensor({1, 1, 16384, 1}, 1);
    write_case(temporary.path / "wide", wide);
    const Ended ended =
        attn_program({"run", (temporary.path / "wide").string(), "--impl", "naive", "--out", out.string()}, {}, [] {
            const rlimit limit = {rlim_t{512} << 20, rlim_t{512} << 20};
            ::setrlimit(RLIMIT_AS, &limit);
        });
    INFO(ended.err);
    CHECK(ended.status == 4);
    CHECK(std::count(ended.err.begin(), ended.err.end(), '\n') == 1);
    CHECK(!fs::exists(out));
}

TEST_CASE("a run that is interrupted leaves nothing behind") {
    TemporaryFolder temporary;
    const fs::path folder = temporary.path / "case", out = temporary.path / "out";
    write_long_case(folder);
    const std::vector<std::string> arguments = {"run", folder.string(), "--impl", "naive", "--out", out.string()};
    const Snapshot before = snapshot(temporary.path);
    for (int number : {SIGINT, SIGTERM, SIGHUP}) {
        for (bool whole_group : {false, true}) {  // a terminal's Ctrl-C reaches the child too
            INFO(::strsignal(number) << (whole_group ? ", to the group" : ""));
            Started started(arguments);
            const pid_t child = started.child();
            REQUIRE(child > 0);
            CHECK(!fs::is_empty(started.temporaries()));
            ::kill(whole_group ? -started.process() : started.process(), number);
            const Ended ended = started.end(10);
            CHECK(ended.signal == number);
            CHECK(ended.err.empty());
            CHECK(ended.out.empty());
            CHECK(!alive(child));
            CHECK(fs::is_empty(started.temporaries()));
            CHECK(snapshot(temporary.path) == before);
        }
    }

    {
        Started started(arguments);  // killed it cannot tidy up, but nothing goes on computing
        const pid_t child = started.child();
        REQUIRE(child > 0);
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        ::kill(started.process(), SIGKILL);
        CHECK(started.end(10).signal == SIGKILL);
        CHECK(ends_soon(child));
        CHECK(!fs::exists(out));
    }
    {
        Started started(arguments, {}, [] { ::signal(SIGHUP, SIG_IGN); });  // nohup
        const pid_t child = started.child();
        REQUIRE(child > 0);
        ::kill(-started.process(), SIGHUP);
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        CHECK(alive(child));
        ::kill(started.process(), SIGTERM);
        CHECK(started.end(10).signal == SIGTERM);
        CHECK(!alive(child));
    }
}

TEST_CASE("interrupted at any moment, the outputs are all there or none") {
    TemporaryFolder temporary;
    const fs::path folder = temporary.path / "case";
    fs::copy(golden("plain_backward"), folder, fs::copy_options::recursive);
    int complete = 0, none = 0;
    for (int attempt = 0; attempt < 60; ++attempt) {
        const fs::path out = temporary.path / fmt::format("out{}", attempt);
        Started started({"run", folder.string(), "--impl", "naive", "--out", out.string()});
        std::this_thread::sleep_for(std::chrono::microseconds(200 * attempt));
        ::kill(started.process(), SIGINT);
        started.end(20);
        INFO(200 * attempt << " microseconds");
        CHECK(fs::is_empty(started.temporaries()));
        if (fs::exists(out)) {
            CHECK(written(out).size() == 5);
            ++complete;
        } else {
            ++none;
        }
    }
    CHECK(complete + none == 60);
}

TEST_CASE("a parent that ignores its children, or a reader that went away, stops no run") {
    const std::string plain = golden("plain").string();
    CHECK(attn_program({"run", plain, "--impl", "naive"}, {}, [] { ::signal(SIGCHLD, SIG_IGN); }).status == 0);
    TemporaryFolder temporary;
    const fs::path out = temporary.path / "out";
    attn_program({"run", plain, "--impl", "naive", "--out", out.string()}, {}, [] {  // TMPDIR is empty all the same
        int ends[2];
        if (::pipe(ends) != 0) std::_Exit(124);
        ::dup2(ends[1], 1);
        ::close(ends[0]);
        ::close(ends[1]);
    });
}

TEST_CASE("a GPU that is not there is named") {
    if (fs::exists("/dev/nvidia0") || fs::exists("/dev/nvidiactl") || fs::exists("/dev/dxg")) return;
    TemporaryFolder temporary;
    const fs::path out = temporary.path / "out";
    for (const char* implementation : {"optimized", "stage1"})
        check_refusal(attn_program({"run", golden("plain").string(), "--impl", implementation, "--device", "cuda",
                                    "--out", out.string()}),
                      {"no GPU", "--device emulated"});
    CHECK(!fs::exists(out));
    const Ended ended = attn_program({"run", golden("plain").string()});
    CHECK(ended.status == 0);
    CHECK(holds(ended.out, "on the emulator"));
}

TEST_CASE("help") {
    const std::string text = contents(ATTN_SOURCE_FOLDER "/common/program/help.txt");
    REQUIRE(!text.empty());
    for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
             {"--help"}, {"-h"}, {"help"}, {"run", "--help"}, {"trace", "-h"}, {"run", "x", "--help"}}) {
        const Ended ended = attn_program(arguments);
        CHECK(ended.status == 0);
        CHECK(ended.out == text);
        CHECK(ended.err.empty());
    }
}

TEST_CASE("bad usage") {
    check_refusal(attn_program({"rum"}), {R"(no verb "rum")", R"(did you mean "run"?)", "--help"});
    check_refusal(attn_program({"tabel"}), {R"(no verb "tabel")", R"(did you mean "table"?)"});
    check_refusal(attn_program({"x\ny"}), {R"(no verb "x\x0ay")"});
    check_refusal(attn_program({""}), {R"(no verb "")"});
    check_refusal(attn_program({"--verbose"}), {"--verbose"});
    check_refusal(attn_program({"run"}), {"case", "required", "--help"});
    check_refusal(attn_program({"trace"}), {"mechanism", "required"});
    check_refusal(attn_program({"trace", "dence"}), {R"("dence")", R"(did you mean "dense"?)"});
    check_refusal(attn_program({"trace", "zzzzzzzzzz"}), {R"("zzzzzzzzzz")", "there are: ", "dense"});
    check_refusal(attn_program({"table", "extra"}), {"extra"});
}

TEST_CASE("a case of an exercise, through its solution") {
    TemporaryFolder temporary;
    Case two_scores;
    two_scores.mechanism = "masked_softmax";
    two_scores.origin = "two equal scores, no sink";
    Array scores = zeros(DType::float32, {1, 2}), mask = zeros(DType::int32, {1, 2}), sink = zeros(DType::float32, {1});
    mask.data<std::int32_t>()[0] = mask.data<std::int32_t>()[1] = 1;
    sink.data<float>()[0] = -std::numeric_limits<float>::infinity();
    two_scores.inputs = {{"scores", scores}, {"mask", mask}, {"sink", sink}};
    Array weights = zeros(DType::float64, {1, 2}), log_sum_exp = zeros(DType::float64, {1});
    weights.data<double>()[0] = weights.data<double>()[1] = 0.5;
    log_sum_exp.data<double>()[0] = std::log(2.);
    two_scores.expected = {{"weights", weights}, {"log_sum_exp", log_sum_exp}};
    two_scores.has_expected = true;
    const fs::path folder = temporary.path / "case", out = temporary.path / "out";
    write_case(folder, two_scores);

    const Ended solution = attn_program({"run", folder.string(), "--impl", "solution", "--out", out.string()});
    INFO(solution.out << solution.err);
    CHECK(solution.status == 0);
    CHECK(holds(solution.out, "weights"));
    CHECK(fs::exists(out / "weights.npy"));
    CHECK(!fs::exists(out / "report.json"));
    check_refusal(attn_program({"run", folder.string()}), {"is an exercise", "--impl solution"});
    check_refusal(attn_program({"run", folder.string(), "--impl", "solution", "--dtype", "float64"}), {"float32"});

    weights.data<double>()[0] = 0.75;
    two_scores.expected["weights"] = weights;
    fs::remove_all(folder);
    write_case(folder, two_scores);
    CHECK(attn_program({"run", folder.string(), "--impl", "solution"}).status == 1);
}

TEST_CASE("profile") {
    const Ended lines = attn_program({"profile", "dense", "--n", "64", "--lines"});
    INFO(lines.out << lines.err);
    CHECK(lines.status == 0);
    CHECK(holds(lines.out, "0 of them are bank conflicts"));
    CHECK(holds(lines.out, "chapters/00_dense_attention/dense_attention.cu\n"));
    // A line that costs most, beside its text.
    std::istringstream heat_map(lines.out);
    bool found = false;
    for (std::string line; std::getline(heat_map, line);)
        found = found || (holds(line, "████████") && holds(line, "const float4 a = *reinterpret_cast<const float4*>"));
    CHECK(found);
    CHECK(holds(lines.out, "An estimate, not a measurement"));
    const Ended t4 = attn_program({"profile", "dense", "--n", "64", "--gpu", "T4"});
    CHECK(holds(t4.out, "a multiprocessor of T4 holds 4: 100 % occupancy"));
    const Ended json = attn_program({"profile", "dense", "--stage", "stage1", "--n", "64", "--json"});
    CHECK(json.status == 0);
    CHECK(holds(json.out, "\"l1tex__t_sectors_pipe_lsu_mem_global_op_ld\": 67584"));  // 64 · 64 / 32 · 16 · 33
    check_refusal(attn_program({"profile", "dense", "--stage", "stage9"}), {"no stage", "stage1, stage2"});
    check_refusal(attn_program({"profile", "dence"}), {"did you mean \"dense\"?"});
    check_refusal(attn_program({"profile", "dense", "--gpu", "A10"}), {"did you mean \"A100\"?", "RTX 4090"});
}

TEST_CASE("trace") {
    const Ended ended = attn_program({"trace", "dense"});
    CHECK(ended.status == 0);
    CHECK(ended.err.empty());
    CHECK(holds(ended.out, "4 queries and 4 keys"));
    CHECK(holds(ended.out, "log_sum_exp"));
    CHECK(attn_program({"trace", "dense"}).out == ended.out);
}

TEST_CASE("the table, and again at once") {
    const Ended first = attn_program({"table"});
    INFO(first.out << first.err);
    REQUIRE(first.status == 0);
    CHECK(first.err.empty());
    const auto start = Clock::now();
    const Ended second = attn_program({"table"});
    CHECK(seconds_since(start) < (sanitized ? 3 : 0.3));
    CHECK(second.status == 0);
    CHECK(second.out == first.out);
    CHECK(attn_program({}).out == first.out);

    const std::vector<std::string> names = {
        "Full attention",     "Sparse Transformer", "Longformer", "BigBird", "Sliding-Window",
        "Linear / Performer", "Linformer",          "MQA",        "GQA",     "MLA",
        "FlashAttention",     "NSA (2025)",         "Mamba",      "Jamba"};
    const toml::table book = toml::parse_file(ATTN_SOURCE_FOLDER "/common/mechanism/table_19_1.toml");
    const toml::array& rows = *book["row"].as_array();
    REQUIRE(rows.size() == names.size());
    std::size_t position = 0;
    for (std::size_t row = 0; row < names.size(); ++row) {
        INFO(names[row]);
        position = first.out.find("\n" + names[row], position);
        REQUIRE(position != std::string::npos);
        const std::string line = first.out.substr(position + 1, first.out.find('\n', position + 1) - position - 1);
        const toml::table& entry = *rows[row].as_table();
        CHECK(entry["mechanism"].value_or(std::string()) == names[row]);
        bool built = false;
        for (const auto& name : *entry["mechanisms"].as_array())
            built = built || find_mechanism(name.value_or(std::string())) != nullptr;
        CHECK(holds(line, "not built yet") == !built);
        CHECK(holds(line, "n^") == built);
    }
}

TEST_CASE("from a working directory that cannot be written to") {
    TemporaryFolder temporary;
    const fs::path folder = temporary.path / "locked";
    fs::create_directory(folder);
    fs::permissions(folder, fs::perms::owner_read | fs::perms::owner_exec);
    CHECK(attn_program({"table"}, folder).status == 0);
    CHECK(attn_program({"trace", "dense"}, folder).status == 0);
    CHECK(attn_program({"--help"}, folder).status == 0);
    CHECK(attn_program({"run", golden("plain").string()}, folder).status == 0);
    CHECK(fs::is_empty(folder));
    fs::permissions(folder, fs::perms::owner_all);
}
