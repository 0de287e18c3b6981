// Replaces operator new and delete for the whole program. In front of each block stands its size, so that delete
// knows what to subtract.
#include "common/measure/memory_tracker.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

constinit thread_local std::int64_t held = 0;
constinit thread_local std::int64_t peak = 0;

void* allocate(std::size_t bytes, std::size_t alignment) {
    std::size_t front = std::max<std::size_t>(alignment, 16);
    std::size_t total = (bytes + front + front - 1) / front * front;
    if (total < bytes) throw std::bad_alloc();
    auto* block = static_cast<std::byte*>(std::aligned_alloc(front, total));
    if (!block) throw std::bad_alloc();
    block += front;
    reinterpret_cast<std::size_t*>(block)[-1] = bytes;
    held += static_cast<std::int64_t>(bytes);
    peak = std::max(peak, held);
    return block;
}

void release(void* pointer, std::size_t alignment) {
    if (!pointer) return;
    held -= static_cast<std::int64_t>(static_cast<std::size_t*>(pointer)[-1]);
    std::free(static_cast<std::byte*>(pointer) - std::max<std::size_t>(alignment, 16));
}

}  // namespace

void* operator new(std::size_t bytes) { return allocate(bytes, 16); }
void* operator new[](std::size_t bytes) { return allocate(bytes, 16); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return allocate(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
    return allocate(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* pointer) noexcept { release(pointer, 16); }
void operator delete[](void* pointer) noexcept { release(pointer, 16); }
void operator delete(void* pointer, std::size_t) noexcept { release(pointer, 16); }
void operator delete[](void* pointer, std::size_t) noexcept { release(pointer, 16); }
void operator delete(void* pointer, std::align_val_t alignment) noexcept {
    release(pointer, static_cast<std::size_t>(alignment));
}
void operator delete[](void* pointer, std::align_val_t alignment) noexcept {
    release(pointer, static_cast<std::size_t>(alignment));
}
void operator delete(void* pointer, std::size_t, std::align_val_t alignment) noexcept {
    release(pointer, static_cast<std::size_t>(alignment));
}
void operator delete[](void* pointer, std::size_t, std::align_val_t alignment) noexcept {
    release(pointer, static_cast<std::size_t>(alignment));
}

namespace attn {

MemoryTracker::MemoryTracker() : held_before_(held) { peak = held; }
std::int64_t MemoryTracker::bytes_held() const { return held - held_before_; }
std::int64_t MemoryTracker::peak_bytes_held() const { return peak - held_before_; }

}  // namespace attn
