// Internal to the tape: the loops of one instruction set. Kernels work on whole vectors: every pointer must
// have room for n rounded up to 16 floats. Loads and stores convert exactly n elements and touch no others on
// the memory side.
#pragma once

#include <cstdint>

#include "cpu/pointwise.hpp"

namespace tenon::cpu {

using PointwiseKernel = void (*)(const float* a, const float* b, const float* c, float* dst, float p, float q,
                                 int64_t n);
using PointwiseLoad = void (*)(const void* src, float* dst, int64_t n);
using PointwiseStore = void (*)(const float* src, void* dst, int64_t n);

struct PointwiseTable {
  PointwiseKernel kernels[static_cast<int>(Opcode::kCount)];  // null where a float tape has no such op
  PointwiseLoad load[32];                                     // by DType
  PointwiseStore store[32];
};

/// A slot's floats: the block and room for one vector that a load may write past it.
constexpr int kSlotSlack = 16;
constexpr int kFrameFloats = Tape::kMaxSlots * (256 + kSlotSlack);  // scratch of one run, on the stack

/// The best table that this machine runs.
const PointwiseTable& pointwise_table();

}  // namespace tenon::cpu
