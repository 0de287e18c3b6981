// From a case to the structs of a mechanism and back: what every mechanism's registration uses.
//
// A mechanism describes itself by a struct of static members (see dense_attention.cpp): the class templates Inputs<T>
// and Outputs<T> with `visit`, Options, params() with the names that case.json may hold, options(params, inputs),
// check(inputs, options), naive(inputs, options, outputs), and CudaFunction. Where there is such a thing, also
// check_cuda(case), which throws BadCase for what only the naive version does, and prepare(params, inputs), where the
// params decide which tensors `visit` visits.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <map>
#include <memory>

#include "common/measure/counted.hpp"
#include "common/measure/memory_tracker.hpp"
#include "common/mechanism/mechanism.hpp"
#include "common/tensor/half.hpp"
#include "common/tensor/random.hpp"
#include "common/tensor/shape_check.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn {

// Owns the elements that views point to.
class Storage {
  public:
    template <class T>
    T* add(std::int64_t count, T value) {
        auto block = std::make_shared<std::vector<T>>(static_cast<std::size_t>(count), value);
        held_.push_back(block);
        return block->data();
    }

  private:
    std::vector<std::shared_ptr<void>> held_;
};

// The extents as an Array has them.
template <class T, int N>
std::vector<std::int64_t> extents(const TensorView<T, N>& view) {
    std::vector<std::int64_t> shape(N);
    for (int dimension = 0; dimension < N; ++dimension) shape[dimension] = view.extent(dimension);
    return shape;
}

template <class T, class Source>
void convert(const Source* from, T* to, std::int64_t count) {
    for (std::int64_t index = 0; index < count; ++index) to[index] = static_cast<T>(from[index]);
}

// The tensor `name` of the case as T, rounded to it. One of other dimensions is left to the view that has as many.
template <class T, int N>
void load_tensor(const Case& input_case, const char* name, TensorView<const T, N>& view, bool optional,
                 Storage& storage) {
    std::string file = (input_case.folder / (std::string(name) + ".npy")).string();
    auto entry = input_case.inputs.find(name);
    if (entry == input_case.inputs.end()) {
        if (optional) return;
        throw BadCase(file, "no such file", fmt::format("the tensor {} of {} dimensions", name, N));
    }
    const Array& array = entry->second;
    if (array.shape.size() != N) return;
    Shape<N> shape;
    for (int dimension = 0; dimension < N; ++dimension) {
        if (array.shape[dimension] > std::numeric_limits<int>::max())
            throw BadCase(file, "shape " + shape_text(array.shape), "extents below 2147483648");
        shape[dimension] = static_cast<int>(array.shape[dimension]);
    }
    bool floating = array.dtype == DType::float32 || array.dtype == DType::float64;
    constexpr bool wants_floating = !std::is_integral_v<T>;
    if (floating != wants_floating)
        throw BadCase(file, attn::name(array.dtype), wants_floating ? "float32 or float64" : "int32 or int64");
    T* data = storage.add<T>(array.count(), T{});
    if constexpr (wants_floating) {
        if (array.dtype == DType::float32)
            convert(array.data<float>(), data, array.count());
        else
            convert(array.data<double>(), data, array.count());
    } else {
        if (array.dtype == DType::int32)
            convert(array.data<std::int32_t>(), data, array.count());
        else
            convert(array.data<std::int64_t>(), data, array.count());
    }
    view = {data, shape};
}

// Everything of the case that the mechanism reads; throws BadCase for what it does not know or what contradicts. A
// tensor that may have one or another number of dimensions is visited twice in a row, as an optional view of each.
template <class M, class T>
struct Problem {
    typename M::template Inputs<T> inputs;
    typename M::Options options;
    Storage storage;

    explicit Problem(const Case& input_case) {
        if constexpr (requires { M::prepare(input_case.params, inputs); }) M::prepare(input_case.params, inputs);
        std::vector<std::string> known;
        std::map<std::string, std::vector<int>> dimensions;  // that it may have
        inputs.visit([&]<class U, int N>(const char* name, TensorView<U, N>&, auto...) {
            if (known.empty() || known.back() != name) known.push_back(name);
            dimensions[name].push_back(N);
        });
        for (const auto& [name, array] : input_case.inputs) {
            const std::string file = (input_case.folder / (name + ".npy")).string();
            const auto entry = dimensions.find(name);
            if (entry == dimensions.end())
                throw BadCase(file, "a tensor that " + input_case.mechanism + " does not take",
                              fmt::format("{}", fmt::join(known, ", ")));
            const std::vector<int>& allowed = entry->second;
            if (std::find(allowed.begin(), allowed.end(), static_cast<int>(array.shape.size())) == allowed.end())
                throw BadCase(file, "shape " + shape_text(array.shape),
                              fmt::format("{} dimensions", fmt::join(allowed, " or ")));
        }
        inputs.visit([&](const char* name, auto& view, auto... optional) {
            load_tensor(input_case, name, view, sizeof...(optional) > 0, storage);
        });
        input_case.params.refuse_others(M::params());
        try {
            options = M::options(input_case.params, inputs);
            M::check(inputs, options);
        } catch (const ShapeError& error) {
            // "k has shape …": the first word is the tensor's name, and the file's.
            std::string text = error.what();
            std::size_t space = text.find(' ');
            throw BadCase((input_case.folder / (text.substr(0, space) + ".npy")).string() + text.substr(space));
        }
    }
};

// The shapes of the outputs, without data: of those that belong to the inputs, and to the options where they matter.
template <class M, class T>
typename M::template Outputs<T> shaped_outputs(const typename M::template Inputs<T>& inputs,
                                               const typename M::Options& options) {
    using Outputs = typename M::template Outputs<T>;
    if constexpr (requires { Outputs::shaped(inputs, options); })
        return Outputs::shaped(inputs, options);
    else
        return Outputs::shaped(inputs);
}

// Outputs in memory of their own, every element NaN.
template <class M, class T>
struct Results {
    typename M::template Outputs<T> outputs;
    Storage storage;

    explicit Results(const Problem<M, T>& problem) {
        outputs = shaped_outputs<M, T>(problem.inputs, problem.options);
        outputs.visit([&]<class U, int N>(const char*, TensorView<U, N>& view, auto...) {
            if (view.count() == 0) return;
            U poison{};
            if constexpr (!std::is_integral_v<U>) poison = static_cast<U>(std::numeric_limits<float>::quiet_NaN());
            view = {storage.add<U>(view.count(), poison), view.shape()};
        });
    }

    // float64 where T is double, else float32; integers are int64 where they are std::int64_t, else int32.
    NamedArrays arrays() {
        NamedArrays result;
        outputs.visit([&]<class U, int N>(const char* name, TensorView<U, N>& view, auto...) {
            if (!view) return;
            using Integer = std::conditional_t<std::is_same_v<U, std::int64_t>, std::int64_t, std::int32_t>;
            using Floating = std::conditional_t<std::is_same_v<U, double>, double, float>;
            using Stored = std::conditional_t<std::is_integral_v<U>, Integer, Floating>;
            Array array = zeros(dtype_of<Stored>(), extents(view));
            convert(view.data(), array.data<Stored>(), array.count());
            result[name] = std::move(array);
        });
        return result;
    }
};

template <class M, class T>
NamedArrays run_naive_as(const Case& input_case) {
    Problem<M, T> problem(input_case);
    Results<M, T> results(problem);
    M::naive(problem.inputs, problem.options, results.outputs);
    return results.arrays();
}

// Fills in what follows from the description M alone.
template <class M>
Mechanism described_by() {
    Mechanism mechanism;
    mechanism.name = M::name;
    mechanism.section = M::section;
    mechanism.chapter = M::chapter;
    mechanism.naive_precisions = {Precision::float64, Precision::float32, Precision::float16, Precision::bfloat16};
    mechanism.check = [](const Case& input_case) {
        Problem<M, double> problem(input_case);
        auto shaped = shaped_outputs<M, double>(problem.inputs, problem.options);
        for (const auto& [name, array] : input_case.expected) {
            std::string file = (input_case.folder / "expected" / (name + ".npy")).string();
            std::string names;
            bool found = false;
            shaped.visit([&, &name = name, &array = array]<class U, int N>(const char* output, TensorView<U, N>& view,
                                                                           auto...) {
                if (view.count() == 0) return;
                names += (names.empty() ? "" : ", ") + std::string(output);
                if (name != output) return;
                found = true;
                bool floating = array.dtype == DType::float32 || array.dtype == DType::float64;
                if (floating == std::is_integral_v<U>)
                    throw BadCase(file, attn::name(array.dtype), floating ? "an integer type" : "float32 or float64");
                if (array.shape != extents(view))
                    throw BadCase(file, "shape " + shape_text(array.shape), shape_text(extents(view)));
            });
            if (!found) throw BadCase(file, "an output that this case does not have", names);
        }
    };
    mechanism.run_naive = [](const Case& input_case, Precision precision) {
        switch (precision) {
            case Precision::float64: return run_naive_as<M, double>(input_case);
            case Precision::float32: return run_naive_as<M, float>(input_case);
            case Precision::float16: return run_naive_as<M, float16>(input_case);
            default: return run_naive_as<M, bfloat16>(input_case);
        }
    };
    if constexpr (requires(const Case& input_case) { M::check_cuda(input_case); }) mechanism.check_cuda = M::check_cuda;
    mechanism.run_cuda = [](const Case& input_case, const CudaVersion& version) {
        Problem<M, float> problem(input_case);
        Results<M, float> results(problem);
        cuda_function<typename M::CudaFunction>(version)(problem.inputs, problem.options, results.outputs);
        return results.arrays();
    };
    mechanism.counted_costs = [](const Case& input_case) {
        Problem<M, Counted> problem(input_case);
        Results<M, Counted> results(problem);
        attn::counted_costs = {};
        MemoryTracker memory;
        M::naive(problem.inputs, problem.options, results.outputs);
        Costs costs = attn::counted_costs;
        costs.bytes_held = memory.peak_bytes_held();
        return costs;
    };
    mechanism.predicted_costs = [](const Case& input_case) {
        Problem<M, Counted> problem(input_case);
        return M::cost(problem.inputs, problem.options, sizeof(Counted));
    };
    return mechanism;
}

// Adds the mechanism that M describes.
template <class M>
bool add_described(std::function<Case(int n)> sized_case, std::function<void()> trace,
                   std::vector<RecallEntry> recall = {}) {
    Mechanism mechanism = described_by<M>();
    mechanism.sized_case = std::move(sized_case);
    mechanism.trace = std::move(trace);
    mechanism.recall = std::move(recall);
    return add_mechanism(std::move(mechanism));
}

// A tensor of a case, close to normal, from the seed.
inline Array random_array(std::vector<std::int64_t> shape, std::uint64_t seed) {
    Array array = zeros(DType::float32, std::move(shape));
    for (std::int64_t index = 0; index < array.count(); ++index)
        array.data<float>()[index] = static_cast<float>(random_normal(seed, static_cast<std::uint64_t>(index)));
    return array;
}

// A case of size n with these tensors, each from a seed of its own: 1, 2, … in their order.
inline Case random_case(const std::string& mechanism, int n,
                        const std::vector<std::pair<std::string, std::vector<std::int64_t>>>& tensors) {
    Case result;
    result.mechanism = mechanism;
    result.folder = fmt::format("{}, n = {}", mechanism, n);
    std::uint64_t seed = 0;
    for (const auto& [name, shape] : tensors) result.inputs[name] = random_array(shape, ++seed);
    return result;
}

}  // namespace attn
