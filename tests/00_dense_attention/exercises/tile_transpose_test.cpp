// Judges tile_transpose. The answer walks over x and puts each element where it belongs, without tiles.
#include "chapters/00_dense_attention/exercises/tile_transpose.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/tensor/random.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::exercises::tile_transpose;

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr int tile = 32, block_rows = 8;

int tiles(int count) { return (count + tile - 1) / tile; }
int start(int position) { return position / tile * tile; }  // of its tile

// Some tile holds more rows than columns or fewer: not all of it lies inside when it is turned.
bool tiles_not_square(int rows, int columns) {
    for (int row = 0; row < rows; row += tile)
        for (int column = 0; column < columns; column += tile)
            if (std::min(tile, rows - row) != std::min(tile, columns - column)) return true;
    return false;
}

// The emulator may find on such an input what it finds of the mistake; elsewhere it finds nothing.
bool may_be_found(const Inputs& in, std::string_view mistake) {
    const int rows = in.x.extent(1), columns = in.x.extent(2);
    if (mistake == "loaded_again") return true;
    if (mistake == "batch_forgotten") return in.x.extent(0) > 1;
    if (mistake == "missing_barrier") return rows > 1 || columns > 1;
    if (mistake == "no_bounds") return rows % tile != 0 || columns % tile != 0;
    if (mistake == "loop_forgotten") return rows > block_rows;
    if (mistake == "edges_left_out") return rows < tile || columns < tile;
    if (mistake == "bounds_not_swapped" || mistake == "tile_not_turned" || mistake == "tile_not_moved")
        return tiles_not_square(rows, columns);
    return false;
}

// And there it must find something: no output is that of the mistake.
bool must_be_found(const Inputs& in, std::string_view mistake) {
    return may_be_found(in, mistake) && mistake != "tile_not_turned" && mistake != "tile_not_moved";
}

judge::Answer answer(const Inputs& in, const Options& options, std::string_view mistake) {
    const int batch = in.x.extent(0), rows = in.x.extent(1), columns = in.x.extent(2);
    const double scale = mistake == "scale_forgotten" ? 1 : static_cast<float>(options.scale);
    auto out = make_tensor<double, 3>({batch, columns, rows});
    // Element (row, column) of matrix b as it lies in a tile with 0 around it.
    auto element = [&](int b, int row, int column) -> double {
        return row < rows && column < columns ? in.x(b, row, column) : 0;
    };
    // What the mistake writes to out(b, column, row); NaN: nothing.
    auto written = [&](int b, int row, int column) -> double {
        const int y = column % tile, x = row % tile, first_row = start(row), first_column = start(column);
        if (mistake == "from_the_chapter") return element(b, row ^ (y / 4 % 8 * 4), column);
        if (mistake == "tile_not_turned") return element(b, first_row + y, first_column + x);
        if (mistake == "tile_not_moved")
            return first_column < rows && first_row < columns ? element(b, first_column + x, first_row + y) : nan_value;
        bool left_out = false;
        if (mistake == "returns_before_barrier") left_out = first_column + x >= columns;
        if (mistake == "edges_left_out") left_out = row >= rows / tile * tile || column >= columns / tile * tile;
        if (mistake == "grid_swapped") left_out = column / tile >= tiles(rows) || row / tile >= tiles(columns);
        if (mistake == "loop_forgotten" || mistake == "store_loop_forgotten") left_out = y >= block_rows;
        return left_out ? nan_value : element(b, row, column);
    };
    for (int b = 0; b < batch; ++b)
        for (int row = 0; row < rows; ++row)
            for (int column = 0; column < columns; ++column) out(b, column, row) = scale * written(b, row, column);
    judge::Answer result;
    if (must_be_found(in, mistake))
        result.finding = judge::Answer::Finding::always;
    else if (may_be_found(in, mistake))
        result.finding = judge::Answer::Finding::perhaps;
    result.add("out", out, {1e-7});  // one rounding
    return result;
}

const judge::Exercise<Inputs, Options> exercise = {
    "tile_transpose",
    &answer,
    {
        {"from_the_chapter",
         "equals the answer in which the rows of a tile lie as the chapter's load_transposed leaves them, in groups "
         "of four that change places with the depth. Whoever reads such a tile must look for each row where it was "
         "put."},
        {"tile_not_turned",
         "equals the answer in which the tiles have changed places, and within each tile rows are still rows. Look "
         "at the two indices with which the tile is read.",
         "never_written", "shared memory"},
        {"tile_not_moved",
         "equals the answer in which each tile is turned, and stored at the place where it was loaded. Where in out "
         "does the tile at row 0, column 32 of x belong?",
         "never_written", "shared memory"},
        {"returns_before_barrier",
         "equals the answer in which threads without a column of x have returned before they stored. A thread with "
         "nothing to load may still have something to store."},
        {"scale_forgotten", "equals the answer with a scale of 1. Where does options.scale come in?"},
        {"batch_forgotten",
         "the emulator found that blocks write to the same places, and only where there is more than one matrix. Which "
         "part of the block's number says which matrix it works on?",
         "race", "between blocks"},
        {"grid_swapped",
         "equals the answer in which the tiles across and the tiles down are mistaken for each other. Which of the "
         "two numbers comes from the rows, and by which do you divide first?"},
        {"store_loop_forgotten",
         "equals the answer in which of each tile only the first 8 rows of out are stored. How many rows does a "
         "block have threads for?"},
        {"edges_left_out",
         "equals the answer without the tiles that are not full; a matrix smaller than a tile gets no block at all, "
         "which CUDA refuses to launch. Is the number of tiles rounded up?",
         "launch_limit", "blocks"},
        {"missing_barrier",
         "the emulator found a thread that reads from the tile what another thread writes there, and nothing makes it "
         "wait. What must all threads wait for between loading and storing?",
         "never_written|race", "reads 4 bytes"},
        {"loop_forgotten",
         "the emulator found that the part of a tile below its first 8 rows is read and never loaded. A block has 8 "
         "rows of threads, a tile has 32 rows.",
         "never_written", "shared memory"},
        {"bounds_not_swapped",
         "the emulator found reads of the tile where nothing was loaded, and only where a tile has more rows than "
         "columns or fewer. What do x and y count while you store, and which bound belongs to which?",
         "never_written", "shared memory"},
        {"no_bounds",
         "the emulator found reads beyond the end of x, and only where a side is not a multiple of 32. What does a "
         "thread load whose row or column does not exist?",
         "out_of_bounds", "reads"},
        {"no_tile",
         "the outputs are right; the counts say that they do not pass through shared memory. Without a tile either "
         "the loads or the stores of a warp run down a column: let them pass through one.",
         "", "", "tile"},
        {"bank_conflicts",
         "the outputs are right; the counts say that the lanes of a warp wait for each other at the tile: what stands "
         "below each other lies in one bank. How far apart must the rows of the tile begin?",
         "", "", "bank_conflicts"},
        {"loaded_again",
         "the emulator found that threads write the same element of the tile: rows are loaded several times. Do "
         "threads "
         "with different threadIdx.y load different rows?",
         "race", "writes 4 bytes"},
    }};

judge::Report run(judge::Test& test, const Tensor<float, 3>& x, double scale) {
    return test.run(exercise, {view(x)}, {scale});
}

Tensor<float, 3> draw(std::uint64_t seed, int batch, int rows, int columns) {
    auto x = make_tensor<float, 3>({batch, rows, columns});
    fill_normal(view(x), seed);
    return x;
}

// Far from 0, and from 1 most of the time; of either sign.
double draw_scale(std::uint64_t seed) {
    return (random_integer(seed, 100, 0, 1) ? 1 : -1) * (0.25 + 2 * random_uniform(seed, 101));
}

TEST_CASE("tile_transpose: any number of rows and columns", "[tile_transpose]") {
    judge::Test test;
    const struct {
        int rows[2], columns[2];  // from, to
    } sizes[] = {{{1, 1}, {1, 1}},     {{1, 1}, {2, 8}},     {{2, 8}, {1, 1}},     {{2, 7}, {9, 31}},
                 {{9, 31}, {2, 8}},    {{32, 32}, {32, 32}}, {{1, 1}, {33, 60}},   {{33, 60}, {1, 1}},
                 {{20, 31}, {33, 50}}, {{33, 50}, {20, 31}}, {{64, 64}, {32, 32}}, {{32, 32}, {64, 64}},
                 {{1, 8}, {65, 100}},  {{65, 100}, {1, 8}},  {{65, 90}, {97, 130}}};
    int which = 0;
    for (const auto& [rows, columns] : sizes)
        for (bool many : {false, true}) {
            const std::uint64_t seed = test.seed(which++);
            const int batch = many ? random_integer(seed, 0, 2, 4) : 1;
            run(test,
                draw(seed, batch, random_integer(seed, 1, rows[0], rows[1]),
                     random_integer(seed, 2, columns[0], columns[1])),
                draw_scale(seed));
        }
    for (int repeat = 0; repeat < 10; ++repeat) {
        const std::uint64_t seed = test.seed(which++);
        run(test,
            draw(seed, random_integer(seed, 0, 1, 4), random_integer(seed, 1, 1, 90), random_integer(seed, 2, 1, 90)),
            draw_scale(seed));
    }
    test.conclude();
}

TEST_CASE("tile_transpose: NaN and infinities stay where they are", "[tile_transpose]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int rows = random_integer(seed, 0, 2, 60), columns = random_integer(seed, 1, 2, 60);
        Tensor<float, 3> x = draw(seed, 2, rows, columns);
        int position = 10;
        for (float value : {nan_value, infinity, -infinity})
            for (int b = 0; b < 2; ++b) {
                const int row = random_integer(seed, position++, 0, rows - 1);
                x(b, row, random_integer(seed, position++, 0, columns - 1)) = value;
            }
        run(test, x, which % 2 ? 0 : draw_scale(seed));  // 0 too: 0 · NaN is NaN
    }
    test.conclude();
}

TEST_CASE("tile_transpose: each element once, through shared memory", "[tile_transpose]") {
    judge::Test test;
    for (int which = 0; which < 3; ++which) {
        const std::uint64_t seed = test.seed(which);
        const Tensor<float, 3> x =
            draw(seed, random_integer(seed, 0, 1, 3), random_integer(seed, 1, 10, 70), random_integer(seed, 2, 10, 70));
        const auto counts = run(test, x, draw_scale(seed)).counts;
        if (!counts) continue;
        const std::uint64_t all = sizeof(float) * static_cast<std::uint64_t>(x.size());
        test.expect("bank_conflicts", counts->bank_conflicts == 0,
                    fmt::format("shared memory is read and written in {} wavefronts more than needed, for {} elements",
                                counts->bank_conflicts, all / sizeof(float)));
        test.expect("tile", counts->shared_store_bytes >= all && counts->shared_load_bytes >= all,
                    fmt::format("{} bytes are stored to shared memory and {} loaded from it, expected {} or more: each "
                                "element passes through it",
                                counts->shared_store_bytes, counts->shared_load_bytes, all));
        test.expect(
            "loaded_once", counts->global_load_bytes == all,
            fmt::format("{} bytes of x are loaded, expected {}: each element once", counts->global_load_bytes, all));
        test.expect(
            "stored_once", counts->global_store_bytes == all,
            fmt::format("{} bytes of out are stored, expected {}: each element once", counts->global_store_bytes, all));
    }
    test.conclude();
}

}  // namespace
