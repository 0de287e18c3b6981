// Where the student is.
#pragma once

namespace attn {

// Prints how many exercises are begun, and which one is next.
void print_progress();

}  // namespace attn
