// Normalisations: Layer, RMS, Instance, Group, Lp, MeanVariance, LRN.
#include <algorithm>
#include <cmath>

#include "ops/support.hpp"

namespace tenon {
namespace {

// Outputs 1 and 2 of LayerNormalization have the shape of the input with the normalised axes reduced to 1.
void infer_layer_norm(InferContext& ctx) {
  ctx.output(0, ctx.type(0));
  DType stash = dtype_attribute(ctx.node(), "stash_type", DType::kFloat32);
  if (!ctx.shape(0)) return;
  Shape reduced = *ctx.shape(0);
  int64_t axis = ctx.axis(ctx.attrs().integer("axis", -1), ctx.rank(0));
  for (size_t i = static_cast<size_t>(axis); i < reduced.size(); ++i) reduced[i] = 1;
  ctx.output(1, stash, reduced);
  ctx.output(2, stash, reduced);
}

// Statistics in double whatever stash_type says; that decides only the type of the outputs 1 and 2.
void layer_norm(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  bool centre = ctx.node.op == "LayerNormalization";
  auto axis = static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", -1), x.rank()));
  double epsilon = ctx.attrs().number("epsilon", 1e-5);
  const Dims& d = x.dims();
  int64_t rows = product(d, 0, axis), width = product(d, axis, d.size());
  Dims inner(d.begin() + static_cast<int64_t>(axis), d.end()), reduced = d;
  std::fill(reduced.begin() + static_cast<int64_t>(axis), reduced.end(), 1);
  std::vector<double> values = to_doubles(x), means, inverses;
  for (int64_t r = 0; r < rows; ++r) {
    double* row = values.data() + r * width;
    double mean = 0, squares = 0;
    for (int64_t i = 0; i < width && centre; ++i) mean += row[i] / static_cast<double>(width);
    for (int64_t i = 0; i < width; ++i) squares += (row[i] - mean) * (row[i] - mean);
    double inverse = 1 / std::sqrt(squares / static_cast<double>(width) + epsilon);
    for (int64_t i = 0; i < width; ++i) row[i] = (row[i] - mean) * inverse;
    means.push_back(mean);
    inverses.push_back(inverse);
  }
  // Scale and bias broadcast to the whole input.
  for (size_t k : {1, 2}) {
    if (!ctx.has(k)) continue;
    const Tensor& p = ctx.in(k);
    ctx.require(broadcast_dims(p.dims(), d, ctx.node.op) == d, "input {} of shape {} does not broadcast to {}", k,
                dims_text(p.dims()), dims_text(d));
    std::vector<double> parameter = to_doubles(p);
    size_t at = 0;
    walk<1>(d, {broadcast_strides(p.dims(), d)}, [&](const std::array<int64_t, 1>& i) {
      double v = parameter[static_cast<size_t>(i[0])];
      k == 1 ? values[at] *= v : values[at] += v;
      ++at;
    });
  }
  store_doubles(ctx.make(0, x.dtype(), d), values);
  if (!centre) return;
  DType stash = dtype_attribute(ctx.node, "stash_type", DType::kFloat32);
  store_doubles(ctx.make(1, stash, reduced), means);
  store_doubles(ctx.make(2, stash, reduced), inverses);
}

// Normalises each run of `width` elements, then scales and shifts by channel.
void normalize_runs(RefContext& ctx, int64_t width, int64_t area) {
  const Tensor& x = ctx.in(0);
  int64_t channels = x.dims()[1];
  double epsilon = ctx.attrs().number("epsilon", 1e-5);
  for (size_t k : {1, 2}) {
    ctx.require(ctx.in(k).size() == channels, "input {} has {} entries for {} channels", k, ctx.in(k).size(), channels);
  }
  std::vector<double> values = to_doubles(x);
  for (int64_t at = 0; width > 0 && at < x.size(); at += width) {
    double mean = 0, squares = 0;
    for (int64_t i = at; i < at + width; ++i) mean += values[static_cast<size_t>(i)] / static_cast<double>(width);
    for (int64_t i = at; i < at + width; ++i) {
      double v = values[static_cast<size_t>(i)] - mean;
      squares += v * v;
    }
    double inverse = 1 / std::sqrt(squares / static_cast<double>(width) + epsilon);
    for (int64_t i = at; i < at + width; ++i) {
      int64_t c = i / area % channels;
      double& v = values[static_cast<size_t>(i)];
      v = (v - mean) * inverse * ctx.in(1).at(c) + ctx.in(2).at(c);
    }
  }
  store_doubles(ctx.make(0, x.dtype(), x.dims()), values);
}

void instance_norm(RefContext& ctx) {
  const Dims& d = ctx.in(0).dims();
  ctx.require(d.size() >= 3, "the input must have a batch, channels and spatial axes, it has {} axes", d.size());
  int64_t area = product(d, 2, d.size());
  normalize_runs(ctx, area, area);
}

void group_norm(RefContext& ctx) {
  const Dims& d = ctx.in(0).dims();
  ctx.require(d.size() >= 2, "the input must have a batch and channels, it has {} axes", d.size());
  int64_t groups = ctx.attrs().integer("num_groups", 0);
  ctx.require(groups >= 1 && d[1] % groups == 0, "{} channels do not divide into {} groups", d[1], groups);
  int64_t area = product(d, 2, d.size());
  normalize_runs(ctx, d[1] / groups * area, area);
}

void lp_norm(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  auto axis = static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", -1), x.rank()));
  int64_t p = ctx.attrs().integer("p", 2);
  ctx.require(p == 1 || p == 2, "p is {}, only 1 and 2 are norms here", p);
  const Dims& d = x.dims();
  int64_t outer = product(d, 0, axis), inner = product(d, axis + 1, d.size()), extent = d[axis];
  std::vector<double> values = to_doubles(x);
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t i = 0; i < inner; ++i) {
      double* run = values.data() + o * extent * inner + i;
      double size = 0;
      for (int64_t k = 0; k < extent; ++k) size += p == 1 ? std::fabs(run[k * inner]) : run[k * inner] * run[k * inner];
      if (p == 2) size = std::sqrt(size);
      for (int64_t k = 0; k < extent; ++k) run[k * inner] = size == 0 ? 0 : run[k * inner] / size;
    }
  }
  store_doubles(ctx.make(0, x.dtype(), d), values);
}

// (x - mean) / (deviation + 1e-9), as the op is defined.
void mean_variance_norm(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  Ints axes = normalize_axes(ctx, ctx.attrs().ints("axes", {0, 2, 3}), x.rank());
  Dims kept, gone;
  Ints kept_strides, gone_strides, strides = strides_of(x.dims());
  for (size_t i = 0; i < strides.size(); ++i) {
    bool reduced = std::find(axes.begin(), axes.end(), static_cast<int64_t>(i)) != axes.end();
    (reduced ? gone : kept).push_back(x.dims()[i]);
    (reduced ? gone_strides : kept_strides).push_back(strides[i]);
  }
  std::vector<double> values = to_doubles(x);
  auto count = static_cast<double>(element_count(gone));
  walk<1>(kept, {kept_strides}, [&](const std::array<int64_t, 1>& base) {
    double sum = 0, squares = 0;
    auto each = [&](auto f) {
      walk<1>(gone, {gone_strides},
              [&](const std::array<int64_t, 1>& at) { f(values[static_cast<size_t>(base[0] + at[0])]); });
    };
    each([&](double v) { sum += v; });
    double mean = sum / count;
    each([&](double v) { squares += (v - mean) * (v - mean); });
    double deviation = std::sqrt(squares / count) + 1e-9;
    each([&](double& v) { v = (v - mean) / deviation; });
  });
  store_doubles(ctx.make(0, x.dtype(), x.dims()), values);
}

void lrn(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  ctx.require(x.rank() >= 2, "the input must have a batch and channels, it has {} axes", x.rank());
  int64_t size = ctx.attrs().integer("size", 0);
  ctx.require(size >= 1, "size is {}", size);
  double alpha = ctx.attrs().number("alpha", 1e-4), beta = ctx.attrs().number("beta", 0.75),
         bias = ctx.attrs().number("bias", 1);
  const Dims& d = x.dims();
  int64_t area = product(d, 2, d.size()), channels = d[1];
  std::vector<double> values = to_doubles(x), result(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    auto at = static_cast<int64_t>(i);
    int64_t c = at / area % channels, first = at - c * area;
    double sum = 0;
    int64_t last = std::min(channels - 1, c + size / 2);
    for (int64_t k = std::max<int64_t>(0, c - (size - 1) / 2); k <= last; ++k) {
      double v = values[static_cast<size_t>(first + k * area)];
      sum += v * v;
    }
    result[i] = values[i] / std::pow(bias + alpha / static_cast<double>(size) * sum, beta);
  }
  store_doubles(ctx.make(0, x.dtype(), d), result);
}

// --- bodies (graph/body.hpp) -------------------------------------------------------------------------------------

// The axes from $axis on, of whatever rank, as shape arithmetic: it folds.
#define TENON_LAST_AXES \
  "  shape = Shape(x)  rank = Size(shape)  a = Attr<value=$axis, otherwise=-1>()  up = Add(a, rank)\n" \
  "  first = Mod(up, rank)  axes = Range(first, rank, 1)  stash = Attr<value=$stash_type, otherwise=1>()\n" \
  "  e = Attr<value=$epsilon, otherwise=0.00001>()\n"

#define TENON_LAYER_NORM \
  TENON_LAST_AXES \
  "  m = ReduceMean(x, axes)  d = Sub(x, m)  q = Mul(d, d)  v = ReduceMean(q, axes)  w = Add(v, e)\n" \
  "  r = Sqrt(w)  n = Div(d, r)\n"

constexpr std::string_view kLayerNormBody =
    "(x, scale) => (y) {\n" TENON_LAYER_NORM
    "  y = Mul(n, scale)\n}\n"
    "or\n"
    "(x, scale, bias) => (y) {\n" TENON_LAYER_NORM "  k = Mul(n, scale)  y = Add(k, bias)\n}\n";

constexpr std::string_view kRmsNormBody =
    "(x, scale) => (y) {\n" TENON_LAST_AXES
    "  q = Mul(x, x)  v = ReduceMean(q, axes)  w = Add(v, e)  r = Sqrt(w)  n = Div(x, r)  y = Mul(n, scale)\n}\n";

constexpr std::string_view kInstanceNormBody = R"(
(x, scale, bias) => (y) {
  shape = Shape(x)  rank = Size(shape)  plane = Range(2, rank, 1)  e = Attr<value=$epsilon, otherwise=0.00001>()
  m = ReduceMean(x, plane)  d = Sub(x, m)  q = Mul(d, d)  v = ReduceMean(q, plane)  w = Add(v, e)  r = Sqrt(w)
  n = Div(d, r)  less = Sub(rank, 1)  behind = Range(1, less, 1)
  s = Unsqueeze(scale, behind)  k = Mul(n, s)  b = Unsqueeze(bias, behind)  y = Add(k, b)
}
)";

constexpr std::string_view kGroupNormBody = R"(
(x, scale, bias) => (y) {
  stash = Attr<value=$stash_type, otherwise=1>()  e = Attr<value=$epsilon, otherwise=0.00001>()
  shape = Shape(x)  rank = Size(shape)  groups = Attr<value=$num_groups>()
  zero = int64[1] {0}  one = int64[1] {1}  rest = int64[1] {-1}  last = int64[1] {2}
  g = Reshape(groups, one)  joined = Concat<axis=0>(zero, g, rest)  t = Reshape(x, joined)
  m = ReduceMean(t, last)  d = Sub(t, m)  q = Mul(d, d)  v = ReduceMean(q, last)  w = Add(v, e)  r = Sqrt(w)
  u = Div(d, r)  n = Reshape(u, shape)  less = Sub(rank, 1)  behind = Range(1, less, 1)
  s = Unsqueeze(scale, behind)  k = Mul(n, s)  b = Unsqueeze(bias, behind)  y = Add(k, b)
}
)";

}  // namespace

void define_norm_ops(OpTable& table) {
  auto add = [&](const char* name, std::string_view doc, int least, int most, auto infer, auto reference, Strings attrs,
                 int outputs = 1, std::string_view body = {}) {
    table.add({.name = name,
               .doc = doc,
               .min_inputs = least,
               .max_inputs = most,
               .max_outputs = outputs,
               .infer = infer,
               .reference = reference,
               .body = body,
               .attrs = std::move(attrs)});
  };
  add("LayerNormalization", "(x - mean) / sqrt(variance + epsilon) * scale + bias over the last axes from `axis`.", 2,
      3, infer_layer_norm, layer_norm, {"axis", "epsilon", "stash_type"}, 3, kLayerNormBody);
  add("RMSNormalization", "x / sqrt(mean of squares + epsilon) * scale over the last axes from `axis`.", 2, 2,
      infer_same, layer_norm, {"axis", "epsilon", "stash_type"}, 1, kRmsNormBody);
  add("InstanceNormalization", "Each channel of each image normalised, then scaled and shifted.", 3, 3, infer_same,
      instance_norm, {"epsilon"}, 1, kInstanceNormBody);
  add("GroupNormalization", "Each group of channels normalised, then each channel scaled and shifted.", 3, 3,
      infer_same, group_norm, {"epsilon", "num_groups", "stash_type"}, 1, kGroupNormBody);
  add("LpNormalization", "x / its p-norm along an axis.", 1, 1, infer_same, lp_norm, {"axis", "p"});
  add("MeanVarianceNormalization", "(x - mean) / deviation over axes.", 1, 1, infer_same, mean_variance_norm, {"axes"});
  add("LRN", "x / (bias + alpha / size * the sum of squares of nearby channels) ^ beta.", 1, 1, infer_same, lrn,
      {"alpha", "beta", "bias", "size"});
}

}  // namespace tenon
