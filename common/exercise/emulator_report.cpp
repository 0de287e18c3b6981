// In workers whose kernels the emulator runs.
#include <nlohmann/json.hpp>

#include "common/emulator/emulator.hpp"
#include "common/exercise/worker.hpp"

namespace attn {

namespace {

std::string report() {
    emulator::find_leaks();
    nlohmann::json findings = nlohmann::json::array();
    for (const emulator::Finding& finding : emulator::findings())
        findings.push_back({{"kind", emulator::name(finding.kind)},
                            {"message", finding.message},
                            {"kernel", finding.kernel},
                            {"file", finding.file},
                            {"line", finding.line},
                            {"other_file", finding.other_file},
                            {"other_line", finding.other_line},
                            {"text", finding.text()}});
    nlohmann::json counts = {{"peak_device_bytes", emulator::peak_device_bytes()}};
    for (const emulator::CountName& count : emulator::count_names) counts[count.name] = emulator::counts().*count.field;
    std::string text = nlohmann::json{{"findings", findings}, {"counts", counts}}.dump(
        -1, ' ', false, nlohmann::json::error_handler_t::replace);
    emulator::reset();
    return text.substr(1, text.size() - 2);
}

[[maybe_unused]] const bool added = [] {
    emulator_report = &report;
    print_emulator_findings = &emulator::print_findings;
    emulator::limit_loops(1 << 25, 2);  // before the judge's patience ends
    return true;
}();

}  // namespace
}  // namespace attn
