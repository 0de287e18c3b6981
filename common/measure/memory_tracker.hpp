// Bytes held through operator new, whoever asks: tensors, std::vector, everything. A program that is linked with
// memory_tracker.cpp counts; the counts are those of the calling thread.
#pragma once

#include <cstdint>

namespace attn {

class MemoryTracker {
  public:
    MemoryTracker();  // from now on
    std::int64_t bytes_held() const;
    std::int64_t peak_bytes_held() const;

  private:
    std::int64_t held_before_;
};

}  // namespace attn
