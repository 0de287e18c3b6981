// attn table: Table 19.1 of the book, with what this project measures beside what the book says. Measured once for
// each build of the program, then kept beside it.
#include <fmt/format.h>
#include <toml++/toml.h>
#include <unistd.h>
#include <cmath>

#include <cstdlib>
#include <sstream>
#include <vector>

#include "common/emulator/emulator.hpp"
#include "common/measure/exponent.hpp"
#include "common/mechanism/mechanism.hpp"
#include "common/program/program.hpp"
#include "common/program/progress.hpp"
#include "common/program/terminal.hpp"
#include "common/tensor/compare.hpp"

namespace attn {

namespace {

constexpr int sizes[] = {128, 256, 512, 1024, 2048};
constexpr int kernel_size = 256;  // for the run on the emulator

struct Measured {
    double work_exponent = 0;    // of the multiply-adds, counted
    double memory_exponent = 0;  // of the bytes held beside inputs and outputs, counted
    bool formula_holds = false;  // the cost formulas equal the counts at every size
    double kernel_error = 0;     // of the last CUDA stage, run by the emulator, against naive in double; NaN: none
    std::int64_t kernel_findings = 0;
};

Measured measure(const Mechanism& mechanism) {
    Measured result;
    std::vector<double> n, work, memory;
    result.formula_holds = true;
    for (int size : sizes) {
        if (::isatty(STDERR_FILENO)) fmt::print(stderr, "\rmeasuring {}, n = {} …\033[K", mechanism.name, size);
        Case sized = mechanism.sized_case(size);
        Costs counted = mechanism.counted_costs(sized);
        result.formula_holds = result.formula_holds && counted == mechanism.predicted_costs(sized);
        n.push_back(size);
        work.push_back(static_cast<double>(counted.multiply_adds));
        memory.push_back(static_cast<double>(counted.bytes_held));
    }
    result.work_exponent = fitted_exponent(n, work);
    result.memory_exponent = fitted_exponent(n, memory);

    const std::vector<CudaVersion> versions = cuda_versions(mechanism.name, "emulated");
    if (versions.empty()) {
        result.kernel_error = std::nan("");
    } else {
        Case sized = mechanism.sized_case(kernel_size);
        emulator::reset();
        NamedArrays reference = mechanism.run_naive(sized, Precision::float64);
        NamedArrays outputs = mechanism.run_cuda(sized, versions.back());
        result.kernel_findings = static_cast<std::int64_t>(emulator::findings().size());
        for (const auto& [name, array] : reference)
            result.kernel_error = std::max(result.kernel_error, compare(outputs.at(name), array, 1, 1).relative_error);
    }
    if (::isatty(STDERR_FILENO)) fmt::print(stderr, "\r\033[K");
    return result;
}

// Changes whenever the program was linked anew.
std::string build_stamp(const std::filesystem::path& program) {
    auto time = std::filesystem::last_write_time(program).time_since_epoch().count();
    return fmt::format("{} {}", std::filesystem::file_size(program), time);
}

std::map<std::string, Measured> measure_all() {
    std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe");
    std::filesystem::path kept = program.parent_path() / "measured_table.toml";
    std::string stamp = build_stamp(program);
    std::map<std::string, Measured> all;
    try {
        toml::table file = toml::parse_file(kept.string());
        if (file["build"].value_or(std::string()) == stamp) {
            for (auto&& [name, node] : *file["measured"].as_table()) {
                toml::table& row = *node.as_table();
                all[std::string(name.str())] = {row["work_exponent"].value_or(0.0),
                                                row["memory_exponent"].value_or(0.0),
                                                row["formula_holds"].value_or(false), row["kernel_error"].value_or(0.0),
                                                row["kernel_findings"].value_or(std::int64_t{0})};
            }
            return all;
        }
    } catch (const std::exception&) {
        all.clear();  // not measured yet, or not readable: measure
    }
    toml::table measured;
    for (const Mechanism& mechanism : mechanisms()) {
        Measured m = measure(mechanism);
        all[mechanism.name] = m;
        measured.insert(mechanism.name, toml::table{{"work_exponent", m.work_exponent},
                                                    {"memory_exponent", m.memory_exponent},
                                                    {"formula_holds", m.formula_holds},
                                                    {"kernel_error", m.kernel_error},
                                                    {"kernel_findings", m.kernel_findings}});
    }
    std::ostringstream text;
    text << toml::table{{"build", stamp}, {"measured", measured}} << "\n";
    try {
        write_file(kept, text.str());
    } catch (const std::exception&) {
        // A folder that cannot be written to: measured again next time.
    }
    return all;
}

// Of the terminal; elsewhere $COLUMNS, or wide enough for everything.
int terminal_width() {
    const char* columns = std::getenv("COLUMNS");
    const int width = columns ? std::atoi(columns) : 0;
    return columns_of(STDOUT_FILENO, width > 0 ? width : 1000);
}

std::string measured_text(const std::map<std::string, Measured>& all, const toml::table& row) {
    for (const auto& name : *row["mechanisms"].as_array()) {
        auto entry = all.find(name.value_or(std::string()));
        if (entry == all.end()) continue;
        const Measured& m = entry->second;
        const std::string error = std::isnan(m.kernel_error) ? "no kernel yet" : fmt::format("{:.0e}", m.kernel_error);
        return fmt::format("n^{:.2f}   n^{:.2f}   {:<7} {}{}", m.work_exponent, m.memory_exponent,
                           m.formula_holds ? "equal" : "DIFFER", error,
                           m.kernel_findings ? fmt::format("  {} FINDINGS", m.kernel_findings) : "");
    }
    return "not built yet";
}

}  // namespace

int table_verb() {
    toml::table book = toml::parse_file(ATTN_SOURCE_FOLDER "/common/mechanism/table_19_1.toml");
    std::map<std::string, Measured> measured = measure_all();

    fmt::print("Table 19.1, measured\n\n");
    // What the book says, left; on a narrow terminal its less telling columns give way.
    struct Column {
        const char* key;
        const char* title;
        int width;
    };
    std::vector<Column> columns = {{"mechanism", "Mechanism", 19},
                                   {"idea", "Idea", 30},
                                   {"cost", "Cost vs O(n²)", 27},
                                   {"exact", "Exact/Approx.", 18},
                                   {"used_in", "Used in", 20}};
    constexpr int measured_width = 40;
    auto book_width = [&] {
        int sum = 0;
        for (const Column& column : columns) sum += column.width;
        return sum;
    };
    for (const char* key : {"used_in", "idea", "exact"})
        if (book_width() + measured_width > terminal_width())
            std::erase_if(columns, [&](const Column& column) { return std::string_view(column.key) == key; });
    auto print_row = [&](auto text_of, const std::string& right) {
        for (const Column& column : columns) fmt::print("{:<{}}", text_of(column), column.width);
        fmt::print("│ {}\n", right);
    };
    fmt::print("{:<{}}│ measured here\n", "what the book says", book_width());
    print_row([](const Column& column) { return std::string(column.title); }, "work     memory   costs   kernel error");
    fmt::print("{:─<{}}┼{:─<{}}\n", "", book_width(), "", measured_width - 1);
    for (const auto& node : *book["row"].as_array()) {
        const toml::table& row = *node.as_table();
        print_row([&](const Column& column) { return row[column.key].value_or(std::string()); },
                  measured_text(measured, row));
    }
    bool as_predicted = true;
    for (const auto& [name, m] : measured) as_predicted = as_predicted && m.formula_holds && m.kernel_findings == 0;
    fmt::print(
        "\n{}\n"
        "work, memory: growth of the multiply-adds, and of the bytes held beside inputs\n"
        "and outputs, counted while the naive version runs on the CPU, fitted over\n"
        "n = 128 … 2048 (heads of 16 numbers). costs: whether the cost formulas equal the\n"
        "counts. kernel error: relative, of the CUDA kernel run by the emulator at\n"
        "n = {}, against double.\n",
        book["notation"].value_or(std::string()), kernel_size);
    fmt::print("\n");
    print_progress();
    return as_predicted ? exit_ok : exit_outside_bound;
}

}  // namespace attn
