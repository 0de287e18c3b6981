// Memory on the device that frees itself, and tensors in it.
#pragma once

#include <utility>

#include "common/cuda/check.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn {
inline namespace ATTN_BUILD {

// `name`: for what the emulator finds; a literal.
template <class T, int N>
class DeviceTensor {
  public:
    explicit DeviceTensor(Shape<N> shape, [[maybe_unused]] const char* name = nullptr) : view_(nullptr, shape) {
        T* data = nullptr;
        check(cudaMalloc(&data, bytes()));
        view_ = {data, shape};
#if !defined(__CUDACC__)
        emulator::name_allocation(data, name);
#endif
    }
    explicit DeviceTensor(TensorView<const T, N> host, const char* name = nullptr) : DeviceTensor(host.shape(), name) {
        upload(host);
    }
    ~DeviceTensor() { cudaFree(view_.data()); }
    DeviceTensor(DeviceTensor&& other) noexcept : view_(std::exchange(other.view_, {})) {}
    DeviceTensor& operator=(DeviceTensor&&) = delete;

    TensorView<T, N> view() const { return view_; }
    void upload(TensorView<const T, N> host) {
        check(cudaMemcpy(view_.data(), host.data(), bytes(), cudaMemcpyHostToDevice));
    }
    void download(TensorView<T, N> host) const {
        check(cudaMemcpy(host.data(), view_.data(), bytes(), cudaMemcpyDeviceToHost));
    }
    // Every bit set: NaN in each floating-point type, -1 in integers. What a kernel forgets to write shows.
    void fill_with_nan() { check(cudaMemset(view_.data(), 0xff, bytes())); }
    void fill_with_zeros() { check(cudaMemset(view_.data(), 0, bytes())); }

  private:
    std::size_t bytes() const { return static_cast<std::size_t>(view_.count()) * sizeof(T); }
    TensorView<T, N> view_;
};

}  // namespace ATTN_BUILD
}  // namespace attn
