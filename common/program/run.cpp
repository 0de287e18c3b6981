// attn run CASE: computes a mechanism on a case, in a child process, and holds the outputs against expected/.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>

#include "common/cuda/cuda_error.hpp"
#include "common/emulator/emulator.hpp"
#include "common/exercise/child_process.hpp"
#include "common/exercise/not_implemented_yet.hpp"
#include "common/exercise/verdict.hpp"
#include "common/mechanism/mechanism.hpp"
#include "common/program/build.hpp"
#include "common/program/program.hpp"
#include "common/tensor/compare.hpp"
#include "common/tensor/nearest.hpp"

namespace attn {

namespace {

using Clock = std::chrono::steady_clock;

Precision parse_precision(const std::string& text) {
    for (Precision precision : {Precision::float64, Precision::float32, Precision::float16, Precision::bfloat16})
        if (text == name(precision)) return precision;
    throw std::runtime_error("no dtype " + text);
}

std::string stages_of(const std::string& mechanism) {
    std::string names;
    for (const CudaVersion& version : cuda_versions(mechanism, "emulated")) names += "|" + version.name;
    return names;
}

// Refuses what the mechanism does not offer, before anything is computed.
void check_offer(const Mechanism& mechanism, const RunOptions& options, Precision precision) {
    const std::string& wanted = options.implementation;
    if (wanted == "exercise" || wanted == "solution")
        throw std::runtime_error(fmt::format("{} has no exercise that computes it whole; --impl naive|optimized{}",
                                             mechanism.name, stages_of(mechanism.name)));
    if (!options.exercise.empty()) throw std::runtime_error("--exercise needs --impl exercise or --impl solution");
    if (wanted == "naive") {
        if (!options.device.empty()) throw std::runtime_error("--device is for kernels; --impl naive runs on the CPU");
        const auto& offered = mechanism.naive_precisions;
        if (std::find(offered.begin(), offered.end(), precision) == offered.end())
            throw std::runtime_error(
                fmt::format("{} --impl naive does not compute in {}", mechanism.name, name(precision)));
        return;
    }
    bool is_stage = false;
    for (const CudaVersion& version : cuda_versions(mechanism.name, "emulated")) is_stage |= version.name == wanted;
    if (wanted != "optimized" && !is_stage)
        throw std::runtime_error(fmt::format("{} has no implementation {}; --impl naive|optimized|exercise|solution{}",
                                             mechanism.name, in_quotes(wanted), stages_of(mechanism.name)));
    if (precision != Precision::float32)
        throw std::runtime_error(
            fmt::format("{} --impl {} computes in float32, not in {}", mechanism.name, wanted, name(precision)));
}

// A run never writes into its case.
void check_out(const std::filesystem::path& out, const std::filesystem::path& case_folder) {
    if (out.empty()) return;
    std::filesystem::path there = out;  // what there is of it
    while (!there.empty() && !std::filesystem::exists(there)) there = there.parent_path();
    if (!there.empty() && !std::filesystem::is_directory(there))
        throw std::runtime_error(fmt::format("--out {}: found that {} is not a folder, expected one or a free name",
                                             in_quotes(out.string(), 200), in_quotes(there.string(), 200)));
    std::filesystem::path inner = std::filesystem::weakly_canonical(std::filesystem::absolute(out));
    std::filesystem::path outer = std::filesystem::canonical(case_folder);
    if (std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end())
        throw std::runtime_error(fmt::format("--out {}: found a folder of the case itself, expected one outside it",
                                             in_quotes(out.string(), 200)));
}

// In the child: computes and writes the outputs. The exit status is the child's.
int compute(const Mechanism& mechanism, const Case& input_case, const RunOptions& options, Precision precision,
            const std::filesystem::path& out) {
    try {
        NamedArrays outputs;
        auto start = Clock::now();
        std::string what, counts;
        if (options.implementation == "naive") {
            outputs = mechanism.run_naive(input_case, precision);
            what = "naive, on the CPU";
        } else {
            std::string device = options.device;
            if (device.empty()) device = gpu_available() ? "cuda" : "emulated";
            if (device == "cuda" && !gpu_available()) {
                fmt::print(stderr,
                           "attn: not run: no GPU answers; --device emulated runs the same kernel on the CPU\n");
                return exit_bad_usage;
            }
            std::vector<CudaVersion> versions = cuda_versions(mechanism.name, device);
            const CudaVersion* version = versions.empty() ? nullptr : &versions.back();
            for (const CudaVersion& candidate : versions)
                if (candidate.name == options.implementation) version = &candidate;
            if (!version) {
                fmt::print(stderr, "attn: {} has no kernel for the device {}\n", mechanism.name, device);
                return exit_bad_usage;
            }
            outputs = mechanism.run_cuda(input_case, *version);
            what = fmt::format("{} ({}), {}", version->name, version->idea,
                               device == "cuda" ? "on the GPU" : "on the emulator");
            if (device == "emulated") {
                if (!emulator::findings().empty()) return exit_broken;  // printed when it was found
                const emulator::Counts& c = emulator::counts();
                counts = fmt::format(
                    "counted: {} launches; global memory: {} bytes loaded, {} stored (requested by the threads); "
                    "shared memory: {} loaded, {} stored; most device memory held: {} bytes\n",
                    c.launches, c.global_load_bytes, c.global_store_bytes, c.shared_load_bytes, c.shared_store_bytes,
                    emulator::peak_device_bytes());
            }
        }
        std::chrono::duration<double> seconds = Clock::now() - start;
        fmt::print("{}, {}, in {}: {:.3f} s\n{}", mechanism.name, what, name(precision), seconds.count(), counts);
        std::fflush(stdout);
        for (const auto& [output, array] : outputs) write_npy(out / (output + ".npy"), array);
        return exit_ok;
    } catch (const NotImplementedYet& error) {
        fmt::print(stderr, "attn: {}\n", error.what());
        return exit_not_implemented;
    } catch (const std::exception& error) {
        fmt::print(stderr, "attn: {}\n", error.what());
        return exit_broken;
    }
}

// Runs `compute`, which gives an exit status, in a child process, so that a crash is a status.
int run_apart(const std::function<int()>& compute, std::optional<double> timeout_seconds, const SignalsHeld& signals) {
    std::fflush(nullptr);
    pid_t self = ::getpid(), child = ::fork();
    if (child < 0) throw std::runtime_error(std::string("cannot start a process: ") + std::strerror(errno));
    if (child == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // it does not outlive this process, however that ends
        if (::getppid() != self) std::_Exit(exit_broken);
        int status = compute();
        std::fflush(nullptr);
        std::_Exit(status);
    }
    auto start = Clock::now();
    int status = 0;
    while (::waitpid(child, &status, WNOHANG) == 0) {
        double left = 3600;  // any duration: without a timeout only a signal ends the wait for good
        if (timeout_seconds) left = *timeout_seconds - std::chrono::duration<double>(Clock::now() - start).count();
        int number = left > 0 ? signals.wait(std::min(left, 3600.0)) : -1;
        bool ended_by_signal = number > 0 && number != SIGCHLD;
        if (left > 0 && !ended_by_signal) continue;
        ::kill(child, SIGKILL);
        ::waitpid(child, &status, 0);
        if (ended_by_signal)
            ::raise(number);  // takes effect once the signals are no longer held
        else
            fmt::print(stderr, "attn: timed out after {} s\n", *timeout_seconds);
        return exit_broken;
    }
    if (WIFSIGNALED(status)) {
        fmt::print(stderr, "attn: the implementation crashed: {}\n", ::strsignal(WTERMSIG(status)));
        return exit_broken;
    }
    return WEXITSTATUS(status);
}

// 30 single-element bounds in 32 and 64 bits, 5 in 16.
double element_factor(Precision precision) {
    return precision == Precision::float16 || precision == Precision::bfloat16 ? 5 : 30;
}

double bound_for(const Case& input_case, Precision precision, const Array& reference) {
    if (auto tolerance = input_case.params.tolerance(name(precision))) return *tolerance;
    switch (precision) {
        case Precision::float64: return reference.dtype == DType::float64 ? 1e-10 : 2e-5;
        case Precision::float32: return 2e-5;
        default: return 2e-2;
    }
}

int print_comparison(const Case& input_case, Precision precision, const NamedArrays& outputs) {
    fmt::print("{:<16}{:>14}{:>14}{:>10}\n", "output", "max abs error", "rel error", "bound");
    bool all_within = true;
    for (const auto& [output, reference] : input_case.expected) {
        const Array& result = outputs.at(output);
        double bound = bound_for(input_case, precision, reference);
        Comparison c = compare(result, reference, bound, element_factor(precision));
        fmt::print("{:<16}{:>14.3g}{:>14.3g}{:>10.0e}  {}\n", output, c.max_absolute_error, c.relative_error, c.bound,
                   c.within ? "ok" : "outside");
        if (!c.within) {
            if (c.misplaced > 0)
                fmt::print("    {} elements with NaN or infinity in one of the two only\n", c.misplaced);
            if (c.wrong > 0)
                fmt::print("    {} of {} elements wrong, the first at {}, the worst at {}\n", c.wrong, result.count(),
                           index_text(result.shape, c.first_wrong), index_text(result.shape, c.worst));
        }
        all_within = all_within && c.within;
    }
    return all_within ? exit_ok : exit_outside_bound;
}

// Builds the worker of an exercise and hands it the case.
int run_exercise_on(const ExerciseInfo& exercise, const RunOptions& options, const std::filesystem::path& out,
                    const SignalsHeld& signals) {
    const bool on_gpu = options.device == "cuda" && exercise.is_cuda();
    const bool solution = options.implementation == "solution";
    const std::string target = (solution ? "solution_" : "worker_") + exercise.name + (on_gpu ? "_cuda" : "");
    const BuildOutcome built = build({target}, signals);
    if (must_end()) return exit_broken;
    if (!built.succeeded) {
        fmt::print(stderr, "{}", diagnostics_for(exercise.file, built));
        return exit_bad_usage;
    }
    const std::string folder = std::string(solution ? "solution" : "mine") + (on_gpu ? "_cuda" : "");
    const std::string worker = (workers_folder(folder) / exercise.name).string();
    const std::string input = std::filesystem::absolute(options.case_folder).string();
    return run_apart(
        [&] {
            ::execl(worker.c_str(), worker.c_str(), input.c_str(), out.c_str(), nullptr);
            fmt::print(stderr, "attn: cannot run {}: {}\n", worker, std::strerror(errno));
            return static_cast<int>(exit_bad_usage);
        },
        options.timeout_seconds.value_or(60), signals);
}

// Refuses what an exercise does not offer.
void check_exercise(const ExerciseInfo& exercise, const RunOptions& options, Precision precision) {
    if (options.implementation != "exercise" && options.implementation != "solution")
        throw std::runtime_error(exercise.name + " is an exercise: --impl exercise (yours) or --impl solution");
    if (!options.exercise.empty() && options.exercise != exercise.name)
        throw std::runtime_error(fmt::format("--exercise {}: the case is one of {}", options.exercise, exercise.name));
    if (precision != Precision::float32)
        throw std::runtime_error(fmt::format("{} computes in float32, not in {}", exercise.name, name(precision)));
    if (!options.device.empty() && !exercise.is_cuda())
        throw std::runtime_error("--device is for kernels; " + exercise.name + " runs on the CPU");
}

}  // namespace

int run_verb(const RunOptions& options) {
    Case input_case = read_case(options.case_folder);
    const Mechanism* mechanism = find_mechanism(input_case.mechanism);
    const ExerciseInfo* exercise = find_exercise(input_case.mechanism);
    Precision precision = parse_precision(options.dtype);
    if (exercise) {
        check_exercise(*exercise, options, precision);
    } else if (mechanism) {
        check_offer(*mechanism, options, precision);
        mechanism->check(input_case);
        if (options.implementation != "naive" && mechanism->check_cuda) mechanism->check_cuda(input_case);
    } else {
        std::vector<std::string> names;
        for (const Mechanism& known : mechanisms()) names.push_back(known.name);
        for (const ExerciseInfo& known : exercises()) names.push_back(known.name);
        std::string near = nearest(input_case.mechanism, names);
        throw BadCase((options.case_folder / "case.json").string(), "mechanism " + in_quotes(input_case.mechanism),
                      near.empty() ? fmt::format("one of those built: {}", fmt::join(names, ", "))
                                   : fmt::format("\"{}\"?", near));
    }
    check_out(options.out, options.case_folder);

    NamedArrays outputs;
    {
        SignalsHeld signals;
        TemporaryFolder computed;
        int status =
            exercise ? run_exercise_on(*exercise, options, computed.path(), signals)
                     : run_apart([&] { return compute(*mechanism, input_case, options, precision, computed.path()); },
                                 options.timeout_seconds, signals);
        if (status != exit_ok) return status;
        for (const auto& file : std::filesystem::directory_iterator(computed.path()))
            if (file.path().extension() == ".npy") outputs[file.path().stem().string()] = read_npy(file.path());
        if (!options.out.empty()) {
            std::filesystem::create_directories(options.out);
            for (const auto& [output, array] : outputs) write_npy(options.out / (output + ".npy"), array);
        }
    }
    return input_case.has_expected ? print_comparison(input_case, precision, outputs) : exit_ok;
}

}  // namespace attn
