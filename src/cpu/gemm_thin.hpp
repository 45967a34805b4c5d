// Products of a few rows with a plain (unpacked) matrix, where packing would cost more than the product: each value of
// B is read once and used at once. Internal to src/cpu.
#pragma once

#include <cstdint>

namespace tenon::cpu {

constexpr int64_t kThinRows = 4;

struct Thin {
  const float* a;  // rows x k
  int64_t lda;
  int64_t rows;    // 1 .. kThinRows
  const float* b;  // k x n; for `columns` its columns are contiguous, ldb floats apart, for `rows` its rows
  int64_t ldb;
  int64_t k, n;
  float* c;  // rows x n; overwritten with the plain sums
  int64_t ldc;
};

struct ThinKernels {
  void (*by_rows)(const Thin&);
  void (*by_columns)(const Thin&);
  // Three planes of `count` values to pixels of three.
  void (*interleave3)(const float* x, const float* y, const float* z, int64_t count, float* to);
  /// The same for bytes.
  void (*interleave3_bytes)(const uint8_t* x, const uint8_t* y, const uint8_t* z, int64_t count, uint8_t* to);
};

/// The set for the ISA in force.
const ThinKernels& thin_kernels();

}  // namespace tenon::cpu
