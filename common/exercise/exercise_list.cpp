#include "common/exercise/exercise_list.hpp"

#include <toml++/toml.h>

#include <algorithm>

#include "common/exercise/project.hpp"
#include "common/tensor/nearest.hpp"
#include "common/tensor/npy.hpp"

namespace attn {

namespace fs = std::filesystem;

namespace {

std::string text_of(const toml::table& entry, const char* key, const fs::path& file) {
    auto value = entry[key].value<std::string>();
    if (!value || value->empty()) throw BadCase(file.string(), std::string("an exercise without ") + key, "a text");
    return *value;
}

ExerciseInfo parse_exercise(const toml::table& entry, const std::string& chapter, const fs::path& list) {
    ExerciseInfo info;
    info.chapter = chapter;
    info.name = text_of(entry, "name", list);
    info.file = fs::path("chapters") / chapter / "exercises" / text_of(entry, "file", list);
    info.what = text_of(entry, "what", list);
    info.minutes = entry["minutes"].value_or(0);
    info.difficulty = text_of(entry, "difficulty", list);
    if (const toml::array* hints = entry["hints"].as_array())
        for (const auto& hint : *hints) info.hints.push_back(hint.value_or(std::string()));
    if (info.hints.size() != 3) throw BadCase(list.string(), info.name + " with other than three hints", "three");
    return info;
}

std::map<std::string, double> parse_rubric(const fs::path& file, const std::vector<ExerciseInfo>& all) {
    const toml::table table = toml::parse_file(file.string());
    const toml::table* entries = table["points"].as_table();
    if (!entries) throw BadCase(file.string(), "no [points]", "a line \"exercise = points\" for each exercise");
    std::vector<std::string> names;
    for (const ExerciseInfo& info : all) names.push_back(info.name);
    std::map<std::string, double> points;
    for (auto&& [key, node] : *entries) {
        const std::string name(key.str());
        const double value = node.value<double>().value_or(-1);
        if (std::find(names.begin(), names.end(), name) == names.end()) {
            const std::string near = nearest(name, names);
            throw BadCase(file.string(), "points for " + in_quotes(name),
                          near.empty() ? "the name of an exercise" : near);
        }
        if (!(value >= 0 && value <= 1e6))
            throw BadCase(file.string(), "the points of " + name, "a number from 0 to 1000000");
        points[name] = value;
    }
    for (const std::string& name : names)
        if (!points.count(name)) throw BadCase(file.string(), "no points for " + name, "a number, be it 0");
    return points;
}

std::vector<ExerciseInfo> read_all() {
    const fs::path source = project_folder();
    std::vector<fs::path> lists;
    for (const auto& chapter : fs::directory_iterator(source / "chapters"))
        if (fs::exists(chapter.path() / "exercises" / "exercises.toml"))
            lists.push_back(chapter.path() / "exercises" / "exercises.toml");
    std::sort(lists.begin(), lists.end());
    std::vector<ExerciseInfo> all;
    for (const fs::path& list : lists) {
        const toml::table table = toml::parse_file(list.string());
        const toml::array* entries = table["exercise"].as_array();
        if (!entries) throw BadCase(list.string(), "no [[exercise]]", "one for each exercise");
        const std::string chapter = list.parent_path().parent_path().filename().string();
        for (const auto& entry : *entries) all.push_back(parse_exercise(*entry.as_table(), chapter, list));
    }
    const auto points = parse_rubric(source / "tests" / "grader" / "rubric.toml", all);
    for (ExerciseInfo& info : all) info.points = points.at(info.name);
    return all;
}

}  // namespace

const std::vector<ExerciseInfo>& exercises() {
    static const std::vector<ExerciseInfo> all = read_all();
    return all;
}

const ExerciseInfo* find_exercise(std::string_view name) {
    for (const ExerciseInfo& info : exercises())
        if (info.name == name) return &info;
    return nullptr;
}

std::map<std::string, double> read_rubric(const fs::path& file) { return parse_rubric(file, exercises()); }

bool is_untouched(const ExerciseInfo& exercise) {
    return read_text(project_folder() / exercise.file).find("throw NotImplementedYet") != std::string::npos;
}

}  // namespace attn
