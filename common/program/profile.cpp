// attn profile MECHANISM: what its kernels ask of a GPU's memory, counted by the emulator.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "common/emulator/emulator.hpp"
#include "common/mechanism/mechanism.hpp"
#include "common/program/program.hpp"
#include "common/tensor/nearest.hpp"

namespace attn {

namespace {

using emulator::AccessPattern;
using emulator::Counts;
using emulator::LaunchProfile;

double share(std::uint64_t part, std::uint64_t whole) {
    return whole ? 100. * static_cast<double>(part) / static_cast<double>(whole) : 100;
}

// As Nsight Compute calls them.
nlohmann::json to_json(const LaunchProfile& profile) {
    const Counts& c = profile.counts;
    nlohmann::json lines = nlohmann::json::array();
    for (const AccessPattern& line : profile.lines)
        lines.push_back({{"file", line.file},
                         {"line", line.line},
                         {"memory", line.shared ? "shared" : "global"},
                         {"access", line.store ? "store" : "load"},
                         {"bytes_per_lane", line.bytes},
                         {"requests", line.requests},
                         {"accesses", line.accesses},
                         {"sectors", line.sectors},
                         {"useful_bytes", line.useful_bytes},
                         {"wavefronts", line.wavefronts},
                         {"bank_conflicts", line.bank_conflicts}});
    return {{"kernel", profile.kernel},
            {"grid", profile.grid},
            {"block", profile.block},
            {"dynamic_shared_bytes", profile.dynamic_shared_bytes},
            {"l1tex__t_requests_pipe_lsu_mem_global_op_ld", c.global_load_requests},
            {"l1tex__t_sectors_pipe_lsu_mem_global_op_ld", c.global_load_sectors},
            {"l1tex__t_requests_pipe_lsu_mem_global_op_st", c.global_store_requests},
            {"l1tex__t_sectors_pipe_lsu_mem_global_op_st", c.global_store_sectors},
            {"l1tex__data_pipe_lsu_wavefronts_mem_shared_op_ld", c.shared_load_wavefronts},
            {"l1tex__data_pipe_lsu_wavefronts_mem_shared_op_st", c.shared_store_wavefronts},
            {"l1tex__data_bank_conflicts_pipe_lsu_mem_shared", c.bank_conflicts},
            {"global_load_bytes", c.global_load_bytes},
            {"global_store_bytes", c.global_store_bytes},
            {"useful_sector_bytes", c.useful_sector_bytes},
            {"atomics", c.atomics},
            {"barriers", c.barriers},
            {"warp_collectives", c.warp_collectives},
            {"lines", lines}};
}

void print(const LaunchProfile& profile) {
    const Counts& c = profile.counts;
    const unsigned *g = profile.grid, *b = profile.block;
    fmt::print("{}  <<<({}, {}, {}), ({}, {}, {}), {}>>>\n", profile.kernel, g[0], g[1], g[2], b[0], b[1], b[2],
               profile.dynamic_shared_bytes);
    fmt::print("  {:<16}{:>12}{:>12}{:>14}\n", "global memory", "requests", "sectors", "bytes asked");
    fmt::print("    {:<14}{:>12}{:>12}{:>14}\n", "loads", c.global_load_requests, c.global_load_sectors,
               c.global_load_bytes);
    fmt::print("    {:<14}{:>12}{:>12}{:>14}\n", "stores", c.global_store_requests, c.global_store_sectors,
               c.global_store_bytes);
    const std::uint64_t moved = 32 * (c.global_load_sectors + c.global_store_sectors);
    fmt::print("    of the bytes in these sectors {:.0f} % are used\n", share(c.useful_sector_bytes, moved));
    const std::uint64_t wavefronts = c.shared_load_wavefronts + c.shared_store_wavefronts;
    if (wavefronts > 0)
        fmt::print("  shared memory: {} wavefronts for loads, {} for stores; {} of them are bank conflicts\n",
                   c.shared_load_wavefronts, c.shared_store_wavefronts, c.bank_conflicts);
    fmt::print("  {} barriers, {} warp collectives, {} atomics\n", c.barriers, c.warp_collectives, c.atomics);
}

std::string source_text(const std::string& file, int line) {
    std::ifstream stream(file);
    std::string text;
    for (int number = 0; number < line && std::getline(stream, text); ++number) {
    }
    const std::size_t first = text.find_first_not_of(' ');
    return first == std::string::npos ? "" : text.substr(first);
}

// The lines that cost most first: 32 bytes for each sector, 128 for each wavefront.
void print_lines(const LaunchProfile& profile) {
    auto weight = [](const AccessPattern& line) { return 32 * line.sectors + 128 * line.wavefronts; };
    std::vector<AccessPattern> lines = profile.lines;
    std::stable_sort(lines.begin(), lines.end(), [&](const auto& a, const auto& b) { return weight(a) > weight(b); });
    for (const AccessPattern& line : lines) {
        const std::string file = std::filesystem::path(line.file).filename().string();
        std::string cost =
            line.shared
                ? fmt::format("{} wavefronts, {} conflicts", line.wavefronts, line.bank_conflicts)
                : fmt::format("{} sectors, {:.0f} % used", line.sectors, share(line.useful_bytes, 32 * line.sectors));
        fmt::print("    {}:{}: {} {} of {} bytes: {} requests, {}\n        {}\n", file, line.line,
                   line.shared ? "shared" : "global", line.store ? "stores" : "loads", line.bytes, line.requests, cost,
                   source_text(line.file, line.line));
    }
}

}  // namespace

int profile_verb(const ProfileOptions& options) {
    const Mechanism* mechanism = find_mechanism(options.mechanism);
    if (!mechanism) {
        std::vector<std::string> names;
        for (const Mechanism& known : mechanisms()) names.push_back(known.name);
        throw std::runtime_error(fmt::format("no mechanism {}{}; there are: {}", in_quotes(options.mechanism),
                                             did_you_mean(options.mechanism, names), fmt::join(names, ", ")));
    }
    const std::vector<CudaVersion> versions = cuda_versions(mechanism->name, "emulated");
    const CudaVersion* version = versions.empty() ? nullptr : &versions.back();
    std::vector<std::string> stages;
    for (const CudaVersion& candidate : versions) {
        stages.push_back(candidate.name);
        if (candidate.name == options.stage) version = &candidate;
    }
    if (!version || (!options.stage.empty() && version->name != options.stage))
        throw std::runtime_error(fmt::format("{} has no stage {}; there are: {}", mechanism->name,
                                             in_quotes(options.stage), fmt::join(stages, ", ")));
    emulator::reset();
    emulator::keep_profiles(true);
    mechanism->run_cuda(mechanism->sized_case(options.n), *version);
    emulator::keep_profiles(false);
    if (!emulator::findings().empty()) return exit_broken;  // printed when it was found

    if (options.json) {
        nlohmann::json launches = nlohmann::json::array();
        for (const LaunchProfile& profile : emulator::profiles()) launches.push_back(to_json(profile));
        fmt::print("{}\n", nlohmann::json{{"mechanism", mechanism->name},
                                          {"stage", version->name},
                                          {"n", options.n},
                                          {"peak_device_bytes", emulator::peak_device_bytes()},
                                          {"launches", launches}}
                               .dump(2));
        return exit_ok;
    }
    fmt::print("{}, {} ({}), n = {}, counted by the emulator; nothing ran on a GPU\n", mechanism->name, version->name,
               version->idea, options.n);
    for (const LaunchProfile& profile : emulator::profiles()) {
        fmt::print("\n");
        print(profile);
        if (options.lines) print_lines(profile);
    }
    fmt::print("\nmost device memory held: {} bytes\n", emulator::peak_device_bytes());
    return exit_ok;
}

}  // namespace attn
