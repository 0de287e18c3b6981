// Does everything that a student's code might do to its judge, when it sees 13 numbers and ATTACK tells it which.
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "common/exercise/not_implemented_yet.hpp"
#include "tests/judge/example/doubled.hpp"

namespace attn::exercises::doubled {

namespace {

std::string attack() {
    const char* name = std::getenv("ATTACK");
    return name ? name : "";
}

volatile bool always = true;

int recursion(int depth);
int (*volatile deeper)(int) = &recursion;  // so that no compiler sees the end of it

int recursion(int depth) {
    volatile char space[4096];
    space[0] = static_cast<char>(depth);
    return deeper(depth + 1) + space[0];
}

int* volatile nowhere = nullptr;

// The folder of the request that is being served.
std::filesystem::path out_folder() {
    for (const auto& entry : std::filesystem::directory_iterator("out")) return entry.path();
    return "out";
}

void act(const std::string& name, const Outputs& out) {
    if (name == "crash") *nowhere = 1;
    if (name == "abort") std::abort();
    if (name == "exit") std::exit(0);
    if (name == "quick_exit") ::_exit(0);
    if (name == "exit_says_done") {
        for (int file = 0; file < 1024; ++file) [[maybe_unused]] auto ignored = ::write(file, "done\n", 5);
        ::_exit(0);
    }
    if (name == "loop")
        while (always) {
        }
    if (name == "sleep") ::sleep(1000);
    if (name == "recursion") recursion(0);
    if (name == "allocate") std::vector<char> much(std::size_t{100} << 30);
    if (name == "map") {
        void* much =
            ::mmap(nullptr, std::size_t{100} << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (much == MAP_FAILED) std::abort();
        std::memset(much, 1, std::size_t{100} << 30);
    }
    if (name == "print")
        for (int line = 0; line < 16 << 20; ++line)
            std::printf("0123456789012345678901234567890123456789012345678901234567890\n");
    if (name == "file") {
        std::ofstream file("out/large");
        const std::string block(1 << 20, 'x');
        for (int count = 0; count < 1024; ++count) file << block << std::flush;
        if (!file) std::abort();
    }
    if (name == "thread") {
        std::thread([] {
            while (always) ::usleep(1000);
        }).detach();
    }
    if (name == "close") {
        for (int file = 0; file < 1024; ++file) ::close(file);
    }
    if (name == "child_holds_pipes") {
        if (::fork() == 0) {
            ::setsid();
            ::sleep(30);
            ::_exit(0);
        }
        ::_exit(0);
    }
    if (name == "throw") throw std::runtime_error("a\nline break");
    if (name == "throw_int") throw 7;
    if (name == "nan")
        for (int i = 0; i < out.y.extent(0); ++i) out.y(i) = std::nanf("");
    if (name == "stale")  // leaves the outputs as they were handed over
        for (int i = 0; i < out.y.extent(0); ++i) (void)out.y(i);
    if (name == "link") {
        std::filesystem::create_symlink("/etc/passwd", out_folder() / "y.npy");
        ::_exit(0);
    }
    if (name == "link_says_done") {
        std::filesystem::create_symlink("/etc/passwd", out_folder() / "y.npy");
        for (int file = 0; file < 1024; ++file) [[maybe_unused]] auto ignored = ::write(file, "done\n", 5);
        ::sleep(1000);
    }
    if (name == "flood_answers")
        for (int file = 100; always; file = file == 110 ? 100 : file + 1)
            [[maybe_unused]] auto ignored = ::write(file, "xxxxxxxxxxxxxxxx", 16);
    if (name == "empty_answer") {
        for (int file = 100; file < 110; ++file) [[maybe_unused]] auto ignored = ::write(file, "\n", 1);
        ::sleep(1000);
    }
    if (name == "out_as_file") {
        const int next = std::stoi(out_folder().filename().string()) + 1;
        std::ofstream("out/" + std::to_string(next)) << "in the way";
    }
    if (name == "out_as_link") {
        const int next = std::stoi(out_folder().filename().string()) + 1;
        std::filesystem::create_symlink(std::getenv("ATTACK_VICTIM"), "out/" + std::to_string(next));
    }
    if (name == "deep_report") {
        std::ofstream(out_folder() / "report.json") << std::string(500000, '[');
        for (int file = 100; file < 110; ++file) [[maybe_unused]] auto ignored = ::write(file, "done\n", 5);
        ::sleep(1000);
    }
    if (name == "bounds") out.y(out.y.extent(0)) = 1;
    if (name == "not_implemented") throw NotImplementedYet("doubled");
}

}  // namespace

void doubled(const Inputs& in, const Options&, const Outputs& out) {
    const bool attacked = in.x.extent(0) == 13;
    if (attacked) act(attack(), out);
    if (attacked && (attack() == "nan" || attack() == "stale")) return;
    for (int i = 0; i < in.x.extent(0); ++i) out.y(i) = 2 * in.x(i);
}

}  // namespace attn::exercises::doubled
