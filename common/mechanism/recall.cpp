#include "common/mechanism/recall.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "common/tensor/random.hpp"

namespace attn {

namespace {

// [count, dim], each row a random direction, √dim long.
std::vector<float> random_directions(int count, int dim, std::uint64_t seed) {
    std::vector<float> rows(static_cast<std::size_t>(count) * dim);
    for (int row = 0; row < count; ++row) {
        float* to = rows.data() + static_cast<std::size_t>(row) * dim;
        double squares = 0;
        for (int d = 0; d < dim; ++d) {
            const double x = random_normal(seed, static_cast<std::uint64_t>(row) * dim + d);
            to[d] = static_cast<float>(x), squares += x * x;
        }
        for (int d = 0; d < dim; ++d) to[d] *= static_cast<float>(std::sqrt(dim / squares));
    }
    return rows;
}

Array array_of(const std::vector<float>& rows, int count, int dim, double factor = 1) {
    Array array = zeros(DType::float32, {1, 1, count, dim});
    for (std::size_t index = 0; index < rows.size(); ++index)
        array.data<float>()[index] = static_cast<float>(factor * rows[index]);
    return array;
}

struct Once {
    double hits = 0, squared_error = 0;  // means over the questions
};

Once recall_once(const Mechanism& mechanism, const RecallEntry& entry, int pairs, double gain, std::uint64_t seed) {
    constexpr int Dv = recall_value_dim;
    const std::vector<float> keys = random_directions(pairs, entry.key_dim, 2 * seed),
                             values = random_directions(pairs, Dv, 2 * seed + 1);
    Case question;
    question.mechanism = mechanism.name;
    question.folder = "recall";
    question.inputs["q"] = array_of(keys, pairs, entry.key_dim, gain);
    question.inputs["k"] = array_of(keys, pairs, entry.key_dim);
    question.inputs["v"] = array_of(values, pairs, Dv);
    entry.prepare(question, seed);
    const NamedArrays outputs = mechanism.run_naive(question, Precision::float64);
    const Array& all = outputs.at("out");
    const std::int64_t rows = all.count() / Dv;
    Once result;
    for (int asked = 0; asked < pairs; ++asked) {
        const std::int64_t row = rows - pairs + asked;
        std::array<double, Dv> out;
        for (int d = 0; d < Dv; ++d)
            out[d] = all.data<double>()[entry.answers_in_columns ? d * rows + row : row * Dv + d];
        int nearest = -1;
        double most = -INFINITY, difference = 0;
        for (int j = 0; j < pairs; ++j) {
            double dot = 0;
            for (int d = 0; d < Dv; ++d) dot += out[d] * values[static_cast<std::size_t>(j) * Dv + d];
            if (dot > most) most = dot, nearest = j;
        }
        for (int d = 0; d < Dv; ++d) {
            const double off = out[d] - values[static_cast<std::size_t>(asked) * Dv + d];
            difference += off * off / Dv;
        }
        result.hits += nearest == asked;
        result.squared_error += difference;
    }
    return {result.hits / pairs, result.squared_error / pairs};
}

// Mean of the samples, and twice its standard error.
std::pair<double, double> mean_and_margin(const std::vector<double>& samples) {
    double mean = 0, squares = 0;
    for (double sample : samples) mean += sample / static_cast<double>(samples.size());
    for (double sample : samples) squares += (sample - mean) * (sample - mean);
    const double count = static_cast<double>(samples.size());
    return {mean, 2 * std::sqrt(squares / (count - 1) / count)};
}

}  // namespace

void store_then_ask(Case& question) {
    for (const auto& [name, asks] : {std::pair{"q", true}, {"k", false}, {"v", false}}) {
        Array& rows = question.inputs[name];
        const std::int64_t pairs = rows.shape[2], dim = rows.shape[3];
        Array tokens = zeros(DType::float32, {1, 1, 2 * pairs, dim});
        std::copy_n(rows.data<float>(), pairs * dim, tokens.data<float>() + (asks ? pairs * dim : 0));
        rows = std::move(tokens);
    }
}

RecallResult recall(const Mechanism& mechanism, const RecallEntry& entry, int pairs) {
    RecallResult best;
    best.hits = -1;
    for (double gain : entry.gains) {
        std::vector<double> hits, errors;
        for (std::uint64_t seed = 1; seed <= recall_seeds; ++seed) {
            const Once once = recall_once(mechanism, entry, pairs, gain, seed);
            hits.push_back(once.hits), errors.push_back(std::sqrt(once.squared_error));
        }
        RecallResult result;
        std::tie(result.hits, result.hits_margin) = mean_and_margin(hits);
        std::tie(result.error, result.error_margin) = mean_and_margin(errors);
        result.gain = gain;
        if (result.hits > best.hits || (result.hits == best.hits && result.error < best.error)) best = result;
    }
    return best;
}

double recall_limit(const Mechanism& mechanism, const RecallEntry& entry, int most) {
    double before = 0;  // squared error of half as many pairs
    for (int pairs = 2; pairs <= most; pairs *= 2) {
        const double error = recall(mechanism, entry, pairs).error, squared = error * error;
        if (squared >= 1) return pairs / 2.0 * (1 + (1 - before) / (squared - before));
        before = squared;
    }
    return most;
}

double recall_error_in_theory(int pairs, int D) { return std::sqrt((pairs - 1.0) / D); }

}  // namespace attn
