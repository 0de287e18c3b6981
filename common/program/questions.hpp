// The four questions of the book's section 19.9: what the student predicts is held against measurements made at that
// moment, what the student writes is for a person to grade.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace attn {

// One entry of chapters/section_19_9/measurements.toml. Where n or kv_heads holds two numbers, the measurement is the
// quantity at the second over that at the first.
struct Measurement {
    std::string question, name;
    std::string mechanism;  // as the registry names it; may not be built yet
    std::string quantity;   // a member of Costs
    std::vector<int> n;
    std::string params;         // of the case, as case.json has them; empty: those of the mechanism's own case
    std::string recall;         // of the recall experiment: the row; n is then the number of pairs
    int heads = 0;              // 0: the heads that the mechanism's own case has
    std::vector<int> kv_heads;  // empty with heads = 0
    double tolerance = 0;       // relative; 0: exact
    std::string shown_by;       // the command that lets a student see it
};

// One entry of a student's predictions.toml.
struct Prediction {
    std::string name, question, unit;
    std::optional<double> value;
    std::string trouble;  // what stands there instead of a number, for people; empty where it is "?"
};

enum class PredictionStatus { right, wrong, unanswered, not_measured };
const char* text(PredictionStatus status);

struct PredictionVerdict {
    std::string name, question, unit;
    PredictionStatus status = PredictionStatus::unanswered;
    bool measurable = false;                    // the mechanism is built
    std::optional<double> predicted, measured;  // measured only where something was predicted
    std::string text;                           // one line for people
};

struct Criterion {
    int points = 0;
    std::string text;
};

struct QuestionVerdict {
    std::string name, title;
    std::vector<PredictionVerdict> predictions;
    bool answer_written = false;    // answer.md holds more than its template
    std::vector<Criterion> rubric;  // for the person who grades the answer
};

// All readers throw BadCase where a file does not hold what it must.
std::vector<Measurement> read_measurements(const std::filesystem::path& file);
std::vector<Prediction> read_predictions(const std::filesystem::path& file);
// The title and the rubric: a table "| points | … |" below "## Rubric".
std::pair<std::string, std::vector<Criterion>> read_question(const std::filesystem::path& readme);
// Whether a file holds text beside headings and comments.
bool is_written(const std::filesystem::path& answer);

// In the book's order: "1_exact_vs_approximate", …
std::vector<std::string> question_names();
// The folder of the project where the student finds the question.
std::filesystem::path question_folder(std::string_view name);

// `folder` holds the student's predictions.toml and answer.md.
QuestionVerdict judge_question(std::string_view name, const std::filesystem::path& folder);

// Returns the program's exit status: 0 where all that can be measured is right, 1 where a prediction is wrong, 3 where
// a measurable one is unanswered.
int print_question(const QuestionVerdict& verdict);

}  // namespace attn
