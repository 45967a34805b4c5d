// Internal to reductions: the loops over contiguous floats of one instruction set.
#pragma once

#include <cstdint>

#include "cpu/reduce.hpp"

namespace tenon::cpu {

/// What the loops accumulate; the ops are these plus a last step.
enum class Fold : uint8_t { kSum, kAbs, kSquare, kExp, kMax, kMin, kProd };

constexpr int64_t kReduceChunk = 256;  // columns at once

struct ReduceTable {
  /// Folds n contiguous floats; kExp folds exp(x - shift).
  double (*row)(Fold fold, const float* x, int64_t n, float shift);
  /// acc[j] = fold(acc[j], x[j]) for n <= kReduceChunk columns; kExp uses shift[j].
  void (*columns)(Fold fold, const float* x, float* acc, const float* shift, int64_t n);
  void (*range)(const float* x, int64_t n, float* smallest, float* largest);
  /// First index in [0, n) where x is `value` or, if `value` is NaN, where x is NaN; n if nowhere.
  int64_t (*find)(const float* x, int64_t n, float value);
};

const ReduceTable& reduce_table();

}  // namespace tenon::cpu
