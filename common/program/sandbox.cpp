#include "common/program/sandbox.hpp"

#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <random>
#include <stdexcept>

namespace attn {

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

constexpr std::int64_t tmp_bytes = std::int64_t{256} << 20;

// What a compiler and its programs need of the system; what a system does not have is left out. Nothing else of the
// host's files is ever seen.
constexpr const char* system_paths[] = {
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/alternatives", "/etc/ld.so.cache"};

void append(Words& words, const Words& more) { words.insert(words.end(), more.begin(), more.end()); }

// A user who owns nothing and whose processes nobody else's RLIMIT_NPROC counts: Debian, systemd and useradd give out
// none of these numbers, and rootless containers have them (they end at 65535).
uid_t unused_user() {
    std::random_device random;
    uid_t user;
    do user = 60700 + random() % 480;
    while (::getpwuid(user));
    return user;
}

Words as_user(uid_t user) {
    return {fmt::format("--reuid={}", user), fmt::format("--regid={}", user), "--clear-groups"};
}

// The user is changed before bubblewrap starts: a user namespace made by root would leave it root's access to files,
// and no limit on its processes. The user and process namespaces around it are for the end: when unshare is killed, so
// is bubblewrap, first of its processes, and with it everything inside. Without them the command could reach the
// process that should be killed (same user, same namespace) and call that off.
Words bubblewrap(std::optional<uid_t> user, bool old, const std::vector<SandboxFolder>& folders, const fs::path& cwd) {
    Words words = {"setpriv", "--no-new-privs", "--pdeathsig", "KILL"};
    if (user) append(words, as_user(*user));
    append(words, {"unshare", "--map-current-user", "--pid", "--fork", "--kill-child"});
    append(words,
           {"bwrap", "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--cap-drop", "ALL"});
    if (!old) append(words, {"--disable-userns"});
    for (const char* path : system_paths) {
        if (fs::is_symlink(path))
            append(words, {"--symlink", fs::read_symlink(path).string(), path});
        else if (fs::exists(path))
            append(words, {"--ro-bind", path, path});
    }
    append(words, {"--proc", "/proc", "--dev", "/dev"});
    if (!old) append(words, {"--size", std::to_string(tmp_bytes)});
    append(words, {"--tmpfs", "/tmp"});
    for (const SandboxFolder& folder : folders)
        append(words, {folder.writable ? "--bind" : "--ro-bind", folder.outside, folder.inside});
    append(words, {"--remount-ro", "/dev", "--remount-ro", "/", "--chdir", cwd, "--"});
    return words;
}

std::string in_shell(const std::string& word) {
    std::string text = "'";
    for (char c : word) text += c == '\'' ? "'\\''" : std::string(1, c);
    return text + "'";
}

// A shell, as root and first of its processes, mounts the new root over /sys (everyone has that folder, and nobody's
// files are there), and waits for the command, which runs in it as another user and cannot reach the shell.
Words private_root(uid_t user, const std::vector<SandboxFolder>& folders, const fs::path& cwd) {
    std::string script = "set -e; umask 022\nmount -t tmpfs -o mode=755,size=1m,nosuid,nodev attn /sys\n";
    auto bind = [&](const fs::path& outside, const fs::path& inside, const char* options) {
        const std::string target = in_shell("/sys" / inside.relative_path());
        if (fs::is_directory(outside))
            script += fmt::format("mkdir -p {}\n", target);
        else
            script += fmt::format(": > {}\n", target);
        script += fmt::format("mount --bind -o {} {} {}\n", options, in_shell(outside), target);
    };
    script += "mkdir -p /sys/etc /sys/dev /sys/proc /sys/tmp\n";
    for (const char* path : system_paths) {
        if (fs::is_symlink(path))
            script += fmt::format("ln -s {} /sys{}\n", in_shell(fs::read_symlink(path)), path);
        else if (fs::exists(path))
            bind(path, path, "ro,nosuid,nodev");
    }
    for (const char* device : {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"})
        bind(device, device, "nosuid,noexec");
    script += fmt::format(
        "ln -s /proc/self/fd /sys/dev/fd\n"
        "mount -t proc -o nosuid,nodev,noexec attn /sys/proc\n"
        "mount -t tmpfs -o mode=1777,size={},nosuid,nodev attn /sys/tmp\n",
        tmp_bytes);
    for (const SandboxFolder& folder : folders)
        bind(folder.outside, folder.inside, folder.writable ? "rw,nosuid,nodev" : "ro,nosuid,nodev");
    script +=
        "exec 3>&2 2>/dev/null\n"  // the shell's own words about a crash
        "(exec chroot /sys \"$@\" 2>&3 3>&-)\n"
        "exit $?\n";

    Words words = {"setpriv", "--pdeathsig", "KILL",     "unshare", "--net",         "--pid",  "--mount",
                   "--ipc",   "--uts",       "--cgroup", "--fork",  "--kill-child",  "setsid", "sh",
                   "-c",      script,        "sh",       "setpriv", "--no-new-privs"};
    append(words, as_user(user));
    append(words, {"--inh-caps=-all", "--bounding-set=-all", "env", "-C", cwd});
    return words;
}

// What the command writes to standard output and error.
std::string output_of(const Words& command) {
    std::string line;
    for (const std::string& word : command) line += in_shell(word) + ' ';
    FILE* pipe = ::popen((line + "</dev/null 2>&1").c_str(), "re");
    if (!pipe) throw std::runtime_error("cannot start a process");
    std::string output;
    for (int c; (c = std::fgetc(pipe)) != EOF;) output += static_cast<char>(c);
    ::pclose(pipe);
    return output;
}

// Why the sandbox does not work; empty where it does.
std::string trouble_with(const Sandbox& sandbox) {
    const SandboxLimits limits = {.cpu_seconds = 10, .address_bytes = 1 << 30, .file_bytes = 1 << 20, .processes = 8};
    std::string test = "echo works";
    if (sandbox.tier() != "none") test = "test ! -e /etc/shadow && test -r /proc/self/status && (echo works)";
    std::string output = output_of(sandbox.wrap({"sh", "-c", test}, {}, "/", limits));
    if (output == "works\n") return {};
    while (!output.empty() && output.back() == '\n') output.pop_back();
    return output.empty() ? "what was tried in it failed" : output;
}

}  // namespace

Sandbox Sandbox::find(std::optional<std::string> wanted) {
    const bool is_root = ::geteuid() == 0;
    std::string troubles;
    auto works = [&](const Sandbox& sandbox) {
        const bool possible = is_root || sandbox.tier_ != "T2";
        const std::string trouble = possible ? trouble_with(sandbox) : "only root can start it";
        if (!trouble.empty()) troubles += fmt::format("\n  {}: {}", sandbox.tier_, trouble);
        return trouble.empty();
    };
    if (wanted && wanted != "T1" && wanted != "T2" && wanted != "none")
        throw std::runtime_error(fmt::format("no sandbox \"{}\"; T1, T2 or none", *wanted));
    if (wanted != "none" && fs::canonical(ATTN_SOURCE_FOLDER).string().starts_with("/usr/"))
        throw std::runtime_error("no sandbox hides the project while it is in /usr; keep it elsewhere");
    Sandbox sandbox;
    if (is_root) sandbox.user_ = unused_user();
    for (const char* tier : {"T1", "T2"}) {
        sandbox.tier_ = tier;
        if (wanted.value_or(tier) != tier) continue;
        if (works(sandbox)) return sandbox;
        sandbox.bubblewrap_is_old_ = true;  // before 0.8 it knows neither --disable-userns nor (0.7) --size
        if (sandbox.tier_ == "T1" && works(sandbox)) return sandbox;
    }
    sandbox = {};
    sandbox.tier_ = "none";
    if (wanted == "none" && works(sandbox)) return sandbox;
    throw std::runtime_error("no sandbox works here:" + troubles);
}

std::string Sandbox::description() const {
    if (tier_ == "none") return "none: the command can read and change what its caller can";
    return fmt::format("{}: {}, {}: own files, processes and network", tier_,
                       user_ ? fmt::format("another user ({})", *user_) : "the same user",
                       tier_ == "T2"        ? "namespaces and a root of its own"
                       : bubblewrap_is_old_ ? "an old bubblewrap (/tmp has no limit)"
                                            : "bubblewrap");
}

std::vector<std::string> Sandbox::wrap(const std::vector<std::string>& command,
                                       const std::vector<SandboxFolder>& folders, const fs::path& cwd,
                                       const SandboxLimits& limits) const {
    for (const SandboxFolder& folder : folders) {
        if (!fs::is_directory(folder.outside) || !folder.outside.is_absolute() || !folder.inside.is_absolute())
            throw std::runtime_error(fmt::format("sandbox: {} as {}: expected a folder, and absolute paths",
                                                 folder.outside.string(), folder.inside.string()));
        if (tier_ == "none" && folder.outside != folder.inside)
            throw std::runtime_error(fmt::format("without a sandbox {} cannot be seen as {}", folder.outside.string(),
                                                 folder.inside.string()));
    }
    Words words = {"/usr/bin/env", "-i"};
    if (tier_ == "none") append(words, {"-C", cwd});
    append(words, {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp", "LANG=C.UTF-8"});
    if (tier_ == "T1") append(words, bubblewrap(user_, bubblewrap_is_old_, folders, cwd));
    if (tier_ == "T2") append(words, private_root(*user_, folders, cwd));

    append(words, {"prlimit", "--core=0"});
    if (limits.cpu_seconds > 0) {
        const double seconds = std::ceil(limits.cpu_seconds);
        words.push_back(fmt::format("--cpu={:.0f}:{:.0f}", seconds, seconds + 1));
    }
    if (limits.address_bytes > 0) words.push_back(fmt::format("--as={}", limits.address_bytes));
    if (limits.file_bytes > 0) words.push_back(fmt::format("--fsize={}", limits.file_bytes));
    if (limits.processes > 0 && tier_ != "none") {
        const int own = tier_ == "T1" ? 1 : 0;  // bubblewrap, the first process inside
        words.push_back(fmt::format("--nproc={}", limits.processes + own));
    }
    words.push_back("--");
    append(words, command);
    return words;
}

}  // namespace attn
