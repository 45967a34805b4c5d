// The kernels of src/cuda/kernels as the planner sees them: for a problem with everything known, the ways to run it
// (tile shapes, stages, splits), the source of each instance, how it is launched, and how its weights are packed. Pure
// functions: no device is needed. Weights and activations are rows with neighbours along K: images NHWC, filters KRSC.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cuda/compiler.hpp"
#include "cuda/device.hpp"
#include "cuda/expression.hpp"

namespace tenon::cuda {

/// Pointers that a kernel's generated part reads and writes (struct Operands of prelude.cuh).
struct Operands {
  std::array<DevicePtr, 16> in{};
  std::array<DevicePtr, 8> out{};
};

/// A kernel instance: compile `source` for the device, launch `shape` with the parameters that the family's function
/// makes.
struct KernelPlan {
  KernelSource source;
  LaunchShape shape;
  int64_t workspace = 0;  ///< bytes of scratch memory
  int64_t counters = 0;   ///< 32-bit counters that are zero before the first run, and after each
  std::string detail;     ///< "wgmma 128x128x64 4 stages"
};

enum class Math { kHalf, kBFloat16, kTF32, kTF32x3, kFloat32 };
int element_size(Math math) noexcept;

/// A window over an NHWC image.
struct Window {
  int batch = 1, height = 1, width = 1, channels = 1;
  int kernel[2] = {1, 1}, stride[2] = {1, 1}, pad[2] = {0, 0}, dilation[2] = {1, 1};
  int out_height = 1, out_width = 1;
  int64_t pixel_stride = 1;  ///< elements from a pixel to the next; images follow each other without a gap

  int64_t pixels() const noexcept { return int64_t{batch} * out_height * out_width; }
  bool pointwise() const noexcept {
    return kernel[0] == 1 && kernel[1] == 1 && stride[0] == 1 && stride[1] == 1 && pad[0] == 0 && pad[1] == 0;
  }
  std::string defines() const;
};

/// A convolution with one group, or a matrix product C[m, n] = A[m, k] B[n, k]^T (`matrix`).
struct Product {
  Math math = Math::kHalf;
  Window window;
  int filters = 1;
  bool b_constant = true;  ///< B is weights: it may be read before the predecessor has ended
  // Several products at once (only with `matrix`, only by mma): z-th A at z / a_share * a_batch.
  int batches = 1;
  int64_t a_batch = 0, b_batch = 0;
  int a_share = 1, b_share = 1;
  int64_t b_row = 0;  ///< elements from row to row of B; 0: packed by pack_filters

  static Product matrix(Math math, int64_t m, int n, int k, int64_t a_row);
  int64_t rows() const noexcept { return window.pixels(); }
  int depth() const noexcept { return window.kernel[0] * window.kernel[1] * window.channels; }
  double flops() const noexcept { return 2.0 * static_cast<double>(rows()) * filters * depth() * batches; }
};

struct ProductTactic {
  enum Kind { kMma, kWgmma } kind = kMma;
  int bm = 128, bn = 128, warps_m = 2, warps_n = 2, stages = 3, split = 1;
  int resident = 1;  ///< kWgmma: blocks a multiprocessor holds

  std::string name() const;
};

/// The ways worth timing, best guess first, at most `limit`. Never empty for what fits(): see below.
std::vector<ProductTactic> product_tactics(const Product& product, const TileEpilogue& epilogue,
                                           const DeviceInfo& device, size_t limit = 12);
/// Empty, or why this tactic cannot run the product.
std::string refuse(const Product& product, const ProductTactic& tactic, const DeviceInfo& device);

KernelPlan plan_product(const Product& product, const ProductTactic& tactic, const TileEpilogue& epilogue,
                        const DeviceInfo& device);

/// How the filters of a product lie in memory for a tactic: `filters` rows of `row` elements of product.math's type,
/// each `taps` groups of `tap` elements of which the first `channels` hold a tap's channels and the rest are zero.
struct FilterLayout {
  int64_t rows = 0, row = 0, taps = 0, tap = 0, channels = 0;
  int64_t elements() const noexcept { return rows * row; }
};
FilterLayout filter_layout(const Product& product, const ProductTactic& tactic);
/// Packs weights [filters, channels, kernel...] (or [filters, k]) from float32 as `layout` says. `filter_stride` etc.
/// in elements, so that a transposed matrix can be read too.
std::vector<std::byte> pack_filters(const FilterLayout& layout, Math math, const float* weights, int64_t filter_stride,
                                    int64_t channel_stride, int64_t tap_stride);

/// The parameters of a product. `workspace` and `counters` may be 0 where the plan needs none.
Params product_params(const Product& product, const ProductTactic& tactic, const Device& device, DevicePtr a,
                      DevicePtr b, const Operands& operands, DevicePtr workspace, DevicePtr counters);

/// Depthwise: weights packed [taps, channels] in the image's type.
KernelPlan plan_depthwise(const Window& window, DType dtype, const TileEpilogue& epilogue, int tile_width = 0);
Params depthwise_params(DevicePtr a, DevicePtr weights, const Operands& operands);

enum class PoolKind { kMax, kMeanInside, kMeanAll };
KernelPlan plan_pool(const Window& window, DType dtype, PoolKind kind, const TileEpilogue& epilogue);
Params pool_params(DevicePtr a, const Operands& operands);

enum class RowKind { kSoftmax, kLogSoftmax, kLayerNorm, kRmsNorm, kSum, kMean, kMax };
/// Rows of `cols` elements; element (row, col) of operand i of `input` (an expression: x, or x + residual) by `in`. The
/// epilogue's operands follow the input's. Kinds from kSum on give one column.
struct RowProblem {
  RowKind kind = RowKind::kSoftmax;
  int64_t rows = 1, cols = 1;
  float epsilon = 1e-5f;
  Expression input;
  std::vector<Access> in;
  TileEpilogue epilogue;
};
/// Throws unsupported for rows too long to be kept (16,384 elements).
KernelPlan plan_rows(const RowProblem& problem);
Params operand_params(const Operands& operands);

KernelPlan plan_region(const Region& region);

/// Copies elements of 1, 2, 4 or 8 bytes, bit for bit, between strides (in elements) over `dims`. operands.in[0],
/// out[0].
KernelPlan plan_copy(int element_bytes, std::vector<int64_t> dims, std::vector<int64_t> from, std::vector<int64_t> to);

struct Attention {
  Math math = Math::kHalf;
  int batch = 1, heads = 1, share = 1, queries = 1, keys = 1, head = 64;
  float scale = 1, softcap = 0;
  bool causal = false;
  int causal_shift = 0;
  struct Strides {
    int64_t batch = 0, head = 0, row = 0;
  } q, k, v, out, mask;
  DType mask_type = DType::kUndefined;  ///< undefined: none; bool: false hides; a float type: added
};
/// Throws unsupported for heads that are no multiple of 16 up to 256 and for strides that are not of 8 elements.
KernelPlan plan_attention(const Attention& attention, const DeviceInfo& device);
Params attention_params(DevicePtr q, DevicePtr k, DevicePtr v, DevicePtr mask, DevicePtr out);

}  // namespace tenon::cuda
