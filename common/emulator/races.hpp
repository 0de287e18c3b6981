// Data races: two accesses to the same bytes, one of them a write, not both atomic, and nothing that orders them.
//
// Within a block, what orders is a barrier, or a __syncwarp() in which both lanes took part. Both are events with a
// number, drawn from one counter; an access is marked with the number of the last event of its warp. So an access came
// before an event if its mark is smaller. Between blocks nothing orders but atomic operations with __threadfence().
//
// Each word of 4 bytes has a cell that remembers who accessed it. Where threads access parts of a word, its cell is
// split into two, down to bytes. A worker has cells of its own, so that no lock is needed; what concerns several blocks
// is put together at the end of the launch.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

namespace attn::emulator {

enum class RaceAccess : std::uint8_t { load, store, atomic, volatile_load };

// Where an access stands in the program.
struct RaceSite {
    const void* instruction = nullptr;
    std::vector<const void*> calls;
};

class Races {
  public:
    // The access that another one, which is about to happen, races with.
    struct Conflict {
        unsigned thread;
        bool is_store, is_atomic;
        std::uint16_t site;
    };

    // What a block did first to some bytes: for races between blocks.
    struct Entry {
        std::uint64_t block : 32 = 0, site : 16 = 0, thread : 10 = 0;
        std::uint64_t acquired : 1 = 0;  // after an atomic operation of its block
        std::uint64_t fences : 5 = 0;    // that its block had made before, 31 for more
        bool valid() const { return site != 0; }
    };
    enum Kind : unsigned { reads, writes, atomics };
    struct Summary {
        std::uint32_t launch = 0;
        // Of each kind the two lowest blocks: a worker takes its blocks in order, so the first two.
        Entry entry[3][2];
    };

    // Where the access at hand stands: as a RaceSite it is kept once for each place, not for each access.
    struct Place {
        const void* instruction;
        const void* const* calls;
        int depth;
        std::uint64_t path;  // a number for the calls
    };

    // Whether a plain load adds nothing to what is known: most do not.
    bool is_known_shared_load(unsigned thread, std::size_t offset, std::size_t bytes) {
        if ((offset | bytes) % 4 != 0) return false;
        for (std::size_t word = offset / 4; word * 4 < offset + bytes; ++word)
            if (!one_more_reader(shared_[word], thread)) return false;
        return true;
    }
    bool is_known_global_load(unsigned thread, std::size_t offset, std::size_t bytes) {
        if ((offset | bytes) % 4 != 0) return false;
        const std::size_t first = offset / 4, last = (offset + bytes - 1) / 4;
        Page* page = pages_[first / words_per_page].get();
        if (!page || page->launch != launch_ || first / words_per_page != last / words_per_page) return false;
        for (std::size_t word = first; word <= last; ++word)
            if (!one_more_reader(page->cells[word % words_per_page], thread)) return false;
        return true;
    }

    // One access of one thread. False: it races, and conflict() says with what.
    bool shared_access(unsigned thread, std::size_t offset, std::size_t bytes, RaceAccess access, const Place& place) {
        const std::size_t last = offset + bytes;
        for (std::size_t word = offset / 4; word * 4 < last; ++word) {
            begin_access(thread, access, place);
            if (!visit(shared_[word], nullptr, offset, last, word * 4)) return false;
        }
        return true;
    }
    bool global_access(unsigned thread, std::size_t offset, std::size_t bytes, RaceAccess access, const Place& place) {
        const std::size_t last = offset + bytes;
        for (std::size_t word = offset / 4; word * 4 < last; ++word) {
            Page& page = page_of(word / words_per_page);
            begin_access(thread, access, place);
            page.has_writes |= access == RaceAccess::store || access == RaceAccess::atomic;
            if (!visit(page.cells[word % words_per_page], &page.summaries[word % words_per_page], offset, last,
                       word * 4))
                return false;
        }
        return true;
    }
    const Conflict& conflict() const { return conflict_; }
    const RaceSite& site(std::uint16_t number) const { return sites_[number]; }

    void begin_launch(std::size_t shared_bytes);
    void begin_block(std::uint64_t block);
    void block_barrier();
    // A __syncwarp() of these lanes, those included that have returned; `all`: of the whole warp.
    void warp_barrier(unsigned warp, std::uint32_t lanes, bool all);
    void fence(unsigned thread);
    // An atomic operation or a volatile access: may take over what others released, or release. Called after the check.
    void synchronizes(unsigned thread, bool global, bool takes, bool gives, bool is_volatile);

    // The pages that this launch touched, by their numbers.
    const std::vector<std::uint32_t>& touched() const { return touched_; }
    bool wrote_in(std::uint32_t page) const {
        const auto& known = pages_[page];
        return known && known->launch == launch_ && known->has_writes;
    }
    // Of a byte of a word; null where this launch did not touch it.
    const Summary* summary(std::uint32_t page, std::uint32_t word, std::uint32_t byte) const;
    bool is_split(std::uint32_t page, std::uint32_t word) const;
    // Accesses of the block with fewer fences before them were released to blocks with higher indices.
    std::uint32_t released(std::uint64_t block) const {
        const auto known = released_blocks_.find(block);
        return known == released_blocks_.end() ? 0 : known->second;
    }
    bool has_volatile_releases() const { return volatile_releases_; }

    static constexpr std::uint32_t words_per_page = 1024;
    // For device memory of 1 GiB, and 128 MiB of __device__ variables.
    static constexpr std::uint32_t page_count = (1 << 18) + (1 << 15);
    static constexpr std::size_t byte_count = std::size_t{page_count} * words_per_page * 4;

  private:
    static constexpr std::uint16_t atomic_flag = 0x8000, wide_flag = 0x4000, thread_mask = 0x03ff;
    static constexpr std::uint16_t split_cell = 0x3fff, nobody = 0x3ffe;

    struct Mark {
        std::uint32_t event = 0;  // of the thread's warp, the last before the access; 0: no access
        std::uint16_t thread = 0, site = 0;
    };
    struct Cell {
        Mark write;               // the last one, or the first atomic operation
        Mark second_atomic;       // of another thread than `write`
        Mark read;                // since the last write, the first one
        std::uint32_t lanes = 0;  // that have read, of that thread's warp, at that event; of a split cell its parts
        std::uint16_t other_thread = nobody, other_site = 0;  // a second reader, of another warp if there is one
    };
    struct Page {
        std::uint32_t launch = 0;
        bool has_writes = false;
        Cell cells[words_per_page];
        Summary summaries[words_per_page];
    };
    struct Parts {
        Cell cell[2];
        Summary summary[2];
        Cell* whole;
    };

    // Most reads are of a word that others have read since the last barrier and nobody wrote: two of the readers are
    // remembered, and it is enough to add the lane.
    bool one_more_reader(Cell& cell, unsigned thread) {
        if (cell.write.event >= block_event_ || cell.read.event < block_event_ || cell.other_thread == nobody)
            return false;
        if ((cell.read.thread ^ thread) < 32) {
            if (cell.read.event != clock_[thread / 32]) return false;
            cell.lanes |= 1u << thread % 32;
            return true;
        }
        // Of another warp than the first reader: nothing to add if the second is of another warp, too.
        return ((cell.read.thread ^ thread) & thread_mask) >= 32 &&
               ((cell.read.thread ^ cell.other_thread) & thread_mask) >= 32;
    }

    void begin_access(unsigned thread, RaceAccess access, const Place& place) {
        thread_ = thread, warp_ = thread / 32, lane_ = thread % 32;
        now_ = clock_[warp_];
        access_ = access;
        place_ = &place;
        site_ = 0;
    }

    Page& page_of(std::size_t number) {
        Page* page = pages_[number].get();
        if (!page || page->launch != launch_) page = &open_page(number);
        return *page;
    }

    bool visit(Cell& cell, Summary* summary, std::size_t low, std::size_t high, std::size_t word) {
        if (low <= word && word + 4 <= high && cell.write.thread != split_cell) return apply(cell, summary);
        return visit_part(cell, summary, 4, low > word ? static_cast<unsigned>(low - word) : 0,
                          static_cast<unsigned>(std::min<std::size_t>(high - word, 4)));
    }
    bool visit_part(Cell& cell, Summary* summary, unsigned size, unsigned from, unsigned to);

    bool apply(Cell& cell, Summary* summary) {
        if (access_ == RaceAccess::load) return read(cell, summary);
        return access_ == RaceAccess::volatile_load ? glance(cell) : write(cell, summary);
    }
    bool read(Cell& cell, Summary* summary);
    bool glance(Cell& cell);
    bool write(Cell& cell, Summary* summary);

    // Whether what a thread did at an event is ordered before what the running one does now.
    bool ordered(std::uint32_t event, unsigned thread) const {
        if (event < block_event_ || thread == thread_) return true;
        if (thread / 32 != warp_) return by_atomics(thread);
        return event < whole_warp_[warp_] || (known_[warp_] && (*known_[warp_])[lane_][thread % 32] > event) ||
               by_atomics(thread);
    }
    bool by_atomics(unsigned thread) const {
        const std::uint32_t given = given_[thread / 32];
        return given > first_sequence_ && taken_[warp_] > given;
    }
    bool races_with(const Mark& mark, bool is_store) {
        const unsigned thread = mark.thread & thread_mask;
        if (ordered(mark.event, thread)) return false;
        // Whoever was told by an atomic operation that it is the last may go on with plain accesses: no fence is needed
        // for the counter itself.
        const bool was_atomic = (mark.thread & atomic_flag) != 0;
        if (was_atomic && access_ != RaceAccess::atomic && taken_[warp_] > first_sequence_) return false;
        conflict_ = {thread, is_store, was_atomic, mark.site};
        return true;
    }
    bool races_with_readers(const Cell& cell);
    void remember_reader(Cell& cell);

    std::uint16_t site() {
        if (site_ == 0) {
            const std::uint64_t key = reinterpret_cast<std::uint64_t>(place_->instruction) + place_->path;
            Slot& slot = slots_[key * 0x9e3779b97f4a7c15u >> 52];
            if (slot.key != key || slot.launch != launch_) slot = {key, launch_, find_site(key)};
            site_ = slot.site;
        }
        return site_;
    }
    std::uint16_t find_site(std::uint64_t key);
    void note(Summary& summary, Kind kind);
    Page& open_page(std::size_t number);
    void split(Cell& cell, Summary* summary);
    std::uint32_t next_event() { return ++events_; }

    // The access at hand.
    unsigned thread_ = 0, warp_ = 0, lane_ = 0;
    std::uint32_t now_ = 0;
    RaceAccess access_ = RaceAccess::load;
    std::uint16_t site_ = 0;  // 0: not looked up yet
    const Place* place_ = nullptr;
    Conflict conflict_{};

    // Events, and the last ones of each kind.
    std::uint32_t events_ = 0;
    std::uint32_t block_start_ = 0, block_event_ = 0;
    std::array<std::uint32_t, 32> clock_{}, whole_warp_{};
    // For masks that leave lanes out: [a][b] is the last event of b that lane a knows of.
    using Known = std::array<std::array<std::uint32_t, 32>, 32>;
    std::array<std::unique_ptr<Known>, 32> known_;
    struct Reader {
        std::uint32_t event = 0;
        std::uint16_t site = 0;
    };
    std::unordered_map<const Cell*, std::array<Reader, 32>> wide_;  // lanes that have read at different events

    // Atomic operations, numbered: of each warp the first that released, since the last barrier, and the last.
    std::uint32_t sequence_ = 0, first_sequence_ = 0;
    std::array<std::uint32_t, 32> given_{}, taken_{}, fenced_{};
    std::uint64_t block_ = 0;
    std::uint32_t fences_ = 0;
    bool acquired_ = false, volatile_releases_ = false;
    std::unordered_map<std::uint64_t, std::uint32_t> released_blocks_;

    // Cells.
    std::uint32_t launch_ = 0;
    std::vector<Cell> shared_;
    std::vector<std::unique_ptr<Page>> pages_;
    std::vector<std::uint32_t> touched_;
    std::size_t pages_held_ = 0;
    std::deque<Parts> parts_;

    // Sites.
    struct Slot {
        std::uint64_t key = 0;
        std::uint32_t launch = 0;
        std::uint16_t site = 0;
    };
    std::vector<Slot> slots_ = std::vector<Slot>(4096);
    std::unordered_map<std::uint64_t, std::uint16_t> numbers_;
    std::vector<RaceSite> sites_;
};

}  // namespace attn::emulator
