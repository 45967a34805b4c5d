// LinearClassifier and LinearRegressor of ai.onnx.ml.
#include "ops/ml_scores.hpp"

namespace tenon {
namespace {

// One product for each row of coefficients, plus its intercept.
struct Linear {
  std::vector<double> coefficients, intercepts;
  int64_t targets, features;

  std::vector<double> scores(const double* x) const {
    std::vector<double> out;
    for (int64_t t = 0; t < targets; ++t) {
      double sum = intercepts.empty() ? 0 : intercepts[static_cast<size_t>(t)];
      for (int64_t i = 0; i < features; ++i) sum += coefficients[static_cast<size_t>(t * features + i)] * x[i];
      out.push_back(sum);
    }
    return out;
  }
};

Linear read_linear(const RefContext& ctx, int64_t features, int64_t targets) {
  Linear l{ctx.attrs().numbers("coefficients"), ctx.attrs().numbers("intercepts"), targets, features};
  auto count = static_cast<int64_t>(l.coefficients.size());
  ctx.require(
      features > 0 && targets > 0 && targets <= (1 << 20) && count / features == targets && count % features == 0,
      "{} coefficients do not fit {} features and {} targets", count, features, targets);
  ctx.require(l.intercepts.empty() || static_cast<int64_t>(l.intercepts.size()) == targets,
              "{} intercepts are given for {} targets", l.intercepts.size(), targets);
  return l;
}

void infer_regressor(InferContext& ctx) {
  ml::post_transform(ctx);
  ctx.output(0, DType::kFloat32, Shape{ml::row_count(ctx), Dim(ctx.attrs().integer("targets", 1))});
}

void regressor(RefContext& ctx) {
  ml::Rows rows = ml::rows_of(ctx);
  Linear l = read_linear(ctx, rows.features, ctx.attrs().integer("targets", 1));
  std::string after = ml::post_transform(ctx);
  Tensor& out = make_output(ctx, 0, DType::kFloat32, {rows.count, l.targets});
  for (int64_t r = 0; r < rows.count; ++r) {
    std::vector<double> s = l.scores(rows.row(r));
    ml::transform(after, s);
    for (int64_t t = 0; t < l.targets; ++t) out.set(r * l.targets + t, s[static_cast<size_t>(t)]);
  }
}

void infer_classifier(InferContext& ctx) {
  ml::post_transform(ctx);
  ml::Labels labels = ml::labels_of(ctx);
  ctx.output(0, labels.dtype(), Shape{ml::row_count(ctx)});
  ctx.output(1, DType::kFloat32, Shape{ml::row_count(ctx), Dim(labels.count())});
}

// One score for two classes speaks of the second. The standard does not say what the first gets; this is what ONNX
// Runtime, against which such models are made, gives it.
int64_t two_classes(std::vector<double>& s, const std::string& after) {
  double score = s[0];
  s = {1 - score, score};
  if (after == "LOGISTIC") s = {ml::logistic(-score), ml::logistic(score)};
  if (after == "PROBIT") ml::transform(after, s);
  return score > 0 ? 1 : 0;
}

void classifier(RefContext& ctx) {
  ml::Rows rows = ml::rows_of(ctx);
  ml::Labels labels = ml::labels_of(ctx);
  int64_t classes = labels.count();
  auto count = static_cast<int64_t>(ctx.attrs().numbers("coefficients").size());
  Linear l = read_linear(ctx, rows.features, classes == 2 && count == rows.features ? 1 : classes);
  std::string after = ml::post_transform(ctx);
  Tensor chosen = Tensor::allocate(labels.dtype(), {rows.count});
  Tensor& out = make_output(ctx, 1, DType::kFloat32, {rows.count, classes});
  for (int64_t r = 0; r < rows.count; ++r) {
    std::vector<double> s = l.scores(rows.row(r));
    int64_t winner = std::max_element(s.begin(), s.end()) - s.begin();
    if (l.targets < classes) {
      winner = two_classes(s, after);
    } else {
      ml::transform(after, s);
    }
    labels.put(chosen, r, winner);
    for (int64_t c = 0; c < classes; ++c) out.set(r * classes + c, s[static_cast<size_t>(c)]);
  }
  ctx.set(0, std::move(chosen));
}

}  // namespace

void define_linear_models_ops(OpTable& table) {
  table.add({.name = "ai.onnx.ml.LinearRegressor",
             .doc = "Weighted sums of the features.",
             .infer = infer_regressor,
             .reference = regressor,
             .attrs = {"coefficients", "intercepts", "post_transform", "targets"}});
  table.add({.name = "ai.onnx.ml.LinearClassifier",
             .doc = "The class whose weighted sum is largest, and all scores.",
             .max_outputs = 2,
             .infer = infer_classifier,
             .reference = classifier,
             .attrs = {"classlabels_ints", "classlabels_strings", "coefficients", "intercepts", "multi_class",
                       "post_transform"}});
}

}  // namespace tenon
