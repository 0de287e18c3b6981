// attn profile MECHANISM: what its kernels ask of a GPU's memory, counted by the emulator.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "common/emulator/emulator.hpp"
#include "common/emulator/gpu.hpp"
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

unsigned threads_of(const LaunchProfile& profile) { return profile.block[0] * profile.block[1] * profile.block[2]; }

emulator::Occupancy occupancy_of(const LaunchProfile& profile, const emulator::Gpu& gpu) {
    return emulator::occupancy(gpu, threads_of(profile), profile.static_shared_bytes + profile.dynamic_shared_bytes);
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
    nlohmann::json occupancies;
    for (const emulator::Gpu& gpu : emulator::gpus()) {
        const emulator::Occupancy one = occupancy_of(profile, gpu);
        occupancies[gpu.name] = {{"blocks", one.blocks}, {"share", one.share}, {"limited_by", one.limited_by}};
    }
    return {{"kernel", profile.kernel},
            {"grid", profile.grid},
            {"block", profile.block},
            {"dynamic_shared_bytes", profile.dynamic_shared_bytes},
            {"static_shared_bytes", profile.static_shared_bytes},
            {"occupancy", occupancies},
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
    fmt::print("    of the bytes in these sectors {:.0f} % were asked for: the coalescing efficiency\n",
               share(c.useful_sector_bytes, moved));
    const std::uint64_t wavefronts = c.shared_load_wavefronts + c.shared_store_wavefronts;
    if (wavefronts > 0)
        fmt::print("  shared memory: {} wavefronts for loads, {} for stores; {} of them are bank conflicts\n",
                   c.shared_load_wavefronts, c.shared_store_wavefronts, c.bank_conflicts);
    fmt::print("  {} barriers, {} warp collectives, {} atomics\n", c.barriers, c.warp_collectives, c.atomics);
    const emulator::Gpu& gpu = emulator::chosen_gpu();
    const emulator::Occupancy occupancy = occupancy_of(profile, gpu);
    fmt::print(
        "  a block: {} threads, {} bytes of shared memory; a multiprocessor of {} holds {}: {:.0f} % occupancy, "
        "limited by {}\n",
        threads_of(profile), profile.static_shared_bytes + profile.dynamic_shared_bytes, gpu.name, occupancy.blocks,
        100 * occupancy.share, occupancy.limited_by);
}

std::vector<std::string> lines_of_file(const std::string& file) {
    std::ifstream stream(file);
    std::vector<std::string> lines(1);  // they are numbered from 1
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
}

// What a line costs: 32 bytes for each sector, 128 for each wavefront.
std::uint64_t weight(const AccessPattern& line) { return 32 * line.sectors + 128 * line.wavefronts; }

// The source beside its costs.
void print_heat_map(const LaunchProfile& profile) {
    std::map<std::string, std::map<int, AccessPattern>> files;
    std::uint64_t most = 1;
    for (const AccessPattern& pattern : profile.lines) {
        AccessPattern& sum = files[pattern.file][pattern.line];
        sum += pattern;
        most = std::max(most, weight(sum));
    }
    constexpr int near = 3;  // lines around one that costs something
    for (const auto& [file, costs] : files) {
        const std::vector<std::string> source = lines_of_file(file);
        fmt::print("\n  {:>10}{:>7}{:>12}{:>11}  {:<10}{}\n", "sectors", "used", "wavefronts", "conflicts", "",
                   std::filesystem::path(file).lexically_relative(ATTN_SOURCE_FOLDER).string());
        int last = 0;
        for (int line = 1; line < static_cast<int>(source.size()); ++line) {
            const auto next = costs.lower_bound(line - near);
            if (next == costs.end() || next->first > line + near) continue;
            if (last > 0 && line > last + 1) fmt::print("{:>57}\n", "…");
            last = line;
            const auto cost = costs.find(line);
            std::string numbers(40, ' '), bar;
            if (cost != costs.end()) {
                const AccessPattern& c = cost->second;
                auto number = [](std::uint64_t value) { return value ? fmt::format("{}", value) : std::string(); };
                numbers = fmt::format("{:>10}{:>7}{:>12}{:>11}", number(c.sectors),
                                      c.sectors ? fmt::format("{:.0f} %", share(c.useful_bytes, 32 * c.sectors)) : "",
                                      number(c.wavefronts), number(c.bank_conflicts));
                const std::uint64_t eighths = (8 * weight(c) + most / 2) / most;
                for (std::uint64_t eighth = 0; eighth < eighths; ++eighth) bar += "█";
                if (eighths == 0) bar = "▏";
            }
            fmt::print("  {}  {:<8}{:>5}  {}\n", numbers, bar, line, source[static_cast<std::size_t>(line)]);
        }
    }
}

std::uint64_t bytes_of(const NamedArrays& arrays) {
    std::uint64_t bytes = 0;
    for (const auto& [name, array] : arrays) bytes += static_cast<std::uint64_t>(array.count()) * sizeof(float);
    return bytes;
}

// What all launches of a run ask for, and the least that they could.
struct Work {
    double compulsory_bytes = 0;  // each input once, each output once
    double requested_bytes = 0;   // every sector that a warp asks for: as if nothing were cached
    double multiply_adds = 0, exponentials = 0;
};

nlohmann::json estimates(const Work& work) {
    nlohmann::json result;
    for (const emulator::Gpu& gpu : emulator::gpus())
        for (auto [name, bytes] :
             {std::pair{"compulsory", work.compulsory_bytes}, {"requested", work.requested_bytes}}) {
            const emulator::Roofline bound = emulator::roofline(gpu, bytes, work.multiply_adds, work.exponentials);
            result[gpu.name][name] = {{"seconds", bound.seconds()}, {"bound_by", bound.bound_by()}};
        }
    return result;
}

void print_estimates(const Work& work) {
    auto text = [](const emulator::Roofline& bound) {
        return fmt::format("{:.3g} µs, {}", 1e6 * bound.seconds(), bound.bound_by());
    };
    fmt::print(
        "\nAn estimate, not a measurement (roofline: the slowest of a GPU's pipes; without the time to launch a "
        "kernel)\n");
    fmt::print("  {:<12}{:<34}{}\n", "", fmt::format("each of {:.0f} bytes once", work.compulsory_bytes),
               fmt::format("all {:.0f} bytes asked for, nothing cached", work.requested_bytes));
    for (const emulator::Gpu& gpu : emulator::gpus())
        fmt::print("  {:<12}{:<34}{}\n", gpu.name,
                   text(emulator::roofline(gpu, work.compulsory_bytes, work.multiply_adds, work.exponentials)),
                   text(emulator::roofline(gpu, work.requested_bytes, work.multiply_adds, work.exponentials)));
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
    const emulator::Gpu* gpu = emulator::find_gpu(options.gpu);
    if (!gpu) {
        std::vector<std::string> names;
        for (const emulator::Gpu& known : emulator::gpus()) names.push_back(known.name);
        throw std::runtime_error(fmt::format("no GPU {}{}; there are: {}", in_quotes(options.gpu),
                                             did_you_mean(options.gpu, names), fmt::join(names, ", ")));
    }
    emulator::choose_gpu(*gpu);
    const Case sized_case = mechanism->sized_case(options.n);
    emulator::reset();
    emulator::keep_profiles(true);
    const NamedArrays outputs = mechanism->run_cuda(sized_case, *version);
    emulator::keep_profiles(false);
    emulator::find_leaks();
    const Costs costs = mechanism->predicted_costs(sized_case);
    const Counts& counts = emulator::counts();
    const Work work{static_cast<double>(bytes_of(sized_case.inputs) + bytes_of(outputs)),
                    32. * static_cast<double>(counts.global_load_sectors + counts.global_store_sectors),
                    static_cast<double>(costs.multiply_adds + costs.multiplications + costs.additions),
                    static_cast<double>(costs.exponentials)};
    if (!emulator::findings().empty()) return exit_broken;  // printed when it was found

    if (options.json) {
        nlohmann::json launches = nlohmann::json::array();
        for (const LaunchProfile& profile : emulator::profiles()) launches.push_back(to_json(profile));
        fmt::print("{}\n", nlohmann::json{{"mechanism", mechanism->name},
                                          {"stage", version->name},
                                          {"n", options.n},
                                          {"peak_device_bytes", emulator::peak_device_bytes()},
                                          {"compulsory_bytes", work.compulsory_bytes},
                                          {"requested_bytes", work.requested_bytes},
                                          {"estimate", estimates(work)},
                                          {"launches", launches}}
                               .dump(2));
        return exit_ok;
    }
    std::vector<std::string> shapes;
    for (const auto& [name, array] : sized_case.inputs)
        shapes.push_back(fmt::format("{} {}", name, shape_text(array.shape)));
    fmt::print("{}, {}: {}. n = {}: {}\nCounted by the emulator; nothing ran on a GPU.\n", mechanism->name,
               version->name, version->idea, options.n, fmt::join(shapes, ", "));
    for (const LaunchProfile& profile : emulator::profiles()) {
        fmt::print("\n");
        print(profile);
        if (options.lines) print_heat_map(profile);
    }
    fmt::print("\nmost device memory held: {} bytes\n", emulator::peak_device_bytes());
    print_estimates(work);
    return exit_ok;
}

}  // namespace attn
