// Judges kv_cache_bytes. The answer fills the cache position by position, where that is not too many: it takes a page
// whenever a position finds no slot. The mistakes are made in closed form.
#include "chapters/04_head_sharing/exercises/kv_cache_bytes.hpp"

#include <algorithm>

#include "common/tensor/random.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::exercises::kv_cache_bytes;

std::int64_t rounded_up(std::int64_t count, std::int64_t to) { return (count + to - 1) / to * to; }

// What one head holds for one sequence, in positions: seen by the newest query, and room for them in whole pages.
struct Positions {
    std::int64_t seen, room;
};

Positions positions(int window, int length, int page) {
    Positions result{0, 0};
    for (int j = 0; j < length; ++j)
        if (window == 0 || j >= length - window) {
            ++result.seen;
            if (result.seen > result.room) result.room += page;
        }
    return result;
}

Positions mistaken_positions(int window, int length, int page, std::string_view mistake) {
    const bool windowed = mistake == "window_0_is_nothing" || window > 0;
    std::int64_t seen = windowed ? std::min(window, length) : length;
    if (mistake == "windows_ignored") seen = length;
    if (mistake == "window_longer_than_sequence" && windowed) seen = window;
    if (mistake == "window_without_own" && windowed) seen = std::min(window + 1, length);
    std::int64_t room = rounded_up(seen, page);
    if (mistake == "pages_not_rounded" || mistake == "pages_of_all_sequences") room = seen;
    if (mistake == "pages_rounded_down") room = seen / page * page;
    if (mistake == "pages_that_window_touches" && seen > 0)
        room = rounded_up(length, page) - (length - seen) / page * page;
    if (mistake == "ring_taken_at_once") room = rounded_up(windowed ? window : length, page);
    if (mistake == "read_in_pages") seen = room;
    return {seen, room};
}

// Of one position in one head.
std::int64_t mistaken_bytes(const Options& options, std::string_view mistake) {
    const std::int64_t bits = options.number_bits, D = options.head_dim;
    const std::int64_t Dv = mistake == "value_dim_forgotten" ? D : options.value_dim;
    if (mistake == "bytes_of_number_rounded_up") return (D + Dv) * (rounded_up(bits, 8) / 8);
    if (mistake == "bytes_of_number_rounded_down") return (D + Dv) * (bits / 8);
    if (mistake == "row_rounded_down") return D * bits / 8 + Dv * bits / 8;
    if (mistake == "key_and_value_packed") return rounded_up((D + Dv) * bits, 8) / 8;
    return rounded_up(D * bits, 8) / 8 + rounded_up(Dv * bits, 8) / 8;
}

judge::Answer answer(const Inputs& in, const Options& options, std::string_view mistake) {
    const int layers = in.window.extent(0), G = in.window.extent(1), B = in.length.extent(0);
    auto held = make_tensor<std::int64_t, 1>({layers}), read = held;
    const std::int64_t bytes = mistaken_bytes(options, mistake);  // without a mistake the right ones
    for (int layer = 0; layer < layers; ++layer) {
        for (int g = 0; g < G; ++g) {
            std::int64_t seen = 0, room = 0;
            for (int b = 0; b < B; ++b) {
                const int window = in.window(mistake == "window_of_first_layer" ? 0 : layer,
                                             mistake == "window_of_first_head" ? 0 : g);
                const int length = in.length(mistake == "length_of_first" ? 0 : b);
                const Positions found = mistake.empty() && length <= 4096
                                            ? positions(window, length, options.page)
                                            : mistaken_positions(window, length, options.page, mistake);
                seen += found.seen, room += found.room;
            }
            if (mistake == "pages_of_all_sequences") room = rounded_up(room, options.page);
            read(layer) += seen * bytes, held(layer) += room * bytes;
        }
        if (mistake == "times_query_heads") {
            held(layer) = held(layer) * options.query_heads / G;
            read(layer) = read(layer) * options.query_heads / G;
        }
        if (mistake == "from_the_chapter") {
            std::int64_t room = 0;
            for (int b = 0; b < B; ++b)
                room += mistaken_positions(in.window(layer, 0), in.length(b), options.page, "").room;
            held(layer) = read(layer) = room * G * (options.head_dim + options.value_dim) * (options.number_bits / 8);
        }
        if (mistake == "int_overflows") {
            held(layer) = static_cast<std::int32_t>(static_cast<std::uint32_t>(held(layer)));
            read(layer) = static_cast<std::int32_t>(static_cast<std::uint32_t>(read(layer)));
        }
    }
    judge::Answer result;
    result.add("held", held);
    result.add("read", read);
    return result;
}

const judge::Exercise<Inputs, Options> exercise = {
    "kv_cache_bytes",
    &answer,
    {
        {"from_the_chapter",
         "equals the chapter's formulas: one window for all heads of a layer, whole bytes for each number, and all "
         "of the pages read. Which of the three is otherwise here?"},
        {"windows_ignored",
         "equals the answer in which every head keeps all positions. Which positions does no query of a head with a "
         "window see any more?"},
        {"window_0_is_nothing",
         "equals the answer in which a window of 0 sees nothing. What does the header say that 0 stands for?"},
        {"window_longer_than_sequence",
         "equals the answer in which every window is full. How many positions does a head keep of a sequence that "
         "is shorter than its window?"},
        {"window_without_own",
         "equals the answer in which a window holds one position more. Is the position of the query itself among "
         "those that its window counts?"},
        {"window_of_first_head",
         "equals the answer in which all heads of a layer have the window of its first. Which two indices does a "
         "window have?"},
        {"window_of_first_layer",
         "equals the answer in which all layers have the windows of the first. Which two indices does a window have?"},
        {"length_of_first",
         "equals the answer in which all sequences are as long as the first. Over what do you sum the lengths?"},
        {"pages_not_rounded",
         "has the right bytes that are read, and holds no more than these. How much memory does a page take in "
         "which a single position stands?"},
        {"pages_rounded_down",
         "has the right bytes that are read, and holds only full pages. Where does the position stand that came last?"},
        {"pages_of_all_sequences",
         "has the right bytes that are read, and holds pages in which several sequences stand. When do you round "
         "up: for each sequence, or once for all?"},
        {"pages_that_window_touches",
         "has the right bytes that are read, and holds the pages that the window lies in, often one more than "
         "needed. In a ring, where does a new position go that finds the last page full?"},
        {"ring_taken_at_once",
         "has the right bytes that are read, and holds the pages of a whole window from the start. When is a page "
         "taken?"},
        {"read_in_pages",
         "has the right bytes that are held, and reads whole pages. Does a query look at slots in which no position "
         "stands that it sees?"},
        {"value_dim_forgotten",
         "equals the answer in which a value has as many numbers as a key. Which option says how many it has?"},
        {"bytes_of_number_rounded_up",
         "equals the answer in which every number takes whole bytes. How many numbers of 4 bits share a byte?"},
        {"bytes_of_number_rounded_down",
         "equals the answer in which a number takes number_bits / 8 bytes, rounded down: 0 for 4 bits. What must be "
         "multiplied before you divide?"},
        {"row_rounded_down",
         "equals the answer in which the bytes of a row are rounded down. Where does the last number of a row stand "
         "that does not fill its bytes?"},
        {"key_and_value_packed",
         "equals the answer in which a value begins in the byte in which its key ends. What takes whole bytes: the "
         "two together, or each?"},
        {"times_query_heads",
         "equals the answer with a key and a value for every query head: H/G times too many. What do query heads "
         "share?"},
        {"int_overflows",
         "equals the right answer in its last 32 bits: somewhere a product or a sum is an int. What is the largest "
         "number of bytes that an int can hold?"},
    },
    false};

struct Data {
    Tensor<int, 2> window;
    Tensor<int, 1> length;
    Options options;

    Inputs inputs() const { return {view(window), view(length)}; }
};

int one_of(std::uint64_t seed, std::uint64_t counter, std::initializer_list<int> choices) {
    return choices.begin()[random_integer(seed, counter, 0, static_cast<int>(choices.size()) - 1)];
}

// A third of the heads sees everything; half of the sequences is shorter than most windows.
Data draw(std::uint64_t seed, int layers, int G, int B, int longest) {
    Data data{make_tensor<int, 2>({layers, G}), make_tensor<int, 1>({B}), {}};
    std::uint64_t counter = 100;
    for (int& window : data.window)
        window = random_integer(seed, counter++, 0, 2) ? random_integer(seed, counter, 1, longest) : 0, ++counter;
    for (int& length : data.length)
        length = random_integer(seed, counter, 0, random_integer(seed, counter + 1, 0, 1) ? longest : longest / 3),
        counter += 2;
    data.options = {G * random_integer(seed, 0, 2, 8), random_integer(seed, 1, 1, 200), random_integer(seed, 2, 1, 200),
                    one_of(seed, 3, {4, 8, 16, 32}), random_integer(seed, 4, 2, 40)};
    return data;
}

TEST_CASE("kv_cache_bytes: windows", "[kv_cache_bytes]") {
    judge::Test test;
    for (int which = 0; which < 10; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(seed, random_integer(seed, 10, 1, 4), random_integer(seed, 11, 2, 5),
                         random_integer(seed, 12, 1, 4), 300);
        data.options.number_bits = 16, data.options.page = 1;
        // Windows of which the sequence is just inside, and just outside.
        data.length(0) = 37;
        data.window(0, 0) = 36 + which % 4, data.window(0, 1) = which % 2;
        test.run(exercise, data.inputs(), data.options);
    }
    test.conclude();
}

TEST_CASE("kv_cache_bytes: pages", "[kv_cache_bytes]") {
    judge::Test test;
    for (int which = 0; which < 14; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(seed, random_integer(seed, 10, 1, 4), random_integer(seed, 11, 1, 5),
                         random_integer(seed, 12, 2, 5), 200);
        data.options.number_bits = 8 * random_integer(seed, 13, 1, 4);
        const int page = data.options.page, edge = page * random_integer(seed, 14, 1, 4);
        data.length(0) = std::max(0, edge + which % 3 - 1);  // just before, at and after the end of a page
        if (which % 2) data.window(0, 0) = edge + which / 2 % 3 - 1, data.length(1) = edge + 2 * page + which;
        test.run(exercise, data.inputs(), data.options);
    }
    test.conclude();
}

TEST_CASE("kv_cache_bytes: numbers of less than a byte, or more", "[kv_cache_bytes]") {
    judge::Test test;
    int which = 0;
    for (int bits : {4, 2, 3, 6, 12, 1})
        for (int odd : {0, 1}) {
            const std::uint64_t seed = test.seed(which++);
            Data data = draw(seed, 2, 2, 2, 100);
            data.options.number_bits = bits;
            data.options.head_dim = 8 * random_integer(seed, 10, 1, 16) + odd;
            data.options.value_dim = 8 * random_integer(seed, 11, 17, 25) + 3 * odd;
            data.length(0) = 50;
            test.run(exercise, data.inputs(), data.options);
        }
    test.conclude();
}

TEST_CASE("kv_cache_bytes: sequences that have not begun", "[kv_cache_bytes]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(seed, 3, 2, random_integer(seed, 10, 1, 4), 90);
        data.length(0) = 0;
        data.window(0, 0) = 0;
        if (which == 0) std::fill(data.length.begin(), data.length.end(), 0);
        test.run(exercise, data.inputs(), data.options);
    }
    test.conclude();
}

TEST_CASE("kv_cache_bytes: the caches of large models", "[kv_cache_bytes]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(seed, random_integer(seed, 10, 40, 80), 8, random_integer(seed, 11, 8, 32), 131072);
        data.options.query_heads = 64, data.options.head_dim = data.options.value_dim = 128;
        data.options.number_bits = 16, data.options.page = 16 << which;
        data.length(0) = 131072 - which;
        data.window(0, 0) = 0, data.window(0, 1) = 4096;
        test.run(exercise, data.inputs(), data.options);
    }
    test.conclude();
}

}  // namespace
