// In workers whose kernels the emulator runs.
#include <nlohmann/json.hpp>

#include "common/emulator/emulator.hpp"
#include "common/exercise/worker.hpp"

namespace attn {

namespace {

const char* kind_text(emulator::FindingKind kind) {
    using enum emulator::FindingKind;
    switch (kind) {
        case out_of_bounds: return "out_of_bounds";
        case use_after_free: return "use_after_free";
        case host_memory: return "host_memory";
        case misaligned: return "misaligned";
        case never_written: return "never_written";
        case barrier: return "barrier";
        case warp_collective: return "warp_collective";
        case race: return "race";
        case mixed_atomic: return "mixed_atomic";
        case assertion: return "assertion";
        case exception: return "exception";
    }
    return "unknown";
}

std::string report() {
    nlohmann::json findings = nlohmann::json::array();
    for (const emulator::Finding& finding : emulator::findings())
        findings.push_back({{"kind", kind_text(finding.kind)},
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
    return true;
}();

}  // namespace
}  // namespace attn
