#include "cpu/resize.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.hpp"
#include "cpu/resize_kernels.hpp"

namespace tenon::cpu {
namespace {

/// The source coordinate of output x, as ONNX defines it: its "length_resized" is in * scale before it is
/// rounded down to `out`.
double source_of(ResizeCoordinate mode, double x, double in, double out, double scale, double start, double end) {
  const double resized = in * scale;
  switch (mode) {
    case ResizeCoordinate::kHalfPixel: return (x + 0.5) / scale - 0.5;
    case ResizeCoordinate::kHalfPixelSymmetric: {
      const double adjustment = out / resized;  // out was rounded down: keep the centre where it is
      return in / 2 * (1 - adjustment) + (x + 0.5) / scale - 0.5;
    }
    case ResizeCoordinate::kPytorchHalfPixel: return resized > 1 ? (x + 0.5) / scale - 0.5 : 0;
    case ResizeCoordinate::kAlignCorners: return resized == 1 ? 0 : x * (in - 1) / (resized - 1);
    case ResizeCoordinate::kAsymmetric: return x / scale;
    case ResizeCoordinate::kTfCropAndResize:
      return resized != 1 ? start * (in - 1) + x * (end - start) * (in - 1) / (resized - 1)
                          : 0.5 * (start + end) * (in - 1);
  }
  return 0;
}

double round_nearest(ResizeNearest mode, double x) {
  switch (mode) {
    case ResizeNearest::kRoundPreferFloor: return std::ceil(x - 0.5);
    case ResizeNearest::kRoundPreferCeil: return std::floor(x + 0.5);
    case ResizeNearest::kFloor: return std::floor(x);
    case ResizeNearest::kCeil: return std::ceil(x);
  }
  return x;
}

/// The interpolation kernel at distance d >= 0 (in source pixels, or stretched ones when it also filters).
double kernel_at(const ResizeOptions& options, double d) {
  if (options.mode == ResizeMode::kLinear) return std::max(0.0, 1 - d);
  const double a = options.cubic_a;
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  if (d < 2) return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
  return 0;
}

/// Half the number of taps. A filter that shrinks stretches its kernel by 1 / scale.
int64_t reach_of(const ResizeOptions& options, double scale) {
  if (options.mode == ResizeMode::kNearest) return 0;
  const double support = options.mode == ResizeMode::kLinear ? 1 : 2;
  return options.antialias && scale < 1 ? static_cast<int64_t>(std::ceil(support / scale))
                                        : static_cast<int64_t>(support);
}

void fill_taps(const ResizeOptions& options, double x, double scale, int64_t reach, ResizeAxis& axis, int64_t i) {
  const double squeeze = options.antialias ? std::min(scale, 1.0) : 1.0;
  const double base = std::floor(x);
  double total = 0;
  std::vector<double> weights(axis.taps);
  for (int64_t t = 0; t < axis.taps; ++t) {
    const double at = base + static_cast<double>(t - reach + 1);
    double w = kernel_at(options, std::fabs(at - x) * squeeze);
    if (options.exclude_outside && (at < 0 || at >= static_cast<double>(axis.in))) w = 0;
    weights[t] = w;
    total += w;
    axis.index[i * axis.taps + t] = static_cast<int32_t>(std::clamp<double>(at, 0, static_cast<double>(axis.in - 1)));
  }
  const bool normalise = options.exclude_outside || options.antialias;
  for (int64_t t = 0; t < axis.taps; ++t) {
    axis.weight[i * axis.taps + t] = static_cast<float>(normalise && total != 0 ? weights[t] / total : weights[t]);
  }
}

}  // namespace

ResizeAxis make_resize_axis(const ResizeOptions& options, int64_t in, int64_t out, double scale, double roi_start,
                            double roi_end) {
  expect(in > 0 || out == 0, "cannot resize an empty dimension to {}", out);
  expect(in < (int64_t{1} << 31), "a dimension of {} is too large to resize", in);
  expect(scale > 0, "a resize scale has to be positive, not {}", scale);
  ResizeAxis axis;
  const int64_t reach = reach_of(options, scale);
  axis.in = in;
  axis.out = out;
  axis.taps = std::max<int64_t>(1, 2 * reach);
  axis.index.resize(out * axis.taps);
  axis.weight.resize(out * axis.taps, 1.0f);
  axis.outside.resize(out, 0);
  for (int64_t i = 0; i < out; ++i) {
    const double x = source_of(options.coordinate, static_cast<double>(i), static_cast<double>(in),
                               static_cast<double>(out), scale, roi_start, roi_end);
    if (options.coordinate == ResizeCoordinate::kTfCropAndResize && (x < 0 || x > static_cast<double>(in - 1))) {
      axis.outside[i] = 1;
      axis.any_outside = true;
    }
    if (options.mode == ResizeMode::kNearest) {
      const double at = std::clamp<double>(round_nearest(options.nearest, x), 0, static_cast<double>(in - 1));
      axis.index[i] = static_cast<int32_t>(at);
    } else {
      fill_taps(options, x, scale, reach, axis, i);
    }
  }
  return axis;
}

namespace {

/// One output row of one batch item (channels-last) or plane.
template <class T>
void nearest_row(const ResizePlan& p, bool pixels, const T* src, T* dst) {
  const int32_t* index = p.x.index.data();
  if (!pixels) {
    for (int64_t x = 0; x < p.x.out; ++x) dst[x * p.dst_w] = src[index[x] * p.src_w];
    return;
  }
  const size_t bytes = static_cast<size_t>(p.channels) * sizeof(T);
  for (int64_t x = 0; x < p.x.out; ++x) std::memcpy(dst + x * p.dst_w, src + index[x] * p.src_w, bytes);
}

/// Overwrites what tf_crop_and_resize places outside the image.
void extrapolate_row(const ResizePlan& p, bool pixels, float* dst, int64_t y) {
  const bool all = p.y.outside[y] != 0;
  for (int64_t x = 0; x < p.x.out; ++x) {
    if (!all && !p.x.outside[x]) continue;
    std::fill_n(dst + x * p.dst_w, pixels ? p.channels : 1, p.options.extrapolation_value);
  }
}

template <class T>
void resize_rows(const ResizePlan& p, bool pixels, const T* src, T* dst, int64_t begin, int64_t end) {
  const int64_t planes = pixels ? 1 : p.channels;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t y = unit % p.y.out, plane = unit / p.y.out;
    const T* from = src + plane / planes * p.src_n + plane % planes * p.src_c;
    T* to = dst + plane / planes * p.dst_n + plane % planes * p.dst_c + y * p.dst_h;
    if constexpr (sizeof(T) == 4) {
      if (p.options.mode != ResizeMode::kNearest) {
        (pixels ? resize_kernels().pixels : resize_kernels().line)(p, from, to, y);
      } else {
        nearest_row(p, pixels, from + p.y.index[y] * p.src_h, to);
      }
      if (p.y.any_outside || p.x.any_outside) extrapolate_row(p, pixels, to, y);
    } else {
      nearest_row(p, pixels, from + p.y.index[y] * p.src_h, to);
    }
  }
}

}  // namespace

void run_resize(const ResizePlan& p, int element_size, const void* src, void* dst, ThreadPool& pool) {
  const bool nearest = p.options.mode == ResizeMode::kNearest;
  if (element_size != 4 && (!nearest || p.y.any_outside || p.x.any_outside)) {
    fail(Code::kUnsupported, "resize interpolates and extrapolates float32 only: cast elements of {} bytes first",
         element_size);
  }
  if (p.y.out == 0 || p.x.out == 0) return;
  const bool pixels = p.src_c == 1 && p.dst_c == 1 && !(p.channels == 1 && p.src_w == 1 && p.dst_w == 1);
  const int64_t planes = pixels ? 1 : p.channels;
  const int64_t cost = p.x.out * (pixels ? p.channels : 1) * p.y.taps * p.x.taps;
  pool.run_ranges(p.batch * planes * p.y.out, 1 + 65536 / std::max<int64_t>(1, cost), [&](int64_t begin, int64_t end) {
    switch (element_size) {
      case 1: return resize_rows(p, pixels, static_cast<const uint8_t*>(src), static_cast<uint8_t*>(dst), begin, end);
      case 2: return resize_rows(p, pixels, static_cast<const uint16_t*>(src), static_cast<uint16_t*>(dst), begin, end);
      default: return resize_rows(p, pixels, static_cast<const float*>(src), static_cast<float*>(dst), begin, end);
    }
  });
}

}  // namespace tenon::cpu
