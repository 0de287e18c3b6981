// Runs a launcher, which works on device memory, on tensors of the host: copies the inputs there, fills the outputs
// with NaN, calls it, waits, and copies the outputs back. The inputs and outputs of a mechanism are structs of
// TensorViews with a member `visit`, which hands each to a function with its name.
#pragma once

#include <functional>
#include <memory>
#include <type_traits>
#include <vector>

#include "common/cuda/device_buffer.hpp"
#include "common/mechanism/cuda_versions.hpp"

namespace attn {
inline namespace ATTN_BUILD {

template <auto launcher, class Inputs, class Options, class Outputs>
void on_device(const Inputs& host_inputs, const Options& options, const Outputs& host_outputs) {
    std::vector<std::shared_ptr<void>> held;
    Inputs inputs = host_inputs;
    inputs.visit([&]<class T, int N>(const char* name, TensorView<T, N>& tensor, auto...) {
        if (!tensor) return;
        auto on_device = std::make_shared<DeviceTensor<std::remove_const_t<T>, N>>(tensor, name);
        tensor = on_device->view();
        held.push_back(on_device);
    });
    std::vector<std::function<void()>> downloads;
    Outputs outputs = host_outputs;
    outputs.visit([&]<class T, int N>(const char* name, TensorView<T, N>& tensor, auto...) {
        if (!tensor) return;
        auto on_device = std::make_shared<DeviceTensor<T, N>>(tensor.shape(), name);
        on_device->fill_with_nan();
        downloads.push_back([on_device, host = tensor] { on_device->download(host); });
        tensor = on_device->view();
    });
    launcher(inputs, options, outputs);
    check(cudaDeviceSynchronize());
    for (auto& download : downloads) download();
}

}  // namespace ATTN_BUILD
}  // namespace attn

#define ATTN_JOINED_(a, b) a##b
#define ATTN_JOINED(a, b) ATTN_JOINED_(a, b)

// At the end of a `.cu` file: makes launcher(inputs, options, outputs), which works on device memory, known as a
// version of the mechanism.
#define ATTN_CUDA_VERSION(mechanism_name, version_name, idea_text, launcher, Inputs, Options, Outputs) \
    namespace {                                                                                        \
    [[maybe_unused]] const bool ATTN_JOINED(version_added_, __LINE__) = ::attn::add_cuda_version(      \
        {mechanism_name, version_name, ::attn::build_device, idea_text,                                \
         reinterpret_cast<void (*)()>(&::attn::on_device<launcher, Inputs, Options, Outputs>)});       \
    }
