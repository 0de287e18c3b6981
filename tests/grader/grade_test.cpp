// attn grade: who earns which points, and that code which attacks the grader earns none.
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "common/exercise/child_process.hpp"
#include "common/exercise/exercise_list.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
namespace fs = std::filesystem;

const fs::path source = ATTN_SOURCE_FOLDER;
const fs::path masked_softmax = "solutions/00_dense_attention/masked_softmax.cpp";

std::string read(const fs::path& file) {
    std::ifstream stream(file);
    return {std::istreambuf_iterator<char>(stream), {}};
}

void write(const fs::path& file, const std::string& text) {
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
}

// The solution of masked_softmax with something before it and, where it begins to compute, something else.
std::string solution_with(const std::string& before, const std::string& inside = "") {
    std::string text = read(source / masked_softmax);
    const std::string marker = "// ---- your code ----\n", body = "const Outputs& out) {\n";
    text.insert(text.find(body) + body.size(), inside);
    text.insert(text.find(marker) + marker.size(), before);
    return text;
}

struct Graded {
    int status = 0;
    std::string printed;
    fs::path out;

    nlohmann::json results(const std::string& submission) const {
        return nlohmann::json::parse(read(out / submission / "results.json"));
    }
};

Graded grade(const fs::path& folder, const std::string& options) {
    Graded graded;
    graded.out = folder / "grades";
    std::string command = "'" ATTN_PROGRAM "' grade " + options + " --out '" + graded.out.string() + "'";
    for (const auto& entry : fs::directory_iterator(folder))
        if (entry.path() != graded.out) command += " '" + entry.path().string() + "'";
    FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
    char buffer[4096];
    std::size_t count;
    while ((count = std::fread(buffer, 1, sizeof buffer, pipe)) > 0) graded.printed.append(buffer, count);
    const int status = ::pclose(pipe);
    graded.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return graded;
}

// Of the tests of an exercise in results.json.
double points(const nlohmann::json& results, const std::string& exercise) {
    double sum = 0;
    for (const auto& test : results.at("tests"))
        if (test.at("name").get<std::string>().starts_with(exercise + ":")) sum += test.at("score").get<double>();
    return sum;
}

std::string outputs(const nlohmann::json& results) {
    std::string text;
    for (const auto& test : results.at("tests")) text += test.at("output").get<std::string>();
    return text;
}

TEST_CASE("attn grade", "[grade]") {
    TemporaryFolder folder;
    const fs::path root = folder.path();
    for (const ExerciseInfo& exercise : exercises()) {
        const std::string file = exercise.file.filename().string();
        fs::create_directories(root / "solutions");
        fs::copy_file(source / "solutions" / exercise.chapter / file, root / "solutions" / file);
    }
    const std::string file = "chapters/00_dense_attention/exercises/masked_softmax.cpp";
    // Twice the same name: the place in the project counts.
    write(root / "two" / file, read(source / masked_softmax));
    write(root / "two" / "old" / "masked_softmax.cpp", "no C++");
    write(root / "ambiguous" / "a" / "masked_softmax.cpp", read(source / masked_softmax));
    write(root / "ambiguous" / "b" / "masked_softmax.cpp", read(source / masked_softmax));
    write(root / "wrong" / file, read(source / "tests/00_dense_attention/mistakes/masked_softmax/sink_ignored.cpp"));
    write(root / "broken" / file, solution_with("flot broken = 1;\n"));
    write(root / "untouched" / file, solution_with("", "throw NotImplementedYet(\"masked_softmax\");\n"));
    fs::create_directories(root / "empty");
    // Attacks.
    write(root / "exits" / file, solution_with("namespace { const bool ended = (std::_Exit(0), true); }\n"));
    write(root / "includes" / file, "#include \"" + (source / masked_softmax).string() + "\"\n");
    write(root / "reads" / file, solution_with("#define INCBIN \".incbin \\\"/etc/shadow\\\"\"\nasm(INCBIN);\n"));
    write(root / "main" / file,
          solution_with("}\nint main() { return 0; }\nnamespace attn::exercises::masked_softmax {\n"));
    write(root / "bomb" / file, solution_with("int big[1u << 28] = {1};\n"));
    fs::create_directories((root / "link" / file).parent_path());
    fs::create_symlink(source / masked_softmax, root / "link" / file);

    // Folders that would end the grading of the others.
    write(root / "loop" / file, read(source / masked_softmax));
    fs::create_symlink("loop", root / "loop" / "loop");
    write(root / "grades.csv" / file, read(source / masked_softmax));
    write(root / "=1+1" / file, read(source / masked_softmax));
    write(root / "escape\033[2J" / file, read(source / masked_softmax));
    // A worker that leaves folders too deep to be removed one by one, or a link where the next outputs belong.
    write(root / "leaves" / file,
          solution_with("}\n#include <filesystem>\nnamespace attn::exercises::masked_softmax {\n",
                        "std::error_code no; std::filesystem::create_directory_symlink(\"/root\", \"out/2\", no);\n"
                        "std::filesystem::create_directory_symlink(\"/root\", \"out/3\", no);\n"));

    const auto submissions = std::distance(fs::directory_iterator(root), fs::directory_iterator());
    const Graded graded = grade(root, "--seed 7");
    INFO(graded.printed);
    REQUIRE(graded.status == 0);
    CHECK(graded.printed.find("Sandbox T") != std::string::npos);

    double possible = 0;
    for (const ExerciseInfo& exercise : exercises()) possible += exercise.points;
    CHECK(graded.results("solutions").at("score").get<double>() == Approx(possible));
    CHECK(graded.results("empty").at("score").get<double>() == 0);

    const double full = find_exercise("masked_softmax")->points;
    CHECK(points(graded.results("two"), "masked_softmax") == Approx(full));
    CHECK(points(graded.results("ambiguous"), "masked_softmax") == 0);
    const double partly = points(graded.results("wrong"), "masked_softmax");
    CHECK(partly < full);
    CHECK(points(graded.results("untouched"), "masked_softmax") == 0);
    CHECK(outputs(graded.results("untouched")).find("not implemented yet") != std::string::npos);
    CHECK(outputs(graded.results("wrong")).find("Perhaps: ") != std::string::npos);

    for (const char* attack : {"broken", "exits", "includes", "reads", "main", "bomb", "link"}) {
        INFO(attack);
        CHECK(graded.results(attack).at("score").get<double>() == 0);
    }
    for (const char* name : {"loop", "grades.csv (2)", "=1+1", "escape?[2J", "leaves"}) {
        INFO(name);
        CHECK(graded.results(name).at("score").get<double>() == Approx(full));
    }
    CHECK(graded.printed.find('\033') == std::string::npos);
    const std::string errors = outputs(graded.results("broken"));
    INFO(errors);
    CHECK(errors.find("flot") != std::string::npos);
    CHECK(errors.find(file + ":") != std::string::npos);  // as the student knows it
    CHECK(errors.find("/tmp/") == std::string::npos);

    // The format: what Gradescope insists on.
    for (const auto& test : graded.results("wrong").at("tests")) {
        CHECK(test.at("score").get<double>() <= test.at("max_score").get<double>());
        const std::string status = test.at("status");
        CHECK((status == "passed" || status == "failed"));
    }
    const std::string csv = read(graded.out / "grades.csv");
    INFO(csv);
    CHECK(csv.find("\"'=1+1\"") != std::string::npos);
    CHECK(csv.starts_with("submission,points,possible,row_maximum,row_maximum_state,"));
    CHECK(std::count(csv.begin(), csv.end(), '\n') == 1 + submissions);
}

}  // namespace
