// The command line: ./attn builds this program and hands over to it.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iostream>

#include "common/program/grade.hpp"
#include "common/program/program.hpp"
#include "common/tensor/case.hpp"
#include "common/tensor/nearest.hpp"

namespace {

const std::vector<std::string> verbs = {"table", "run",  "trace", "profile", "test",  "list",  "watch",
                                        "hint",  "next", "reset", "debug",   "grade", "setup", "help"};

int print_help() {
    std::ifstream text(ATTN_SOURCE_FOLDER "/common/program/help.txt");
    std::cout << text.rdbuf();
    return attn::exit_ok;
}

int bad_usage(const std::string& message) {
    fmt::print(stderr, "attn: {}\n", message);
    return attn::exit_bad_usage;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc > 1) {
        std::string verb = argv[1];
        if (verb == "help" || verb == "--help" || verb == "-h") return print_help();
        if (!verb.starts_with("-") && std::find(verbs.begin(), verbs.end(), verb) == verbs.end()) {
            return bad_usage(fmt::format("there is no verb {}{}; ./attn --help lists them", attn::in_quotes(verb),
                                         attn::did_you_mean(verb, verbs)));
        }
    }

    CLI::App app("A taxonomy of attention mechanisms");
    app.set_help_flag("");
    app.set_help_all_flag("");
    attn::RunOptions run;
    std::string mechanism;
    bool help = false;
    std::uint64_t schedule_seed = 0;
    app.add_flag("-h,--help", help);
    CLI::App* table = app.add_subcommand("table");
    bool recall = false;
    std::filesystem::path plot;
    CLI::Option* recall_flag = table->add_flag("--recall", recall);
    table->add_option("--plot", plot)->needs(recall_flag);
    CLI::App* trace = app.add_subcommand("trace");
    trace->add_option("mechanism", mechanism)->required();
    attn::ProfileOptions profiling;
    CLI::App* profile = app.add_subcommand("profile");
    profile->add_option("mechanism", profiling.mechanism)->required();
    profile->add_option("--stage", profiling.stage);
    profile->add_option("--n", profiling.n)->check(CLI::Range(1, 4096));
    profile->add_option("--gpu", profiling.gpu);
    profile->add_flag("--lines", profiling.lines);
    profile->add_flag("--json", profiling.json);
    CLI::App* run_command = app.add_subcommand("run");
    run_command->add_option("case", run.case_folder)->required();
    run_command->add_option("--impl", run.implementation);
    run_command->add_option("--exercise", run.exercise);
    run_command->add_option("--device", run.device)->check(CLI::IsMember({"emulated", "cuda"}));
    run_command->add_option("--dtype", run.dtype)->check(CLI::IsMember({"float64", "float32", "float16", "bfloat16"}));
    run_command->add_option("--schedule-seed", schedule_seed);
    run_command->add_option("--out", run.out);
    run_command->add_option("--timeout", run.timeout_seconds)->check([](const std::string& text) {
        double seconds = std::strtod(text.c_str(), nullptr);
        if (std::isfinite(seconds) && seconds > 0) return std::string();
        return fmt::format("found {}, expected a number of seconds above 0", attn::in_quotes(text));
    });
    attn::TestOptions test;
    std::string exercise;
    std::optional<int> level;
    std::filesystem::path failing_case;
    bool yes = false;
    CLI::App* test_command = app.add_subcommand("test");
    test_command->add_option("names", test.names);
    test_command->add_option("--schedule-seed", schedule_seed);
    test_command->add_option("--device", test.device)->check(CLI::IsMember({"emulated", "cuda"}));
    test_command->add_option("--seed", test.seed)->check([](const std::string& text) {
        if (text.find_first_not_of("0123456789") == std::string::npos) return std::string();
        return fmt::format("found {}, expected a whole number, 0 or more", attn::in_quotes(text));
    });
    CLI::App* list = app.add_subcommand("list");
    CLI::App* watch = app.add_subcommand("watch");
    watch->add_option("exercise", exercise);
    CLI::App* hint = app.add_subcommand("hint");
    hint->add_option("exercise", exercise);
    hint->add_option("--level", level)->check(CLI::Range(1, 3));
    CLI::App* next = app.add_subcommand("next");
    CLI::App* reset = app.add_subcommand("reset");
    reset->add_option("exercise", exercise)->required();
    reset->add_flag("--yes", yes);
    CLI::App* debug = app.add_subcommand("debug");
    debug->add_option("exercise", exercise)->required();
    debug->add_option("case", failing_case);
    attn::GradeOptions grading;
    CLI::App* grade = app.add_subcommand("grade");
    grade->add_option("submissions", grading.submissions)->required();
    grade->add_option("--rubric", grading.rubric);
    grade->add_option("--out", grading.out);
    grade->add_option("--seed", grading.seed);
    grade->add_flag("--i-trust-these-submissions", grading.trust);
    for (CLI::App* verb : app.get_subcommands({})) {
        verb->set_help_flag("");
        verb->add_flag("-h,--help", help);
    }
    // "./attn run --help" explains, whatever else is missing.
    for (int index = 1; index < argc; ++index)
        if (std::string_view word = argv[index]; word == "--help" || word == "-h") return print_help();
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return bad_usage(fmt::format("{}; ./attn --help explains", error.what()));
    }

    // For the emulator, in this process or in workers.
    if (schedule_seed != 0) ::setenv("ATTN_SCHEDULE_SEED", fmt::format("{}", schedule_seed).c_str(), 1);

    try {
        if (run_command->parsed()) return attn::run_verb(run);
        if (profile->parsed()) return attn::profile_verb(profiling);
        if (trace->parsed()) return attn::trace_verb(mechanism);
        if (test_command->parsed()) return attn::test_verb(test);
        if (list->parsed()) return attn::list_verb();
        if (watch->parsed()) return attn::watch_verb(exercise);
        if (hint->parsed()) return attn::hint_verb(exercise, level);
        if (next->parsed()) return attn::next_verb();
        if (reset->parsed()) return attn::reset_verb(exercise, yes);
        if (grade->parsed()) return attn::grade_verb(grading);
        if (debug->parsed()) return attn::debug_verb(exercise, failing_case);
        return recall ? attn::recall_verb(plot) : attn::table_verb();
    } catch (const attn::BadCase& error) {
        return bad_usage(error.what());
    } catch (const std::exception& error) {
        return bad_usage(error.what());
    }
}
