#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/norm.cpp"
#define HWY_DISABLED_TARGETS HWY_SSSE3
#include "cpu/norm.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// Highway first
#include "cpu/math-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace tenon::cpu {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kLanes = HWY_LANES(float);
constexpr int64_t kPiece = 1024;  // floats summed in float before the sum goes to a double

/// Sum of f(x) over n contiguous floats; f(filling) must be 0, so the filling is passed in.
template <class F>
double sum_of(const float* x, int64_t n, float filling, F f) {
  double total = 0;
  for (int64_t start = 0; start < n; start += kPiece) {
    const int64_t end = std::min(n, start + kPiece);
    V s0(0.0), s1(0.0), s2(0.0), s3(0.0);
    int64_t i = start;
    for (; i + 4 * kLanes <= end; i += 4 * kLanes) {
      s0 = s0 + f(load(x + i));
      s1 = s1 + f(load(x + i + kLanes));
      s2 = s2 + f(load(x + i + 2 * kLanes));
      s3 = s3 + f(load(x + i + 3 * kLanes));
    }
    for (; i + kLanes <= end; i += kLanes) s0 = s0 + f(load(x + i));
    if (i < end) s1 = s1 + f(load_n(x + i, end - i, filling));
    total += sum_lanes((s0 + s1) + (s2 + s3));
  }
  return total;
}

double sum(const float* x, int64_t n) {
  return sum_of(x, n, 0.0f, [](V v) { return v; });
}
double sum_squares(const float* x, int64_t n, float mean) {
  const V m(mean);
  return sum_of(x, n, mean, [m](V v) { return (v - m) * (v - m); });
}

/// y = (x - mean) * factor * scale + bias over a row; scale and bias per element, or null.
void write_row(const float* x, float* y, int64_t n, float mean, float factor, const float* scale, const float* bias) {
  const V m(mean), f(factor), one(1.0), zero(0.0);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    V v = (load(x + i) - m) * f;
    if (scale) v = v * load(scale + i);
    if (bias) v = v + load(bias + i);
    store(v, y + i);
  }
  if (i < n) {
    V v = (load_n(x + i, n - i) - m) * f;
    v = v * (scale ? load_n(scale + i, n - i) : one) + (bias ? load_n(bias + i, n - i) : zero);
    store_n(v, y + i, n - i);
  }
}

/// y = (x - mean) * factor + shift, the same for the whole run.
void write_run(const float* x, float* y, int64_t n, float mean, float factor, float shift) {
  const V m(mean), f(factor), s(shift);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store((load(x + i) - m) * f + s, y + i);
  if (i < n) store_n((load_n(x + i, n - i) - m) * f + s, y + i, n - i);
}

float inverse_deviation(double squares, double count, float epsilon) {
  return static_cast<float>(1.0 / ::sqrt(squares / count + epsilon));
}

// Group norm, space contiguous: a group is `per_group` runs of `space` floats.
void group_of_planes(const GroupNorm& g, const float* src, float* dst, int64_t first, int64_t per_group) {
  const double count = static_cast<double>(per_group) * static_cast<double>(g.space);
  double total = 0, squares = 0;
  for (int64_t c = 0; c < per_group; ++c) total += sum(src + c * g.src_channel, g.space);
  const float mean = static_cast<float>(total / count);
  for (int64_t c = 0; c < per_group; ++c) squares += sum_squares(src + c * g.src_channel, g.space, mean);
  const float factor = inverse_deviation(squares, count, g.epsilon);
  for (int64_t c = 0; c < per_group; ++c) {
    const float scale = g.scale ? g.scale[first + c] : 1.0f, bias = g.bias ? g.bias[first + c] : 0.0f;
    write_run(src + c * g.src_channel, dst + c * g.dst_channel, g.space, mean, factor * scale, bias);
  }
}

// Channels contiguous, wide groups: a group is `space` runs of `per_group` floats.
void group_of_pixels(const GroupNorm& g, const float* src, float* dst, int64_t first, int64_t per_group) {
  const double count = static_cast<double>(per_group) * static_cast<double>(g.space);
  double total = 0, squares = 0;
  for (int64_t s = 0; s < g.space; ++s) total += sum(src + s * g.src_space, per_group);
  const float mean = static_cast<float>(total / count);
  for (int64_t s = 0; s < g.space; ++s) squares += sum_squares(src + s * g.src_space, per_group, mean);
  const float factor = inverse_deviation(squares, count, g.epsilon);
  for (int64_t s = 0; s < g.space; ++s) {
    write_row(src + s * g.src_space, dst + s * g.dst_space, per_group, mean, factor,
              g.scale ? g.scale + first : nullptr, g.bias ? g.bias + first : nullptr);
  }
}

constexpr int64_t kChunk = 256;  // channels handled together when groups are narrow

/// Column sums over space of f(x - mean[c]) for `n` <= kChunk channels.
template <class F>
void column_sums(const GroupNorm& g, const float* src, int64_t n, double* out, F f) {
  alignas(64) float part[kChunk];
  std::fill_n(out, n, 0.0);
  for (int64_t start = 0; start < g.space; start += kPiece) {
    const int64_t end = std::min(g.space, start + kPiece);
    int64_t c = 0;
    for (; c + kLanes <= n; c += kLanes) {
      V total(0.0);
      for (int64_t s = start; s < end; ++s) total = total + f(load(src + s * g.src_space + c), c);
      store(total, part + c);
    }
    if (c < n) {
      V total(0.0);
      for (int64_t s = start; s < end; ++s) total = total + f(load_n(src + s * g.src_space + c, n - c), c);
      store(total, part + c);
    }
    for (int64_t i = 0; i < n; ++i) out[i] += part[i];
  }
}

// Channels contiguous, narrow groups (instance norm): `n` channels, whole groups, at once.
void chunk_of_groups(const GroupNorm& g, const float* src, float* dst, int64_t first, int64_t n, int64_t per_group) {
  double sums[kChunk];
  alignas(64) float mean[kChunk + 64] = {}, factor[kChunk + 64] = {}, shift[kChunk + 64] = {};
  const double count = static_cast<double>(per_group) * static_cast<double>(g.space);
  const auto of_group = [&](int64_t from) {
    double total = 0;
    for (int64_t c = from; c < from + per_group; ++c) total += sums[c];
    return total;
  };
  column_sums(g, src, n, sums, [](V v, int64_t) { return v; });
  for (int64_t from = 0; from < n; from += per_group) {
    std::fill_n(mean + from, per_group, static_cast<float>(of_group(from) / count));
  }
  column_sums(g, src, n, sums, [&](V v, int64_t c) { return (v - load(mean + c)) * (v - load(mean + c)); });
  for (int64_t from = 0; from < n; from += per_group) {
    const float inverse = inverse_deviation(of_group(from), count, g.epsilon);
    for (int64_t c = from; c < from + per_group; ++c) {
      factor[c] = inverse * (g.scale ? g.scale[first + c] : 1.0f);
      shift[c] = g.bias ? g.bias[first + c] : 0.0f;
    }
  }
  for (int64_t s = 0; s < g.space; ++s) {
    const float* x = src + s * g.src_space;
    float* y = dst + s * g.dst_space;
    int64_t c = 0;
    for (; c + kLanes <= n; c += kLanes)
      store((load(x + c) - load(mean + c)) * load(factor + c) + load(shift + c), y + c);
    if (c < n) store_n((load_n(x + c, n - c) - load(mean + c)) * load(factor + c) + load(shift + c), y + c, n - c);
  }
}

}  // namespace

void row_norm_work(const RowNorm& norm, bool center, const float* src, float* dst, int64_t begin, int64_t end) {
  const double count = static_cast<double>(norm.size);
  for (int64_t r = begin; r < end; ++r) {
    const float* x = src + r * norm.src_stride;
    const float mean = center ? static_cast<float>(sum(x, norm.size) / count) : 0.0f;
    const float factor = inverse_deviation(sum_squares(x, norm.size, mean), count, norm.epsilon);
    write_row(x, dst + r * norm.dst_stride, norm.size, mean, factor, norm.scale, norm.bias);
  }
}

/// Units: (batch item, group), or (batch item, chunk of `groups_per_unit` groups).
void group_norm_work(const GroupNorm& g, int64_t groups_per_unit, const float* src, float* dst, int64_t begin,
                     int64_t end) {
  const int64_t per_group = g.channels / g.groups;
  const int64_t units = (g.groups + groups_per_unit - 1) / groups_per_unit;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t n = unit / units, first_group = unit % units * groups_per_unit, first = first_group * per_group;
    const float* x = src + n * g.src_batch + first * g.src_channel;
    float* y = dst + n * g.dst_batch + first * g.dst_channel;
    if (g.src_space == 1 && g.dst_space == 1) {
      group_of_planes(g, x, y, first, per_group);
    } else if (groups_per_unit == 1) {
      group_of_pixels(g, x, y, first, per_group);
    } else {
      const int64_t groups = std::min(groups_per_unit, g.groups - first_group);
      chunk_of_groups(g, x, y, first, groups * per_group, per_group);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tenon::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tenon::cpu {

HWY_EXPORT(row_norm_work);
HWY_EXPORT(group_norm_work);

namespace {

void row_norm(const RowNorm& norm, bool center, const float* src, float* dst, ThreadPool& pool) {
  if (norm.size == 0) return;
  const auto work = HWY_DYNAMIC_DISPATCH(row_norm_work);
  pool.run_ranges(norm.rows, 1 + 32768 / norm.size,
                  [&](int64_t begin, int64_t end) { work(norm, center, src, dst, begin, end); });
}

}  // namespace

void layer_norm(const RowNorm& norm, const float* src, float* dst, ThreadPool& pool) {
  row_norm(norm, true, src, dst, pool);
}
void rms_norm(const RowNorm& norm, const float* src, float* dst, ThreadPool& pool) {
  row_norm(norm, false, src, dst, pool);
}

void group_norm(const GroupNorm& g, const float* src, float* dst, ThreadPool& pool) {
  expect(g.groups > 0 && g.channels % g.groups == 0, "group norm: {} channels do not divide into {} groups", g.channels,
         g.groups);
  const bool planes = (g.src_space == 1 || g.space == 1) && (g.dst_space == 1 || g.space == 1);
  const bool pixels = g.src_channel == 1 && g.dst_channel == 1;
  if (!planes && !pixels) {
    fail(Code::kUnsupported,
         "group norm needs contiguous channels or contiguous space in both tensors; copy into such a layout first");
  }
  if (g.batch == 0 || g.channels == 0 || g.space == 0) return;
  GroupNorm shape = g;
  if (planes) shape.src_space = shape.dst_space = 1;
  const int64_t per_group = g.channels / g.groups;
  const int64_t together = planes || per_group > 64 ? 1 : 256 / per_group;
  const int64_t units = g.batch * ((g.groups + together - 1) / together);
  const auto work = HWY_DYNAMIC_DISPATCH(group_norm_work);
  pool.run_ranges(units, 1 + 32768 / (g.space * per_group * together),
                  [&](int64_t begin, int64_t end) { work(shape, together, src, dst, begin, end); });
}

}  // namespace tenon::cpu
#endif
