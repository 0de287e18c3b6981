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
    const emulator::Counts& c = emulator::counts();
    nlohmann::json counts = {{"launches", c.launches},
                             {"blocks", c.blocks},
                             {"barriers", c.barriers},
                             {"warp_collectives", c.warp_collectives},
                             {"global_load_bytes", c.global_load_bytes},
                             {"global_store_bytes", c.global_store_bytes},
                             {"shared_load_bytes", c.shared_load_bytes},
                             {"shared_store_bytes", c.shared_store_bytes},
                             {"atomics", c.atomics},
                             {"global_load_sectors", c.global_load_sectors},
                             {"global_store_sectors", c.global_store_sectors},
                             {"bank_conflicts", c.bank_conflicts},
                             {"peak_device_bytes", emulator::peak_device_bytes()}};
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
