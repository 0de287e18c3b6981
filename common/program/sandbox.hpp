// Runs a compiler, or a program whose author may want to cheat, where it can neither read what it should not know nor
// change what it should not touch.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace attn {

// A folder of ours and where it is seen inside. As another user inside (see `user`), what is `outside` must be open to
// that user: for T1 each folder on the way to it too (mode 0711 will do), for T2 the folder itself.
struct SandboxFolder {
    std::filesystem::path outside, inside;
    bool writable = false;
};

// 0: no limit. Nothing bounds the memory of all processes together but their product.
struct SandboxLimits {
    double cpu_seconds = 0;          // of each process, rounded up; SIGXCPU, and a second later SIGKILL
    std::int64_t address_bytes = 0;  // of each process; sanitizers and CUDA reserve more than they use
    std::int64_t file_bytes = 0;     // of each file
    int processes = 0;               // at once, and threads count; not with "none", where the caller's own would count
};

class Sandbox {
  public:
    // The strongest that works here, which is found by running something in it:
    //     T1    bubblewrap; started by root, as another user
    //     T2    namespaces and a root of its own, as another user; only root can start it
    // or the one `wanted`: T1, T2, or "none" (limits, nothing else), which is never chosen unasked. Throws
    // std::runtime_error that says why what was wanted, or either, does not work.
    static Sandbox find(std::optional<std::string> wanted = {});

    const std::string& tier() const { return tier_; }
    std::string description() const;  // one line, for reports

    // Who the command is, where that is not the caller: whom writable folders must belong to. Unallocated, and another
    // one with each call of `find`.
    std::optional<uid_t> user() const { return user_; }

    // The arguments that run `command` in `cwd`, a folder inside. It sees the system's programs and libraries
    // read-only, an empty /tmp of 256 MiB, a few devices, the processes of this run, no network, `folders` (a later one
    // may lie in an earlier one), and of the environment PATH, HOME=/tmp and LANG=C.UTF-8. With "none" each folder must
    // be inside what it is outside. Standard input, output and error are the caller's.
    //
    // The exit status is the command's; 128 + N where a signal N ended it (with "none", the signal itself). Where the
    // sandbox cannot be set up, a folder out of reach, say, it is not zero, with a line on standard error. By then
    // nothing is left inside.
    //
    // SIGKILL ends it early (other signals may not), and so does the end of the thread that started it: all that lives
    // inside, in whatever session or process group, is then killed by the kernel. With "none" it is not.
    std::vector<std::string> wrap(const std::vector<std::string>& command, const std::vector<SandboxFolder>& folders,
                                  const std::filesystem::path& cwd, const SandboxLimits& limits) const;

  private:
    std::string tier_;
    std::optional<uid_t> user_;
    bool bubblewrap_is_old_ = false;
};

}  // namespace attn
