// attn table --recall: the recall experiment over all mechanisms that take part in it.
#include "common/mechanism/recall.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>

#include "common/program/processes.hpp"
#include "common/program/program.hpp"
#include "common/tensor/case.hpp"

namespace attn {

namespace {

constexpr int pair_counts[] = {4, 8, 16, 32, 64, 128, 256, 512};

struct Row {
    std::string name, state;
    int key_dim = 0;
    bool plain_sum = false;
    std::vector<RecallResult> results;  // one for each of pair_counts
};

std::string state_text(const RecallEntry& entry) {
    const std::int64_t few = entry.state_numbers(256), many = entry.state_numbers(512);
    return few == many ? fmt::format("{}", many) : fmt::format("{} · m", many / 512);
}

std::vector<Row> measure() {
    std::vector<Row> rows;
    for (const Mechanism& mechanism : mechanisms())
        for (const RecallEntry& entry : mechanism.recall) {
            Row row{entry.name, state_text(entry), entry.key_dim, entry.plain_sum, {}};
            for (int pairs : pair_counts) {
                if (::isatty(STDERR_FILENO)) fmt::print(stderr, "\r{}, m = {} …\033[K", entry.name, pairs);
                row.results.push_back(recall(mechanism, entry, pairs));
            }
            rows.push_back(std::move(row));
        }
    if (::isatty(STDERR_FILENO)) fmt::print(stderr, "\r\033[K");
    return rows;
}

template <class TextOf>
void print_rows(const std::vector<Row>& rows, const char* title, TextOf text_of) {
    fmt::print("{:<32}{:>8}", title, "state");
    for (int pairs : pair_counts) fmt::print("{:>10}", fmt::format("m = {}", pairs));
    fmt::print("\n");
    for (const Row& row : rows) {
        fmt::print("{:<32}{:>8}", row.name, row.state);
        for (const RecallResult& result : row.results) fmt::print("{:>10}", text_of(result));
        fmt::print("\n");
    }
}

// What gnuplot reads: a block of data for each row, then the plot.
std::string gnuplot_script(const std::vector<Row>& rows) {
    std::string script;
    for (std::size_t index = 0; index < rows.size(); ++index) {
        script += fmt::format("$row{} << END\n", index);
        for (std::size_t at = 0; at < std::size(pair_counts); ++at) {
            const RecallResult& r = rows[index].results[at];
            script +=
                fmt::format("{} {:.6g} {:.6g} {:.6g}\n", pair_counts[at], 100 * r.hits, 100 * r.hits_margin, r.error);
        }
        script += "END\n";
    }
    script +=
        "set terminal svg size 900,460 font 'sans-serif,13' background rgb 'white'\n"
        "set title 'Which of m stored values is given back'\n"
        "set logscale x 2\nset xlabel 'm, stored pairs'\nset ylabel 'hits in %'\n"
        "set yrange [0:105]\nset xrange [4:512]\nset key outside right\nset grid ytics lc rgb '#dddddd'\n"
        "plot ";
    // Okabe and Ito's colours, told apart by most eyes; dashed where they come again.
    constexpr const char* colours[] = {"#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7"};
    for (std::size_t index = 0; index < rows.size(); ++index)
        script += fmt::format("{}$row{} using 1:2:3 with yerrorlines lw 2 dt {} lc rgb '{}' pt 7 ps 0.5 title '{}'",
                              index ? ", " : "", index, 1 + index / std::size(colours),
                              colours[index % std::size(colours)], rows[index].name);
    return script + "\n";
}

void write_plot(const std::vector<Row>& rows, const std::filesystem::path& plot) {
    SignalsHeld signals;
    TemporaryFolder folder;
    write_file(folder.path() / "recall.gp", gnuplot_script(rows));
    Captured drawn;
    try {
        drawn = run_captured({{"gnuplot", (folder.path() / "recall.gp").string()}, {}, {}, false}, signals);
    } catch (const std::runtime_error&) {
        drawn.status = 127;
    }
    if (drawn.status == 127)
        throw std::runtime_error("found no gnuplot, which draws the plot; expected it on the PATH (apt: gnuplot-nox)");
    if (drawn.status != 0 || drawn.output.find("</svg>") == std::string::npos)
        throw std::runtime_error(fmt::format("gnuplot ended with status {}", drawn.status));
    write_file(plot, drawn.output);
    fmt::print("\n{} written\n", plot.string());
}

}  // namespace

int recall_verb(const std::filesystem::path& plot) {
    const std::vector<Row> rows = measure();
    fmt::print(
        "Recall: m pairs of a key and a value are stored, and each is asked for once, with its\n"
        "own key. A hit: of all m values, its own is the nearest to what comes back. Keys and\n"
        "values are random directions of D and {} numbers; nothing is trained. Means over {}\n"
        "seeds; state: how many numbers are kept. Where a query may have several lengths, the\n"
        "best of them counts.\n\n",
        recall_value_dim, recall_seeds);
    print_rows(rows, "hits in %",
               [](const RecallResult& r) { return fmt::format("{:.0f} ±{:.0f}", 100 * r.hits, 100 * r.hits_margin); });
    fmt::print("\n");
    print_rows(rows, "error, 1 is that of giving 0",
               [](const RecallResult& r) { return fmt::format("{:.2f}", r.error); });
    fmt::print("\na sum of (q·k) v, in theory: √((m - 1)/D)\n");
    for (const Row& row : rows) {
        if (!row.plain_sum) continue;
        fmt::print("{:<40}", row.name);
        for (int pairs : pair_counts) fmt::print("{:>10.2f}", recall_error_in_theory(pairs, row.key_dim));
        fmt::print("\n");
    }
    fmt::print(
        "\n±: twice the standard error over the seeds. What this does not show: a trained model\n"
        "chooses its keys, and needs not recall everything.\n");
    if (!plot.empty()) write_plot(rows, plot);
    return exit_ok;
}

}  // namespace attn
