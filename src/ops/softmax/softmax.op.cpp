// Softmax, LogSoftmax, Hardmax along one axis.
#include <cmath>
#include <limits>

#include "ops/support.hpp"

namespace tenon {
namespace {

void infer_softmax(InferContext& ctx) {
  if (ctx.shape(0)) ctx.axis(ctx.attrs().integer("axis", -1), ctx.rank(0));
  ctx.output(0, ctx.type(0));
}

// Replaces each run along the axis by f(run), where run(k) is its k-th element.
template <class F>
void each_run(RefContext& ctx, F&& f) {
  const Tensor& x = ctx.in(0);
  auto axis = static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", -1), x.rank()));
  const Dims& d = x.dims();
  int64_t outer = product(d, 0, axis), inner = product(d, axis + 1, d.size()), extent = d[axis];
  std::vector<double> values = to_doubles(x), run(static_cast<size_t>(extent));
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t i = 0; i < inner; ++i) {
      auto at = [&](size_t k) -> double& {
        return values[static_cast<size_t>((o * extent + static_cast<int64_t>(k)) * inner + i)];
      };
      for (size_t k = 0; k < run.size(); ++k) run[k] = at(k);
      f(run);
      for (size_t k = 0; k < run.size(); ++k) at(k) = run[k];
    }
  }
  store_doubles(ctx.make(0, x.dtype(), d), values);
}

double largest(const std::vector<double>& run) {
  double top = -std::numeric_limits<double>::infinity();
  for (double v : run) top = v > top || std::isnan(v) ? v : top;
  return top;
}

void softmax(RefContext& ctx) {
  each_run(ctx, [](std::vector<double>& run) {
    double top = largest(run), sum = 0;
    for (double& v : run) sum += v = std::exp(v - top);
    for (double& v : run) v /= sum;
  });
}

void log_softmax(RefContext& ctx) {
  each_run(ctx, [](std::vector<double>& run) {
    double top = largest(run), sum = 0;
    for (double v : run) sum += std::exp(v - top);
    for (double& v : run) v = v - top - std::log(sum);
  });
}

void hardmax(RefContext& ctx) {
  each_run(ctx, [](std::vector<double>& run) {
    size_t best = 0;
    for (size_t k = 1; k < run.size(); ++k) best = run[k] > run[best] ? k : best;
    for (size_t k = 0; k < run.size(); ++k) run[k] = k == best ? 1 : 0;
  });
}

}  // namespace

void define_softmax_ops(OpTable& table) {
  auto add = [&](const char* name, std::string_view doc, void (*reference)(RefContext&)) {
    table.add({.name = name, .doc = doc, .infer = infer_softmax, .reference = reference, .attrs = {"axis"}});
  };
  add("Softmax", "exp(x) / sum(exp(x)) along an axis.", softmax);
  add("LogSoftmax", "log(Softmax(x)).", log_softmax);
  add("Hardmax", "1 for the first of the largest elements along an axis, 0 for the others.", hardmax);
}

}  // namespace tenon
