// What a program in a sandbox tries, in every kind of sandbox that works here.
#include "common/program/sandbox.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

#include "common/exercise/child_process.hpp"
#include "tests/support/catch.hpp"

using namespace attn;
namespace fs = std::filesystem;

namespace {

const std::string secret = "the_expected_outputs";

std::string contents(const fs::path& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
}

void write_text(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
}

struct Ended {
    int status = 0;  // 128 + the signal that ended the process that was started
    std::string output, errors;
};

// A sandbox with a folder that can be read, one that can be written, and beside them a secret that everyone may read.
class Box {
  public:
    explicit Box(const Sandbox& sandbox) : sandbox(sandbox) {
        ::chmod(folder_.path().c_str(), 0711);
        for (const fs::path& folder : {given(), out()}) fs::create_directory(folder);
        write_text(given() / "data", "given\n");
        write_text(secret_file(), secret);
        if (sandbox.user()) REQUIRE(::chown(out().c_str(), *sandbox.user(), *sandbox.user()) == 0);
    }
    ~Box() {
        if (process_ > 0) kill();
        if (pipe_ >= 0) ::close(pipe_);
    }

    fs::path given() const { return folder_.path() / "it's given"; }
    fs::path out() const { return folder_.path() / "out"; }
    fs::path secret_file() const { return folder_.path() / "secret"; }

    std::vector<std::string> wrap(const std::string& script, const SandboxLimits& limits) const {
        if (sandbox.tier() == "none") return sandbox.wrap({"sh", "-c", script}, {}, out(), limits);
        return sandbox.wrap({"sh", "-c", script}, {{given(), "/given"}, {out(), "/out", true}}, "/out", limits);
    }

    // What the script writes is read from output().
    void start(const std::string& script, const SandboxLimits& limits = {}, const std::string& input = {}) {
        const std::vector<std::string> words = wrap(script, limits);
        std::vector<char*> arguments;
        for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
        arguments.push_back(nullptr);
        int in[2], out[2];
        REQUIRE((::pipe2(in, O_CLOEXEC) == 0 && ::pipe2(out, O_CLOEXEC) == 0));
        const int errors = ::open(errors_file().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        process_ = ::fork();
        if (process_ == 0) {
            ::setpgid(0, 0);
            ::dup2(in[0], STDIN_FILENO);
            ::dup2(out[1], STDOUT_FILENO);
            ::dup2(errors, STDERR_FILENO);
            ::execv(arguments[0], arguments.data());
            ::_exit(127);
        }
        ::setpgid(process_, process_);
        for (int end : {in[0], out[1], errors}) ::close(end);
        CHECK(::write(in[1], input.data(), input.size()) == static_cast<ssize_t>(input.size()));
        ::close(in[1]);
        if (pipe_ >= 0) ::close(pipe_);
        pipe_ = out[0];
    }

    // Up to its end, which it must reach in time.
    std::string output() {
        std::string text;
        char bytes[4096];
        ssize_t count = 1;
        for (pollfd ready = {pipe_, POLLIN, 0}; count > 0; text.append(bytes, static_cast<std::size_t>(count))) {
            if (::poll(&ready, 1, 60'000) != 1) throw std::runtime_error("something still holds the output");
            if ((count = ::read(pipe_, bytes, sizeof bytes)) <= 0) break;
        }
        return text;
    }

    std::string first_line() {
        std::string line;
        for (char c; ::read(pipe_, &c, 1) == 1 && c != '\n';) line += c;
        return line;
    }

    void kill() {
        ::kill(-process_, SIGKILL);
        wait();
    }

    Ended run(const std::string& script, const SandboxLimits& limits = {}, const std::string& input = {}) {
        start(script, limits, input);
        Ended ended;
        ended.output = output();
        ended.status = wait();
        ended.errors = contents(errors_file());
        return ended;
    }

    const Sandbox sandbox;

  private:
    fs::path errors_file() const { return folder_.path() / "errors"; }

    int wait() {
        int status = 0;
        ::waitpid(process_, &status, 0);
        process_ = -1;
        return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }

    TemporaryFolder folder_;
    pid_t process_ = -1;
    int pipe_ = -1;
};

bool is_old(const Sandbox& sandbox) { return sandbox.description().find("an old bubblewrap") != std::string::npos; }

std::vector<Sandbox> working_sandboxes() {
    std::vector<Sandbox> sandboxes;
    for (const char* tier : {"T1", "T2"}) {
        try {
            sandboxes.push_back(Sandbox::find(tier));
        } catch (const std::runtime_error& error) {
            WARN("not run: " << error.what());
        }
    }
    return sandboxes;
}

void in_each_sandbox(const std::function<void(Box&)>& check) {
    static const std::vector<Sandbox> sandboxes = working_sandboxes();
    for (const Sandbox& sandbox : sandboxes) {
        INFO(sandbox.description());
        Box box(sandbox);
        check(box);
    }
}

}  // namespace

TEST_CASE("A sandbox is chosen by whether it works, and never left out unasked") {
    CHECK_THROWS_WITH(Sandbox::find("T3"), "no sandbox \"T3\"; T1, T2 or none");
    std::optional<std::string> best;
    for (const char* tier : {"T2", "T1"}) {
        try {
            Sandbox sandbox = Sandbox::find(tier);
            CHECK(sandbox.tier() == tier);
            CHECK_THAT(sandbox.description(), Catch::Contains(tier));
            best = tier;
        } catch (const std::runtime_error& error) {
            CHECK_THAT(error.what(), Catch::Contains(std::string(tier) + ": "));
        }
    }
    if (best)
        CHECK(Sandbox::find().tier() == *best);
    else
        CHECK_THROWS_AS(Sandbox::find(), std::runtime_error);
}

TEST_CASE("Without a sandbox there are limits, and the signal itself") {
    Box box(Sandbox::find("none"));
    CHECK(box.run("echo $HOME; exit 7").status == 7);
    CHECK(box.run("kill -SEGV $$").status == 128 + SIGSEGV);
    CHECK(box.run("head -c 2000 /dev/zero > big", {.file_bytes = 1000}).status != 0);
    CHECK_FALSE(box.sandbox.user());
    CHECK_THROWS_AS(box.sandbox.wrap({"true"}, {{box.given(), "/given"}}, "/", {}), std::runtime_error);
    CHECK_NOTHROW(box.sandbox.wrap({"true"}, {{box.given(), box.given()}}, "/", {}));
}

TEST_CASE("Folders that do not exist or are not named in full are refused") {
    in_each_sandbox([](Box& box) {
        for (const SandboxFolder& folder : std::vector<SandboxFolder>{
                 {"/nowhere", "/given"}, {box.secret_file(), "/given"}, {".", "/given"}, {box.given(), "given"}})
            CHECK_THROWS_AS(box.sandbox.wrap({"true"}, {folder}, "/", {}), std::runtime_error);
    });
}

TEST_CASE("Only the system and the given folders can be seen") {
    in_each_sandbox([](Box& box) {
        const std::string system = " bin dev etc given lib lib32 lib64 libx32 out proc sbin tmp usr ";
        for (const std::string& name : lines_of(box.run("ls -A /").output))
            CHECK_THAT(system, Catch::Contains(" " + name + " "));
        for (const std::string& name : lines_of(box.run("ls -A /etc").output))
            CHECK_THAT(" alternatives ld.so.cache ", Catch::Contains(" " + name + " "));
        CHECK(box.run("ls -A /tmp").output == "");
        std::vector<std::string> hidden = {"/etc/shadow",      "/root",           "/home",  "/sys",
                                           ATTN_SOURCE_FOLDER, box.secret_file(), box.out()};
        if (const char* home = std::getenv("HOME"); home && std::string(home) != "/") hidden.push_back(home);
        for (const std::string& path : hidden) {
            INFO(path);
            CHECK(box.run("test -e " + path).status == 1);
            CHECK(box.run("cat /proc/1/root" + path + "; ls /proc/1/root" + path).output == "");
        }
    });
}

TEST_CASE("Only folders given as writable, and /tmp, can be written") {
    in_each_sandbox([](Box& box) {
        CHECK(box.run("cat /given/data").output == "given\n");
        std::vector<std::string> attempts = {"echo > /given/data",
                                             "rm -f /given/data",
                                             "touch /given/new",
                                             "chmod 777 /given",
                                             "touch /new",
                                             "touch /etc/new",
                                             "touch /usr/new",
                                             "touch /dev/new",
                                             "mkdir /dev/shm/new",
                                             "umount /usr",
                                             "mount -o remount,rw /given",
                                             "mount -o remount,rw,bind /usr"};
        if (!is_old(box.sandbox)) attempts.push_back("unshare -U true");  // the way to more privileges
        for (const std::string& attempt : attempts) {
            INFO(attempt);
            CHECK(box.run(attempt).status != 0);
        }
        CHECK(contents(box.given() / "data") == "given\n");
        CHECK(box.run("pwd; echo result > /out/result; echo scratch > /tmp/x; cat /tmp/x").output == "/out\nscratch\n");
        CHECK(contents(box.out() / "result") == "result\n");
    });
}

TEST_CASE("There is no network") {
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    REQUIRE(::bind(listener, reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(::listen(listener, 9) == 0);
    REQUIRE(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    const std::string connect = fmt::format("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{}'", ::ntohs(address.sin_port));
    CHECK(Box(Sandbox::find("none")).run(connect).status == 0);
    in_each_sandbox([&](Box& box) {
        CHECK(box.run(connect).status != 0);
        CHECK(box.run("sed 1,2d /proc/net/dev | cut -d: -f1 | tr -d ' '").output == "lo\n");
    });
    ::close(listener);
}

TEST_CASE("It has a user, processes and an environment of its own, and no privileges") {
    ::setenv("ATTN_SECRET", secret.c_str(), 1);
    in_each_sandbox([](Box& box) {
        const uid_t user = box.sandbox.user().value_or(::getuid());
        if (::geteuid() == 0) CHECK(user != 0);
        CHECK(box.run("id -u").output == fmt::format("{}\n", user));
        CHECK(box.run("grep -E '^(Cap|NoNewPrivs)' /proc/self/status | tr -d '0\\t'").output ==
              "CapInh:\nCapPrm:\nCapEff:\nCapBnd:\nCapAmb:\nNoNewPrivs:1\n");
        for (const std::string& line : lines_of(box.run("env").output))
            CHECK_THAT(" HOME LANG PATH PWD ", Catch::Contains(" " + line.substr(0, line.find('=')) + " "));

        // The first process, sh, ls.
        CHECK(lines_of(box.run("ls -d /proc/[0-9]*; :").output).size() <= 3);
        CHECK_THAT(box.run("cat /proc/[0-9]*/environ").output, !Catch::Contains(secret));
        CHECK(box.run(fmt::format("kill -9 {}", ::getpid())).status != 0);
    });
    ::unsetenv("ATTN_SECRET");
}

TEST_CASE("Limits bind") {
    in_each_sandbox([](Box& box) {
        // sh is the first of them.
        Ended bomb = box.run("while :; do sleep 100 > /dev/null & echo forked; done", {.processes = 10});
        CHECK(lines_of(bomb.output).size() == 9);
        CHECK(bomb.status != 0);

        CHECK(box.run("head -c 2000000 /dev/zero > big", {.file_bytes = 1000000}).status != 0);
        CHECK(fs::file_size(box.out() / "big") <= 1000000);

        const char* allocation = "dd if=/dev/zero of=/dev/null bs=200M count=1";
        CHECK(box.run(allocation).status == 0);
        CHECK(box.run(allocation, {.address_bytes = 100 << 20}).status != 0);

        const auto start = std::chrono::steady_clock::now();
        CHECK(box.run("while :; do :; done", {.cpu_seconds = 0.5}).status == 128 + SIGXCPU);
        CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(30));

        CHECK(box.run("ulimit -c").output == "0\n");
        if (!is_old(box.sandbox)) CHECK(box.run("head -c 300M /dev/zero > /tmp/big").status != 0);
    });
}

TEST_CASE("Statuses, signals and streams come through as they are") {
    in_each_sandbox([](Box& box) {
        CHECK(box.run("exit 0").status == 0);
        CHECK(box.run("exit 7").status == 7);
        for (auto [name, number] :
             {std::pair("SEGV", SIGSEGV), {"ABRT", SIGABRT}, {"TERM", SIGTERM}, {"KILL", SIGKILL}}) {
            Ended ended = box.run(fmt::format("kill -{} $$", name));
            CHECK(ended.status == 128 + number);
            CHECK(ended.errors == "");
        }
        Ended ended = box.run("cat; echo to the judge; echo an error >&2", {}, "a request\n");
        CHECK(ended.output == "a request\nto the judge\n");
        CHECK(ended.errors == "an error\n");
        CHECK(box.run("no_such_program").status == 127);

        std::string binary;
        for (int byte = 0; byte < 256; ++byte) binary += static_cast<char>(byte);
        CHECK(box.run("cat", {}, binary).output == binary);
    });
}

TEST_CASE("Nothing is left inside after the end") {
    in_each_sandbox([](Box& box) {
        Ended ended = box.run(
            "setsid sh -c 'while :; do echo late > /out/late; done' > /dev/null 2>&1 &\n"
            "while ! test -e /out/late; do :; done");
        CHECK(ended.status == 0);
        fs::remove(box.out() / "late");
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        CHECK_FALSE(fs::exists(box.out() / "late"));
    });
}

// What it starts in other sessions goes too, even where it makes the first process that it sees forget that it must end
// with its parent.
TEST_CASE("Nothing survives that its process group is killed") {
    const char* attack = R"(
        #include <signal.h>
        #include <stdio.h>
        #include <sys/prctl.h>
        #include <sys/ptrace.h>
        #include <sys/user.h>
        #include <sys/wait.h>
        int main() {
            if (ptrace(PTRACE_ATTACH, 1, 0, 0) != 0) return puts("out of reach"), 0;
            waitpid(1, nullptr, __WALL);
            user_regs_struct before, call;
            ptrace(PTRACE_GETREGS, 1, 0, &before);
            call = before;
            call.rip -= 2;  // it waits in a system call: the instruction that made it
            call.orig_rax = -1;
            call.rax = 157;  // prctl
            call.rdi = PR_SET_PDEATHSIG;
            call.rsi = 0;
            ptrace(PTRACE_SETREGS, 1, 0, &call);
            ptrace(PTRACE_SINGLESTEP, 1, 0, 0);
            waitpid(1, nullptr, __WALL);
            ptrace(PTRACE_GETREGS, 1, 0, &call);
            ptrace(PTRACE_SETREGS, 1, 0, &before);
            ptrace(PTRACE_DETACH, 1, 0, 0);
            puts(call.rax == 0 ? "reached" : "failed");
        })";
    in_each_sandbox([&](Box& box) {
        write_text(box.given() / "attack.cpp", attack);
        box.start(
            "g++ /given/attack.cpp -o attack && ./attack > reached\n"
            "setsid sh -c 'while :; do echo late > /out/late; sleep 0.01; done' &\n"
            "setsid setsid sleep 1000 &\n"
            "while ! test -e /out/late; do :; done\n"
            "echo started; sleep 1000");
        REQUIRE(box.first_line() == "started");
        const std::string reached = contents(box.out() / "reached");
        CHECK((reached == "reached\n" || reached == "out of reach\n"));
        box.kill();
        CHECK(box.output() == "");  // it ends: nobody holds it any more
        fs::remove(box.out() / "late");
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        CHECK_FALSE(fs::exists(box.out() / "late"));
    });
}

TEST_CASE("A compiler works inside, and cannot be made to read what its author may not") {
    in_each_sandbox([](Box& box) {
        auto compile = [&](const std::string& code) {
            write_text(box.given() / "code.cpp", code);
            return box.run(
                "g++ -g -O1 /given/code.cpp -o /out/program",
                {.cpu_seconds = 60, .address_bytes = std::int64_t{4} << 30, .file_bytes = 64 << 20, .processes = 20});
        };
        Ended ended = compile("#include <iostream>\nint main() { std::cout << \"hello\\n\"; }\n");
        INFO(ended.errors);
        REQUIRE(ended.status == 0);
        CHECK(box.run("./program").output == "hello\n");

        for (const std::string& file : {std::string("/etc/shadow"), box.secret_file().string()}) {
            fs::remove(box.out() / "program");
            for (const std::string& code : {"#include \"" + file + "\"\nint main() {}\n",
                                            "int main() {}\nasm(\".incbin \\\"" + file + "\\\"\");\n"}) {
                ended = compile(code);
                CHECK(ended.status != 0);
                CHECK_THAT(ended.errors, Catch::Contains("o such file") || Catch::Contains("file not found"));
                CHECK_THAT(ended.output + ended.errors, !Catch::Contains(secret));
                CHECK_FALSE(fs::exists(box.out() / "program"));
            }
            REQUIRE(compile("#if __has_include(\"" + file + "\")\n#error seen\n#endif\nint main() {}\n").status == 0);
        }
    });
}
