// Losses over classes: NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss. Scores are (N, C, d1...), labels (N,
// d1...).
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/support.hpp"

namespace tenon {
namespace {

enum class Reduction { kNone, kSum, kMean };

template <class Context>
Reduction reduction_of(const Context& ctx) {
  std::string r = ctx.attrs().string("reduction", "mean");
  ctx.require(r == "none" || r == "sum" || r == "mean", "reduction '{}' is not known (none, sum and mean are)", r);
  return r == "none" ? Reduction::kNone : r == "sum" ? Reduction::kSum : Reduction::kMean;
}

void infer_loss(InferContext& ctx) {
  DType type = ctx.dtype(0);
  if (ctx.output_count() > 1) ctx.output(1, type, ctx.shape(0));
  if (reduction_of(ctx) != Reduction::kNone) return ctx.output(0, type, Shape{});
  if (ctx.shape(1)) return ctx.output(0, type, ctx.shape(1));
  if (!ctx.shape(0)) return ctx.output(0, type);
  Shape out = *ctx.shape(0);
  ctx.require(out.size() >= 2, "scores need two axes at least");
  out.erase(out.begin() + 1);
  ctx.output(0, type, out);
}

// The sizes of scores (N, C, inner), checked against the labels.
struct Sizes {
  int64_t batch, classes, inner;
};

Sizes sizes_of(const RefContext& ctx) {
  Dims dims = ctx.in(0).dims();
  ctx.require(dims.size() >= 2, "scores of shape {} need two axes at least", dims_text(dims));
  Sizes s{dims[0], dims[1], product(dims, 2, dims.size())};
  dims.erase(dims.begin() + 1);
  ctx.require(ctx.in(1).dims() == dims, "labels of shape {} do not fit scores of shape {}", dims_text(ctx.in(1).dims()),
              dims_text(ctx.in(0).dims()));
  ctx.require(!ctx.has(2) || ctx.in(2).dims() == Dims{s.classes}, "weights of shape {} are given for {} classes",
              ctx.has(2) ? dims_text(ctx.in(2).dims()) : "", s.classes);
  return s;
}

// Minus the weighted log probability at each label, reduced as the attribute says.
void store_loss(RefContext& ctx, const Sizes& s, const std::vector<double>& log_prob) {
  const Tensor& labels = ctx.in(1);
  bool ignores = ctx.attrs().has("ignore_index");
  int64_t ignored = ctx.attrs().integer("ignore_index", 0);
  Reduction reduction = reduction_of(ctx);
  std::vector<double> losses(static_cast<size_t>(labels.size()), 0.0);
  double total = 0, weights = 0;
  for (int64_t i = 0; i < labels.size(); ++i) {
    int64_t label = labels.int_at(i);
    if (ignores && label == ignored) continue;
    ctx.require(label >= 0 && label < s.classes, "label {} is outside {} classes", label, s.classes);
    double weight = ctx.has(2) ? ctx.in(2).at(label) : 1;
    int64_t n = i / s.inner, at = (n * s.classes + label) * s.inner + i % s.inner;
    double loss = -weight * log_prob[static_cast<size_t>(at)];
    losses[static_cast<size_t>(i)] = loss;
    total += loss;
    weights += weight;
  }
  DType type = ctx.in(0).dtype();
  if (reduction == Reduction::kNone) return store_doubles(ctx.make(0, type, labels.dims()), losses);
  ctx.make(0, type, {}).set(0, reduction == Reduction::kSum ? total : total / weights);
}

void negative_log_likelihood(RefContext& ctx) { store_loss(ctx, sizes_of(ctx), to_doubles(ctx.in(0))); }

void softmax_cross_entropy(RefContext& ctx) {
  Sizes s = sizes_of(ctx);
  std::vector<double> x = to_doubles(ctx.in(0));
  for (int64_t row = 0; row < s.batch * s.inner; ++row) {
    double* at = x.data() + row / s.inner * s.classes * s.inner + row % s.inner;
    double top = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int64_t c = 0; c < s.classes; ++c) top = std::max(top, at[c * s.inner]);
    for (int64_t c = 0; c < s.classes; ++c) sum += std::exp(at[c * s.inner] - top);
    for (int64_t c = 0; c < s.classes; ++c) at[c * s.inner] -= top + std::log(sum);
  }
  store_loss(ctx, s, x);
  store_doubles(ctx.make(1, ctx.in(0).dtype(), ctx.in(0).dims()), x);
}

}  // namespace

void define_loss_ops(OpTable& table) {
  table.add({.name = "NegativeLogLikelihoodLoss",
             .doc = "Minus the weighted log probability at each label, or its sum or mean.",
             .min_inputs = 2,
             .max_inputs = 3,
             .infer = infer_loss,
             .reference = negative_log_likelihood,
             .attrs = {"ignore_index", "reduction"}});
  table.add({.name = "SoftmaxCrossEntropyLoss",
             .doc = "NegativeLogLikelihoodLoss of the scores' LogSoftmax; the latter is the second output.",
             .min_inputs = 2,
             .max_inputs = 3,
             .max_outputs = 2,
             .infer = infer_loss,
             .reference = softmax_cross_entropy,
             .attrs = {"ignore_index", "reduction"}});
}

}  // namespace tenon
