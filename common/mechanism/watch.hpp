// Who looks on while a naive version works: called with each step's tag and tensor.
#pragma once

namespace attn {

struct NobodyWatches {
    void operator()(const char*, const auto&) const {}
};

}  // namespace attn
