// Reductions over axes: sums, means, extrema, products and norms.
#include <cmath>
#include <limits>

#include "ops/support.hpp"

namespace tenon {
namespace {

// The axes that are reduced, as flags. No axes given: all, or none with noop_with_empty_axes.
template <class Context>
std::vector<bool> reduced_axes(const Context& ctx, const std::optional<Ints>& axes, int64_t rank) {
  bool none = !axes || axes->empty();
  bool all = none && ctx.attrs().integer("noop_with_empty_axes", 0) == 0;
  std::vector<bool> out(static_cast<size_t>(rank), all);
  if (!none) {
    for (int64_t a : normalize_axes(ctx, *axes, rank)) out[static_cast<size_t>(a)] = true;
  }
  return out;
}

template <class D>
std::vector<D> reduced_shape(const std::vector<D>& in, const std::vector<bool>& reduced, bool keep) {
  std::vector<D> out;
  for (size_t i = 0; i < in.size(); ++i) {
    if (!reduced[i]) {
      out.push_back(in[i]);
    } else if (keep) {
      out.push_back(D(1));
    }
  }
  return out;
}

// --- what is computed ------------------------------------------------------------------------------------------

// Each kind: the empty value, a step, and an end, in doubles or in 64-bit integers (which wrap).
struct Sum {
  template <class T>
  static T begin(T) {
    return T(0);
  }
  template <class T>
  static T step(T a, T x) {
    return a + x;
  }
  template <class T>
  static T end(T a, int64_t) {
    return a;
  }
};
struct Mean : Sum {
  template <class T>
  static T end(T a, int64_t n) {
    if constexpr (std::is_same_v<T, double>) return a / static_cast<double>(n);
    // Wrapping sums are unsigned; the mean divides them as signed numbers.
    return n == 0 ? T(0) : static_cast<T>(static_cast<int64_t>(a) / n);
  }
};
struct SumSquare : Sum {
  template <class T>
  static T step(T a, T x) {
    return a + x * x;
  }
};
struct L1 : Sum {
  template <class T>
  static T step(T a, T x) {
    if constexpr (std::is_same_v<T, double>) return a + std::fabs(x);
    return static_cast<int64_t>(x) < 0 ? a - x : a + x;
  }
};
struct L2 : SumSquare {
  template <class T>
  static T end(T a, int64_t) {
    return static_cast<T>(std::sqrt(static_cast<double>(a)));
  }
};
struct LogSum : Sum {
  template <class T>
  static T end(T a, int64_t) {
    return static_cast<T>(std::log(static_cast<double>(a)));
  }
};
struct Prod : Sum {
  template <class T>
  static T begin(T) {
    return T(1);
  }
  template <class T>
  static T step(T a, T x) {
    return a * x;
  }
};

struct Layout {
  Dims kept, gone;  // extents of the axes that stay and that go
  Ints kept_strides, gone_strides;
  Dims out;
};

Layout layout(const RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  auto axes = ctx.has(1) ? std::optional(ctx.in(1).to_ints()) : std::nullopt;
  std::vector<bool> reduced = reduced_axes(ctx, axes, x.rank());
  Layout l;
  Ints strides = strides_of(x.dims());
  for (size_t i = 0; i < reduced.size(); ++i) {
    (reduced[i] ? l.gone : l.kept).push_back(x.dims()[i]);
    (reduced[i] ? l.gone_strides : l.kept_strides).push_back(strides[i]);
  }
  l.out = reduced_shape(x.dims(), reduced, ctx.attrs().integer("keepdims", 1) != 0);
  return l;
}

// out[...] = fold over the reduced positions of `values`.
template <class T, class Begin, class Step, class End>
std::vector<T> fold(const Layout& l, const std::vector<T>& values, Begin begin, Step step, End end) {
  std::vector<T> out;
  int64_t count = element_count(l.gone);
  walk<1>(l.kept, {l.kept_strides}, [&](std::array<int64_t, 1> base) {
    T sum = begin();
    walk<1>(l.gone, {l.gone_strides},
            [&](std::array<int64_t, 1> at) { sum = step(sum, values[static_cast<size_t>(base[0] + at[0])]); });
    out.push_back(end(sum, count));
  });
  return out;
}

std::vector<uint64_t> to_words(const Tensor& x) {
  std::vector<uint64_t> out;
  for (int64_t i = 0; i < x.size(); ++i) out.push_back(static_cast<uint64_t>(x.int_at(i)));
  return out;
}

template <class Kind>
void reduce(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  Layout l = layout(ctx);
  Tensor& out = ctx.make(0, x.dtype(), l.out);
  auto run = [&](const auto& values) {
    using T = std::decay_t<decltype(values[0])>;
    return fold(
        l, values, [] { return Kind::begin(T()); }, [](T a, T b) { return Kind::step(a, b); },
        [](T a, int64_t n) { return Kind::end(a, n); });
  };
  if (is_floating(x.dtype())) return store_doubles(out, run(to_doubles(x)));
  std::vector<uint64_t> result = run(to_words(x));
  for (int64_t i = 0; i < out.size(); ++i) out.set_int(i, static_cast<int64_t>(result[static_cast<size_t>(i)]));
}

// log(sum(exp(x))) with the largest element taken out, so that exp cannot overflow.
void reduce_log_sum_exp(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  Layout l = layout(ctx);
  Tensor& out = ctx.make(0, x.dtype(), l.out);
  constexpr double kLow = -std::numeric_limits<double>::infinity();
  std::vector<double> values = to_doubles(x), result;
  walk<1>(l.kept, {l.kept_strides}, [&](std::array<int64_t, 1> base) {
    double top = kLow, sum = 0;
    auto value = [&](int64_t at) { return values[static_cast<size_t>(base[0] + at)]; };
    walk<1>(l.gone, {l.gone_strides}, [&](std::array<int64_t, 1> at) { top = std::max(top, value(at[0])); });
    double shift = std::isfinite(top) ? top : 0;
    walk<1>(l.gone, {l.gone_strides}, [&](std::array<int64_t, 1> at) { sum += std::exp(value(at[0]) - shift); });
    result.push_back(std::log(sum) + shift);
  });
  store_doubles(out, result);
}

// The smallest value of a type for Max over nothing, and the largest for Min.
template <class T>
T empty_extremum(DType dtype, bool max) {
  if constexpr (std::is_same_v<T, double>) {
    double top = std::numeric_limits<double>::infinity();
    return max ? -top : top;
  }
  if (dtype == DType::kBool) return static_cast<T>(max ? 0 : 1);
  int width = bits(dtype);
  uint64_t mask = width == 64 ? ~uint64_t{0} : (uint64_t{1} << width) - 1;
  if (!is_signed(dtype)) return static_cast<T>(max ? 0 : mask);
  uint64_t high = mask >> 1;
  return static_cast<T>(max ? ~high : high);
}

template <bool kMax>
void reduce_extremum(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  Layout l = layout(ctx);
  Tensor& out = ctx.make(0, x.dtype(), l.out);
  auto run = [&](const auto& values) {
    using T = std::decay_t<decltype(values[0])>;
    auto better = [](T a, T b) {
      if constexpr (std::is_same_v<T, double>) {
        if (std::isnan(a)) return a;
        if (std::isnan(b)) return b;
      }
      return (kMax ? b > a : b < a) ? b : a;
    };
    return fold(
        l, values, [&] { return empty_extremum<T>(x.dtype(), kMax); }, better, [](T a, int64_t) { return a; });
  };
  if (is_floating(x.dtype())) return store_doubles(out, run(to_doubles(x)));
  auto put = [&](const auto& result) {
    for (int64_t i = 0; i < out.size(); ++i) out.set_int(i, static_cast<int64_t>(result[static_cast<size_t>(i)]));
  };
  std::vector<uint64_t> words = to_words(x);
  if (x.dtype() == DType::kUInt64) return put(run(words));
  put(run(std::vector<int64_t>(words.begin(), words.end())));
}

// --- shapes ----------------------------------------------------------------------------------------------------

void infer_reduce(InferContext& ctx) {
  if (!ctx.shape(0)) return ctx.output(0, ctx.dtype(0));
  const Shape& in = *ctx.shape(0);
  bool keep = ctx.attrs().integer("keepdims", 1) != 0;
  auto axes = ctx.has(1) ? ctx.ints(1) : std::nullopt;
  if (ctx.has(1) && !axes) {
    if (!keep) return ctx.output(0, ctx.dtype(0));
    return ctx.output(0, ctx.dtype(0), unknown_shape(ctx, 0, in.size()));
  }
  std::vector<bool> reduced = reduced_axes(ctx, axes, ctx.rank(0));
  Shape out = reduced_shape(in, reduced, keep);
  ctx.output(0, ctx.dtype(0), out);
  auto content = ctx.content(0);
  if (!content || in.size() != 1 || !reduced[0]) return;
  // Shape arithmetic: the element count as a product, and sums and extrema.
  const std::string& op = ctx.node().op;
  Dim value = op == "ReduceProd" ? Dim(1) : Dim(0);
  if (op == "ReduceMax" || op == "ReduceMin") {
    if (content->empty()) return;
    value = (*content)[0];
  }
  for (const Dim& d : *content) {
    if (op == "ReduceProd") {
      value = value * d;
    } else if (op == "ReduceSum") {
      value = value + d;
    } else if (op == "ReduceMax" || op == "ReduceMin") {
      value = op == "ReduceMax" ? Dim::max(value, d) : Dim::min(value, d);
    } else {
      return;
    }
  }
  ctx.output_content(0, {value});
}

}  // namespace

void define_reduce_ops(OpTable& table) {
  auto add = [&](const char* name, std::string_view doc, void (*reference)(RefContext&)) {
    table.add({.name = name,
               .doc = doc,
               .max_inputs = 2,
               .infer = infer_reduce,
               .reference = reference,
               .attrs = {"keepdims", "noop_with_empty_axes"}});
  };
  add("ReduceSum", "The sum over axes.", reduce<Sum>);
  add("ReduceMean", "The mean over axes.", reduce<Mean>);
  add("ReduceMax", "The largest element over axes.", reduce_extremum<true>);
  add("ReduceMin", "The smallest element over axes.", reduce_extremum<false>);
  add("ReduceProd", "The product over axes.", reduce<Prod>);
  add("ReduceL1", "The sum of magnitudes over axes.", reduce<L1>);
  add("ReduceL2", "The Euclidean norm over axes.", reduce<L2>);
  add("ReduceSumSquare", "The sum of squares over axes.", reduce<SumSquare>);
  add("ReduceLogSum", "The logarithm of the sum over axes.", reduce<LogSum>);
  add("ReduceLogSumExp", "The logarithm of the sum of exponentials over axes.", reduce_log_sum_exp);
}

}  // namespace tenon
