#include "cpu/reduce.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/error.hpp"
#include "cpu/pointwise_kernels.hpp"
#include "cpu/reduce_kernels.hpp"
#include "ops/elementwise.hpp"

namespace tenon::cpu {
namespace {

using Dim = ReducePlan::Dim;

constexpr int64_t kFlush = 256;  // column sums go to doubles after so many rows
constexpr float kInf = std::numeric_limits<float>::infinity();

Fold fold_of(ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
    case ReduceOp::kMean:
    case ReduceOp::kLogSum: return Fold::kSum;
    case ReduceOp::kMax: return Fold::kMax;
    case ReduceOp::kMin: return Fold::kMin;
    case ReduceOp::kProd: return Fold::kProd;
    case ReduceOp::kL1: return Fold::kAbs;
    case ReduceOp::kL2:
    case ReduceOp::kSumSquare: return Fold::kSquare;
    case ReduceOp::kLogSumExp: return Fold::kExp;
  }
  return Fold::kSum;
}

float start_of(Fold fold) {
  return fold == Fold::kMax ? -kInf : fold == Fold::kMin ? kInf : fold == Fold::kProd ? 1.0f : 0.0f;
}

double join(Fold fold, double a, double b) {
  switch (fold) {
    case Fold::kMax: return ew::max(a, b);
    case Fold::kMin: return ew::min(a, b);
    case Fold::kProd: return a * b;
    default: return a + b;
  }
}

float last_step(ReduceOp op, double value, int64_t count, float shift) {
  switch (op) {
    case ReduceOp::kMean: return static_cast<float>(value / static_cast<double>(count));
    case ReduceOp::kL2: return static_cast<float>(std::sqrt(value));
    case ReduceOp::kLogSum: return static_cast<float>(std::log(value));
    case ReduceOp::kLogSumExp: return static_cast<float>(shift + std::log(value));
    default: return static_cast<float>(value);
  }
}

/// exp(x - shift) needs a finite shift: all -inf gives 0 + log(0), +inf gives inf.
float finite_shift(float largest) { return std::isinf(largest) ? 0.0f : largest; }

std::vector<Dim> collapse(std::vector<Dim> dims) {
  std::erase_if(dims, [](const Dim& d) { return d.size == 1; });
  std::stable_sort(dims.begin(), dims.end(),
                   [](const Dim& a, const Dim& b) { return std::abs(a.src) > std::abs(b.src); });
  std::vector<Dim> out;
  for (const Dim& d : dims) {
    if (!out.empty() && out.back().src == d.src * d.size && out.back().dst == d.dst * d.size) {
      out.back() = {out.back().size * d.size, d.src, d.dst};
    } else {
      out.push_back(d);
    }
  }
  return out;
}

struct Offset {
  int64_t src = 0, dst = 0;
};

Offset offset_of(std::span<const Dim> dims, int64_t index) {
  Offset out;
  for (size_t d = dims.size(); d-- > 0;) {
    const int64_t i = index % dims[d].size;
    index /= dims[d].size;
    out.src += i * dims[d].src;
    out.dst += i * dims[d].dst;
  }
  return out;
}

std::span<const Dim> kept(const ReducePlan& plan) { return {plan.kept.data(), static_cast<size_t>(plan.kept_rank)}; }
std::span<const Dim> reduced(const ReducePlan& plan) {
  return {plan.reduced.data(), static_cast<size_t>(plan.reduced_rank)};
}

int64_t total_reduced(const ReducePlan& plan) {
  return plan.reduced_count * (plan.kind == ReducePlan::Kind::kRows ? plan.inner.size : 1);
}

double fold_rows(const ReducePlan& plan, const ReduceTable& table, Fold fold, const float* src, float shift) {
  double total = start_of(fold);
  for (int64_t r = 0; r < plan.reduced_count; ++r) {
    total = join(fold, total, table.row(fold, src + offset_of(reduced(plan), r).src, plan.inner.size, shift));
  }
  return total;
}

void reduce_rows(const ReducePlan& plan, const float* src, float* dst, int64_t begin, int64_t end) {
  const ReduceTable& table = reduce_table();
  for (int64_t k = begin; k < end; ++k) {
    const Offset at = offset_of(kept(plan), k);
    float shift = 0;
    if (plan.op == ReduceOp::kLogSumExp) {
      shift = finite_shift(static_cast<float>(fold_rows(plan, table, Fold::kMax, src + at.src, 0)));
    }
    const double value = fold_rows(plan, table, fold_of(plan.op), src + at.src, shift);
    dst[at.dst] = last_step(plan.op, value, total_reduced(plan), shift);
  }
}

void fold_columns(const ReducePlan& plan, const ReduceTable& table, Fold fold, const float* src, const float* shift,
                  int64_t n, double* total) {
  alignas(64) float acc[kReduceChunk];
  std::fill_n(total, n, static_cast<double>(start_of(fold)));
  for (int64_t from = 0; from < plan.reduced_count; from += kFlush) {
    std::fill_n(acc, n, start_of(fold));
    const int64_t end = std::min(plan.reduced_count, from + kFlush);
    for (int64_t r = from; r < end; ++r) table.columns(fold, src + offset_of(reduced(plan), r).src, acc, shift, n);
    for (int64_t j = 0; j < n; ++j) total[j] = join(fold, total[j], acc[j]);
  }
}

void reduce_columns(const ReducePlan& plan, const float* src, float* dst, int64_t begin, int64_t end) {
  const ReduceTable& table = reduce_table();
  const int64_t chunks = (plan.inner.size + kReduceChunk - 1) / kReduceChunk;
  double total[kReduceChunk];
  alignas(64) float shift[kReduceChunk] = {};
  for (int64_t unit = begin; unit < end; ++unit) {
    const Offset at = offset_of(kept(plan), unit / chunks);
    const int64_t first = unit % chunks * kReduceChunk, n = std::min(kReduceChunk, plan.inner.size - first);
    const float* from = src + at.src + first;
    if (plan.op == ReduceOp::kLogSumExp) {
      fold_columns(plan, table, Fold::kMax, from, shift, n, total);
      for (int64_t j = 0; j < n; ++j) shift[j] = finite_shift(static_cast<float>(total[j]));
    }
    fold_columns(plan, table, fold_of(plan.op), from, shift, n, total);
    for (int64_t j = 0; j < n; ++j) {
      dst[at.dst + (first + j) * plan.inner.dst] = last_step(plan.op, total[j], total_reduced(plan), shift[j]);
    }
  }
}

double one(Fold fold, double x, double shift) {
  switch (fold) {
    case Fold::kAbs: return std::fabs(x);
    case Fold::kSquare: return x * x;
    case Fold::kExp: return std::exp(x - shift);
    default: return x;
  }
}

void reduce_scattered(const ReducePlan& plan, const float* src, float* dst, int64_t begin, int64_t end) {
  const Fold fold = fold_of(plan.op);
  for (int64_t k = begin; k < end; ++k) {
    const Offset at = offset_of(kept(plan), k);
    double shift = 0, total = start_of(fold);
    if (plan.op == ReduceOp::kLogSumExp) {
      double largest = -kInf;
      for (int64_t r = 0; r < plan.reduced_count; ++r) {
        largest = ew::max(largest, static_cast<double>(src[at.src + offset_of(reduced(plan), r).src]));
      }
      shift = finite_shift(static_cast<float>(largest));
    }
    for (int64_t r = 0; r < plan.reduced_count; ++r) {
      total = join(fold, total, one(fold, src[at.src + offset_of(reduced(plan), r).src], shift));
    }
    dst[at.dst] = last_step(plan.op, total, plan.reduced_count, static_cast<float>(shift));
  }
}

template <class I>
I fold_integers(const ReducePlan& plan, const I* src) {
  using T = ew::Int<I>;
  T total(plan.op == ReduceOp::kMax    ? std::numeric_limits<I>::lowest()
          : plan.op == ReduceOp::kMin  ? std::numeric_limits<I>::max()
          : plan.op == ReduceOp::kProd ? I{1}
                                       : I{0});
  const bool rows = plan.kind == ReducePlan::Kind::kRows;
  for (int64_t r = 0; r < plan.reduced_count; ++r) {
    const I* from = src + offset_of(reduced(plan), r).src;
    for (int64_t i = 0; i < (rows ? plan.inner.size : 1); ++i) {
      const T x(from[i]);
      switch (plan.op) {
        case ReduceOp::kMax: total = ew::max(total, x); break;
        case ReduceOp::kMin: total = ew::min(total, x); break;
        case ReduceOp::kProd: total = total * x; break;
        case ReduceOp::kL1: total = total + ew::abs(x); break;
        case ReduceOp::kSumSquare: total = total + x * x; break;
        default: total = total + x; break;
      }
    }
  }
  if (plan.op == ReduceOp::kMean) total = total / T(total_reduced(plan));
  return static_cast<I>(total);
}

template <class I>
void reduce_integers(const ReducePlan& plan, const I* src, I* dst, ThreadPool& pool) {
  if (plan.op == ReduceOp::kL2 || plan.op == ReduceOp::kLogSum || plan.op == ReduceOp::kLogSumExp) {
    fail(Code::kUnsupported, "this reduction needs a floating-point type: cast the integers first");
  }
  const bool columns = plan.kind == ReducePlan::Kind::kColumns;
  const int64_t inner = columns ? plan.inner.size : 1;
  pool.run_ranges(plan.kept_count * inner, 1 + 32768 / std::max<int64_t>(1, total_reduced(plan)),
                  [&](int64_t begin, int64_t end) {
                    for (int64_t k = begin; k < end; ++k) {
                      Offset at = offset_of(kept(plan), k / inner);
                      if (columns) at = {at.src + k % inner, at.dst + k % inner * plan.inner.dst};
                      dst[at.dst] = fold_integers(plan, src + at.src);
                    }
                  });
}

}  // namespace

ReducePlan make_reduce(ReduceOp op, std::span<const int64_t> dims, std::span<const int64_t> src_strides,
                       std::span<const int64_t> dst_strides, std::span<const bool> reduce) {
  TENON_CHECK(dims.size() == src_strides.size() && dims.size() == dst_strides.size() && dims.size() == reduce.size());
  ReducePlan plan;
  plan.op = op;
  std::vector<Dim> keep, gone;
  for (size_t d = 0; d < dims.size(); ++d) {
    if (reduce[d]) {
      gone.push_back({dims[d], src_strides[d], 0});
    } else {
      keep.push_back({dims[d], src_strides[d], dst_strides[d]});
    }
  }
  keep = collapse(std::move(keep));
  gone = collapse(std::move(gone));
  if (!gone.empty() && gone.back().src == 1) {
    plan.kind = ReducePlan::Kind::kRows;
    plan.inner = gone.back();
    gone.pop_back();
  } else if (!keep.empty() && keep.back().src == 1) {
    plan.kind = ReducePlan::Kind::kColumns;
    plan.inner = keep.back();
    keep.pop_back();
  }
  if (keep.size() > ReducePlan::kMaxDims || gone.size() > ReducePlan::kMaxDims) {
    fail(Code::kUnsupported, "a reduction of {} dimensions that do not merge", dims.size());
  }
  plan.kept_rank = static_cast<int>(keep.size());
  plan.reduced_rank = static_cast<int>(gone.size());
  std::copy(keep.begin(), keep.end(), plan.kept.begin());
  std::copy(gone.begin(), gone.end(), plan.reduced.begin());
  for (const Dim& d : keep) plan.kept_count *= d.size;
  for (const Dim& d : gone) plan.reduced_count *= d.size;
  return plan;
}

void run_reduce(const ReducePlan& plan, const float* src, float* dst, ThreadPool& pool) {
  const int64_t each = std::max<int64_t>(1, total_reduced(plan));
  switch (plan.kind) {
    case ReducePlan::Kind::kRows:
      pool.run_ranges(plan.kept_count, 1 + 32768 / each,
                      [&](int64_t begin, int64_t end) { reduce_rows(plan, src, dst, begin, end); });
      return;
    case ReducePlan::Kind::kColumns:
      pool.run_ranges(plan.kept_count * ((plan.inner.size + kReduceChunk - 1) / kReduceChunk), 1 + 128 / each,
                      [&](int64_t begin, int64_t end) { reduce_columns(plan, src, dst, begin, end); });
      return;
    case ReducePlan::Kind::kScattered:
      pool.run_ranges(plan.kept_count, 1 + 8192 / each,
                      [&](int64_t begin, int64_t end) { reduce_scattered(plan, src, dst, begin, end); });
      return;
  }
}

void run_reduce(const ReducePlan& plan, const int32_t* src, int32_t* dst, ThreadPool& pool) {
  reduce_integers(plan, src, dst, pool);
}
void run_reduce(const ReducePlan& plan, const int64_t* src, int64_t* dst, ThreadPool& pool) {
  reduce_integers(plan, src, dst, pool);
}

namespace {

/// The first NaN, or the first (last) extreme.
int64_t arg_scattered(const ArgReduce& a, const float* x) {
  int64_t best = 0;
  for (int64_t k = 1; k < a.axis; ++k) {
    const float v = x[k * a.src_axis], b = x[best * a.src_axis];
    if (b != b && !(a.select_last && v != v)) continue;
    const bool better = v != v || (a.largest ? v > b : v < b) || (a.select_last && v == b);
    if (better) best = k;
  }
  return best;
}

int64_t arg_row(const ArgReduce& a, const ReduceTable& table, const float* x) {
  float smallest, largest;
  table.range(x, a.axis, &smallest, &largest);
  return table.find(x, a.axis, a.largest ? largest : smallest);
}

void arg_columns(const ArgReduce& a, const float* x, int64_t* out, int64_t n) {
  float best[kReduceChunk];
  int64_t index[kReduceChunk];
  std::copy_n(x, n, best);
  std::fill_n(index, n, 0);
  for (int64_t k = 1; k < a.axis; ++k) {
    const float* row = x + k * a.src_axis;
    for (int64_t j = 0; j < n; ++j) {
      const float v = row[j], b = best[j];
      const bool closed = (b != b) & !(a.select_last & (v != v));
      const bool better = (v != v) | (a.largest ? v > b : v < b) | (a.select_last & (v == b));
      const bool take = better & !closed;
      best[j] = take ? v : b;
      index[j] = take ? k : index[j];
    }
  }
  for (int64_t j = 0; j < n; ++j) out[j * a.dst_inner] = index[j];
}

}  // namespace

void run_arg_reduce(const ArgReduce& a, const float* src, int64_t* dst, ThreadPool& pool) {
  expect(a.axis > 0 || a.outer * a.inner == 0, "argmax and argmin need at least one element to choose from");
  const ReduceTable& table = reduce_table();
  const bool rows = a.src_axis == 1 && !a.select_last;
  pool.run_ranges(a.outer * a.inner, 1 + 32768 / std::max<int64_t>(1, a.axis), [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end;) {
      const int64_t outer = unit / a.inner, inner = unit % a.inner;
      const float* x = src + outer * a.src_outer + inner * a.src_inner;
      int64_t* out = dst + outer * a.dst_outer + inner * a.dst_inner;
      int64_t done = 1;
      if (rows) {
        *out = arg_row(a, table, x);
      } else if (a.src_inner == 1) {
        done = std::min({kReduceChunk, a.inner - inner, end - unit});
        arg_columns(a, x, out, done);
      } else {
        *out = arg_scattered(a, x);
      }
      unit += done;
    }
  });
}

void min_max(const float* src, int64_t n, float* smallest, float* largest, ThreadPool& pool) {
  TENON_CHECK(n > 0);
  constexpr int64_t kParts = 64;
  float lo[kParts], hi[kParts];
  const int64_t parts = std::clamp<int64_t>(n / 32768, 1, std::min<int64_t>(kParts, pool.threads()));
  const ReduceTable& table = reduce_table();
  pool.run(parts, [&](int64_t part) {
    const int64_t begin = n * part / parts, end = n * (part + 1) / parts;
    table.range(src + begin, end - begin, &lo[part], &hi[part]);
  });
  *smallest = lo[0];
  *largest = hi[0];
  for (int64_t i = 1; i < parts; ++i) {
    *smallest = ew::min(*smallest, lo[i]);
    *largest = ew::max(*largest, hi[i]);
  }
}

void dynamic_quantize(const float* src, int64_t n, uint8_t* dst, float* scale, uint8_t* zero_point, ThreadPool& pool) {
  constexpr int64_t kBlock = 512;
  float lo = 0, hi = 0;
  if (n > 0) min_max(src, n, &lo, &hi, pool);
  lo = std::min(lo, 0.0f);
  hi = std::max(hi, 0.0f);
  const float step = hi == lo ? 1.0f : (hi - lo) / 255.0f;
  const float zero = ew::rint(std::clamp(-lo / step, 0.0f, 255.0f));
  *scale = step;
  *zero_point = static_cast<uint8_t>(zero);
  const PointwiseTable& table = pointwise_table();
  const PointwiseKernel quantize = table.kernels[static_cast<int>(Opcode::kQuantize)];
  const PointwiseStore store = table.store[static_cast<int>(DType::kUInt8)];
  pool.run_ranges(n, 16384, [&](int64_t begin, int64_t end) {
    alignas(64) float steps[kBlock], zeros[kBlock], x[kBlock];
    std::fill_n(steps, kBlock, step);
    std::fill_n(zeros, kBlock, zero);
    for (int64_t at = begin; at < end; at += kBlock) {
      const int64_t count = std::min(kBlock, end - at);
      std::copy_n(src + at, count, x);
      std::fill(x + count, x + kBlock, 0.0f);
      quantize(x, steps, zeros, x, 0.0f, 255.0f, count);
      store(x, dst + at, count);
    }
  });
}

}  // namespace tenon::cpu
