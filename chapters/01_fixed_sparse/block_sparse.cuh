// The block-sparse kernel: a block of 256 threads has a tile of 64 queries and goes through the tiles of 64 keys that
// its list names. It is FlashAttention's kernel (chapter 05, stage 3) with another loop: tiles that nobody sees are not
// in the list, and only partial ones are masked. It serves every pattern (pattern.hpp), whose predicate is a template
// parameter.
//
// Rows are queries of one key/value head: the queries of the heads that share it stand side by side, so that a tile of
// keys is loaded once for all of them. Lists are the same for all sequences; a pattern that differs from sequence to
// sequence takes tensors [1, B·H, N, D], the same memory, and has a list for each of the B·G key/value heads.
#pragma once

#include "chapters/01_fixed_sparse/tile_lists.hpp"
#include "common/cuda/device_buffer.hpp"
#include "common/cuda/launch.hpp"
#include "common/cuda/register_tile.cuh"
#include "common/cuda/row_state.cuh"

namespace attn::fixed_sparse {
inline namespace ATTN_BUILD {

// Two blocks for a multiprocessor, so that one computes while the other waits for memory: at most 128 registers a
// thread. For sm_75 the compiler would then keep some in memory.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr int blocks_at_once = 1;
#else
constexpr int blocks_at_once = 2;
#endif

// What is attended to, all on the device. A mechanism without log_sum_exp leaves it absent.
struct Attention {
    TensorView<const float, 4> q;      // [B, H, Nq, D]
    TensorView<const float, 4> k, v;   // [B, G, Nk, D], [B, G, Nk, Dv]
    TensorView<float, 4> out;          // [B, H, Nq, Dv]
    TensorView<float, 3> log_sum_exp;  // [B, H, Nq]
    float scale;
    Area area;  // its rows are those of one key/value head
};

// What the parts of split row tiles leave, to be put together. A copy: a sequence, or one key/value head of it where
// all have the same lists.
struct TileParts {
    TensorView<float, 3> sums;    // [copies · parts, 64, Dv]
    TensorView<float, 3> states;  // [copies · parts, 64, 2]: maximum and sum
};

// 64 rows of one key/value head, 64 · ValueTiles columns of the values, and what is known of them so far. All threads
// of the block call everything together.
template <class Pattern, int ValueTiles, bool Aligned>
class RowTile {
  public:
    // Bytes of shared memory.
    static constexpr unsigned most_strips = 8;  // of queries that are kept: 64 KiB
    static __host__ std::size_t shared_bytes(int D) {
        const unsigned query_strips = blocks_for(D, strip);
        return (ValueTiles + 2 + (query_strips <= most_strips ? query_strips : 1)) * sizeof(Strip);
    }

    __device__ RowTile(const Attention& attention, const Pattern& its_pattern, unsigned char* memory, int b, int g,
                       int row_tile, int value)
        : a(attention), pattern(its_pattern), sequence(b), kv_head(g), first_row(row_tile * tile), first_value(value) {
        keys_values = reinterpret_cast<Strip*>(memory);
        weights = keys_values + ValueTiles;
        queries = weights + 2;
        for (int first = 0; keeps_queries() && first < D(); first += strip) load_queries(queries[first / strip], first);
#pragma unroll
        for (int r = 0; r < per_thread; ++r)
            if (exists(r) && !pattern.blind(head(r), query(r))) rows_that_see |= 1u << r;
    }

    // One visit: the keys of a tile are added to what is known of the rows.
    __device__ void add(int key_tile, bool is_partial) {
        const int first_key = key_tile * tile, row = own_row(), column = own_column();
        // [19.4.1-2] scores of the tile
        Sums scores;
        for (int first = 0; first < D(); first += strip) {
            __syncthreads();  // nobody reads the strip before this one any more
            if (!keeps_queries()) load_queries(queries[0], first);
            load_transposed<Aligned>(
                keys_values[0], first, [&](int c) { return position_at(a.k, first_key + c); },
                [&](int) { return D(); });
            __syncthreads();  // the strip is complete
            add_products(scores, queries[keeps_queries() ? first / strip : 0], keys_values[0]);
        }

        // [19.4.1-10] only partial tiles are masked: a bit for each of the thread's 16 pairs
        const unsigned seen = is_partial ? visible_pairs(first_key + column) : 0xffffu;

        // [19.4.1-3] weights, relative to the largest score so far; what was summed up before shrinks with them
        float shrink[per_thread];
#pragma unroll
        for (int r = 0; r < per_thread; ++r) {
            float most = -INFINITY;
#pragma unroll
            for (int c = 0; c < per_thread; ++c) {
                scores.at[r][c] = seen >> (per_thread * r + c) & 1 ? a.scale * scores.at[r][c] : -INFINITY;
                most = fmaxf(most, scores.at[r][c]);
            }
            const float maximum = fmaxf(state[r].maximum, row_max(most));
            float sum = 0;
#pragma unroll
            for (int c = 0; c < per_thread; ++c) {
                const bool is_seen = seen >> (per_thread * r + c) & 1;
                scores.at[r][c] = is_seen ? exp_above(scores.at[r][c], maximum) : not_seen;  // now a weight
                sum += is_seen ? scores.at[r][c] : 0;
            }
            shrink[r] = exp_above(state[r].maximum, maximum);
            state[r] = {maximum, fmaf(state[r].sum, shrink[r], row_sum(sum))};
        }

        // [19.4.1-4] the weighted sum of the values
#pragma unroll
        for (int t = 0; t < ValueTiles; ++t)
#pragma unroll
            for (int r = 0; r < per_thread; ++r)
#pragma unroll
                for (int c = 0; c < per_thread; ++c) sums[t].at[r][c] *= shrink[r];
#pragma unroll
        for (int c = 0; c < per_thread; ++c) {
            const int key = column + c;
            *reinterpret_cast<float4*>(&weights[key / strip][key % strip][swizzled(key % strip, row)]) =
                make_float4(scores.at[0][c], scores.at[1][c], scores.at[2][c], scores.at[3][c]);
        }
        for (int first = 0; first < tile; first += strip) {
            __syncthreads();  // the weights are complete, and nobody reads the strips before these any more
            for (int t = 0; t < ValueTiles; ++t)
                load_rows<Aligned>(keys_values[t], first_value + t * tile, Dv(),
                                   [&](int key) { return position_at(a.v, first_key + first + key); });
            __syncthreads();
#pragma unroll 4
            for (int depth = 0; depth < strip; ++depth) {
                const float4 weight =
                    *reinterpret_cast<const float4*>(&weights[first / strip][depth][swizzled(depth, row)]);
#pragma unroll
                for (int t = 0; t < ValueTiles; ++t) {
                    const float4 value = *reinterpret_cast<const float4*>(&keys_values[t][depth][column]);
                    if (is_partial)
                        add_seen(sums[t], weight, value);
                    else
                        add_outer_product(sums[t], weight, value);
                }
            }
        }
    }

    // Everything was added: divided by the sum, and written.
    __device__ void write_out() const {
#pragma unroll
        for (int r = 0; r < per_thread; ++r) {
            if (!exists(r)) continue;
            const int h = head(r), i = query(r);
#pragma unroll
            for (int t = 0; t < ValueTiles; ++t) {
                const float* s = sums[t].at[r];
                const float by = state[r].sum;
                store_four<Aligned>(
                    a.out.slice(sequence, h, i).data(), first_value + t * tile + own_column(), Dv(),
                    sees(r) ? make_float4(s[0] / by, s[1] / by, s[2] / by, s[3] / by) : make_float4(0, 0, 0, 0));
            }
        }
        if (!a.log_sum_exp || first_value > 0) return;
            // Of the threads that know a row's state, one for each of the four rows writes it, all at once.
#pragma unroll
        for (int r = 0; r < per_thread; ++r)
            if (own_column() == per_thread * r && exists(r))
                a.log_sum_exp(sequence, head(r), query(r)) =
                    sees(r) ? state[r].maximum + logf(state[r].sum) : -INFINITY;
    }

    // Only a part was added: its sums and states are left as they are.
    __device__ void write_part(const TileParts& parts, int part) const {
#pragma unroll
        for (int r = 0; r < per_thread; ++r) {
            const int row = own_row() + r;
            if (!exists(r)) continue;
#pragma unroll
            for (int t = 0; t < ValueTiles; ++t) {
                const float* s = sums[t].at[r];
                store_four<Aligned>(parts.sums.slice(part, row).data(), first_value + t * tile + own_column(), Dv(),
                                    make_float4(s[0], s[1], s[2], s[3]));
            }
            if (own_column() == per_thread * r && first_value == 0) {
                parts.states(part, row, 0) = state[r].maximum;
                parts.states(part, row, 1) = state[r].sum;
            }
        }
    }

  private:
    static constexpr float not_seen = -1;  // the place of a weight, which is never negative

    __device__ int D() const { return a.q.extent(3); }
    __device__ int Dv() const { return a.v.extent(3); }
    __device__ bool keeps_queries() const { return D() <= static_cast<int>(most_strips) * strip; }
    __device__ bool exists(int r) const { return first_row + own_row() + r < a.area.rows(); }
    __device__ int head(int r) const { return a.area.head(kv_head, first_row + own_row() + r); }
    __device__ int query(int r) const { return pattern.query((first_row + own_row() + r) / a.area.group); }

    __device__ void load_queries(Strip& to, int first) const {
        load_transposed<Aligned>(
            to, first,
            [&](int r) {
                const int row = first_row + r;
                return row < a.area.rows()
                           ? &a.q(sequence, a.area.head(kv_head, row), pattern.query(row / a.area.group), 0)
                           : nullptr;
            },
            [&](int) { return D(); });
    }
    // Where the key or value of a column begins; null beyond the last.
    __device__ const float* position_at(const TensorView<const float, 4>& of, int column) const {
        return column < a.area.columns ? &of(sequence, kv_head, pattern.key(column), 0) : nullptr;
    }
    __device__ bool sees(int r) const { return rows_that_see >> r & 1; }
    __device__ unsigned visible_pairs(int first_column) const {
        unsigned seen = 0;
#pragma unroll
        for (int c = 0; c < per_thread; ++c) {
            if (first_column + c >= a.area.columns) continue;
            const auto key = pattern.look_at(pattern.key(first_column + c));
#pragma unroll
            for (int r = 0; r < per_thread; ++r)
                if (sees(r) && pattern.visible(head(r), query(r), key)) seen |= 1u << (per_thread * r + c);
        }
        return seen;
    }
    // A weight of 0 would not be enough where a pair is not seen: 0 · NaN is NaN.
    static __device__ void add_seen(Sums& to, float4 weight, float4 value) {
        const float of_rows[per_thread] = {weight.x, weight.y, weight.z, weight.w};
        const float columns[per_thread] = {value.x, value.y, value.z, value.w};
#pragma unroll
        for (int r = 0; r < per_thread; ++r)
            if (of_rows[r] >= 0)  // not where it is NaN; there the sum is, too
#pragma unroll
                for (int c = 0; c < per_thread; ++c) to.at[r][c] += of_rows[r] * columns[c];
    }
    // The 16 threads of a half warp have the columns of four rows.
    static __device__ float row_max(float value) {
        for (int distance = 8; distance > 0; distance /= 2)
            value = fmaxf(value, __shfl_xor_sync(all_lanes, value, distance));
        return value;
    }
    static __device__ float row_sum(float value) {
        for (int distance = 8; distance > 0; distance /= 2) value += __shfl_xor_sync(all_lanes, value, distance);
        return value;
    }

    const Attention& a;
    const Pattern& pattern;
    int sequence, kv_head, first_row, first_value;
    Strip* keys_values;          // a strip of keys, then of each tile of values
    Strip* weights;              // [2]: 64 keys, transposed
    Strip* queries;              // all their columns, transposed; of rows too long to be kept, the strip at hand
    unsigned rows_that_see = 0;  // of the thread's four: bit r
    RowState state[per_thread];
    Sums sums[ValueTiles];
};

// ---- without lists --------------------------------------------------------------------------------------------------
// Where tiles are arithmetic, the pattern itself says which of them a tile of rows visits, on the device:
//
//     for_each_visit(first, last, f)    f(tile, is_partial) for what somebody among these queries sees

// A block: 64 rows of one key/value head, 64 · ValueTiles columns of the values.
template <class Pattern, int ValueTiles, bool Aligned>
__global__ void __launch_bounds__(tile_threads, blocks_at_once) attend_without_lists(Attention a, Pattern pattern) {
    extern __shared__ __align__(16) unsigned char memory[];
    const int G = a.k.extent(1), row_tiles = (a.area.rows() + tile - 1) / tile;
    const int chunks = (a.v.extent(3) + ValueTiles * tile - 1) / (ValueTiles * tile);
    const int first_value = static_cast<int>(blockIdx.x) % chunks * ValueTiles * tile;
    const int row_tile = static_cast<int>(blockIdx.x) / chunks % row_tiles;
    const int head = static_cast<int>(blockIdx.x) / chunks / row_tiles;
    const int first = pattern.query(row_tile * tile / a.area.group);
    const int last = pattern.query((min((row_tile + 1) * tile, a.area.rows()) - 1) / a.area.group);
    RowTile<Pattern, ValueTiles, Aligned> rows(a, pattern, memory, head / G, head % G, row_tile, first_value);
    pattern.for_each_visit(first, last, [&](int visit, bool is_partial) { rows.add(visit, is_partial); });
    rows.write_out();
}

template <class Pattern, int ValueTiles>
void launch_without_lists_with(const Attention& a, const Pattern& pattern) {
    const int D = a.q.extent(3), Dv = a.v.extent(3);
    const auto heads = static_cast<unsigned>(a.k.extent(0) * a.k.extent(1));
    launch(D % 4 == 0 && Dv % 4 == 0 ? attend_without_lists<Pattern, ValueTiles, true>
                                     : attend_without_lists<Pattern, ValueTiles, false>,
           {heads * blocks_for(a.area.rows(), tile) * blocks_for(Dv, ValueTiles * tile), tile_threads,
            RowTile<Pattern, ValueTiles, true>::shared_bytes(D)},
           a, pattern);
}
template <class Pattern>
void launch_without_lists(const Attention& a, const Pattern& pattern) {
    if (a.v.extent(3) <= tile)
        launch_without_lists_with<Pattern, 1>(a, pattern);
    else
        launch_without_lists_with<Pattern, 2>(a, pattern);
}

// ---- by lists -------------------------------------------------------------------------------------------------------

// A block: one entry of the plan, and 64 · ValueTiles columns of the values.
template <class Pattern, int ValueTiles, bool Aligned>
__global__ void __launch_bounds__(tile_threads, blocks_at_once)
    attend_to_lists(Attention a, Pattern pattern, TensorView<const Work, 1> plan,
                    TensorView<const ListedTile, 1> visits, TileParts parts, int parts_of_copy, int list_offset) {
    extern __shared__ __align__(16) unsigned char memory[];
    // Behind the tiles: the block's entry, then its visits. Read once for all threads.
    int* entry = reinterpret_cast<int*>(memory + list_offset);
    constexpr int entry_numbers = sizeof(Work) / sizeof(int), visit_numbers = sizeof(ListedTile) / sizeof(int);
    const int own = static_cast<int>(threadIdx.x), G = a.k.extent(1);
    const int chunks = (a.v.extent(3) + ValueTiles * tile - 1) / (ValueTiles * tile);
    const int first_value = static_cast<int>(blockIdx.x) % chunks * ValueTiles * tile;
    const int entry_index = static_cast<int>(blockIdx.x) / chunks % plan.extent(0);
    const int copy = static_cast<int>(blockIdx.x) / chunks / plan.extent(0);
    if (own < entry_numbers) entry[own] = reinterpret_cast<const int*>(&plan(entry_index))[own];
    __syncthreads();  // the entry is there
    const auto [list_head, row_tile, begin, end, part] = *reinterpret_cast<const Work*>(entry);
    ListedTile* own_visits = reinterpret_cast<ListedTile*>(entry + entry_numbers);
    for (int t = own; t < (end - begin) * visit_numbers; t += tile_threads)
        entry[entry_numbers + t] = reinterpret_cast<const int*>(visits.data() + begin)[t];

    // All key/value heads have the same lists, or each its own.
    const bool shared = a.area.heads == 1;
    const int b = shared ? copy / G : copy, g = shared ? copy % G : list_head;
    RowTile<Pattern, ValueTiles, Aligned> rows(a, pattern, memory, b, g, row_tile, first_value);
    __syncthreads();  // the visits are there
    for (int visit = 0; visit < end - begin; ++visit) rows.add(own_visits[visit].tile, own_visits[visit].partial);
    if (part < 0)
        rows.write_out();
    else
        rows.write_part(parts, copy * parts_of_copy + part);
}

// [19.4.1-11] the parts of a split row tile are put together, in their order. A warp for each row.
template <class Pattern>
__global__ void put_parts_together(Attention a, Pattern pattern, TensorView<const Joint, 1> joints, TileParts parts,
                                   int parts_of_copy, int copies) {
    const int index = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    const int row_in_tile = index % tile, joint_index = index / tile % joints.extent(0);
    const int copy = index / tile / joints.extent(0);
    if (copy >= copies) return;  // the whole warp together
    const auto [list_head, row_tile, first_part, count] = joints(joint_index);
    const int row = row_tile * tile + row_in_tile, G = a.k.extent(1);
    if (row >= a.area.rows()) return;
    const bool shared = a.area.heads == 1;
    const int b = shared ? copy / G : copy, g = shared ? copy % G : list_head;
    const int h = a.area.head(g, row), i = pattern.query(row / a.area.group);
    const bool is_blind = pattern.blind(h, i);
    const int first = copy * parts_of_copy + first_part;
    for (int column = lane; column < a.out.extent(3); column += 32) {
        RowState total;
        float sum = 0;
        for (int part = first; part < first + count; ++part) {
            const Factors factors =
                put_together(total, {parts.states(part, row_in_tile, 0), parts.states(part, row_in_tile, 1)});
            sum = fmaf(sum, factors.before, parts.sums(part, row_in_tile, column) * factors.added);
        }
        a.out(b, h, i, column) = is_blind ? 0 : sum / total.sum;
        if (column == 0 && a.log_sum_exp)
            a.log_sum_exp(b, h, i) = is_blind ? -INFINITY : total.maximum + logf(total.sum);
    }
}

// ---- the launch -----------------------------------------------------------------------------------------------------

// A list on the device. Not empty: there is memory behind it.
template <class T>
DeviceTensor<T, 1> on_the_device(std::vector<T> list, const char* name) {
    if (list.empty()) list.push_back({});
    return DeviceTensor<T, 1>(TensorView<const T, 1>(list.data(), {{static_cast<int>(list.size())}}), name);
}

// Rows are long if they have more than twice the visits of the mean row.
inline int most_visits(const TileLists& lists) {
    const int row_tiles = std::max(1, static_cast<int>(lists.begin.size()) - 1);
    return std::clamp(2 * tiles_of(static_cast<int>(lists.visits.size()), row_tiles), 16, 512);
}

template <class Pattern, int ValueTiles>
void launch_lists_with(const Attention& a, const Pattern& pattern, const TileLists& lists, const Plan& plan) {
    const int B = a.q.extent(0), G = a.k.extent(1), D = a.q.extent(3), Dv = a.v.extent(3);
    const int copies = a.area.heads == 1 ? B * G : B;
    const DeviceTensor<Work, 1> work = on_the_device(plan.work, "work of the blocks");
    const DeviceTensor<ListedTile, 1> visits = on_the_device(lists.visits, "visited tiles");
    const DeviceTensor<Joint, 1> joints = on_the_device(plan.joints, "split row tiles");
    const int all_parts = std::max(1, copies * plan.parts);
    DeviceTensor<float, 3> sums({plan.parts ? all_parts : 1, plan.parts ? tile : 1, plan.parts ? Dv : 1},
                                "sums of the parts"),
        states({plan.parts ? all_parts : 1, plan.parts ? tile : 1, 2}, "states of the parts");
    const TileParts parts{sums.view(), states.view()};

    int longest = 0;
    for (const Work& entry : plan.work) longest = std::max(longest, entry.end - entry.begin);
    const std::size_t tiles = RowTile<Pattern, ValueTiles, true>::shared_bytes(D);
    const std::size_t list = sizeof(Work) + static_cast<std::size_t>(longest) * sizeof(ListedTile);
    const auto blocks =
        static_cast<unsigned>(copies) * static_cast<unsigned>(plan.work.size()) * blocks_for(Dv, ValueTiles * tile);
    launch(D % 4 == 0 && Dv % 4 == 0 ? attend_to_lists<Pattern, ValueTiles, true>
                                     : attend_to_lists<Pattern, ValueTiles, false>,
           {blocks, tile_threads, tiles + list}, a, pattern, work.view(), visits.view(), parts, plan.parts,
           static_cast<int>(tiles));
    if (plan.parts == 0) return;
    constexpr int threads = 128;
    const std::int64_t rows = static_cast<std::int64_t>(copies) * static_cast<std::int64_t>(plan.joints.size()) * tile;
    launch(put_parts_together<Pattern>, {blocks_for(rows * 32, threads), threads}, a, pattern, joints.view(), parts,
           plan.parts, copies);
}

// The visits of the lists. The pattern's tensors are on the device. `most`: visits of one block.
template <class Pattern>
void launch_lists(const Attention& a, const Pattern& pattern, const TileLists& lists, int most) {
    const Plan plan = plan_work(lists, most);
    if (a.v.extent(3) <= tile)
        launch_lists_with<Pattern, 1>(a, pattern, lists, plan);
    else
        launch_lists_with<Pattern, 2>(a, pattern, lists, plan);
}
template <class Pattern>
void launch_lists(const Attention& a, const Pattern& pattern, const TileLists& lists) {
    launch_lists(a, pattern, lists, most_visits(lists));
}

}  // namespace ATTN_BUILD
}  // namespace attn::fixed_sparse
