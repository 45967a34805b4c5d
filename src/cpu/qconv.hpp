// 2-D 8-bit convolution over channels-last activations, exact in int32, as an implicit matrix multiplication:
// one block of output pixels at a time is gathered (taps and channels dense) while it is hot; 1x1
// convolutions read the input in place. Padding counts as the activation zero point, so that padded taps
// contribute nothing. Packing, layouts, workspaces, epilogues and thread-safety as in qgemm.hpp.
#pragma once

#include "cpu/qgemm.hpp"

namespace tenon::cpu {

struct QConvShape {
  int64_t batch = 1, in_h = 1, in_w = 1, in_c = 1, out_c = 1;
  int64_t kernel_h = 1, kernel_w = 1;
  int64_t stride_h = 1, stride_w = 1;
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  int64_t groups = 1;

  int64_t out_h() const { return (in_h + pad_top + pad_bottom - dilation_h * (kernel_h - 1) - 1) / stride_h + 1; }
  int64_t out_w() const { return (in_w + pad_left + pad_right - dilation_w * (kernel_w - 1) - 1) / stride_w + 1; }
};

/// Weights as in ONNX: [out_c, in_c / groups, kernel_h, kernel_w], dense.
struct QConvWeights {
  const void* data = nullptr;
  QType type = QType::kS8;
  const int32_t* zero_points = nullptr;  ///< nullptr: 0
  bool zero_point_per_channel = false;   ///< [out_c] instead of [1]
};

struct QConvArgs {
  QConvShape shape;
  const void* x = nullptr;
  QType x_type = QType::kU8;
  int64_t batch_stride = 0, row_stride = 0, pixel_stride = 0;  ///< in elements; channels are dense
  int32_t x_zp = 0;                                            ///< within x_type's range
  const void* packed = nullptr;
  QEpilogue epilogue;
};

size_t qconv_packed_size(uint32_t layout, const QConvShape& shape);
void qconv_pack(uint32_t layout, const QConvShape& shape, const QConvWeights& weights, void* packed);
size_t qconv_workspace(QIsa isa, const QConvShape& shape, int threads);
void qconv(QIsa isa, const QConvArgs& args, void* workspace, ThreadPool& pool);

}  // namespace tenon::cpu
