#include "common/emulator/profile.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace attn::emulator {

namespace {

constexpr std::uint32_t sector_bytes = 32, banks = 32, bank_bytes = 4;

// Adds `bytes` bytes from `position` on to a set of blocks of `size` bytes (32 at most), each with a mask of the bytes
// that are used.
struct Touched {
    std::uint32_t block[64];
    std::uint32_t used[64];
    int count = 0;
    std::uint32_t highest = 0;

    void add(std::uint32_t position, unsigned bytes, std::uint32_t size) {
        while (bytes > 0) {
            const std::uint32_t number = position / size, offset = position % size;
            const unsigned part = std::min(bytes, size - offset);
            const std::uint32_t mask = (part == 32 ? ~0u : (1u << part) - 1) << offset;
            int index = count - 1;
            if (count > 0 && number > highest)
                index = -1;  // most often they come in order
            else
                while (index >= 0 && block[index] != number) --index;
            highest = count > 0 ? std::max(highest, number) : number;
            if (index < 0) {
                index = count++;
                block[index] = number, used[index] = 0;
            }
            used[index] |= mask;
            position += part, bytes -= part;
        }
    }
};

struct Sectors {
    std::uint64_t sectors = 0, useful_bytes = 0;
};

template <class Request>
Sectors sectors_of(const Request& request, unsigned bytes) {
    Touched touched;
    for (std::uint32_t rest = request.mask; rest; rest &= rest - 1)
        touched.add(request.position[std::countr_zero(rest)], bytes, sector_bytes);
    Sectors result;
    result.sectors = static_cast<std::uint64_t>(touched.count);
    for (int index = 0; index < touched.count; ++index)
        result.useful_bytes += static_cast<std::uint64_t>(std::popcount(touched.used[index]));
    return result;
}

// How often shared memory is read or written for one request: 32 banks, each gives one word of 4 bytes at a time, to
// whoever wants it. Lanes with 8 bytes each take turns by halves of the warp, with 16 bytes by quarters.
template <class Request>
void wavefronts_of(const Request& request, unsigned bytes, std::uint64_t& wavefronts, std::uint64_t& least) {
    const unsigned lanes = bytes <= 4 ? 32 : bytes == 8 ? 16 : 8;
    for (unsigned first = 0; first < 32; first += lanes) {
        const std::uint32_t group = lanes == 32 ? ~0u : ((1u << lanes) - 1) << first;
        Touched words;
        for (std::uint32_t rest = request.mask & group; rest; rest &= rest - 1)
            words.add(request.position[std::countr_zero(rest)], bytes, bank_bytes);
        if (words.count == 0) continue;
        std::uint8_t in_bank[banks] = {}, most = 0;
        for (int index = 0; index < words.count; ++index) most = std::max(most, ++in_bank[words.block[index] % banks]);
        wavefronts += most;
        ++least;
    }
}

}  // namespace

AccessPattern& AccessPattern::operator+=(const AccessPattern& other) {
    requests += other.requests;
    accesses += other.accesses;
    sectors += other.sectors;
    useful_bytes += other.useful_bytes;
    wavefronts += other.wavefronts;
    bank_conflicts += other.bank_conflicts;
    return *this;
}

AccessLog::AccessLog() : table_(256, -1) {}

AccessLog::Site& AccessLog::new_site(std::size_t slot, const void* instruction, unsigned bytes, bool shared,
                                     bool store) {
    if (2 * (sites_.size() + 1) > table_.size()) {  // half full at most
        table_.assign(2 * table_.size(), -1);
        for (std::size_t index = 0; index < sites_.size(); ++index) {
            const auto key = reinterpret_cast<std::uintptr_t>(sites_[index].instruction);
            std::size_t free = (key * 0x9e3779b97f4a7c15u >> 40) % table_.size();
            while (table_[free] >= 0) free = (free + 1) % table_.size();
            table_[free] = static_cast<std::int32_t>(index);
        }
        return site_of(instruction, bytes, shared, store);
    }
    table_[slot] = static_cast<std::int32_t>(sites_.size());
    Site& site = sites_.emplace_back();
    site.instruction = instruction;
    site.bytes = bytes, site.shared = shared, site.store = store;
    site.pattern.shared = shared, site.pattern.store = store, site.pattern.bytes = bytes;
    site.warps.resize(32);
    return site;
}

void AccessLog::close(Site& site, WarpSite& warp, Counts& counts) {
    for (unsigned index = 0; index < warp.used; ++index) {
        Request& request = warp.requests[index];
        if (request.mask == 0) continue;
        AccessPattern one;
        one.requests = 1;
        one.accesses = static_cast<std::uint64_t>(std::popcount(request.mask));
        if (site.shared) {
            std::uint64_t least = 0;
            wavefronts_of(request, site.bytes, one.wavefronts, least);
            one.bank_conflicts = one.wavefronts - least;
            (site.store ? counts.shared_store_wavefronts : counts.shared_load_wavefronts) += one.wavefronts;
            counts.bank_conflicts += one.bank_conflicts;
        } else {
            const Sectors sectors = sectors_of(request, site.bytes);
            one.sectors = sectors.sectors, one.useful_bytes = sectors.useful_bytes;
            (site.store ? counts.global_store_requests : counts.global_load_requests) += 1;
            (site.store ? counts.global_store_sectors : counts.global_load_sectors) += one.sectors;
            counts.useful_sector_bytes += one.useful_bytes;
        }
        site.pattern += one;
        request.mask = 0;
    }
    warp.used = 0;
    std::memset(warp.seen, 0, sizeof warp.seen);
}

void AccessLog::warp_together(unsigned warp, Counts& counts) {
    for (Site& site : sites_)
        if (site.warps[warp].used > 0) close(site, site.warps[warp], counts);
}

void AccessLog::block_together(unsigned warps, Counts& counts) {
    for (unsigned warp = 0; warp < warps; ++warp) warp_together(warp, counts);
}

std::vector<std::pair<const void*, AccessPattern>> AccessLog::patterns() const {
    std::vector<std::pair<const void*, AccessPattern>> result;
    for (const Site& site : sites_)
        if (site.pattern.requests > 0) result.emplace_back(site.instruction, site.pattern);
    return result;
}

void AccessLog::restart() {
    for (Site& site : sites_) {
        site.pattern.requests = site.pattern.accesses = 0;
        site.pattern.sectors = site.pattern.useful_bytes = 0;
        site.pattern.wavefronts = site.pattern.bank_conflicts = 0;
    }
}

}  // namespace attn::emulator
