// What a `.cu` file includes: the runtime's host interface and what kernels call. The emulator's version of CUDA's
// header of this name.
#pragma once

#include <cstdint>
#include <cstdio>

#include "cuda_runtime_api.h"
#include "device_atomic_functions.h"
#include "device_functions.h"
#include "math_functions.h"
#include "vector_functions.h"
