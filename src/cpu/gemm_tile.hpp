// The register-tile kernels below the matrix product and the convolutions, one set for each ISA. Internal to
// src/cpu.
//
// A tile computes `rows` x `cols` results. Row r reads its A values at a + r * lda + segments[s] + k for each
// segment s and k in [0, segment_length): for a matrix there is one segment, for a convolution one for each
// row (or tap) of the filter. B is one packed panel: for each (s, k) in order the values of all its columns,
// `vectors * lanes` of them, columns beyond `cols` being zero.
#pragma once

#include <cstdint>

namespace tenon::cpu {

struct Tile {
  const float* a;
  int64_t lda;
  const int64_t* segments;
  int64_t segment_count;
  int64_t segment_length;
  const float* b;
  float* c;
  int64_t ldc;
  const float* init;  // vectors * lanes start values of the accumulators (the bias, or zeros)
  int64_t cols;       // columns to store
  bool accumulate;    // add what is in C
  bool clamp;         // limit to [lo, hi]
  float lo, hi;
  bool swish;  // x * min(1, max(0, x / 6 + 0.5)) * mul + add, instead
  float mul, add;
};

constexpr int kMaxTileRows = 14;
constexpr int kMaxTileVectors = 2;

struct TileKernels {
  using Function = void (*)(const Tile&);
  int lanes;                                             // values in one vector
  int max_rows;                                          // rows of the largest tile
  int max_vectors;                                       // vectors of the widest panel
  Function tile[kMaxTileVectors + 1][kMaxTileRows + 1];  // [vectors][rows]
  double (*fma_burst)(int64_t rounds);                   // runs independent multiply-adds; returns how many operations

  int panel() const { return lanes * max_vectors; }
};

/// The set for the ISA in force.
const TileKernels& tile_kernels();

}  // namespace tenon::cpu
