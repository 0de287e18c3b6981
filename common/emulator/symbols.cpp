// Names of functions and variables, and source lines, from the executable's own symbol table and debug information.
#include <cxxabi.h>
#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <execinfo.h>
#include <fmt/format.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>

#include "common/emulator/machine.hpp"

namespace attn::emulator {

namespace {

std::mutex dwfl_mutex;  // libdw is not made for several threads

Dwfl* debug_information() {
    static Dwfl* session = [] {
        static const Dwfl_Callbacks callbacks = {dwfl_linux_proc_find_elf, dwfl_standard_find_debuginfo, nullptr,
                                                 nullptr};
        Dwfl* fresh = dwfl_begin(&callbacks);
        if (!fresh) return fresh;
        if (dwfl_linux_proc_report(fresh, ::getpid()) != 0 || dwfl_report_end(fresh, nullptr, nullptr) != 0) {
            dwfl_end(fresh);
            fresh = nullptr;
        }
        return fresh;
    }();
    return session;
}

std::string demangled(const char* name) {
    int status = 0;
    char* plain = abi::__cxa_demangle(name, nullptr, nullptr, &status);
    std::string result = status == 0 && plain ? plain : name;
    std::free(plain);
    return result;
}

// The executable is the first object that the loader lists.
int describe_program(dl_phdr_info* info, std::size_t, void* out) {
    // [0] the image, [1] this thread's thread-local variables, [2] what may be written
    auto* ranges = static_cast<Range*>(out);
    ranges[0].low = ranges[2].low = ~std::uintptr_t{0};
    for (int segment = 0; segment < info->dlpi_phnum; ++segment) {
        const auto& header = info->dlpi_phdr[segment];
        std::uintptr_t low = info->dlpi_addr + header.p_vaddr, high = low + header.p_memsz;
        if (header.p_type == PT_LOAD)
            for (int which : {0, 2}) {
                if (which == 2 && !(header.p_flags & PF_W)) continue;
                ranges[which].low = std::min(ranges[which].low, low);
                ranges[which].high = std::max(ranges[which].high, high);
            }
        if (header.p_type == PT_TLS && info->dlpi_tls_data) {
            ranges[1].low = reinterpret_cast<std::uintptr_t>(info->dlpi_tls_data);
            ranges[1].high = ranges[1].low + header.p_memsz;
        }
    }
    return 1;
}

struct Variables {
    std::vector<Variable> thread_local_ones, global_ones;
};

const Variables& variables() {
    static const Variables all = [] {
        Variables found;
        std::lock_guard lock(dwfl_mutex);
        Dwfl* session = debug_information();
        Range image = program_image();
        Dwfl_Module* program = session ? dwfl_addrmodule(session, image.low) : nullptr;
        int count = program ? dwfl_module_getsymtab(program) : 0;
        for (int index = 1; index < count; ++index) {
            GElf_Sym symbol;
            GElf_Addr address = 0;
            const char* name = dwfl_module_getsym_info(program, index, &symbol, &address, nullptr, nullptr, nullptr);
            if (!name || symbol.st_size == 0 || symbol.st_shndx == SHN_UNDEF) continue;
            if (GELF_ST_TYPE(symbol.st_info) == STT_TLS)
                found.thread_local_ones.push_back({symbol.st_value, symbol.st_size, demangled(name)});
            else if (GELF_ST_TYPE(symbol.st_info) == STT_OBJECT && image.contains(address))
                found.global_ones.push_back({address, symbol.st_size, demangled(name)});
        }
        auto by_place = [](const Variable& a, const Variable& b) { return a.low < b.low; };
        std::sort(found.thread_local_ones.begin(), found.thread_local_ones.end(), by_place);
        std::sort(found.global_ones.begin(), found.global_ones.end(), by_place);
        return found;
    }();
    return all;
}

bool is_kernel_source(const std::string& file) { return file.ends_with(".cu"); }

// The lines that one address comes from: the innermost first, then the places that it was inlined into.
std::vector<SourceLine> lines_of(const void* address) {
    std::vector<SourceLine> lines;
    Dwfl* session = debug_information();
    // A return address is one past its call.
    auto program_counter = reinterpret_cast<Dwarf_Addr>(address) - 1;
    Dwfl_Module* module = session ? dwfl_addrmodule(session, program_counter) : nullptr;
    if (!module) return lines;
    if (Dwfl_Line* row = dwfl_module_getsrc(module, program_counter)) {
        int line = 0;
        const char* file = dwfl_lineinfo(row, nullptr, &line, nullptr, nullptr, nullptr);
        if (file) lines.push_back({file, line});
    }
    Dwarf_Addr bias = 0;
    Dwarf_Die* unit = dwfl_module_addrdie(module, program_counter, &bias);
    if (!unit) return lines;
    Dwarf_Die* scopes = nullptr;
    int count = dwarf_getscopes(unit, program_counter - bias, &scopes);
    Dwarf_Files* files = nullptr;
    dwarf_getsrcfiles(unit, &files, nullptr);
    // dwarf_getscopes stops at the concrete function for code in a function; the scopes that hold an inlined one are
    // found from its entry in the tree.
    if (count > 0) {
        Dwarf_Die* parents = nullptr;
        int parent_count = dwarf_getscopes_die(&scopes[0], &parents);
        for (int scope = 0; scope < parent_count; ++scope) {
            if (dwarf_tag(&parents[scope]) != DW_TAG_inlined_subroutine) continue;
            Dwarf_Attribute attribute;
            Dwarf_Word file_index = 0, line = 0;
            if (dwarf_formudata(dwarf_attr(&parents[scope], DW_AT_call_file, &attribute), &file_index) == 0 &&
                dwarf_formudata(dwarf_attr(&parents[scope], DW_AT_call_line, &attribute), &line) == 0)
                if (const char* file = dwarf_filesrc(files, file_index, nullptr, nullptr))
                    lines.push_back({file, static_cast<int>(line)});
        }
        std::free(parents);
        std::free(scopes);
    }
    return lines;
}

// ---- types of variables ---------------------------------------------------------------------------------------------

// The type behind its names and qualifiers.
bool type_of(Dwarf_Die* die, Dwarf_Die* type) {
    Dwarf_Attribute attribute;
    if (!dwarf_formref_die(dwarf_attr_integrate(die, DW_AT_type, &attribute), type)) return false;
    const int tag = dwarf_tag(type);
    if (tag != DW_TAG_typedef && tag != DW_TAG_const_type && tag != DW_TAG_volatile_type) return true;
    Dwarf_Die named = *type;
    return type_of(&named, type);
}

std::vector<std::size_t> extents_of(Dwarf_Die* array) {
    std::vector<std::size_t> extents;
    Dwarf_Die child;
    if (dwarf_child(array, &child) != 0) return extents;
    do {
        if (dwarf_tag(&child) != DW_TAG_subrange_type) continue;
        Dwarf_Attribute attribute;
        Dwarf_Word value = 0;
        if (dwarf_formudata(dwarf_attr(&child, DW_AT_upper_bound, &attribute), &value) == 0)
            extents.push_back(value + 1);
        else if (dwarf_formudata(dwarf_attr(&child, DW_AT_count, &attribute), &value) == 0)
            extents.push_back(value);
    } while (dwarf_siblingof(&child, &child) == 0);
    return extents;
}

// "[3][5].x": what stands `offset` bytes into the type, down to parts of `bytes` bytes. The first index of an array may
// be past its end.
std::string part_of(Dwarf_Die* type, std::size_t offset, std::size_t bytes) {
    Dwarf_Word size = 0;
    dwarf_aggregate_size(type, &size);
    Dwarf_Die inner;
    if (dwarf_tag(type) == DW_TAG_array_type && type_of(type, &inner)) {
        const std::vector<std::size_t> extents = extents_of(type);
        Dwarf_Word element = 0;
        if (extents.empty() || dwarf_aggregate_size(&inner, &element) != 0 || element == 0) return "";
        std::string text;
        for (std::size_t dimension = 0; dimension < extents.size(); ++dimension) {
            std::size_t stride = element;
            for (std::size_t rest = dimension + 1; rest < extents.size(); ++rest) stride *= extents[rest];
            text += fmt::format("[{}]", offset / stride);
            offset %= stride;
        }
        return text + part_of(&inner, offset, bytes);
    }
    if (bytes >= size || dwarf_tag(type) != DW_TAG_structure_type) return "";
    Dwarf_Die child, found;
    std::size_t found_at = 0;
    bool any = false;
    if (dwarf_child(type, &child) != 0) return "";
    do {
        if (dwarf_tag(&child) != DW_TAG_member) continue;
        Dwarf_Attribute attribute;
        Dwarf_Word at = 0;
        dwarf_formudata(dwarf_attr(&child, DW_AT_data_member_location, &attribute), &at);
        if (at > offset || (any && at < found_at)) continue;
        found = child, found_at = at, any = true;
    } while (dwarf_siblingof(&child, &child) == 0);
    if (!any || !type_of(&found, &inner)) return "";
    const char* member = dwarf_diename(&found);
    return fmt::format(".{}", member ? member : "") + part_of(&inner, offset - found_at, bytes);
}

std::string extents_text(Dwarf_Die* type) {
    std::string text;
    Dwarf_Die inner = *type;
    while (dwarf_tag(&inner) == DW_TAG_array_type) {
        for (std::size_t extent : extents_of(&inner)) text += fmt::format("[{}]", extent);
        Dwarf_Die array = inner;
        if (!type_of(&array, &inner)) break;
    }
    return text;
}

// Looks through a tree of debug information for the variable at this place.
bool find_variable(Dwarf_Die* die, bool is_thread_local, std::uintptr_t place, Dwarf_Die* found) {
    if (dwarf_tag(die) == DW_TAG_variable) {
        Dwarf_Attribute attribute;
        Dwarf_Op* operations = nullptr;
        std::size_t count = 0;
        if (dwarf_getlocation(dwarf_attr(die, DW_AT_location, &attribute), &operations, &count) == 0 && count > 0 &&
            operations[0].number == place &&
            (is_thread_local ? count == 2 && (operations[1].atom == DW_OP_GNU_push_tls_address ||
                                              operations[1].atom == DW_OP_form_tls_address)
                             : count == 1 && operations[0].atom == DW_OP_addr)) {
            *found = *die;
            return true;
        }
    }
    Dwarf_Die child;
    if (dwarf_child(die, &child) != 0) return false;
    do {
        const int tag = dwarf_tag(&child);
        const bool may_hold = tag == DW_TAG_variable || tag == DW_TAG_subprogram || tag == DW_TAG_lexical_block ||
                              tag == DW_TAG_namespace || tag == DW_TAG_inlined_subroutine;
        if (may_hold && find_variable(&child, is_thread_local, place, found)) return true;
    } while (dwarf_siblingof(&child, &child) == 0);
    return false;
}

}  // namespace

VariablePart part_of_variable(const Variable& variable, bool is_thread_local, std::size_t offset, std::size_t bytes) {
    // "attn::(anonymous namespace)::scores<4>(float*)::tile" is tile.
    const std::size_t colon = variable.name.rfind(':');
    const std::string name = colon == std::string::npos ? variable.name : variable.name.substr(colon + 1);
    VariablePart part;
    std::lock_guard lock(dwfl_mutex);
    // On an OS thread of its own: libdw needs more stack than a fiber has.
    std::thread([&] {
        Dwfl* session = debug_information();
        Dwarf_Die* unit = nullptr;
        Dwarf_Addr bias = 0;
        while (session && (unit = dwfl_nextcu(session, unit, &bias)) != nullptr) {
            const char* file = dwarf_diename(unit);
            if (!file || !std::string_view(file).ends_with(".emulated.cpp")) continue;
            Dwarf_Die found, type;
            const std::uintptr_t place = is_thread_local ? variable.low : variable.low - bias;
            if (!find_variable(unit, is_thread_local, place, &found) || !type_of(&found, &type)) continue;
            part.element = name + part_of(&type, offset, bytes);
            part.declared = name + extents_text(&type);
            return;
        }
    }).join();
    if (part.element.empty()) {
        part.element = fmt::format("byte {} of {}", offset, name);
        part.declared = fmt::format("the {} bytes of {}", variable.bytes, name);
    }
    return part;
}

std::string function_name(const void* address) {
    std::lock_guard lock(dwfl_mutex);
    Dwfl* session = debug_information();
    auto program_counter = reinterpret_cast<Dwarf_Addr>(address);
    Dwfl_Module* module = session ? dwfl_addrmodule(session, program_counter) : nullptr;
    const char* mangled = module ? dwfl_module_addrname(module, program_counter) : nullptr;
    if (!mangled) return "kernel";
    std::string name = demangled(mangled);
    // "void attn::(anonymous namespace)::scores<4>(float*)" is the kernel scores<4>.
    int depth = 0;
    std::size_t end = name.size(), begin = 0;
    for (std::size_t position = 0; position < name.size(); ++position) {
        char c = name[position];
        if (c == '<') ++depth;
        if (c == '>') --depth;
        if (depth > 0) continue;
        if (c == '(' && name.compare(position, 21, "(anonymous namespace)") != 0) {
            end = position;
            break;
        }
        if (c == ' ' || (c == ':' && position > 0 && name[position - 1] == ':')) begin = position + 1;
    }
    return name.substr(begin, end - begin);
}

SourceLine source_line(const void* address, const std::vector<const void*>& calls) {
    std::lock_guard lock(dwfl_mutex);
    // Asked again for each thread of a block where the compiler has copied a barrier: remembered.
    static std::map<std::pair<const void*, std::vector<const void*>>, SourceLine> known;
    auto [entry, is_new] = known.try_emplace({address, calls});
    if (!is_new) return entry->second;
    auto look = [innermost = SourceLine{}](const void* place) mutable -> SourceLine {
        for (const SourceLine& line : lines_of(place)) {
            if (is_kernel_source(line.file)) return line;
            if (innermost.file.empty()) innermost = line;
        }
        return innermost;
    };
    // On an OS thread of its own: libdw needs more stack than a fiber has.
    std::thread([&, &found = entry->second] {
        found = look(address);
        for (auto call = calls.rbegin(); call != calls.rend() && !is_kernel_source(found.file); ++call)
            found = look(*call);
    }).join();
    return entry->second;
}

std::string text(const SourceLine& line) {
    return line.file.empty() ? "a place without debug information" : fmt::format("{}:{}", line.file, line.line);
}

HostPlace host_place(const void* caller, int one_past) {
    void* frames[32];
    void** end = frames + ::backtrace(frames, std::size(frames));
    HostPlace place{static_cast<const char*>(caller) + one_past, {}};
    for (void** frame = std::find(frames, end, caller); frame != end; ++frame) place.calls.push_back(*frame);
    std::reverse(place.calls.begin(), place.calls.end());
    return place;
}

SourceLine source_line(const HostPlace& place) { return source_line(place.caller, place.calls); }

const std::vector<Variable>& thread_local_variables() { return variables().thread_local_ones; }
const std::vector<Variable>& global_variables() { return variables().global_ones; }

namespace {

Range range_of_program(int which) {
    Range ranges[3];
    dl_iterate_phdr(describe_program, ranges);
    return ranges[which];
}

}  // namespace

Range program_image() { return range_of_program(0); }
Range thread_local_segment() { return range_of_program(1); }
Range writable_image() { return range_of_program(2); }

}  // namespace attn::emulator
