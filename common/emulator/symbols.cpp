// Names of functions and variables, and source lines, from the executable's own symbol table and debug information.
#include <cxxabi.h>
#include <dwarf.h>
#include <elfutils/libdwfl.h>
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
    auto* ranges = static_cast<Range*>(out);  // [0] the image, [1] this thread's thread-local variables
    ranges[0].low = ~std::uintptr_t{0};
    for (int segment = 0; segment < info->dlpi_phnum; ++segment) {
        const auto& header = info->dlpi_phdr[segment];
        std::uintptr_t low = info->dlpi_addr + header.p_vaddr, high = low + header.p_memsz;
        if (header.p_type == PT_LOAD) {
            ranges[0].low = std::min(ranges[0].low, low);
            ranges[0].high = std::max(ranges[0].high, high);
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

}  // namespace

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

const std::vector<Variable>& thread_local_variables() { return variables().thread_local_ones; }
const std::vector<Variable>& global_variables() { return variables().global_ones; }

Range thread_local_segment() {
    Range ranges[2];
    dl_iterate_phdr(describe_program, ranges);
    return ranges[1];
}

Range program_image() {
    Range ranges[2];
    dl_iterate_phdr(describe_program, ranges);
    return ranges[0];
}

}  // namespace attn::emulator
