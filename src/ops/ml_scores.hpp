// What the models of ai.onnx.ml share: reading rows of features, class labels, and the transforms of scores.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "ops/support.hpp"

namespace tenon::ml {

/// Features as numbers, a row for each sample; one axis counts as one row.
struct Rows {
  std::vector<double> values;
  int64_t count, features;
  const double* row(int64_t r) const { return values.data() + r * features; }
};

inline Rows rows_of(const RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  ctx.require(x.rank() == 1 || x.rank() == 2, "the input must be a row or a matrix of features, it has {} axes",
              x.rank());
  return {to_doubles(x), x.rank() == 2 ? x.dims()[0] : 1, x.dims().back()};
}

inline Dim row_count(const InferContext& ctx) {
  return !ctx.shape(0) ? ctx.unknown(0, 0) : ctx.rank(0) == 2 ? (*ctx.shape(0))[0] : Dim(1);
}

/// Labels of classes: texts or numbers.
struct Labels {
  Strings strings;
  Ints ints;
  int64_t count() const { return static_cast<int64_t>(strings.empty() ? ints.size() : strings.size()); }
  DType dtype() const { return strings.empty() ? DType::kInt64 : DType::kString; }
  void put(Tensor& out, int64_t row, int64_t label) const {
    if (strings.empty()) {
      out.set_int(row, ints[static_cast<size_t>(label)]);
    } else {
      out.mutable_data<std::string>()[row] = strings[static_cast<size_t>(label)];
    }
  }
};

template <class Context>
Labels labels_of(const Context& ctx) {
  Labels l{ctx.attrs().strings("classlabels_strings"), ctx.attrs().ints("classlabels_ints")};
  ctx.require(l.count() > 0, "no class labels are given");
  return l;
}

template <class Context>
std::string post_transform(const Context& ctx) {
  std::string t = ctx.attrs().string("post_transform", "NONE");
  ctx.require(t == "NONE" || t == "SOFTMAX" || t == "LOGISTIC" || t == "SOFTMAX_ZERO" || t == "PROBIT",
              "post_transform '{}' is not known", t);
  return t;
}

inline double logistic(double x) { return 1 / (1 + std::exp(-x)); }

/// The inverse of the normal distribution's cumulative function, by bisection.
inline double probit(double p) {
  if (!(p > 0 && p < 1)) return p <= 0 ? -INFINITY : p >= 1 ? INFINITY : NAN;
  double low = -40, high = 40;
  for (int i = 0; i < 200; ++i) {
    double middle = (low + high) / 2;
    (0.5 * std::erfc(-middle / std::sqrt(2.0)) < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

inline void transform(const std::string& how, std::vector<double>& s) {
  if (how == "SOFTMAX" || how == "SOFTMAX_ZERO") {
    double top = -INFINITY, sum = 0;
    for (double v : s) top = std::max(top, v);
    for (double& v : s) sum += v = how == "SOFTMAX_ZERO" && std::fabs(v) < 1e-7 ? 0 : std::exp(v - top);
    for (double& v : s) v = sum > 0 ? v / sum : v;
  }
  for (double& v : s) v = how == "LOGISTIC" ? logistic(v) : how == "PROBIT" ? probit(v) : v;
}

}  // namespace tenon::ml
