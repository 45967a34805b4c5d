// 2-D convolution in fp32, channels last, with a fused epilogue (1-D: h = kh = 1).
//
// Activations are NHWC with explicit strides, so that either side may be a slice of a bigger buffer; weights
// are packed once from ONNX's [cout, cin / groups, kh, kw]. Packing, alignment, workspace and thread rules
// are those of cpu/gemm.hpp. No im2col: the rows of input that a block of output rows needs are copied once
// into a zero-padded scratch that stays in the second-level cache (or are read in place where there is no
// padding), and the tile kernels address it directly. PostOp rows are output pixels, n * oh * ow + y * ow +
// x; columns are output channels.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/gemm.hpp"

namespace tenon::cpu {

/// A negative pad crops.
struct ConvShape {
  int64_t n = 1, h = 1, w = 1, cin = 1, cout = 1;
  int64_t kh = 1, kw = 1;
  int64_t stride_h = 1, stride_w = 1;
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  int64_t groups = 1;

  /// Output size; 0 where the filter does not fit.
  int64_t oh() const { return out(h + pad_top + pad_bottom, kh, dilation_h, stride_h); }
  int64_t ow() const { return out(w + pad_left + pad_right, kw, dilation_w, stride_w); }

 private:
  static int64_t out(int64_t padded, int64_t k, int64_t dilation, int64_t stride) {
    const int64_t span = (k - 1) * dilation + 1;
    return padded < span ? 0 : (padded - span) / stride + 1;
  }
};

/// Floats between neighbours of a channels-last image.
struct ImageStrides {
  int64_t pixel = 0;  // >= channels
  int64_t row = 0;
  int64_t batch = 0;

  static ImageStrides dense(int64_t h, int64_t w, int64_t channels) {
    return {channels, w * channels, h * w * channels};
  }
};

struct ConvArgs {
  const float* src = nullptr;
  ImageStrides src_strides = {};
  const float* weights = nullptr;  // packed
  float* dst = nullptr;
  ImageStrides dst_strides = {};
  Epilogue epilogue = {};
  bool accumulate = false;  // add to what dst holds (before the activation)
  int64_t first_row = 0;    // what PostOp is told of row 0
};

/// The same with a channels-first source (a network's input image): floats between channels, rows and images;
/// the columns of a row are dense.
struct PlanarStrides {
  int64_t channel = 0, row = 0, batch = 0;

  static PlanarStrides dense(int64_t channels, int64_t h, int64_t w) { return {h * w, w, channels * h * w}; }
};

size_t conv_packed_floats(const ConvShape& shape);
void conv_pack(const ConvShape& shape, const float* oihw, float* packed);

size_t conv_workspace_floats(const ConvShape& shape, int threads);
/// dst must not overlap src.
void conv(ThreadPool& pool, const ConvShape& shape, const ConvArgs& args, float* workspace);

size_t conv_planar_workspace_floats(const ConvShape& shape, int threads);
/// `args.src` is channels-first with `planar` strides; args.src_strides is not used.
void conv_planar(ThreadPool& pool, const ConvShape& shape, const ConvArgs& args, const PlanarStrides& planar,
                 float* workspace);

}  // namespace tenon::cpu
