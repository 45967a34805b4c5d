// BatchNormalization, for inference and (outputs running_mean, running_var) for training mode.
#include <cmath>

#include "ops/support.hpp"

namespace tenon {
namespace {

void infer_batch_norm(InferContext& ctx) {
  ctx.output(0, ctx.type(0));
  ctx.output(1, ctx.type(3));
  ctx.output(2, ctx.type(4));
}

struct Statistics {
  std::vector<double> mean, variance;
};

// Of each channel over the batch and the spatial axes.
Statistics measure(const std::vector<double>& x, int64_t batch, int64_t channels, int64_t area) {
  Statistics s;
  auto count = static_cast<double>(batch * area);
  for (int64_t c = 0; c < channels; ++c) {
    double sum = 0, squares = 0;
    auto each = [&](auto f) {
      for (int64_t n = 0; n < batch; ++n) {
        for (int64_t i = 0; i < area; ++i) f(x[static_cast<size_t>((n * channels + c) * area + i)]);
      }
    };
    each([&](double v) { sum += v; });
    double mean = count > 0 ? sum / count : 0;
    each([&](double v) { squares += (v - mean) * (v - mean); });
    s.mean.push_back(mean);
    s.variance.push_back(count > 0 ? squares / count : 0);
  }
  return s;
}

void batch_norm(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  double epsilon = ctx.attrs().number("epsilon", 1e-5), momentum = ctx.attrs().number("momentum", 0.9);
  ctx.require(x.rank() >= 1, "the input is a scalar");
  int64_t batch = x.dims()[0], channels = x.rank() > 1 ? x.dims()[1] : 1;
  int64_t area = x.rank() > 2 ? product(x.dims(), 2, x.dims().size()) : 1;
  for (size_t i = 1; i < 5; ++i) {
    ctx.require(ctx.in(i).size() == channels, "input {} has {} entries for {} channels", i, ctx.in(i).size(), channels);
  }
  std::vector<double> values = to_doubles(x);
  Statistics used{to_doubles(ctx.in(3)), to_doubles(ctx.in(4))};
  if (ctx.attrs().integer("training_mode", 0) != 0) {
    Statistics now = measure(values, batch, channels, area);
    for (size_t k = 0; k < now.mean.size(); ++k) {
      used.mean[k] = used.mean[k] * momentum + now.mean[k] * (1 - momentum);
      used.variance[k] = used.variance[k] * momentum + now.variance[k] * (1 - momentum);
    }
    store_doubles(ctx.make(1, ctx.in(3).dtype(), ctx.in(3).dims()), used.mean);
    store_doubles(ctx.make(2, ctx.in(4).dtype(), ctx.in(4).dims()), used.variance);
    used = now;
  }
  Tensor& out = ctx.make(0, x.dtype(), x.dims());
  for (int64_t i = 0; i < x.size(); ++i) {
    auto c = static_cast<size_t>(i / area % channels);
    double scale = ctx.in(1).at(static_cast<int64_t>(c)) / std::sqrt(used.variance[c] + epsilon);
    double& v = values[static_cast<size_t>(i)];
    v = (v - used.mean[c]) * scale + ctx.in(2).at(static_cast<int64_t>(c));
  }
  store_doubles(out, values);
}

}  // namespace

void define_batch_norm_ops(OpTable& table) {
  table.add({.name = "BatchNormalization",
             .doc = "(x - mean) / sqrt(variance + epsilon) * scale + bias, each channel its own.",
             .min_inputs = 5,
             .max_inputs = 5,
             .max_outputs = 3,
             .infer = infer_batch_norm,
             .reference = batch_norm,
             .attrs = {"epsilon", "momentum", "training_mode"}});
}

}  // namespace tenon
