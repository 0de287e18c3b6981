#include "common/mechanism/mechanism.hpp"

#include <algorithm>

namespace attn {

namespace {
std::vector<Mechanism>& all() {
    static std::vector<Mechanism> registry;
    return registry;
}
}  // namespace

const char* name(Precision precision) {
    switch (precision) {
        case Precision::float64: return "float64";
        case Precision::float32: return "float32";
        case Precision::float16: return "float16";
        default: return "bfloat16";
    }
}

bool add_mechanism(Mechanism mechanism) {
    auto place = std::lower_bound(all().begin(), all().end(), mechanism.name,
                                  [](const Mechanism& other, const std::string& name) { return other.name < name; });
    all().insert(place, std::move(mechanism));
    return true;
}

const std::vector<Mechanism>& mechanisms() { return all(); }

const Mechanism* find_mechanism(std::string_view name) {
    for (const Mechanism& mechanism : all())
        if (mechanism.name == name) return &mechanism;
    return nullptr;
}

}  // namespace attn
