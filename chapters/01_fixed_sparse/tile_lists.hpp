// The tiles of a pattern: for each tile of queries the tiles of keys that it has to visit, as a block-compressed list,
// and how the visits are dealt out to the blocks of a kernel. Built on the host from the runs of the pattern's rows:
// the work is that of the visible runs, not n².
#pragma once

#include "chapters/01_fixed_sparse/pattern.hpp"

namespace attn::fixed_sparse {

// How many rows and columns a tile has.
struct Tiles {
    int rows = 64, columns = 64;
};

constexpr int tiles_of(int count, int width) { return count / width + (count % width != 0); }

// A visit. Partial: not each of its rows × columns pairs is there and visible, so that it has to be masked.
struct ListedTile {
    int tile, partial;

    bool operator==(const ListedTile&) const = default;
};

// Which rows and columns there are. A row is a query of one head; the queries of the `group` heads that share a
// key/value head stand side by side, so that these share what is loaded of it: row r is query r / group.
struct Area {
    int queries, columns, group = 1;
    int heads = 1;  // key/value heads that have a list of their own; 1 if one list is right for all

    ATTN_HOST_DEVICE constexpr int rows() const { return queries * group; }
    ATTN_HOST_DEVICE constexpr int head(int list_head, int row) const { return list_head * group + row % group; }
};

// [19.4.1-8] tile lists: list x = head · row_tiles + row tile has the visits begin[x] … begin[x + 1] - 1, in ascending
// order.
struct TileLists {
    Tiles tiles;
    int row_tiles = 0;
    std::vector<int> begin{0};
    std::vector<ListedTile> visits;
    std::int64_t pairs = 0;  // that are visible

    // Pairs that the visits compute, visible or not.
    std::int64_t computed_pairs() const {
        return static_cast<std::int64_t>(visits.size()) * tiles.rows * tiles.columns;
    }
    int longest() const {
        int most = 0;
        for (std::size_t x = 0; x + 1 < begin.size(); ++x) most = std::max(most, begin[x + 1] - begin[x]);
        return most;
    }
};

// Calls f(column, count) for the stretches of neighbouring columns that a run is made of.
template <class Pattern, class Function>
void for_each_stretch(const Pattern& pattern, const Run& run, Function f) {
    for (int t = 0; t < run.count;) {
        const int column = pattern.column(run.first + t * run.step);
        const int left = run.count - t;
        int count = 1;
        if (left > 1 && pattern.column(run.first + (run.count - 1) * run.step) == column + left - 1 &&
            pattern.column(run.first + (t + 1) * run.step) == column + 1)
            count = left;
        f(column, count);
        t += count;
    }
}

template <class Pattern>
TileLists list_tiles(const Pattern& pattern, const Area& area, const Tiles& tiles = {}) {
    TileLists lists;
    lists.tiles = tiles;
    lists.row_tiles = tiles_of(area.rows(), tiles.rows);
    std::vector<std::int64_t> seen(static_cast<std::size_t>(tiles_of(area.columns, tiles.columns)));
    for (int head = 0; head < area.heads; ++head)
        for (int first = 0; first < area.rows(); first += tiles.rows) {
            std::fill(seen.begin(), seen.end(), 0);
            const int end = std::min(first + tiles.rows, area.rows());
            for (int row = first; row < end; ++row)
                pattern.for_each_run(area.head(head, row), pattern.query(row / area.group), [&](const Run& run) {
                    for_each_stretch(pattern, run, [&](int column, int count) {
                        for (const int last = column + count; column < last;) {
                            const int tile = column / tiles.columns;
                            const int upto = std::min(last - tile * tiles.columns, tiles.columns);
                            seen[static_cast<std::size_t>(tile)] += upto - column % tiles.columns;
                            column = tile * tiles.columns + upto;
                        }
                    });
                });
            for (std::size_t tile = 0; tile < seen.size(); ++tile) {
                if (seen[tile] == 0) continue;
                lists.pairs += seen[tile];
                const bool all = seen[tile] == std::int64_t{end - first} * tiles.columns;
                lists.visits.push_back({static_cast<int>(tile), !all});
            }
            lists.begin.push_back(static_cast<int>(lists.visits.size()));
        }
    return lists;
}

// Every tile, masked: what a kernel does that knows the mask only when it looks at a pair.
inline TileLists all_tiles(const Area& area, const Tiles& tiles = {}) {
    TileLists lists;
    lists.tiles = tiles;
    lists.row_tiles = tiles_of(area.rows(), tiles.rows);
    for (int list = 0; list < area.heads * lists.row_tiles; ++list) {
        for (int tile = 0; tile < tiles_of(area.columns, tiles.columns); ++tile) lists.visits.push_back({tile, 1});
        lists.begin.push_back(static_cast<int>(lists.visits.size()));
    }
    return lists;
}

// ---- the work of the blocks -----------------------------------------------------------------------------------------

// One block: the visits begin … end - 1 of a row tile. Part: where its result goes, to be put together with those of
// the other parts of the row tile; -1 if there are none.
struct Work {
    int head, row_tile, begin, end, part;
};
// A row tile in several parts.
struct Joint {
    int head, row_tile, first_part, parts;
};

struct Plan {
    std::vector<Work> work;  // the longest first
    std::vector<Joint> joints;
    int parts = 0;  // of all row tiles that have several
};

// [19.4.1-9] long rows are split: one that sees everything would keep one block busy long after the others are done.
// Parts have `most` visits, from the left: which part a key is in does not depend on what comes behind it.
inline Plan plan_work(const TileLists& lists, int most) {
    Plan plan;
    for (int list = 0; list + 1 < static_cast<int>(lists.begin.size()); ++list) {
        const int begin = lists.begin[static_cast<std::size_t>(list)];
        const int end = lists.begin[static_cast<std::size_t>(list) + 1];
        const int head = list / lists.row_tiles, row_tile = list % lists.row_tiles;
        const int parts = std::max(1, tiles_of(end - begin, most));
        if (parts > 1) plan.joints.push_back({head, row_tile, plan.parts, parts});
        for (int part = 0; part < parts; ++part)
            plan.work.push_back({head, row_tile, begin + part * most, std::min(begin + (part + 1) * most, end),
                                 parts > 1 ? plan.parts++ : -1});
    }
    std::stable_sort(plan.work.begin(), plan.work.end(),
                     [](const Work& a, const Work& b) { return a.end - a.begin > b.end - b.begin; });
    return plan;
}

// Numbers that the kernel moves between the large memory and the multiprocessors for one key/value head, if nothing is
// cached on the way, no row is split, and there are at most 128 value columns, which one block then has: queries and
// output once, and for each visit its keys and values. Not counted: log_sum_exp (a number for each row), and the lists.
inline std::int64_t numbers_moved(const TileLists& lists, const Area& area, int D, int Dv) {
    std::int64_t keys = 0;
    for (const ListedTile& visit : lists.visits)
        keys += std::min(lists.tiles.columns, area.columns - visit.tile * lists.tiles.columns);
    return (std::int64_t{area.rows()} * area.heads + keys) * (D + Dv);
}
// What of the lists is read besides, in bytes: an entry for each block, and its visits.
inline std::int64_t list_bytes(const TileLists& lists) {
    return static_cast<std::int64_t>((lists.begin.size() - 1) * sizeof(Work) +
                                     lists.visits.size() * sizeof(ListedTile));
}

}  // namespace attn::fixed_sparse
