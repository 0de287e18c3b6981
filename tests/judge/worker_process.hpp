// The judge's end of a worker: starts it, bounds it, asks it, and tells how it ended. Nothing that the worker does can
// do more than fail the request that is being served.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace attn::judge {

struct WorkerLimits {
    double seconds = 5;                                  // for one request, by the clock on the wall
    std::int64_t address_bytes = std::int64_t{8} << 30;  // 0: no limit (CUDA reserves more than it uses)
    std::int64_t file_bytes = std::int64_t{256} << 20;
    std::int64_t printed_bytes = std::int64_t{1} << 20;  // to standard output and error together
};

// The exit status of a worker that cannot answer any more.
constexpr int worker_lost_its_pipes = 113;

struct Reply {
    enum class End { answered, exited, signalled, timed_out, printed_too_much };
    End end = End::answered;
    std::string answer;   // the line, where it answered
    int status = 0;       // exit status or signal, where it did not
    std::string printed;  // the last 4 KiB of what it printed while this request was served
};

class WorkerProcess {
  public:
    // `command` is run in `folder`, which it sees as its own. Throws std::runtime_error where no process can be made.
    WorkerProcess(const std::vector<std::string>& command, const std::filesystem::path& folder,
                  const WorkerLimits& limits);
    ~WorkerProcess();
    WorkerProcess(const WorkerProcess&) = delete;

    // After any reply but `answered` the process is gone, and with it all that it had started.
    Reply request(const std::string& line);
    bool alive() const { return process_ > 0; }

  private:
    int end();  // kills it and its group; its wait status
    void read_printed(std::string& printed);

    WorkerLimits limits_;
    pid_t process_ = -1;
    int requests_ = -1, answers_ = -1, prints_ = -1;
    std::int64_t printed_bytes_ = 0;
};

}  // namespace attn::judge
