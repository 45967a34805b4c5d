// The transforms of Winograd's F(4x4, 3x3) of each ISA, vectorised over channels. Internal to src/cpu.
#pragma once

#include <cstdint>

namespace tenon::cpu {

constexpr int kWinogradTile = 4;   // outputs on a side
constexpr int kWinogradPatch = 6;  // inputs on a side
constexpr int kWinogradPoints = kWinogradPatch * kWinogradPatch;

// The interpolation points +-a and +-b.
constexpr double kWinogradA = 0.70710678118654752440;
constexpr double kWinogradB = 1.41421356237309504880;

// One patch of 6x6 input pixels to 36 points of all channels.
struct WinogradInput {
  const float* src;  // pixel (0, 0) of the patch; only pixels in [y0, y1) x [x0, x1) are read, the others are zero
  int64_t row, pixel;
  int64_t y0, y1, x0, x1;
  int64_t channels;  // at least one vector
  float* points;     // [point][...][channel]
  int64_t point;     // floats between points
};

// 36 points of one panel of channels to 4x4 output pixels.
struct WinogradOutput {
  const float* points;
  int64_t point;
  const float* bias;  // of the panel, zeros behind its channels
  float* dst;
  int64_t row, pixel;
  int64_t rows, columns;  // output pixels to store
  int64_t channels;
  bool clamp;
  float lo, hi;
  bool swish;  // as in cpu/gemm_tile.hpp
  float mul, add;
};

struct WinogradKernels {
  void (*input)(const WinogradInput&);
  void (*output)(const WinogradOutput&);
};

/// The set for the ISA in force.
const WinogradKernels& winograd_kernels();

}  // namespace tenon::cpu
