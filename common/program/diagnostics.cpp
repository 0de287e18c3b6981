// diagnostics_for: what g++, nvcc and GNU ld say, cut to the student's file.
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string_view>

#include "common/exercise/project.hpp"
#include "common/program/build.hpp"

namespace attn {

namespace fs = std::filesystem;

namespace {

constexpr int most_errors = 20, most_warnings = 10, most_notes = 3, most_snippet_lines = 6, last_lines = 30;

struct Place {
    std::string file;
    int line = 0;
    int column = 0;  // 0: not told

    std::string text() const {
        return fmt::format("{}:{}{}", file, line, column > 0 ? fmt::format(":{}", column) : "");
    }
};

// A place at the start of a line: "path:12:5" and "path:12" (g++), "path(12)" (nvcc).
std::optional<Place> parse_place(std::string_view text) {
    auto number_at_end = [&](char before) -> std::optional<int> {
        const std::size_t at = text.rfind(before);
        if (at == std::string_view::npos || at + 1 == text.size() || text.size() - at > 9) return {};
        const std::string digits(text.substr(at + 1));
        if (digits.find_first_not_of("0123456789") != std::string::npos) return {};
        text = text.substr(0, at);
        return std::stoi(digits);
    };
    Place place;
    if (text.ends_with(')')) {
        text.remove_suffix(1);
        auto line = number_at_end('(');
        if (!line) return {};
        place.line = *line;
    } else {
        auto last = number_at_end(':');
        if (!last) return {};
        auto first = number_at_end(':');  // the last one was the column, then
        place.line = first.value_or(*last);
        place.column = first ? *last : 0;
    }
    place.file = text;
    return place;
}

enum class Kind { error, warning, note };

struct Header {
    Kind kind;
    Place place;
    std::string message;
};

std::optional<Header> parse_header(const std::string& line) {
    static const std::pair<const char*, Kind> marks[] = {
        {": fatal error: ", Kind::error}, {": error: ", Kind::error},     {": error #", Kind::error},
        {": warning: ", Kind::warning},   {": warning #", Kind::warning}, {": note: ", Kind::note}};
    for (const auto& [mark, kind] : marks) {
        const std::size_t at = line.find(mark);
        if (at == std::string::npos) continue;
        if (auto place = parse_place(line.substr(0, at)))
            return Header{kind, *place, line.substr(at + std::string_view(mark).size())};
    }
    return {};
}

bool starts_with_space(const std::string& line) { return line.starts_with(" "); }

// "In file included from PLACE:", "                 from PLACE,", "PLACE:   required from here", "PATH: In function …":
// what stands before a diagnostic and tells how the compiler came there. The place is empty in the last.
std::optional<Place> parse_context(const std::string& line) {
    for (std::string_view lead : {"In file included from ", "                 from "})
        if (line.starts_with(lead)) {
            std::string rest = line.substr(lead.size());
            while (!rest.empty() && (rest.back() == ',' || rest.back() == ':')) rest.pop_back();
            return parse_place(rest).value_or(Place());
        }
    if (starts_with_space(line)) return {};
    for (std::string_view mark : {":   required ", ":   recursively required ", ":   in "})
        if (std::size_t at = line.find(mark); at != std::string::npos)
            if (auto place = parse_place(line.substr(0, at))) return place;
    for (std::string_view mark : {": In ", ": At "})
        if (line.find(mark) != std::string::npos) return Place();
    return {};
}

struct Diagnostic {
    Header header;
    std::vector<std::string> snippet;
    std::vector<Diagnostic> notes;
    std::optional<Place> led_there;  // the line in the student's file
};

class Reader {
  public:
    explicit Reader(const fs::path& file) : student_(project_folder() / file) {}

    bool is_student(const Place& place) {
        auto [entry, is_new] = known_.try_emplace(place.file, false);
        std::error_code none;
        if (is_new)
            entry->second = fs::path(place.file).lexically_normal() == student_.lexically_normal() ||
                            fs::equivalent(place.file, student_, none);
        return entry->second;
    }

    std::vector<Diagnostic> read(const std::string& output) {
        std::istringstream lines(output);
        for (std::string line; std::getline(lines, line);) read_line(line);
        return std::move(found_);
    }

  private:
    void read_line(const std::string& line) {
        if (auto header = parse_header(line)) return begin(std::move(*header));
        if (auto place = parse_context(line)) {
            if (!in_context_) context_.reset();
            in_context_ = true;
            // Of a chain of instantiations the last counts, of inclusions any: the file is included once.
            if (is_student(*place)) context_ = place;
            snippet_ = nullptr;
            return;
        }
        if (snippet_ && starts_with_space(line))
            snippet_->push_back(line);
        else
            snippet_ = nullptr;
    }

    void begin(Header header) {
        if (header.kind == Kind::note && !found_.empty()) {
            found_.back().notes.push_back({std::move(header), {}, {}, {}});
            snippet_ = &found_.back().notes.back().snippet;
        } else if (header.kind != Kind::note) {
            // The compiler tells once for all diagnostics in a row how it came to a place.
            std::optional<Place> led = context_;
            if (!in_context_ && !found_.empty() && found_.back().header.place.file == header.place.file)
                led = found_.back().led_there;
            found_.push_back({std::move(header), {}, {}, led});
            snippet_ = &found_.back().snippet;
        }
        in_context_ = false;
    }

    fs::path student_;
    std::map<std::string, bool> known_;
    std::vector<Diagnostic> found_;
    std::optional<Place> context_;
    bool in_context_ = false;
    std::vector<std::string>* snippet_ = nullptr;
};

std::string without(std::string text, const std::string& part) {
    for (std::size_t at; (at = text.find(part)) != std::string::npos;) text.erase(at, part.size());
    return text;
}

std::string without_project(const std::string& text) { return without(text, project_folder().string() + "/"); }

// "undefined reference to `name'" and "multiple definition of `name'", each name once, without the exercise's
// namespace.
std::vector<std::string> linker_sentences(const std::string& output, const std::string& exercise) {
    std::vector<std::string> sentences;
    auto add = [&](std::string_view mark, const char* sentence) {
        for (std::size_t at = 0; (at = output.find(mark, at)) != std::string::npos;) {
            at += mark.size();
            const std::size_t end = output.find_first_of("'\n", at);
            const std::string name = without(output.substr(at, end - at), "attn::exercises::" + exercise + "::");
            std::string text = fmt::format(fmt::runtime(sentence), without(name, "emulated::"));
            if (std::find(sentences.begin(), sentences.end(), text) == sentences.end()) sentences.push_back(text);
        }
    };
    add("undefined reference to `",
        "error: {} is called but defined nowhere: is its name, or are its parameters, "
        "other than declared?");
    add("multiple definition of `", "error: {} is defined more than once");
    return sentences;
}

std::string line_of_file(const Place& place) {
    std::ifstream stream(place.file);
    std::string line;
    for (int number = 0; number < place.line && std::getline(stream, line);) ++number;
    return line;
}

void print_snippet(std::string& text, const std::vector<std::string>& snippet) {
    for (std::size_t i = 0; i < snippet.size() && i < most_snippet_lines; ++i) text += snippet[i] + "\n";
}

const char* word_of(Kind kind) { return kind == Kind::error ? "error" : kind == Kind::warning ? "warning" : "note"; }

std::string heading(const Header& header) {
    return fmt::format("{}: {}: {}\n", header.place.text(), word_of(header.kind), header.message);
}

// Candidates that did not fit, and what is said of them, are many and seldom the point.
bool explains(const Header& note) { return !note.message.starts_with(" ") && !note.message.starts_with("candidate"); }

std::string shown(const Diagnostic& diagnostic, Reader& reader) {
    std::string text = heading(diagnostic.header);
    const Place& place = diagnostic.header.place;
    const bool in_file = reader.is_student(place);
    if (in_file) {
        print_snippet(text, diagnostic.snippet);
    } else {
        text += fmt::format("  led there by {}\n", diagnostic.led_there->text());
        text += fmt::format("{:5} | {}\n", diagnostic.led_there->line, line_of_file(*diagnostic.led_there));
    }
    int notes = 0;
    for (const Diagnostic& note : diagnostic.notes) {
        const Place& there = note.header.place;
        const bool same_line = there.file == place.file && there.line == place.line;
        if (!reader.is_student(there) && !(same_line && explains(note.header))) continue;
        if (++notes > most_notes) break;
        text += heading(note.header);
        if (in_file || !same_line) print_snippet(text, note.snippet);
    }
    return text;
}

std::string end_of(const std::string& output) {
    std::size_t at = output.size();
    if (at > 0 && output[at - 1] == '\n') --at;
    for (int lines = 0; at > 0; --at)
        if (output[at - 1] == '\n' && ++lines == last_lines) break;
    return output.substr(at);
}

struct Cut {
    std::vector<std::string> errors, warnings;
};

Cut cut_to(const fs::path& file, const BuildOutcome& outcome) {
    Reader reader(file);
    Cut result;
    std::set<std::string> seen;  // errors that one line of the file leads to are one error
    for (const Diagnostic& diagnostic : reader.read(outcome.output)) {
        const bool in_file = reader.is_student(diagnostic.header.place);
        const bool is_error = diagnostic.header.kind == Kind::error;
        if (!in_file && !(is_error && diagnostic.led_there)) continue;
        const std::string key = in_file ? heading(diagnostic.header) : fmt::format("{}", diagnostic.led_there->line);
        if (seen.insert(key).second) (is_error ? result.errors : result.warnings).push_back(shown(diagnostic, reader));
    }
    if (result.errors.empty())
        for (const std::string& sentence : linker_sentences(outcome.output, file.stem().string()))
            result.errors.push_back(sentence + "\n");
    return result;
}

}  // namespace

std::string diagnostics_for(const fs::path& file, const BuildOutcome& outcome) {
    const auto [errors, warnings] = cut_to(file, outcome);
    if (!outcome.succeeded && errors.empty()) return without_project(end_of(outcome.output));

    std::string text;
    auto add = [&](const std::vector<std::string>& list, std::size_t most, const char* what) {
        for (std::size_t i = 0; i < list.size() && i < most; ++i) text += list[i];
        if (list.size() > most) text += fmt::format("… and {} more {}\n", list.size() - most, what);
    };
    if (outcome.succeeded)
        add(warnings, most_warnings, "warnings");
    else
        add(errors, most_errors, "errors");
    return without_project(text);
}

bool failed_elsewhere(const fs::path& file, const BuildOutcome& outcome) {
    return !outcome.succeeded && cut_to(file, outcome).errors.empty();
}

}  // namespace attn
