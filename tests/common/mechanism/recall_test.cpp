// The recall experiment: what the theory says of it, and what it must not say.
#include "common/mechanism/recall.hpp"

#include <algorithm>

#include "tests/support/catch.hpp"

using namespace attn;

namespace {

RecallResult result_of(const char* mechanism, const std::string& name, int pairs) {
    const Mechanism& found = *find_mechanism(mechanism);
    const auto entry =
        std::find_if(found.recall.begin(), found.recall.end(), [&](const RecallEntry& e) { return e.name == name; });
    REQUIRE(entry != found.recall.end());
    return recall(found, *entry, pairs);
}

}  // namespace

TEST_CASE("recall: the softmax gives back every pair, however many") {
    for (int pairs : {1, 16, 512}) CHECK(result_of("dense", "softmax, D = 32", pairs).hits == 1);
    CHECK(result_of("dense", "softmax, D = 32", 512).error <= 0.01);
}

TEST_CASE("recall: a window gives back what is in it, and nothing else") {
    // What comes back is then a mix of the window's values, so that the nearest is one of these.
    CHECK(result_of("sliding_window", "window of 32, D = 32", 20).hits == 1);
    for (int pairs : {64, 256})
        CHECK(std::abs(result_of("sliding_window", "window of 32, D = 32", pairs).hits - 32.0 / pairs) <= 1e-9);
}

TEST_CASE("recall: the error of a sum of key times value is √((m - 1)/D), and the state is full at m = D") {
    // Kills: keys that are not independent, values that are not, an error that is not of the whole vector.
    for (int D : {16, 32, 64})
        for (int pairs : {32, 128, 512}) {
            const RecallResult found =
                result_of("linear_attention", "linear, identity, D = " + std::to_string(D), pairs);
            const double theory = recall_error_in_theory(pairs, D);
            CAPTURE(D, pairs, found.error, theory);
            CHECK(std::abs(found.error - theory) <= 0.05 * theory);
        }
    for (int D : {16, 32, 64}) {
        const std::string name = "linear, identity, D = " + std::to_string(D);
        CHECK(result_of("linear_attention", name, D / 2).error < 1);
        CHECK(result_of("linear_attention", name, 2 * D).error > 1);
    }
}

TEST_CASE("recall: the limit is D + 1 pairs, and a softmax has none") {
    for (int D : {16, 32, 64}) {
        const Mechanism& linear = *find_mechanism("linear_attention");
        const std::string name = "linear, identity, D = " + std::to_string(D);
        for (const RecallEntry& entry : linear.recall)
            if (entry.name == name) CHECK(std::abs(recall_limit(linear, entry, 512) - (D + 1)) <= 0.1 * D);
    }
    const Mechanism& dense = *find_mechanism("dense");
    CHECK(recall_limit(dense, dense.recall.at(0), 64) == 64);
}

TEST_CASE("recall: more state gives back more, and a state of fixed size forgets") {
    auto hits = [](int D, int pairs) {
        return result_of("linear_attention", "linear, identity, D = " + std::to_string(D), pairs).hits;
    };
    CHECK(hits(16, 128) < hits(32, 128));
    CHECK(hits(32, 128) < hits(64, 128));
    for (int D : {16, 32, 64}) CHECK(hits(D, 512) < 0.2);
    auto performer = [](int M) {
        return result_of("performer", "Performer, " + std::to_string(M) + " features, D = 32", 128).hits;
    };
    CHECK(performer(32) + 0.2 < performer(256));
}

TEST_CASE("recall: Mamba's scan that forgets nothing is the sum of key times value: the same hits, the same errors") {
    // Kills: answers read by rows where they are columns; a question that is stored; a pair that fades.
    for (int S : {16, 32})
        for (int pairs : {4, 64, 256}) {
            const std::string size = std::to_string(S);
            const RecallResult scan = result_of("selective_scan", "Mamba, A = 0, S = " + size, pairs),
                               sum = result_of("linear_attention", "linear, identity, D = " + size, pairs);
            CAPTURE(S, pairs);
            CHECK(scan.hits == sum.hits);
            CHECK(std::abs(scan.error - sum.error) <= 1e-12 * sum.error);
        }
}

TEST_CASE("recall: RWKV, which has no query, answers every question alike: one hit, as a guess has") {
    // Kills: a question that adds a value of its own, with which the answers differ.
    for (int pairs : {1, 2, 16, 128, 512}) {
        const RecallResult found = result_of("rwkv", "RWKV-4, w = 0, 32 channels", pairs);
        CAPTURE(pairs, found.error);
        CHECK(std::abs(found.hits - 1.0 / pairs) <= 1e-15);
        CHECK(found.hits_margin <= 1e-15);
        // A mean of so many random directions is close to 0, and as good an answer.
        if (pairs >= 128) CHECK(std::abs(found.error - 1) <= 0.01);
    }
}
