// How the 32 lanes of a warp access memory together: what a GPU makes of it in sectors and wavefronts.
//
// The lanes run one after the other here. What they do together on a GPU is put together again: the accesses that the
// lanes of a warp make by one instruction, the k-th time each since all of them were last together (at a barrier, or at
// a collective of all lanes), are one request.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "common/emulator/emulator.hpp"

namespace attn::emulator {

class AccessLog {
  public:
    AccessLog();

    // `position`: in device memory or in shared memory, of the lane of the warp of the block that is running.
    void add(unsigned thread, const void* instruction, std::uint32_t position, unsigned bytes, bool shared,
             bool store) {
        Site& site = site_of(instruction, bytes, shared, store);
        WarpSite& warp = site.warps[thread / 32];
        const unsigned lane = thread % 32, occurrence = warp.seen[lane]++;
        if (occurrence >= warp.used) {
            if (occurrence >= warp.requests.size()) warp.requests.resize(std::min(2 * occurrence + 4, most_requests));
            if (occurrence >= most_requests) return add_alone(site, position);
            warp.used = occurrence + 1;
            warp.requests[occurrence] = {1u << lane, position, 0, lane, Request::one};
            return;
        }
        Request& request = warp.requests[occurrence];
        // Most often the lanes stand in an even row.
        if (request.state == Request::row &&
            position == request.first + static_cast<std::uint32_t>(request.step) * (lane - request.first_lane))
            request.mask |= 1u << lane;
        else
            add_to(request, lane, position);
    }

    void warp_together(unsigned warp, Counts& counts);  // its lanes are at one place
    void block_together(unsigned warps, Counts& counts);

    // Since the last restart(), an instruction each (two where it reaches both kinds of memory).
    std::vector<std::pair<const void*, AccessPattern>> patterns() const;
    void restart();

  private:
    // A lane that is so many accesses of one instruction ahead of the others is no longer put together with them.
    static constexpr unsigned most_requests = 1u << 20;

    struct Request {
        enum State : std::uint16_t { one, row, scattered };  // lanes
        std::uint32_t mask = 0;
        std::uint32_t first = 0;  // where lane `first_lane` is; scattered: a place in scattered_
        std::int32_t step = 0;    // from one lane to the next
        std::uint32_t first_lane : 16 = 0, state : 16 = one;
    };
    using Positions = std::array<std::uint32_t, 32>;
    struct WarpSite {
        unsigned seen[32] = {};  // accesses by each lane
        unsigned used = 0;       // requests
        std::vector<Request> requests;
    };
    struct Site {
        const void* instruction = nullptr;
        unsigned bytes = 0;
        bool shared = false, store = false;
        AccessPattern pattern;
        std::array<WarpSite, 32> warps;
    };
    // What requests cost that were seen before: the same wherever a line of 128 bytes stands that they begin in.
    struct RowCost {
        std::uint32_t mask = 0, key = 0;
        std::int32_t step = 0;
        AccessPattern cost;
    };
    struct ScatteredCost {
        std::uint32_t mask = 0, key = 0;
        Positions positions{};
        AccessPattern cost;
    };
    // Where in its line a request begins, and the kind of its site.
    static std::uint32_t key_of(const Site& site, std::uint32_t first) {
        return first % 128 << 8 | site.bytes << 1 | (site.shared ? 1 : 0) | 1u << 31;
    }

    struct Slot {
        const void* instruction = nullptr;
        Site* site = nullptr;  // null: free
    };
    std::size_t first_slot(const void* instruction) const {
        return (reinterpret_cast<std::uintptr_t>(instruction) * 0x9e3779b97f4a7c15u >> 40) & (table_.size() - 1);
    }
    Site& site_of(const void* instruction, unsigned bytes, bool shared, bool store) {
        std::size_t slot = first_slot(instruction);
        while (true) {
            const Slot& candidate = table_[slot];
            if (candidate.instruction == instruction && candidate.site->shared == shared) return *candidate.site;
            if (!candidate.site) return new_site(slot, instruction, bytes, shared, store);
            slot = (slot + 1) & (table_.size() - 1);
        }
    }
    Site& new_site(std::size_t slot, const void* instruction, unsigned bytes, bool shared, bool store);
    void add_to(Request& request, unsigned lane, std::uint32_t position);
    void add_alone(Site& site, std::uint32_t position);
    Positions positions(const Request& request) const;
    const AccessPattern& cost_of_row(const Site& site, const Request& request);
    const AccessPattern& cost_of_scattered(const Site& site, const Request& request);
    void close(Site& site, WarpSite& warp, Counts& counts);

    std::vector<Slot> table_;  // open addressing; its size is a power of two
    std::deque<Site> sites_;
    std::vector<Positions> scattered_;
    std::vector<RowCost> known_rows_ = std::vector<RowCost>(4096);
    std::vector<ScatteredCost> known_scattered_ = std::vector<ScatteredCost>(1024);
    Counts alone_;  // of add_alone, not yet handed on
};

}  // namespace attn::emulator
