// Matrix products and convolutions: which tile shapes there are, what each needs, and the instances.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/checked.hpp"
#include "base/error.hpp"
#include "cuda/kernels.hpp"

namespace tenon::cuda {

std::string define(const char* name, int64_t value);  // kernels.cpp

namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

constexpr int kLine = 128;  // bytes of K in a step

int band(const ProductTactic& t) { return t.bn >= 256 || t.bn % 64 != 0 ? 32 : 64; }  // divides bn

/// Whether the blocks that share a tile are a cluster (else they meet in a workspace).
bool clusters(const ProductTactic& t, const DeviceInfo& device) {
  return t.split > 1 && device.capability() >= 90 && device.capability() < 120 && t.split <= 8 && t.bm % t.split == 0;
}

int64_t shared_bytes(const ProductTactic& t) {
  int64_t stages = int64_t{t.stages} * (t.bm + t.bn) * kLine;
  int64_t tile = int64_t{t.bm} * (t.bn + 8) * 4;
  if (t.kind == ProductTactic::kMma) return std::max(stages, tile);
  int64_t slack = 1024;  // stages begin at multiples of 1024
  if (t.split > 1) return std::max(stages, tile) + slack;
  return stages + int64_t{t.bm / 16} * 16 * (band(t) + 8) * 4 + slack;
}

int64_t tiles(const Product& p, const ProductTactic& t) { return ceil_div(p.rows(), t.bm) * ceil_div(p.filters, t.bn); }

int64_t steps(const Product& p, const ProductTactic& t) {
  int64_t step = kLine / element_size(p.math);
  if (t.kind == ProductTactic::kMma) return ceil_div(p.depth(), step);
  return int64_t{p.window.kernel[0]} * p.window.kernel[1] * ceil_div(p.window.channels, step);
}

/// Elements of A that one copy may take: neighbours along K whose address is aligned.
int copy_width(const Product& p) {
  int v = 16 / element_size(p.math);
  const Window& w = p.window;
  bool windowed = !w.pointwise();
  while (v > 1 &&
         (w.pixel_stride % v != 0 || (windowed && w.channels % v != 0) || p.a_batch % v != 0 || p.depth() % v != 0))
    v /= 2;
  return v;
}

/// The same for B, where it is not packed.
int copy_width_b(const Product& p) {
  int v = 16 / element_size(p.math);
  while (v > 1 && (p.b_row % v != 0 || p.b_batch % v != 0 || p.depth() % v != 0)) v /= 2;
  return v;
}

/// Rough seconds, to put the likely first: waves of blocks, each as long as its K steps and a fixed part.
double estimate(const Product& p, const ProductTactic& t, const DeviceInfo& device) {
  bool wgmma = t.kind == ProductTactic::kWgmma;
  double rate =
      device.capability() >= 90 && device.capability() < 120 ? (wgmma ? 2048 : 1000) : 512;  // multiply-adds a clock
  if (p.math == Math::kTF32) rate /= 2;
  if (p.math == Math::kTF32x3) rate /= 6;
  if (p.math == Math::kFloat32) rate = 100;
  double k = static_cast<double>(kLine) / element_size(p.math);
  int threads = wgmma ? t.bm * 2 + 128 : 32 * t.warps_m * t.warps_n;
  int64_t fit = std::min<int64_t>(device.shared_per_multiprocessor / std::max<int64_t>(shared_bytes(t) + 1024, 1),
                                  1536 / threads);
  fit = std::clamp<int64_t>(fit, 1, 4);
  double blocks = static_cast<double>(tiles(p, t) * t.split * p.batches);
  double resident = std::min(static_cast<double>(fit), std::ceil(blocks / device.multiprocessors));
  double step = std::max(t.bm * t.bn * k / rate * resident, (t.bm + t.bn) * kLine * resident / 50.0) + 60;
  double waves = std::ceil(blocks / (device.multiprocessors * resident));
  double fixed = 1200 + t.bm * t.bn / 24.0 + (t.split > 1 ? 1500 : 0);
  return waves * (std::ceil(static_cast<double>(steps(p, t)) / t.split) * step + fixed) / 1.7e9;
}

}  // namespace

std::string ProductTactic::name() const {
  return fmt::format("{} {}x{} {} stages{}", kind == kMma ? fmt::format("mma {}x{} warps", warps_m, warps_n) : "wgmma",
                     bm, bn, stages, split > 1 ? fmt::format(" split {}", split) : "");
}

Product Product::matrix(Math math, int64_t m, int n, int k, int64_t a_row) {
  Product p;
  p.math = math;
  p.filters = n;
  TENON_CHECK(m <= 0x7fffffff);
  p.window.height = p.window.out_height = static_cast<int>(m);
  p.window.channels = k;
  p.window.pixel_stride = a_row;
  return p;
}

std::string refuse(const Product& p, const ProductTactic& t, const DeviceInfo& device) {
  const Window& w = p.window;
  int size = element_size(p.math);
  if (p.rows() > 0x7fffffff - 512) return "more than 2^31 rows";
  if (size == 2 && copy_width(p) < 2)
    return "an odd number of 16-bit elements in K or between rows of A: pad it to an even one";
  if (p.b_row != 0 && size == 2 && copy_width_b(p) < 2) return "an odd number of 16-bit elements between rows of B";
  if (p.math == Math::kBFloat16 && device.capability() < 80) return "bfloat16 needs compute capability 8.0";
  if ((p.math == Math::kTF32 || p.math == Math::kTF32x3) && device.capability() < 80)
    return "TF32 needs compute capability 8.0";
  if (p.batches > 65535) return "more than 65,535 products at once";
  if (shared_bytes(t) > device.shared_per_block)
    return fmt::format("{} bytes of shared memory; the device has {}", shared_bytes(t), device.shared_per_block);
  if (t.split > 1 && steps(p, t) < 2 * t.split) return "too few steps of K to split";
  if (t.split > 1 && p.batches > 1) return "a split of several products";
  if (t.kind == ProductTactic::kMma) return {};
  if (device.capability() != 90) return "wgmma is an instruction of compute capability 9.0";
  if (p.math == Math::kTF32x3 || p.math == Math::kFloat32) return "wgmma has no float32 arithmetic";
  if (p.batches > 1 || p.b_row != 0) return "several products, or B that is not packed";
  if (t.split > 1 && !clusters(t, device)) return "a split that is no cluster";
  if (w.pixel_stride * size % 16 != 0) return "pixels that do not begin at multiples of 16 bytes";
  if (w.pointwise()) return {};
  for (int d = 0; d < 2; ++d) {
    int size_d = d == 0 ? w.height : w.width, out = d == 0 ? w.out_height : w.out_width;
    int upper = (out - 1) * w.stride[d] - w.pad[d] + 1 - size_d;
    if (w.pad[d] > 128 || upper < -128 || upper > 127 || (w.kernel[d] - 1) * w.dilation[d] > 255 || w.stride[d] > 8) {
      return "a window beyond what the copy engine can describe";
    }
  }
  return {};
}

std::vector<ProductTactic> product_tactics(const Product& product, const TileEpilogue& epilogue,
                                           const DeviceInfo& device, size_t limit) {
  using T = ProductTactic;
  (void)epilogue;
  static constexpr int kMmaTiles[][5] = {{128, 128, 2, 4, 3}, {128, 64, 4, 2, 3}, {64, 128, 2, 4, 3},
                                         {64, 64, 2, 2, 4},   {64, 64, 2, 2, 3},  {128, 32, 4, 1, 4},
                                         {64, 32, 2, 2, 4},   {32, 64, 2, 2, 4},  {32, 32, 2, 2, 4},
                                         {32, 128, 1, 4, 4},  {64, 64, 2, 2, 2},  {32, 32, 1, 2, 4}};
  static constexpr int kWgmmaTiles[][3] = {{128, 256, 4}, {128, 128, 5}, {128, 128, 3}, {128, 64, 4},
                                           {64, 256, 4},  {64, 128, 4},  {64, 64, 4},   {64, 64, 8},
                                           {64, 32, 6},   {128, 192, 4}, {64, 96, 4},   {128, 96, 4}};
  std::vector<std::pair<double, T>> found;
  auto consider = [&](T t) {
    for (int split : {1, 2, 4, 8}) {
      t.split = split;
      if (refuse(product, t, device).empty()) found.emplace_back(estimate(product, t, device), t);
    }
  };
  for (const auto& row : kMmaTiles) consider(T{T::kMma, row[0], row[1], row[2], row[3], row[4]});
  for (const auto& row : kWgmmaTiles) consider(T{T::kWgmma, row[0], row[1], 4, 1, row[2]});
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<T> out;
  for (const auto& [cost, t] : found) {
    if (out.size() < limit) out.push_back(t);
  }
  return out;
}

// ---- Instances

namespace {

std::string wgmma_text(int n, Math math) {
  const char* type = math == Math::kHalf ? "f16" : math == Math::kBFloat16 ? "bf16" : "tf32";
  int k = math == Math::kTF32 ? 8 : 16, count = n / 2;
  std::string registers, operands;
  for (int i = 0; i < count; ++i) {
    registers += fmt::format("{}%{}", i ? "," : "", i);
    operands += fmt::format("{}\"+f\"(d[{}])", i ? ", " : "", i);
  }
  return fmt::format(
      "TENON_INLINE void wgmma(float (&d)[{0}], u64 a, u64 b) {{\n"
      "  asm volatile(\"wgmma.mma_async.sync.aligned.m64n{1}k{2}.f32.{3}.{3} {{{4}}}, %{0}, %{5}, 1, 1, 1{6};\"\n"
      "               : {7} : \"l\"(a), \"l\"(b));\n}}\n",
      count, n, k, type, registers, count + 1, math == Math::kTF32 ? "" : ", 0, 0", operands);
}

std::string common_defines(const Product& p, const ProductTactic& t, int vector, int threads, bool cluster) {
  return p.window.defines() + define("MATH", static_cast<int>(p.math)) + define("G_M", p.rows()) +
         define("G_N", p.filters) + define("G_K", p.depth()) + define("BM", t.bm) + define("BN", t.bn) +
         define("STAGES", t.stages) + define("SPLIT", t.split) + define("CLUSTER", cluster) +
         define("CONV", !p.window.pointwise()) + define("OUT_VEC", vector) + define("THREADS", threads);
}

void plan_mma(KernelPlan& plan, const Product& p, const ProductTactic& t, std::string defines,
              const FilterLayout& layout) {
  defines += define("WARPS_M", t.warps_m) + define("WARPS_N", t.warps_n) + define("VEC_A", copy_width(p));
  defines += define("VEC_B", p.b_row ? copy_width_b(p) : 16 / element_size(p.math));
  defines += define("B_K", p.b_row ? p.depth() : layout.row) + define("B_LD", p.b_row ? p.b_row : layout.row) +
             define("B_CONSTANT", p.b_constant) + define("BATCHED", p.batches > 1);
  defines += define("A_BATCH", p.a_batch) + define("B_BATCH", p.b_batch) + define("A_SHARE", p.a_share) +
             define("B_SHARE", p.b_share);
  plan.source.file = "conv_mma.cu";
  plan.source.defines = std::move(defines);
  plan.shape.block[0] = static_cast<unsigned>(32 * t.warps_m * t.warps_n);
  plan.shape.grid = {static_cast<unsigned>(tiles(p, t) * t.split), 1, static_cast<unsigned>(p.batches)};
}

void plan_wgmma(KernelPlan& plan, const Product& p, const ProductTactic& t, std::string defines,
                const FilterLayout& layout, const DeviceInfo& device) {
  int64_t fit = std::max<int64_t>(1, std::min<int64_t>(device.shared_per_multiprocessor / (shared_bytes(t) + 1024),
                                                       65536 / (168 * (t.bm * 2 + 128))));
  int64_t grid = t.split > 1 ? tiles(p, t) * t.split : std::min<int64_t>(tiles(p, t), device.multiprocessors * fit);
  defines +=
      define("CONSUMERS", t.bm / 64) + define("TAPS", layout.taps) + define("STEPS_C", steps(p, t) / layout.taps);
  defines += define("GRID", grid) + define("BAND", band(t));
  plan.source.file = "conv_wgmma.cu";
  plan.source.defines = std::move(defines);
  plan.source.snippet += wgmma_text(t.bn, p.math);
  plan.shape.block[0] = static_cast<unsigned>(t.bm * 2 + 128);
  plan.shape.grid[0] = static_cast<unsigned>(grid);
}

}  // namespace

FilterLayout filter_layout(const Product& p, const ProductTactic& t) {
  FilterLayout f;
  f.rows = p.filters;
  f.channels = p.window.channels;
  f.taps = int64_t{p.window.kernel[0]} * p.window.kernel[1];
  int64_t line = kLine / element_size(p.math), chunk = 16 / element_size(p.math);
  f.tap = t.kind == ProductTactic::kWgmma ? ceil_div(f.channels, line) * line : f.channels;
  f.row = ceil_div(f.taps * f.tap, chunk) * chunk;
  return f;
}

KernelPlan plan_product(const Product& p, const ProductTactic& t, const TileEpilogue& epilogue,
                        const DeviceInfo& device) {
  if (std::string why = refuse(p, t, device); !why.empty())
    fail(Code::kUnsupported, "The tactic '{}' cannot run this product: {}.", t.name(), why);
  bool cluster = clusters(t, device), wgmma = t.kind == ProductTactic::kWgmma;
  int threads = wgmma ? t.bm * 2 + 128 : 32 * t.warps_m * t.warps_n;
  FilterLayout layout = filter_layout(p, t);
  std::string defines = common_defines(p, t, epilogue.vector(), threads, cluster);
  KernelPlan plan;
  plan.source.snippet = epilogue.text();
  plan.source.fast_math = std::all_of(epilogue.out.begin(), epilogue.out.end(), [](const Access& a) {
    return a.dtype == DType::kFloat16 || a.dtype == DType::kBFloat16;
  });
  if (plan.source.fast_math) defines += "#define TENON_FAST 1\n";
  if (wgmma) {
    plan_wgmma(plan, p, t, std::move(defines), layout, device);
  } else {
    plan_mma(plan, p, t, std::move(defines), layout);
  }
  plan.shape.shared_bytes = static_cast<unsigned>(shared_bytes(t));
  if (cluster) plan.shape.cluster = static_cast<unsigned>(t.split);
  if (t.split > 1 && !cluster) {
    plan.workspace = int64_t{t.split} * tiles(p, t) * t.bm * t.bn * 4;
    plan.counters = tiles(p, t);
  }
  plan.detail = t.name();
  return plan;
}

// ---- Weights and parameters

namespace {

uint16_t to_bfloat16(float x) {
  auto bits = std::bit_cast<uint32_t>(x);
  if (x != x) return 0x7fc0;
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

uint16_t to_half(float x) {
  auto bits = std::bit_cast<uint32_t>(x);
  auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  float magnitude = std::fabs(x);
  if (x != x) return 0x7e00;
  if (magnitude >= 65520.0f) return sign | 0x7c00;
  if (magnitude < 0x1p-14f)
    return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(magnitude * 0x1p24f)));
  uint32_t rounded = (bits & 0x7fffffff) + 0xfff + ((bits >> 13) & 1);
  return static_cast<uint16_t>(sign | ((rounded >> 13) - (112 << 10)));
}

}  // namespace

std::vector<std::byte> pack_filters(const FilterLayout& f, Math math, const float* weights, int64_t filter_stride,
                                    int64_t channel_stride, int64_t tap_stride) {
  int size = element_size(math);
  std::vector<std::byte> packed(static_cast<size_t>(f.elements()) * size);
  for (int64_t n = 0; n < f.rows; ++n) {
    for (int64_t tap = 0; tap < f.taps; ++tap) {
      for (int64_t c = 0; c < f.channels; ++c) {
        float x = weights[n * filter_stride + c * channel_stride + tap * tap_stride];
        std::byte* to = packed.data() + static_cast<size_t>(n * f.row + tap * f.tap + c) * size;
        if (size == 4) {
          std::memcpy(to, &x, 4);
        } else {
          uint16_t bits = math == Math::kHalf ? to_half(x) : to_bfloat16(x);
          std::memcpy(to, &bits, 2);
        }
      }
    }
  }
  return packed;
}

namespace {

constexpr int kSwizzle128 = 3, kPromote256 = 3;

int map_type(Math math) {
  return math == Math::kHalf ? 6 : math == Math::kBFloat16 ? 9 : 7;
}  // CU_TENSOR_MAP_DATA_TYPE_...

TensorMap map_matrix(const Device& device, Math math, DevicePtr address, int64_t rows, int64_t cols, int64_t row_stride,
                     int box_rows) {
  auto size = static_cast<uint64_t>(element_size(math));
  uint64_t dims[2] = {static_cast<uint64_t>(cols), static_cast<uint64_t>(rows)};
  uint64_t strides[1] = {static_cast<uint64_t>(row_stride) * size};
  uint32_t box[2] = {static_cast<uint32_t>(kLine / size), static_cast<uint32_t>(box_rows)}, ones[2] = {1, 1};
  TensorMap map;
  if (!device.api().cuTensorMapEncodeTiled) fail(Code::kUnsupported, "This NVIDIA driver is too old for tensor maps.");
  device.check(device.api().cuTensorMapEncodeTiled(&map, map_type(math), 2, reinterpret_cast<void*>(address), dims,
                                                   strides, box, ones, 0, kSwizzle128, kPromote256, 0),
               "cuTensorMapEncodeTiled");
  return map;
}

TensorMap map_image(const Device& device, Math math, DevicePtr address, const Window& w, int pixels) {
  auto size = static_cast<uint64_t>(element_size(math));
  auto stride = static_cast<uint64_t>(w.pixel_stride) * size;
  uint64_t dims[4] = {static_cast<uint64_t>(w.channels), static_cast<uint64_t>(w.width),
                      static_cast<uint64_t>(w.height), static_cast<uint64_t>(w.batch)};
  uint64_t strides[3] = {stride, stride * dims[1], stride * dims[1] * dims[2]};
  int lower[2] = {-w.pad[1], -w.pad[0]};
  int upper[2] = {(w.out_width - 1) * w.stride[1] - w.pad[1] + 1 - w.width,
                  (w.out_height - 1) * w.stride[0] - w.pad[0] + 1 - w.height};
  uint32_t steps[4] = {1, static_cast<uint32_t>(w.stride[1]), static_cast<uint32_t>(w.stride[0]), 1};
  TensorMap map;
  if (!device.api().cuTensorMapEncodeIm2col)
    fail(Code::kUnsupported, "This NVIDIA driver is too old for im2col tensor maps.");
  device.check(
      device.api().cuTensorMapEncodeIm2col(&map, map_type(math), 4, reinterpret_cast<void*>(address), dims, strides,
                                           lower, upper, static_cast<uint32_t>(kLine / size),
                                           static_cast<uint32_t>(pixels), steps, 0, kSwizzle128, kPromote256, 0),
      "cuTensorMapEncodeIm2col");
  return map;
}

}  // namespace

Params product_params(const Product& p, const ProductTactic& t, const Device& device, DevicePtr a, DevicePtr b,
                      const Operands& operands, DevicePtr workspace, DevicePtr counters) {
  Params params;
  if (t.kind == ProductTactic::kMma) {
    params.add(a).add(b).add(operands).add(workspace).add(counters);
    return params;
  }
  FilterLayout layout = filter_layout(p, t);
  params.add(p.window.pointwise()
                 ? map_matrix(device, p.math, a, p.rows(), p.window.channels, p.window.pixel_stride, t.bm)
                 : map_image(device, p.math, a, p.window, t.bm));
  params.add(map_matrix(device, p.math, b, layout.rows, layout.row, layout.row, t.bn));
  params.add(operands);
  return params;
}

}  // namespace tenon::cuda
