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

std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 32;
}

// `positions` of the lanes of the mask, in the order of the lanes.
void add_sectors(AccessPattern& cost, const std::uint32_t* positions, std::uint32_t mask, unsigned bytes) {
    Touched touched;
    for (std::uint32_t rest = mask; rest; rest &= rest - 1)
        touched.add(positions[std::countr_zero(rest)], bytes, sector_bytes);
    cost.sectors += static_cast<std::uint64_t>(touched.count);
    for (int index = 0; index < touched.count; ++index)
        cost.useful_bytes += static_cast<std::uint64_t>(std::popcount(touched.used[index]));
}

// How often shared memory is read or written for one request: 32 banks, each gives one word of 4 bytes at a time, to
// whoever wants it. Lanes with 8 bytes each take turns by halves of the warp, with 16 bytes by quarters.
void add_wavefronts(AccessPattern& cost, const std::uint32_t* positions, std::uint32_t mask, unsigned bytes) {
    const unsigned lanes = bytes <= 4 ? 32 : bytes == 8 ? 16 : 8;
    for (unsigned first = 0; first < 32; first += lanes) {
        const std::uint32_t group = lanes == 32 ? ~0u : ((1u << lanes) - 1) << first;
        Touched words;
        for (std::uint32_t rest = mask & group; rest; rest &= rest - 1)
            words.add(positions[std::countr_zero(rest)], bytes, bank_bytes);
        if (words.count == 0) continue;
        std::uint8_t in_bank[banks] = {}, most = 0;
        for (int index = 0; index < words.count; ++index) most = std::max(most, ++in_bank[words.block[index] % banks]);
        cost.wavefronts += most;
        cost.bank_conflicts += most - 1u;
    }
}

AccessPattern cost_of(const std::uint32_t* positions, std::uint32_t mask, unsigned bytes, bool shared) {
    AccessPattern cost;
    cost.requests = 1;
    cost.accesses = static_cast<std::uint64_t>(std::popcount(mask));
    if (shared)
        add_wavefronts(cost, positions, mask, bytes);
    else
        add_sectors(cost, positions, mask, bytes);
    return cost;
}

void add_to_counts(Counts& counts, const AccessPattern& cost, bool shared, bool store) {
    if (shared) {
        (store ? counts.shared_store_wavefronts : counts.shared_load_wavefronts) += cost.wavefronts;
        counts.bank_conflicts += cost.bank_conflicts;
    } else {
        (store ? counts.global_store_requests : counts.global_load_requests) += cost.requests;
        (store ? counts.global_store_sectors : counts.global_load_sectors) += cost.sectors;
        counts.useful_sector_bytes += cost.useful_bytes;
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

AccessLog::AccessLog() : table_(256) {}

AccessLog::Site& AccessLog::new_site(std::size_t slot, const void* instruction, unsigned bytes, bool shared,
                                     bool store) {
    if (2 * (sites_.size() + 1) > table_.size()) {  // half full at most
        table_.assign(2 * table_.size(), {});
        for (Site& site : sites_) {
            std::size_t free = first_slot(site.instruction);
            while (table_[free].site) free = (free + 1) & (table_.size() - 1);
            table_[free] = {site.instruction, &site};
        }
        return site_of(instruction, bytes, shared, store);
    }
    Site& site = sites_.emplace_back();
    table_[slot] = {instruction, &site};
    site.instruction = instruction;
    site.bytes = bytes, site.shared = shared, site.store = store;
    site.pattern.shared = shared, site.pattern.store = store, site.pattern.bytes = bytes;
    return site;
}

AccessLog::Positions AccessLog::positions(const Request& request) const {
    if (request.state == Request::scattered) return scattered_[request.first];
    Positions result{};
    for (unsigned lane = 0; lane < 32; ++lane)
        result[lane] = request.first + static_cast<std::uint32_t>(request.step) * (lane - request.first_lane);
    return result;
}

void AccessLog::add_to(Request& request, unsigned lane, std::uint32_t position) {
    if (request.state == Request::one) {
        const auto distance = static_cast<std::int32_t>(position - request.first);
        const auto lanes = static_cast<std::int32_t>(lane) - static_cast<std::int32_t>(request.first_lane);
        if (distance % lanes == 0) {
            request.step = distance / lanes;
            request.state = Request::row;
            request.mask |= 1u << lane;
            return;
        }
    }
    if (request.state != Request::scattered) {
        scattered_.push_back(positions(request));
        request.first = static_cast<std::uint32_t>(scattered_.size() - 1);
        request.state = Request::scattered;
    }
    scattered_[request.first][lane] = position;
    request.mask |= 1u << lane;
}

void AccessLog::add_alone(Site& site, std::uint32_t position) {
    const AccessPattern cost = cost_of(&position, 1, site.bytes, site.shared);
    site.pattern += cost;
    add_to_counts(alone_, cost, site.shared, site.store);
}

const AccessPattern& AccessLog::cost_of_row(const Site& site, const Request& request) {
    const std::uint32_t start = request.first - static_cast<std::uint32_t>(request.step) * request.first_lane;
    const std::uint32_t key = key_of(site, start);
    const std::uint64_t mixed = mix(std::uint64_t{request.mask} << 32 | key, static_cast<std::uint32_t>(request.step));
    RowCost& known = known_rows_[mixed >> 52];
    if (known.key != key || known.mask != request.mask || known.step != request.step)
        known = {request.mask, key, request.step,
                 cost_of(positions(request).data(), request.mask, site.bytes, site.shared)};
    return known.cost;
}

const AccessPattern& AccessLog::cost_of_scattered(const Site& site, const Request& request) {
    const Positions& positions = scattered_[request.first];
    const std::uint32_t base = positions[static_cast<unsigned>(std::countr_zero(request.mask))];
    const std::uint32_t key = key_of(site, base);
    Positions relative{};
    std::uint64_t mixed = std::uint64_t{request.mask} << 32 | key;
    for (std::uint32_t rest = request.mask; rest; rest &= rest - 1) {
        const auto lane = static_cast<unsigned>(std::countr_zero(rest));
        relative[lane] = positions[lane] - base;
        mixed = mix(mixed, relative[lane]);
    }
    ScatteredCost& known = known_scattered_[mixed >> 54];
    if (known.key != key || known.mask != request.mask || known.positions != relative)
        known = {request.mask, key, relative, cost_of(positions.data(), request.mask, site.bytes, site.shared)};
    return known.cost;
}

void AccessLog::close(Site& site, WarpSite& warp, Counts& counts) {
    AccessPattern sum;
    for (unsigned index = 0; index < warp.used; ++index) {
        Request& request = warp.requests[index];
        if (request.mask == 0) continue;
        sum += request.state == Request::scattered ? cost_of_scattered(site, request) : cost_of_row(site, request);
    }
    add_to_counts(counts, sum, site.shared, site.store);
    site.pattern += sum;
    warp.used = 0;
    std::memset(warp.seen, 0, sizeof warp.seen);
}

void AccessLog::warp_together(unsigned warp, Counts& counts) {
    for (Site& site : sites_)
        if (site.warps[warp].used > 0) close(site, site.warps[warp], counts);
}

void AccessLog::block_together(unsigned warps, Counts& counts) {
    for (unsigned warp = 0; warp < warps; ++warp) warp_together(warp, counts);
    scattered_.clear();
    counts += alone_;
    alone_ = {};
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
