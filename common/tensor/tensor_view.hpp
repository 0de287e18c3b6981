// TensorView<T, N>: a pointer and a shape, and element access q(b, h, i, d). Plain enough for naive code, kernels and
// exercises alike: it includes nothing heavy and works on the host and on the device.
#pragma once

#include <cassert>
#include <cstdint>
#include <type_traits>

#if defined(__CUDACC__)
#define ATTN_HOST_DEVICE __host__ __device__
#else
#define ATTN_HOST_DEVICE
#endif

namespace attn {

// The extents of a tensor of N dimensions, the last one contiguous in memory.
template <int N>
struct Shape {
    int extent[N] = {};

    ATTN_HOST_DEVICE constexpr int operator[](int dimension) const { return extent[dimension]; }
    ATTN_HOST_DEVICE constexpr int& operator[](int dimension) { return extent[dimension]; }
    ATTN_HOST_DEVICE constexpr std::int64_t count() const {
        std::int64_t product = 1;
        for (int dimension = 0; dimension < N; ++dimension) product *= extent[dimension];
        return product;
    }
    friend ATTN_HOST_DEVICE constexpr bool operator==(const Shape& a, const Shape& b) {
        for (int dimension = 0; dimension < N; ++dimension)
            if (a[dimension] != b[dimension]) return false;
        return true;
    }
};

// Does not own. Row-major ("C order"). A view without data stands for a tensor that is absent.
// Element access checks its bounds in debug builds (with NDEBUG undefined), on the host and on the device.
template <class T, int N>
class TensorView {
  public:
    TensorView() = default;
    ATTN_HOST_DEVICE constexpr TensorView(T* data, Shape<N> shape) : data_(data), shape_(shape) {}
    // A view of T is a view of const T.
    template <class U, class = std::enable_if_t<std::is_same_v<const U, T> && !std::is_same_v<U, T>>>
    ATTN_HOST_DEVICE constexpr TensorView(TensorView<U, N> other) : data_(other.data()), shape_(other.shape()) {}

    ATTN_HOST_DEVICE constexpr T* data() const { return data_; }
    ATTN_HOST_DEVICE constexpr Shape<N> shape() const { return shape_; }
    ATTN_HOST_DEVICE constexpr int extent(int dimension) const { return shape_[dimension]; }
    ATTN_HOST_DEVICE constexpr std::int64_t count() const { return shape_.count(); }
    ATTN_HOST_DEVICE constexpr explicit operator bool() const { return data_ != nullptr; }

    template <class... Index>
    ATTN_HOST_DEVICE constexpr T& operator()(Index... index) const {
        static_assert(sizeof...(Index) == N, "one index for each dimension");
        return data_[offset(index...)];
    }

    // The part of the tensor with the first indices fixed: q.slice(b, h) is the [N, D] matrix of one head.
    template <class... Index>
    ATTN_HOST_DEVICE constexpr auto slice(Index... index) const {
        constexpr int fixed = sizeof...(Index);
        static_assert(fixed < N, "a slice leaves at least one dimension");
        Shape<N - fixed> rest;
        std::int64_t block = 1;
        for (int dimension = fixed; dimension < N; ++dimension) {
            rest[dimension - fixed] = shape_[dimension];
            block *= shape_[dimension];
        }
        return TensorView<T, N - fixed>(data_ + offset(index...) * block, rest);
    }

  private:
    template <class... Index>
    ATTN_HOST_DEVICE constexpr std::int64_t offset(Index... index) const {
        std::int64_t position = 0;
        int dimension = 0;
        ((assert(index >= 0 && index < shape_[dimension]), position = position * shape_[dimension++] + index), ...);
        return position;
    }

    T* data_ = nullptr;
    Shape<N> shape_{};
};

}  // namespace attn
