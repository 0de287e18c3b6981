// Where positions stand in the cache, and what it refuses.
#include "chapters/04_head_sharing/kv_cache.hpp"

#include "common/tensor/random.hpp"
#include "common/tensor/tensor.hpp"
#include "tests/support/catch.hpp"

using namespace attn;
using namespace attn::kv_cache;
using Catch::Contains;

namespace {

struct Owned {
    Tensor<float, 4> k, v;
    std::vector<int> table;
    KvCache<float> cache;

    Owned(int B, int G, int pages, int page, int D, int Dv)
        : k(make_tensor<float, 4>({B * pages, G, page, D}, -1)),
          v(make_tensor<float, 4>({B * pages, G, page, Dv}, -1)),
          table(page_table(B, pages)),
          cache{view(k), view(v), {table.data(), {{B, pages}}}} {}
};

}  // namespace

TEST_CASE("contiguous, paged and ring caches hold what was appended, in whatever portions") {
    // Kills: a page index without its table, a slot j % pages, a head stride of D.
    constexpr int B = 3, G = 2, N = 23, D = 3, Dv = 2;
    auto k = make_tensor<float, 4>({B, G, N, D}), v = make_tensor<float, 4>({B, G, N, Dv});
    fill_normal(view(k), 1), fill_normal(view(v), 2);
    for (auto [pages, page] : {std::pair{1, N}, {23, 1}, {6, 4}, {2, 40}, {1, 10}, {3, 4}})
        for (int portion : {1, 4, N}) {
            Owned owned(B, G, pages, page, D, Dv);
            for (int first = 0; first < N; first += portion)
                append(owned.cache, TensorView<const float, 4>(view(k)), TensorView<const float, 4>(view(v)), first,
                       std::min(portion, N - first));
            CAPTURE(pages, page, portion);
            CHECK(owned.cache.capacity() == pages * page);
            for (int b = 0; b < B; ++b)
                for (int g = 0; g < G; ++g)
                    for (int j = std::max(0, N - pages * page); j < N; ++j) {  // of a ring the last ones
                        for (int d = 0; d < D; ++d) REQUIRE(owned.cache.key(b, g, j)[d] == k(b, g, j, d));
                        for (int d = 0; d < Dv; ++d) REQUIRE(owned.cache.value(b, g, j)[d] == v(b, g, j, d));
                    }
        }
}

TEST_CASE("a page table gives each sequence pages of its own, anywhere in the pool") {
    for (int B : {1, 2, 5})
        for (int pages : {1, 3, 8}) {
            const std::vector<int> table = page_table(B, pages);
            CHECK_NOTHROW(check_table({table.data(), {{B, pages}}}, B * pages));
            // Pages that follow each other in a sequence do not in the pool.
            for (int b = 0; b < B; ++b)
                for (int p = 0; p + 1 < pages; ++p)
                    CHECK(table[static_cast<std::size_t>(b * pages + p + 1)] !=
                          table[static_cast<std::size_t>(b * pages + p)] + 1);
        }
}

TEST_CASE("hostile page tables are refused") {
    auto refuse = [](std::vector<int> table, const char* found) {
        CHECK_THROWS_WITH(check_table({table.data(), {{2, 2}}}, 4), Contains(found));
    };
    refuse({0, 1, 2, 4}, "entry 1 of sequence 1 is page 4, expected 0 … 3");
    refuse({0, -1, 2, 3}, "entry 1 of sequence 0 is page -1");
    refuse({0, 1, 2147480000, 3}, "page 2147480000");
    refuse({0, 1, 2, 1}, "entry 1 of sequence 1 is page 1, which sequence 0 has already");
    refuse({0, 0, 2, 1}, "which sequence 0 has already");
}

TEST_CASE("appending past the capacity fails, unless nobody looks at what is overwritten") {
    CHECK_NOTHROW(check_append(10, 0, 10, 0));
    CHECK_NOTHROW(check_append(10, 9, 1, 0));
    CHECK_THROWS_WITH(check_append(10, 10, 1, 0), Contains("room for 10 positions and holds 10: 1 more do not fit"));
    CHECK_THROWS_AS(check_append(10, 0, 11, 0), CacheError);
    CHECK_NOTHROW(check_append(10, 1000, 1, 10));
    CHECK_THROWS_WITH(check_append(10, 1000, 1, 11), Contains("beside a window of 11"));
    // Four at once: the first of them still looks 7 back.
    CHECK_NOTHROW(check_append(10, 1000, 4, 7));
    CHECK_THROWS_AS(check_append(10, 1000, 4, 8), CacheError);
}

TEST_CASE("the bytes of known models") {
    // Llama-2-7B: 32 layers, 32 heads of 128; Mistral 7B and Llama-3-8B: 8 key/value heads; 16 bits.
    CHECK(bytes(32, 1, 1, 32, 128, 128, 2) == 524288);
    CHECK(bytes(32, 1, 4096, 32, 128, 128, 2) == std::int64_t{2} << 30);
    CHECK(bytes(32, 1, 1, 8, 128, 128, 2) == 131072);
    CHECK(bytes(32, 1, 262144, 8, 128, 128, 2) == std::int64_t{32} << 30);
    CHECK(bytes_per_position(1, 128, 128, 2) * 32 == bytes_per_position(32, 128, 128, 2));  // MQA: 1/H
}
