#include "common/emulator/races.hpp"

#include <fmt/format.h>

#include <bit>

#include "common/emulator/machine.hpp"

namespace attn::emulator {

namespace {

constexpr std::size_t most_pages_kept = 512;  // from one launch to the next: 45 MiB
constexpr std::uint32_t last_event = 1u << 31;

}  // namespace

// ---- events --------------------------------------------------------------------------------------------------------

void Races::begin_launch(std::size_t shared_bytes) {
    if (pages_.empty()) pages_.resize(page_count);
    if (shared_.empty()) shared_.resize(shared_bytes / 4 + 1);
    for (Parts& parts : parts_) *parts.whole = {};
    parts_.clear();
    // Marks of earlier launches are smaller than any event to come, so cells need not be cleared; until numbers run
    // out.
    const bool start_over = events_ > last_event || sequence_ > last_event || pages_held_ > most_pages_kept;
    if (start_over) {
        for (auto& page : pages_) page.reset();
        pages_held_ = 0;
        std::fill(shared_.begin(), shared_.end(), Cell{});
        for (auto& known : known_) known.reset();
        events_ = sequence_ = 0;
        given_ = taken_ = fenced_ = clock_ = whole_warp_ = {};
    }
    ++launch_;
    touched_.clear();
    released_blocks_.clear();
    volatile_releases_ = false;
    numbers_.clear();
    sites_.assign(1, {});  // number 0 is none
}

void Races::begin_block(std::uint64_t block) {
    block_ = block;
    fences_ = 0;
    acquired_ = false;
    block_barrier();
    block_start_ = block_event_;
}

void Races::block_barrier() {
    block_event_ = next_event();
    clock_.fill(block_event_);
    first_sequence_ = sequence_;
    if (!wide_.empty()) wide_.clear();
}

void Races::warp_barrier(unsigned warp, std::uint32_t lanes, bool all) {
    const std::uint32_t event = clock_[warp] = next_event();
    if (all) {
        whole_warp_[warp] = event;
        return;
    }
    if (!known_[warp]) known_[warp] = std::make_unique<Known>();
    Known& known = *known_[warp];
    std::array<std::uint32_t, 32> together{};
    for (std::uint32_t rest = lanes; rest; rest &= rest - 1) {
        const auto& one = known[static_cast<unsigned>(std::countr_zero(rest))];
        for (unsigned lane = 0; lane < 32; ++lane) together[lane] = std::max(together[lane], one[lane]);
    }
    for (unsigned lane = 0; lane < 32; ++lane)
        if (lanes >> lane & 1) together[lane] = event;
    for (std::uint32_t rest = lanes; rest; rest &= rest - 1)
        known[static_cast<unsigned>(std::countr_zero(rest))] = together;
}

void Races::fence(unsigned thread) {
    fenced_[thread / 32] = block_event_;
    ++fences_;
}

void Races::synchronizes(unsigned thread, bool global, bool takes, bool gives, bool is_volatile) {
    const unsigned warp = thread / 32;
    ++sequence_;
    if (takes) taken_[warp] = sequence_;
    if (gives && fenced_[warp] == block_event_ && given_[warp] <= first_sequence_) given_[warp] = sequence_;
    if (!global) return;
    if (takes) acquired_ = true;
    if (gives && fences_ > 0) {
        released_blocks_[block_] = fences_;
        volatile_releases_ |= is_volatile;
    }
}

// ---- accesses ------------------------------------------------------------------------------------------------------

bool Races::visit_part(Cell& cell, Summary* summary, unsigned size, unsigned from, unsigned to) {
    if (cell.write.thread != split_cell) {
        if (from == 0 && to == size) return apply(cell, summary);
        split(cell, summary);
    }
    Parts& parts = parts_[cell.lanes];
    const unsigned half = size / 2;
    for (unsigned part = 0; part < 2; ++part) {
        const unsigned begin = std::max(from, part * half), end = std::min(to, part * half + half);
        if (begin < end && !visit_part(parts.cell[part], summary ? &parts.summary[part] : nullptr, half,
                                       begin - part * half, end - part * half))
            return false;
    }
    return true;
}

void Races::split(Cell& cell, Summary* summary) {
    Parts& parts = parts_.emplace_back();
    for (unsigned part = 0; part < 2; ++part) {
        parts.cell[part] = cell;
        if (summary) parts.summary[part] = *summary;
        if (cell.read.thread & wide_flag) wide_[&parts.cell[part]] = wide_[&cell];
    }
    parts.whole = &cell;
    cell = {};
    cell.write.thread = split_cell;
    cell.lanes = static_cast<std::uint32_t>(parts_.size() - 1);
}

bool Races::read(Cell& cell, Summary* summary) {
    if (races_with(cell.write, true) || races_with(cell.second_atomic, true)) return false;
    if (summary && cell.read.event < block_start_) note(*summary, reads);
    remember_reader(cell);
    return true;
}

// A volatile load is no race with atomic operations and volatile stores, so it leaves no mark.
bool Races::glance(Cell& cell) { return (cell.write.thread & atomic_flag) != 0 || !races_with(cell.write, true); }

void Races::remember_reader(Cell& cell) {
    const auto thread = static_cast<std::uint16_t>(thread_);
    const std::uint32_t lane_bit = 1u << lane_;
    const bool same_warp = (cell.read.thread & thread_mask) / 32 == warp_;
    const bool other_is_of_warp = cell.other_thread != nobody && cell.other_thread / 32 == warp_;
    if (cell.read.event < block_event_) {
        cell.read = {now_, thread, site()};
        cell.lanes = lane_bit;
        cell.other_thread = nobody;
    } else if (!same_warp) {
        // Two readers of different warps are enough: a write that is ordered after both comes after a barrier.
        if (cell.other_thread == nobody || cell.other_thread / 32 == (cell.read.thread & thread_mask) / 32)
            cell.other_thread = thread, cell.other_site = site();
    } else if (cell.read.event < whole_warp_[warp_]) {
        cell.read = {now_, thread, site()};
        cell.lanes = lane_bit;
        if (other_is_of_warp) cell.other_thread = nobody;
    } else if (cell.read.event == now_ && !(cell.read.thread & wide_flag)) {
        cell.lanes |= lane_bit;
        if (cell.other_thread == nobody) cell.other_thread = thread, cell.other_site = site();
    } else {
        auto& readers = wide_[&cell];
        if (!(cell.read.thread & wide_flag)) {
            for (unsigned lane = 0; lane < 32; ++lane)
                readers[lane] = {cell.lanes >> lane & 1 ? cell.read.event : 0, cell.read.site};
            if (other_is_of_warp) {
                readers[cell.other_thread % 32].site = cell.other_site;
                cell.other_thread = nobody;
            }
            cell.read.thread |= wide_flag;
        }
        readers[lane_] = {now_, site()};
        cell.read.event = now_;
        cell.lanes = 0;
    }
}

bool Races::races_with_readers(const Cell& cell) {
    if (cell.read.event < block_event_) return false;
    const unsigned reader = cell.read.thread & thread_mask, first = reader - reader % 32;
    auto races = [&](std::uint32_t event, unsigned thread, std::uint16_t site) {
        if (ordered(event, thread)) return false;
        conflict_ = {thread, false, false, site};
        return true;
    };
    if (cell.read.thread & wide_flag) {
        const auto& readers = wide_[&cell];
        for (unsigned lane = 0; lane < 32; ++lane)
            if (races(readers[lane].event, first + lane, readers[lane].site)) return true;
    } else {
        // The two whose lines are known come first.
        if (races(cell.read.event, reader, cell.read.site)) return true;
        if (cell.other_thread / 32 == reader / 32 && races(cell.read.event, cell.other_thread, cell.other_site))
            return true;
        if (first == warp_ * 32 && known_[warp_])
            for (unsigned lane = 0; lane < 32; ++lane)
                if (cell.lanes >> lane & 1 && races(cell.read.event, first + lane, cell.read.site)) return true;
    }
    return cell.other_thread != nobody && cell.other_thread / 32 != reader / 32 &&
           races(block_event_, cell.other_thread, cell.other_site);
}

bool Races::write(Cell& cell, Summary* summary) {
    const std::uint16_t flag = access_ == RaceAccess::atomic ? atomic_flag : 0;
    const bool both_atomic = flag != 0 && (cell.write.thread & atomic_flag) != 0;
    if (!both_atomic && (races_with(cell.write, true) || races_with(cell.second_atomic, true))) return false;
    if (races_with_readers(cell)) return false;
    if (summary && (cell.write.event < block_start_ || (cell.write.thread & atomic_flag) != flag))
        note(*summary, flag ? atomics : writes);
    const Mark mark{now_, static_cast<std::uint16_t>(thread_ | flag), site()};
    if (both_atomic && cell.write.event >= block_event_ && (cell.write.thread & thread_mask) != thread_) {
        cell.second_atomic = mark;
    } else {
        cell.write = mark;
        if (!both_atomic) cell.second_atomic = {};
    }
    // Whoever is ordered after this write is ordered after what was read before it.
    cell.read = {};
    cell.lanes = 0;
    return true;
}

void Races::note(Summary& summary, Kind kind) {
    if (summary.launch != launch_) summary = {launch_, {}};
    Entry* entry = summary.entry[kind];
    if (entry[1].valid() || (entry[0].valid() && entry[0].block == block_)) return;
    Entry& fresh = entry[entry[0].valid() ? 1 : 0];
    fresh.block = block_ & 0xffffffffu;
    fresh.site = site();
    fresh.thread = thread_ & 1023u;
    fresh.acquired = acquired_;
    fresh.fences = std::min<std::uint32_t>(fences_, 31) & 31u;
}

Races::Page& Races::open_page(std::size_t number) {
    auto& page = pages_[number];
    if (!page) page = std::make_unique<Page>(), ++pages_held_;
    page->launch = launch_;
    page->has_writes = false;
    touched_.push_back(static_cast<std::uint32_t>(number));
    return *page;
}

std::uint16_t Races::find_site(std::uint64_t key) {
    if (sites_.size() >= 0xffff) {  // more places than numbers: the last one stands for the rest
        sites_.resize(0x10000);
        return 0xffff;
    }
    const auto [known, is_new] = numbers_.try_emplace(key, static_cast<std::uint16_t>(sites_.size()));
    if (is_new) {
        // Parentheses: in braces, two pointers to addresses would be taken for two addresses.
        const std::vector<const void*> calls(place_->calls, place_->calls + place_->depth);
        sites_.push_back({place_->instruction, calls});
    }
    return known->second;
}

// ---- the end of a launch -------------------------------------------------------------------------------------------

bool Races::is_split(std::uint32_t page, std::uint32_t word) const {
    const auto& known = pages_[page];
    return known && known->launch == launch_ && known->cells[word].write.thread == split_cell;
}

const Races::Summary* Races::summary(std::uint32_t page, std::uint32_t word, std::uint32_t byte) const {
    const auto& known = pages_[page];
    if (!known || known->launch != launch_) return nullptr;
    const Cell* cell = &known->cells[word];
    const Summary* found = &known->summaries[word];
    for (std::uint32_t half = 2; cell->write.thread == split_cell; half /= 2) {
        const Parts& parts = parts_[cell->lanes];
        const unsigned part = byte / half % 2;
        cell = &parts.cell[part], found = &parts.summary[part];
    }
    return found->launch == launch_ ? found : nullptr;
}

// ---- reports -------------------------------------------------------------------------------------------------------

namespace {

std::string place_of(const RaceSite& site) {
    const SourceLine line = source_line(site.instruction, site.calls);
    return line.file.empty() ? "a place without debug information" : fmt::format("{}:{}", line.file, line.line);
}

std::string coordinates(std::uint64_t number, dim3 extents) {
    const dim3 place = coordinates_of(number, extents);
    return fmt::format("({},{},{})", place.x, place.y, place.z);
}

const char* verb(bool is_store, bool is_atomic) {
    return is_atomic ? "atomically updates" : is_store ? "writes" : "reads";
}

std::string what_to_do(const Races::Conflict& first, bool is_store, bool is_atomic, bool same_warp, bool same_place) {
    if (first.is_atomic != is_atomic)
        return "Atomic operations protect from each other only: make both accesses atomic, or put a __syncthreads() "
               "between them.";
    const std::string barrier = same_warp ? "a __syncthreads(), or a __syncwarp() whose mask names both lanes (the "
                                            "lanes of a warp run independently)"
                                          : "a __syncthreads()";
    if (first.is_store && is_store)
        return same_place ? "Which element is whose? Give each thread its own, let one thread write, or use an atomic "
                            "operation."
                          : fmt::format("If both are meant, {} must stand between the two lines.", barrier);
    if (first.is_store)
        return fmt::format(
            "Missing between the write and the read, or in a loop between the reads of one round and the "
            "writes of the next: {}.",
            barrier);
    return fmt::format("Missing between the read and the write, so that all have read when the first one writes: {}.",
                       barrier);
}

}  // namespace

void fail_of_race(Worker& worker, std::size_t bytes, bool is_store, bool is_atomic, const std::string& where,
                  const void* instruction) {
    const Races::Conflict& first = worker.races.conflict();
    const RaceSite& site = worker.races.site(first.site);
    const Fiber& self = *worker.running;
    const dim3 block = worker.launch->request->block;
    std::vector<const void*> calls(self.calls, self.calls + std::min<int>(self.depth, std::size(self.calls)));
    const std::string here = place_of({instruction, calls}), there = place_of(site);
    std::string message = fmt::format(
        "Data race: thread {} {} {} bytes at {}, thread {} {} them at {}, and nothing orders the two: on a GPU either "
        "may come first. {}",
        coordinates(self.index, block), verb(is_store, is_atomic), bytes, where, coordinates(first.thread, block),
        verb(first.is_store, first.is_atomic), there,
        what_to_do(first, is_store, is_atomic, first.thread / warp_size == self.index / warp_size, here == there));
    worker.failure.other = site;
    worker.fail(first.is_atomic != is_atomic ? FindingKind::mixed_atomic : FindingKind::race, cudaErrorLaunchFailure,
                std::move(message), instruction);
}

namespace {

// One of two accesses by different blocks.
struct Side {
    Races::Entry entry;
    Races::Kind kind = Races::reads;
    const Worker* worker = nullptr;
};

// All that was noted about one byte, and the lowest pair of blocks that races there.
class Meeting {
  public:
    void add(const Worker& worker, const Races::Summary* summary) {
        if (!summary) return;
        for (Races::Kind kind : {Races::reads, Races::writes, Races::atomics})
            for (const Races::Entry& entry : summary->entry[kind])
                if (entry.valid()) sides_[count_++] = {entry, kind, &worker};
    }

    template <class Ordered, class Found>
    void races(Ordered ordered, Found found) const {
        for (std::size_t a = 0; a < count_; ++a)
            for (std::size_t b = 0; b < count_; ++b) {
                const Side &low = sides_[a], &high = sides_[b];
                if (low.entry.block >= high.entry.block) continue;
                if (low.kind != Races::writes && high.kind != Races::writes &&
                    (low.kind == high.kind || (low.kind != Races::atomics && high.kind != Races::atomics)))
                    continue;
                if (!ordered(low, high)) found(low, high);
            }
    }

  private:
    std::array<Side, 6 * 16> sides_;  // of at most 16 workers
    std::size_t count_ = 0;
};

std::uint64_t released_by(const std::vector<Worker*>& workers, std::uint64_t block) {
    std::uint64_t most = 0;
    for (const Worker* worker : workers) most = std::max<std::uint64_t>(most, worker->races.released(block));
    return most;
}

}  // namespace

bool find_race_between_blocks(const std::vector<Worker*>& workers, const Launch& launch, Failure& failure) {
    if (launch.blocks < 2) return false;
    bool both_ways = false;
    std::vector<std::uint32_t> pages;
    for (const Worker* worker : workers) {
        both_ways |= worker->races.has_volatile_releases();
        for (std::uint32_t page : worker->races.touched())
            if (worker->races.wrote_in(page)) pages.push_back(page);
    }
    std::sort(pages.begin(), pages.end());
    pages.erase(std::unique(pages.begin(), pages.end()), pages.end());

    // Atomic operations go by block (Worker::wait_for_lower_blocks): what a block did before a fence and an atomic
    // operation is ordered before what a higher block does after one. Volatile flags may go either way.
    auto handed_over = [&](const Side& from, const Side& to) {
        if (!to.entry.acquired) return false;
        // An atomic operation needs no fence for the place that it is on.
        return from.kind == Races::atomics || from.entry.fences < released_by(workers, from.entry.block);
    };
    auto ordered = [&](const Side& low, const Side& high) {
        return handed_over(low, high) || (both_ways && handed_over(high, low));
    };
    Side first, second;
    std::size_t position = 0, size = 0;
    bool found = false;
    for (std::uint32_t page : pages)
        for (std::uint32_t word = 0; word < Races::words_per_page; ++word) {
            bool is_split = false;
            for (const Worker* worker : workers) is_split |= worker->races.is_split(page, word);
            for (std::uint32_t byte = 0; byte < (is_split ? 4u : 1u); ++byte) {
                Meeting meeting;
                for (const Worker* worker : workers) meeting.add(*worker, worker->races.summary(page, word, byte));
                meeting.races(ordered, [&](const Side& low, const Side& high) {
                    const auto blocks = [](const Side& a, const Side& b) {
                        return std::pair<std::uint64_t, std::uint64_t>(a.entry.block, b.entry.block);
                    };
                    if (found && blocks(first, second) <= blocks(low, high)) return;
                    found = true;
                    first = low, second = high;
                    position = (std::size_t{page} * Races::words_per_page + word) * 4 + byte;
                    size = is_split ? 1 : 4;
                });
            }
        }
    if (!found) return false;

    const dim3 grid = launch.request->grid, block = launch.request->block;
    const RaceSite &there = first.worker->races.site(first.entry.site & 0xffffu),
                   &here = second.worker->races.site(second.entry.site & 0xffffu);
    const bool mixed = (first.kind == Races::atomics) != (second.kind == Races::atomics);
    auto who = [&](const Side& side) {
        return fmt::format("thread {} of block {} {}", coordinates(side.entry.thread & 1023u, block),
                           coordinates(launch.number(side.entry.block & 0xffffffffu), grid),
                           verb(side.kind == Races::writes, side.kind == Races::atomics));
    };
    failure.finding.kind = mixed ? FindingKind::mixed_atomic : FindingKind::race;
    failure.finding.message = fmt::format(
        "Data race between blocks: {} {}, {} it at {}, and nothing orders the two: blocks of one launch run in any "
        "order. {}",
        who(second), describe_global(position, size), who(first), place_of(there),
        mixed
            ? "Make both accesses atomic, or divide the work into two launches."
            : "Let each block write elements of its own, use atomic operations, or divide the work into two launches.");
    failure.error = cudaErrorLaunchFailure;
    failure.block = second.entry.block;
    failure.address = here.instruction, failure.calls = here.calls;
    failure.other = there;
    const auto set = [](unsigned* to, dim3 from) { to[0] = from.x, to[1] = from.y, to[2] = from.z; };
    set(failure.finding.block, coordinates_of(launch.number(second.entry.block), grid));
    set(failure.finding.thread, coordinates_of(second.entry.thread, block));
    return true;
}

}  // namespace attn::emulator
