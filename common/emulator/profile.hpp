// How the 32 lanes of a warp access memory together: what a GPU makes of it in sectors and wavefronts.
//
// The lanes run one after the other here. What they do together on a GPU is put together again: the accesses that the
// lanes of a warp make by one instruction, the k-th time each since all of them were last together (at a barrier, or at
// a collective of all lanes), are one request.
#pragma once

#include <cstdint>
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
        if (occurrence >= warp.requests.size()) warp.requests.resize(2 * occurrence + 4);
        if (occurrence >= warp.used) warp.used = occurrence + 1;
        Request& request = warp.requests[occurrence];
        request.mask |= 1u << lane;
        request.position[lane] = position;
    }

    void warp_together(unsigned warp, Counts& counts);  // its lanes are at one place
    void block_together(unsigned warps, Counts& counts);

    // Since the last restart(), an instruction each (two where it reaches both kinds of memory).
    std::vector<std::pair<const void*, AccessPattern>> patterns() const;
    void restart();

  private:
    struct Request {
        std::uint32_t mask = 0;
        std::uint32_t position[32];
    };
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
        std::vector<WarpSite> warps;
    };

    Site& site_of(const void* instruction, unsigned bytes, bool shared, bool store) {
        const auto key = reinterpret_cast<std::uintptr_t>(instruction);
        std::size_t slot = (key * 0x9e3779b97f4a7c15u >> 40) % table_.size();
        while (true) {
            const std::int32_t index = table_[slot];
            if (index < 0) return new_site(slot, instruction, bytes, shared, store);
            Site& site = sites_[static_cast<std::size_t>(index)];
            if (site.instruction == instruction && site.shared == shared) return site;
            slot = (slot + 1) % table_.size();
        }
    }
    Site& new_site(std::size_t slot, const void* instruction, unsigned bytes, bool shared, bool store);
    void close(Site& site, WarpSite& warp, Counts& counts);

    std::vector<std::int32_t> table_;  // open addressing; -1: free
    std::vector<Site> sites_;
};

}  // namespace attn::emulator
