// Runs the tile kernels over a block of rows and panels. Internal to src/cpu; shared by the matrix product
// and the convolutions.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "cpu/gemm.hpp"
#include "cpu/gemm_tile.hpp"

namespace tenon::cpu {

constexpr int64_t kMaxPanel = kMaxTileVectors * 16;

/// The start values of a panel's accumulators: its part of the bias, zeros beyond.
struct PanelStart {
  alignas(64) float values[kMaxPanel];
  PanelStart(const float* bias, int64_t begin, int64_t cols) {
    for (int64_t j = 0; j < kMaxPanel; ++j) values[j] = bias != nullptr && j < cols ? bias[begin + j] : 0.0f;
  }
};

/// Sets what a tile does with its sums.
inline void set_activation(const Epilogue& epilogue, Tile& tile) {
  tile.swish = epilogue.act == Epilogue::kHardSwish;
  tile.mul = epilogue.mul;
  tile.add = epilogue.add;
  tile.clamp = epilogue.act == Epilogue::kRelu || epilogue.act == Epilogue::kClip;
  tile.lo = epilogue.act == Epilogue::kRelu ? 0.0f : epilogue.lo;
  tile.hi = epilogue.act == Epilogue::kRelu ? std::numeric_limits<float>::infinity() : epilogue.hi;
}

/// The activation of one value.
inline float activate(const Tile& tile, float v) {
  if (tile.clamp) return std::min(std::max(v, tile.lo), tile.hi);  // a NaN stays a NaN
  if (tile.swish) return v * std::min(1.0f, std::max(0.0f, v / 6.0f + 0.5f)) * tile.mul + tile.add;
  return v;
}

/// Vectors of a panel with this many columns.
inline int panel_vectors(const TileKernels& kernels, int64_t cols) {
  return static_cast<int>((cols + kernels.lanes - 1) / kernels.lanes);
}

/// Rows of `cols` results, in whole tiles of `tile` rows, that a post-op still finds in the second-level cache.
inline int64_t post_rows(int64_t cols, int64_t tile) {
  constexpr int64_t kFloats = (128 << 10) / 4;
  return std::max<int64_t>(1, kFloats / std::max<int64_t>(1, cols) / tile) * tile;
}

/// Visits the rows of a packed k x n matrix in order: fill(i, col, cols, to) writes B[i][col .. col + cols) to `to`;
/// the padding behind is zeroed here.
template <class Fill>
void for_each_panel_row(int64_t k, int64_t n, float* packed, const Fill& fill) {
  const TileKernels& kernels = tile_kernels();
  for (int64_t col = 0; col < n; col += kernels.panel()) {
    const int64_t cols = std::min<int64_t>(kernels.panel(), n - col);
    const int64_t padded = panel_vectors(kernels, cols) * kernels.lanes;
    for (int64_t i = 0; i < k; ++i, packed += padded) {
      fill(i, col, cols, packed);
      std::fill(packed + cols, packed + padded, 0.0f);
    }
  }
}

/// Cuts `rows` rows into tiles of nearly equal height and runs them; `tile` holds the first row's a and c.
inline void run_rows(const TileKernels& kernels, const TileKernels::Function* by_rows, Tile tile, int64_t rows) {
  int64_t tiles = (rows + kernels.max_rows - 1) / kernels.max_rows;
  int64_t height = tiles == 0 ? 0 : rows / tiles, taller = tiles == 0 ? 0 : rows % tiles;
  for (int64_t t = 0; t < tiles; ++t) {
    int64_t mr = height + (t < taller ? 1 : 0);
    by_rows[mr](tile);
    tile.a += mr * tile.lda;
    tile.c += mr * tile.ldc;
  }
}

}  // namespace tenon::cpu
