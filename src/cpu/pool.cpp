#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/pool.cpp"
#define HWY_DISABLED_TARGETS HWY_SSSE3
#include "cpu/pool.hpp"

#include <string.h>

#include <algorithm>
#include <type_traits>

#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// Highway first
#include "cpu/math-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace tenon::cpu {
namespace HWY_NAMESPACE {
namespace {

/// One vector of T and what pooling does with it.
template <class T>
struct Max {
  using D = hn::ScalableTag<T>;
  using Vec = hn::Vec<D>;
  static constexpr int64_t kLanes = HWY_LANES(T);
  static T start() {
    return std::is_floating_point_v<T> ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::lowest();
  }
  static HWY_INLINE Vec join(Vec a, Vec b) {
    if constexpr (std::is_floating_point_v<T>) {
      return max(V(a), V(b)).v;
    } else {
      return hn::Max(a, b);
    }
  }
  static T join_one(T a, T b) { return (b > a) | (b != b) ? b : a; }
};

struct Sum {
  using D = hn::ScalableTag<float>;
  using Vec = hn::Vec<D>;
  static constexpr int64_t kLanes = HWY_LANES(float);
  static float start() { return 0; }
  static HWY_INLINE Vec join(Vec a, Vec b) { return hn::Add(a, b); }
  static float join_one(float a, float b) { return a + b; }
};

/// The window's cells inside [0, size): first .. first + step * (count - 1).
struct Span {
  int64_t first, count, padded;  // padded: cells inside image and padding
};

Span window(int64_t out, int64_t stride, int64_t pad, int64_t pad_end, int64_t kernel, int64_t dilation, int64_t size) {
  const int64_t at = out * stride - pad;
  if (at >= 0 && at + (kernel - 1) * dilation < size) return {at, kernel, kernel};  // most windows; no divisions
  const int64_t skip = at < 0 ? (-at + dilation - 1) / dilation : 0;
  const int64_t inside = at < size ? std::min(kernel, (size - at + dilation - 1) / dilation) : 0;
  const int64_t bound = size + pad_end;
  const int64_t padded = at < bound ? std::min(kernel, (bound - at + dilation - 1) / dilation) : 0;
  return {at + skip * dilation, std::max<int64_t>(inside - skip, 0), padded};
}

float divisor(const Pool2D& p, const Span& y, const Span& x) {
  const int64_t cells = p.count_include_pad ? y.padded * x.padded : y.count * x.count;
  return cells > 0 ? 1.0f / static_cast<float>(cells) : 0.0f;
}

/// Channels contiguous: one output pixel, vectors over channels, from channel c on.
template <class P, class T>
void pixel(const Pool2D& p, const T* src, T* dst, const Span& ys, const Span& xs, float factor, int64_t c) {
  const typename P::D d;
  constexpr int64_t kLanes = P::kLanes;
  const int64_t row = p.dilation_h * p.src_h, col = p.dilation_w * p.src_w;
  const T* from = src + ys.first * p.src_h + xs.first * p.src_w;
  const auto start = hn::Set(d, P::start());
  const auto finish = [&](auto v) {
    if constexpr (std::is_same_v<P, Sum>) return hn::Mul(v, hn::Set(d, factor));
    return v;
  };
  for (; c + 2 * kLanes <= p.channels; c += 2 * kLanes) {
    auto a = start, b = start;
    for (int64_t y = 0; y < ys.count; ++y) {
      for (int64_t x = 0; x < xs.count; ++x) {
        const T* at = from + y * row + x * col + c;
        a = P::join(a, hn::LoadU(d, at));
        b = P::join(b, hn::LoadU(d, at + kLanes));
      }
    }
    hn::StoreU(finish(a), d, dst + c);
    hn::StoreU(finish(b), d, dst + c + kLanes);
  }
  // The last vector reaches back over the one before; only fewer channels than a vector are taken one by one.
  for (; c < p.channels && p.channels >= kLanes; c += kLanes) {
    c = std::min(c, p.channels - kLanes);
    auto a = start;
    for (int64_t y = 0; y < ys.count; ++y) {
      for (int64_t x = 0; x < xs.count; ++x) a = P::join(a, hn::LoadU(d, from + y * row + x * col + c));
    }
    hn::StoreU(finish(a), d, dst + c);
  }
  for (; c < p.channels; ++c) {
    T a = P::start();
    for (int64_t y = 0; y < ys.count; ++y) {
      for (int64_t x = 0; x < xs.count; ++x) a = P::join_one(a, from[y * row + x * col + c]);
    }
    if constexpr (std::is_same_v<P, Sum>) a *= factor;
    dst[c] = a;
  }
}

Span window_x(const Pool2D& p, int64_t x) {
  return window(x, p.stride_w, p.pad_left, p.pad_right, p.kernel_w, p.dilation_w, p.in_w);
}

/// Channels contiguous, overlapping windows: joins the window's rows for each column first, `kGroup` vectors of
/// channels at a time, then slides along; kernel_h + kernel_w joins instead of kernel_h * kernel_w.
constexpr int64_t kGroup = 2, kColumns = 192;
template <class P, class T>
void pixel_row(const Pool2D& p, const T* src, T* dst, const Span& ys, int64_t first_channel) {
  const typename P::D d;
  constexpr int64_t kLanes = P::kLanes;
  alignas(64) T columns[kColumns * kGroup * kLanes];
  const T* from = src + ys.first * p.src_h + first_channel;
  const auto start = hn::Set(d, P::start());
  for (int64_t x = 0; x < p.in_w; ++x) {
    auto a = start, b = start;
    for (int64_t y = 0; y < ys.count; ++y) {
      const T* at = from + y * p.dilation_h * p.src_h + x * p.src_w;
      a = P::join(a, hn::LoadU(d, at));
      b = P::join(b, hn::LoadU(d, at + kLanes));
    }
    hn::Store(a, d, columns + x * kGroup * kLanes);
    hn::Store(b, d, columns + x * kGroup * kLanes + kLanes);
  }
  for (int64_t x = 0; x < p.out_w; ++x) {
    const Span xs = window_x(p, x);
    auto a = start, b = start;
    for (int64_t k = 0; k < xs.count; ++k) {
      const T* at = columns + (xs.first + k * p.dilation_w) * kGroup * kLanes;
      a = P::join(a, hn::Load(d, at));
      b = P::join(b, hn::Load(d, at + kLanes));
    }
    if constexpr (std::is_same_v<P, Sum>) {
      const auto factor = hn::Set(d, divisor(p, ys, xs));
      a = hn::Mul(a, factor);
      b = hn::Mul(b, factor);
    }
    hn::StoreU(a, d, dst + x * p.dst_w + first_channel);
    hn::StoreU(b, d, dst + x * p.dst_w + first_channel + kLanes);
  }
}

constexpr int64_t kBuffer = 2048;  // elements of the column-joined line

/// dst[x] = the join over k of line[x * stride + k * dilation]. The line has 192 elements of slack.
template <class P, class T>
void slide(const Pool2D& p, const T* line, int64_t width, T* dst, int64_t n) {
  const typename P::D d;
  constexpr int64_t kLanes = P::kLanes;
  const T* phase[2] = {line, line};
  alignas(64) T even[kBuffer / 2 + 64], odd[kBuffer / 2 + 64];
  if (p.stride_w == 2) {  // two lines of every second element, then as with stride 1
    phase[0] = even;
    phase[1] = odd;
    for (int64_t i = 0; 2 * i < width; i += kLanes) {
      typename P::Vec a, b;
      hn::LoadInterleaved2(d, line + 2 * i, a, b);
      hn::StoreU(a, d, even + i);
      hn::StoreU(b, d, odd + i);
    }
  }
  if (p.stride_w > 2) {
    for (int64_t x = 0; x < n; ++x) {
      const T* at = line + x * p.stride_w;
      T a = at[0];
      for (int64_t k = 1; k < p.kernel_w; ++k) a = P::join_one(a, at[k * p.dilation_w]);
      dst[x] = a;
    }
    return;
  }
  for (int64_t x = 0; x < n; x += kLanes) {
    auto a = hn::LoadU(d, phase[0] + x);
    for (int64_t k = 1; k < p.kernel_w; ++k) {
      const int64_t at = k * p.dilation_w;
      a = P::join(a, hn::LoadU(d, p.stride_w == 1 ? line + x + at : phase[at % 2] + x + at / 2));
    }
    if (x + kLanes <= n) {
      hn::StoreU(a, d, dst + x);
    } else {
      alignas(64) T last[kLanes];
      hn::StoreU(a, d, last);
      std::copy_n(last, n - x, dst + x);
    }
  }
}

/// The width contiguous: joins the window's rows into a line first, then slides along it.
template <class P, class T>
void line_part(const Pool2D& p, const T* src, T* dst, const Span& ys, int64_t x0, int64_t x1) {
  const typename P::D d;
  constexpr int64_t kLanes = P::kLanes;
  alignas(64) T line[kBuffer + 192];  // slack: vectors read past the last column, stride 2 twice as far
  const int64_t reach = (p.kernel_w - 1) * p.dilation_w + 1;
  const int64_t from = x0 * p.stride_w - p.pad_left, width = (x1 - x0 - 1) * p.stride_w + reach;
  const int64_t lo = std::clamp<int64_t>(-from, 0, width), hi = std::clamp<int64_t>(p.in_w - from, lo, width);
  std::fill_n(line, width, P::start());
  const int64_t row = p.dilation_h * p.src_h;
  for (int64_t y = 0; y < ys.count; ++y) {
    const T* in = src + ys.first * p.src_h + y * row + from;
    int64_t i = lo;
    for (; i + kLanes <= hi; i += kLanes) {
      hn::StoreU(P::join(hn::LoadU(d, line + i), hn::LoadU(d, in + i)), d, line + i);
    }
    if constexpr (std::is_same_v<T, float>) {
      if (i < hi) hn::StoreU(P::join(hn::LoadU(d, line + i), load_n(in + i, hi - i, P::start()).v), d, line + i);
      i = hi;
    }
    for (; i < hi; ++i) line[i] = P::join_one(line[i], in[i]);
  }
  slide<P>(p, line, width, dst + x0, x1 - x0);
}

template <class P, class T>
void line(const Pool2D& p, const T* src, T* dst, const Span& ys) {
  const int64_t reach = (p.kernel_w - 1) * p.dilation_w + 1;
  const int64_t step = std::max<int64_t>(1, (kBuffer - reach) / p.stride_w);
  for (int64_t x = 0; x < p.out_w; x += step) line_part<P>(p, src, dst, ys, x, std::min(p.out_w, x + step));
  if constexpr (std::is_same_v<P, Sum>) {
    // Windows [lo, hi) lie inside the image and share a divisor.
    const int64_t lo = std::min(p.out_w, (p.pad_left + p.stride_w - 1) / p.stride_w);
    const int64_t room = p.in_w + p.pad_left - reach;
    const int64_t hi = std::clamp<int64_t>(room < 0 ? 0 : room / p.stride_w + 1, lo, p.out_w);
    const float inner = divisor(p, ys, {0, p.kernel_w, p.kernel_w});
    for (int64_t x = 0; x < lo; ++x) dst[x] *= divisor(p, ys, window_x(p, x));
    for (int64_t x = lo; x < hi; ++x) dst[x] *= inner;
    for (int64_t x = hi; x < p.out_w; ++x) dst[x] *= divisor(p, ys, window_x(p, x));
  }
}

/// Any strides, one element at a time.
template <class P, class T>
void scattered(const Pool2D& p, const T* src, T* dst, const Span& ys) {
  for (int64_t x = 0; x < p.out_w; ++x) {
    const Span xs = window_x(p, x);
    T a = P::start();
    for (int64_t i = 0; i < ys.count; ++i) {
      for (int64_t j = 0; j < xs.count; ++j) {
        a = P::join_one(a, src[(ys.first + i * p.dilation_h) * p.src_h + (xs.first + j * p.dilation_w) * p.src_w]);
      }
    }
    if constexpr (std::is_same_v<P, Sum>) a *= divisor(p, ys, xs);
    dst[x * p.dst_w] = a;
  }
}

/// Units: output rows of one batch item (channels-last) or of one plane.
template <class P, class T>
void work(const Pool2D& p, const T* src, T* dst, int64_t begin, int64_t end) {
  const bool channels_last = pools_by_pixel(p);
  const bool fits = (p.kernel_w - 1) * p.dilation_w + 1 <= kBuffer / 2;
  const bool lines = !channels_last && p.src_w == 1 && p.dst_w == 1 && fits;
  const bool overlap = p.stride_w == 1 && p.kernel_w > 2 && p.kernel_h > 1 && p.in_w <= kColumns;
  const int64_t planes = channels_last ? 1 : p.channels;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t y = unit % p.out_h, plane = unit / p.out_h;
    const int64_t n = plane / planes, c = plane % planes;
    const Span ys = window(y, p.stride_h, p.pad_top, p.pad_bottom, p.kernel_h, p.dilation_h, p.in_h);
    const T* from = src + n * p.src_n + c * p.src_c;
    T* to = dst + n * p.dst_n + c * p.dst_c + y * p.dst_h;
    if (channels_last) {
      int64_t c0 = 0;
      for (; overlap && c0 + kGroup * P::kLanes <= p.channels; c0 += kGroup * P::kLanes) {
        pixel_row<P>(p, from, to, ys, c0);
      }
      for (int64_t x = 0; c0 < p.channels && x < p.out_w; ++x) {
        const Span xs = window_x(p, x);
        pixel<P>(p, from, to + x * p.dst_w, ys, xs, divisor(p, ys, xs), c0);
      }
    } else if (lines) {
      line<P>(p, from, to, ys);
    } else {
      scattered<P>(p, from, to, ys);
    }
  }
}

}  // namespace

void max_f32(const Pool2D& p, const float* src, float* dst, int64_t begin, int64_t end) {
  work<Max<float>>(p, src, dst, begin, end);
}
void max_s8(const Pool2D& p, const int8_t* src, int8_t* dst, int64_t begin, int64_t end) {
  work<Max<int8_t>>(p, src, dst, begin, end);
}
void max_u8(const Pool2D& p, const uint8_t* src, uint8_t* dst, int64_t begin, int64_t end) {
  work<Max<uint8_t>>(p, src, dst, begin, end);
}
void average_f32(const Pool2D& p, const float* src, float* dst, int64_t begin, int64_t end) {
  work<Sum>(p, src, dst, begin, end);
}

}  // namespace HWY_NAMESPACE
}  // namespace tenon::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tenon::cpu {

HWY_EXPORT(max_f32);
HWY_EXPORT(max_s8);
HWY_EXPORT(max_u8);
HWY_EXPORT(average_f32);

namespace {

template <class T, class Work>
void run(const Pool2D& p, const T* src, T* dst, ThreadPool& pool, Work work) {
  const int64_t planes = pools_by_pixel(p) ? 1 : p.channels;
  const int64_t row_cost = p.out_w * (planes == 1 ? p.channels : 1) * p.kernel_h * p.kernel_w;
  pool.run_ranges(p.batch * planes * p.out_h, 1 + 65536 / std::max<int64_t>(1, row_cost),
                  [&](int64_t begin, int64_t end) { work(p, src, dst, begin, end); });
}

}  // namespace

void max_pool(const Pool2D& p, const float* src, float* dst, ThreadPool& pool) {
  run(p, src, dst, pool, HWY_DYNAMIC_DISPATCH(max_f32));
}
void max_pool(const Pool2D& p, const int8_t* src, int8_t* dst, ThreadPool& pool) {
  run(p, src, dst, pool, HWY_DYNAMIC_DISPATCH(max_s8));
}
void max_pool(const Pool2D& p, const uint8_t* src, uint8_t* dst, ThreadPool& pool) {
  run(p, src, dst, pool, HWY_DYNAMIC_DISPATCH(max_u8));
}
void average_pool(const Pool2D& p, const float* src, float* dst, ThreadPool& pool) {
  run(p, src, dst, pool, HWY_DYNAMIC_DISPATCH(average_f32));
}

int64_t pool_output_size(int64_t in, int64_t kernel, int64_t stride, int64_t pad_begin, int64_t pad_end,
                         int64_t dilation, bool ceil_mode) {
  const int64_t span = in + pad_begin + pad_end - ((kernel - 1) * dilation + 1);
  if (span < 0) return 0;
  int64_t out = (span + (ceil_mode ? stride - 1 : 0)) / stride + 1;
  if (ceil_mode && (out - 1) * stride >= in + pad_begin)
    --out;  // a window that starts in the padding's end does not count
  return out;
}

}  // namespace tenon::cpu
#endif
