// SVMClassifier and SVMRegressor of ai.onnx.ml, as libsvm and liblinear compute them.
#include "ops/ml_scores.hpp"

namespace tenon {
namespace {

// --- kernels -------------------------------------------------------------------------------------------------------

struct SvmKernel {
  std::string type;
  double gamma = 0, coef0 = 0, degree = 0;

  double operator()(const double* a, const double* b, int64_t n) const {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += type == "RBF" ? (a[i] - b[i]) * (a[i] - b[i]) : a[i] * b[i];
    if (type == "POLY") return std::pow(gamma * sum + coef0, degree);
    if (type == "SIGMOID") return std::tanh(gamma * sum + coef0);
    return type == "RBF" ? std::exp(-gamma * sum) : sum;
  }
};

template <class Context>
SvmKernel kernel_of(const Context& ctx) {
  SvmKernel k{ctx.attrs().string("kernel_type", "LINEAR")};
  ctx.require(k.type == "LINEAR" || k.type == "POLY" || k.type == "RBF" || k.type == "SIGMOID",
              "kernel_type '{}' is not known (LINEAR, POLY, RBF and SIGMOID are)", k.type);
  Floats p = ctx.attrs().numbers("kernel_params");
  ctx.require(p.empty() || p.size() == 3, "kernel_params has {} entries, not 3", p.size());
  if (!p.empty()) k.gamma = p[0], k.coef0 = p[1], k.degree = p[2];
  return k;
}

// --- SVMRegressor --------------------------------------------------------------------------------------------------

void infer_regressor(InferContext& ctx) {
  kernel_of(ctx);
  ml::post_transform(ctx);
  ctx.output(0, DType::kFloat32, Shape{ml::row_count(ctx), Dim(1)});
}

void regressor(RefContext& ctx) {
  ml::Rows rows = ml::rows_of(ctx);
  const Attrs& a = ctx.attrs();
  Floats coefficients = a.numbers("coefficients"), rho = a.numbers("rho"), vectors = a.numbers("support_vectors");
  int64_t supports = a.integer("n_supports", 0);
  ctx.require(!rho.empty() && supports >= 0, "rho is missing, or n_supports is negative");
  auto count = static_cast<int64_t>(coefficients.size()), size = static_cast<int64_t>(vectors.size());
  bool fits = supports > 0 ? count == supports && size / supports == rows.features && size % supports == 0
                           : count == rows.features;
  ctx.require(fits, "{} coefficients and {} numbers of support vectors do not fit {} features", count, size,
              rows.features);
  SvmKernel kernel = supports > 0 ? kernel_of(ctx) : SvmKernel{"LINEAR"};
  std::string after = ml::post_transform(ctx);
  Tensor& out = make_output(ctx, 0, DType::kFloat32, {rows.count, 1});
  for (int64_t r = 0; r < rows.count; ++r) {
    double sum = rho[0];
    if (supports == 0) sum += kernel(rows.row(r), coefficients.data(), rows.features);
    for (int64_t j = 0; j < supports; ++j)
      sum +=
          coefficients[static_cast<size_t>(j)] * kernel(rows.row(r), vectors.data() + j * rows.features, rows.features);
    std::vector<double> s{a.integer("one_class", 0) != 0 ? (sum > 0 ? 1.0 : -1.0) : sum};
    ml::transform(after, s);
    out.set(r, s[0]);
  }
}

// --- SVMClassifier -------------------------------------------------------------------------------------------------

struct Svm {
  ml::Labels labels;
  SvmKernel kernel;
  Floats coefficients, rho, vectors, prob_a, prob_b;
  Ints per_class, starts;  // support vectors
  int64_t supports = 0, classes = 0, features = 0;
  bool linear() const { return supports == 0; }
  int64_t pairs() const { return classes * (classes - 1) / 2; }
};

Svm read_svm(const RefContext& ctx, int64_t features) {
  const Attrs& a = ctx.attrs();
  Svm s{ml::labels_of(ctx),
        kernel_of(ctx),
        a.numbers("coefficients"),
        a.numbers("rho"),
        a.numbers("support_vectors"),
        a.numbers("prob_a"),
        a.numbers("prob_b"),
        a.ints("vectors_per_class"),
        {}};
  s.classes = s.labels.count();
  s.features = features;
  ctx.require(s.classes <= 10000, "{} classes are too many", s.classes);
  for (int64_t n : s.per_class) {
    ctx.require(n >= 0 && n <= static_cast<int64_t>(s.vectors.size()), "vectors_per_class has an entry of {}", n);
    s.starts.push_back(s.supports);
    s.supports += n;
  }
  auto count = static_cast<int64_t>(s.coefficients.size());
  if (s.linear()) {
    s.kernel.type = "LINEAR";
    ctx.require(count == s.classes * features && !s.rho.empty(), "{} coefficients do not fit {} classes of {} features",
                count, s.classes, features);
    return s;
  }
  auto size = static_cast<int64_t>(s.vectors.size()), rhos = static_cast<int64_t>(s.rho.size());
  ctx.require(static_cast<int64_t>(s.per_class.size()) == s.classes && s.classes >= 2 &&
                  size == s.supports * features && count == (s.classes - 1) * s.supports && rhos == s.pairs(),
              "{} support vectors of {} features do not fit {} classes", s.supports, features, s.classes);
  ctx.require(s.prob_a.size() == s.prob_b.size() && (s.prob_a.empty() || s.prob_a.size() == s.rho.size()),
              "{} and {} probability coefficients do not fit {} pairs of classes", s.prob_a.size(), s.prob_b.size(),
              rhos);
  return s;
}

// The score of every pair of classes, and how many pairs each class wins.
std::vector<double> pair_scores(const Svm& s, const double* x, Ints& votes) {
  std::vector<double> kernels, out;
  for (int64_t j = 0; j < s.supports; ++j)
    kernels.push_back(s.kernel(x, s.vectors.data() + j * s.features, s.features));
  votes.assign(static_cast<size_t>(s.classes), 0);
  // The part of one class's support vectors, weighted for its contest with another.
  auto part = [&](size_t row, size_t of) {
    double sum = 0;
    for (int64_t k = s.starts[of]; k < s.starts[of] + s.per_class[of]; ++k)
      sum += s.coefficients[row * static_cast<size_t>(s.supports) + static_cast<size_t>(k)] *
             kernels[static_cast<size_t>(k)];
    return sum;
  };
  for (size_t i = 0; i < votes.size(); ++i) {
    for (size_t j = i + 1; j < votes.size(); ++j) {
      double score = s.rho[out.size()] + part(j - 1, i) + part(i, j);
      out.push_back(score);
      ++votes[score > 0 ? i : j];
    }
  }
  return out;
}

// Probabilities of k classes from those of all pairs, by the iteration of Wu, Lin and Weng (2004), method 2.
std::vector<double> coupled(const std::vector<double>& pairwise, size_t k) {
  auto r = [&](size_t i, size_t j) { return pairwise[i * k + j]; };
  std::vector<double> q(k * k, 0.0), p(k, 1.0 / static_cast<double>(k)), qp(k);
  for (size_t t = 0; t < k; ++t) {
    for (size_t j = 0; j < k; ++j) {
      if (j == t) continue;
      q[t * k + t] += r(j, t) * r(j, t);
      q[t * k + j] = -r(j, t) * r(t, j);
    }
  }
  double tolerance = 0.005 / static_cast<double>(k);
  for (size_t round = 0; round < std::max<size_t>(100, k); ++round) {
    double pqp = 0, worst = 0;
    for (size_t t = 0; t < k; ++t) {
      qp[t] = 0;
      for (size_t j = 0; j < k; ++j) qp[t] += q[t * k + j] * p[j];
      pqp += p[t] * qp[t];
    }
    for (double v : qp) worst = std::max(worst, std::fabs(v - pqp));
    if (worst < tolerance) break;
    for (size_t t = 0; t < k; ++t) {
      double d = (pqp - qp[t]) / q[t * k + t];
      p[t] += d;
      pqp = (pqp + d * (d * q[t * k + t] + 2 * qp[t])) / (1 + d) / (1 + d);
      for (size_t j = 0; j < k; ++j) {
        qp[j] = (qp[j] + d * q[t * k + j]) / (1 + d);
        p[j] /= 1 + d;
      }
    }
  }
  return p;
}

std::vector<double> probabilities(const Svm& s, const std::vector<double>& scores) {
  auto k = static_cast<size_t>(s.classes);
  std::vector<double> pairwise(k * k, 0.0);
  size_t at = 0;
  for (size_t i = 0; i < k; ++i) {
    for (size_t j = i + 1; j < k; ++j, ++at) {
      double v = 1 - ml::logistic(scores[at] * s.prob_a[at] + s.prob_b[at]);
      pairwise[i * k + j] = std::clamp(v, 1e-7, 1 - 1e-7);
      pairwise[j * k + i] = 1 - pairwise[i * k + j];
    }
  }
  return coupled(pairwise, k);
}

template <class Context>
int64_t score_count(const Context& ctx, int64_t classes) {
  bool linear = ctx.attrs().ints("vectors_per_class").empty();
  return linear || classes == 2 || !ctx.attrs().numbers("prob_a").empty() ? classes : classes * (classes - 1) / 2;
}

void infer_classifier(InferContext& ctx) {
  kernel_of(ctx);
  ml::post_transform(ctx);
  ml::Labels labels = ml::labels_of(ctx);
  ctx.output(0, labels.dtype(), Shape{ml::row_count(ctx)});
  ctx.output(1, DType::kFloat32, Shape{ml::row_count(ctx), Dim(score_count(ctx, labels.count()))});
}

// The scores of one row, transformed, and the class that wins.
int64_t classify(const Svm& s, const double* x, const std::string& after, std::vector<double>& scores) {
  auto largest = [](const auto& v) { return std::max_element(v.begin(), v.end()) - v.begin(); };
  if (s.linear()) {
    scores.clear();
    for (int64_t c = 0; c < s.classes; ++c)
      scores.push_back(s.rho[0] + s.kernel(x, s.coefficients.data() + c * s.features, s.features));
    int64_t winner = largest(scores);
    ml::transform(after, scores);
    return winner;
  }
  Ints votes;
  scores = pair_scores(s, x, votes);
  if (!s.prob_a.empty()) {
    scores = probabilities(s, scores);
    int64_t winner = largest(scores);
    ml::transform(after, scores);
    return winner;
  }
  // Two classes have one score; it is positive where the first wins.
  if (scores.size() == 1) scores = {-scores[0], scores[0]};
  ml::transform(after, scores);
  return largest(votes);
}

void classifier(RefContext& ctx) {
  ml::Rows rows = ml::rows_of(ctx);
  Svm s = read_svm(ctx, rows.features);
  std::string after = ml::post_transform(ctx);
  int64_t width = score_count(ctx, s.classes);
  Tensor chosen = Tensor::allocate(s.labels.dtype(), {rows.count});
  Tensor& out = make_output(ctx, 1, DType::kFloat32, {rows.count, width});
  std::vector<double> scores;
  for (int64_t r = 0; r < rows.count; ++r) {
    s.labels.put(chosen, r, classify(s, rows.row(r), after, scores));
    for (int64_t c = 0; c < width; ++c) out.set(r * width + c, scores[static_cast<size_t>(c)]);
  }
  ctx.set(0, std::move(chosen));
}

}  // namespace

void define_svm_ops(OpTable& table) {
  table.add({.name = "ai.onnx.ml.SVMRegressor",
             .doc = "A weighted sum of kernels with support vectors.",
             .infer = infer_regressor,
             .reference = regressor,
             .attrs = {"coefficients", "kernel_params", "kernel_type", "n_supports", "one_class", "post_transform",
                       "rho", "support_vectors"}});
  table.add({.name = "ai.onnx.ml.SVMClassifier",
             .doc = "The class that wins most contests between two, and scores or probabilities.",
             .max_outputs = 2,
             .infer = infer_classifier,
             .reference = classifier,
             .attrs = {"classlabels_ints", "classlabels_strings", "coefficients", "kernel_params", "kernel_type",
                       "post_transform", "prob_a", "prob_b", "rho", "support_vectors", "vectors_per_class"}});
}

}  // namespace tenon
