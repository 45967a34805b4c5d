// Decision trees of ai.onnx.ml: TreeEnsembleClassifier and TreeEnsembleRegressor.
#include <algorithm>
#include <cmath>
#include <map>

#include "base/checked.hpp"
#include "ops/support.hpp"

namespace tenon {
namespace {

enum class Mode : uint8_t { kLeaf, kLe, kLt, kGe, kGt, kEq, kNe };

Mode parse_mode(const RefContext& ctx, const std::string& text) {
  constexpr std::pair<const char*, Mode> kModes[] = {
      {"LEAF", Mode::kLeaf},    {"BRANCH_LEQ", Mode::kLe}, {"BRANCH_LT", Mode::kLt}, {"BRANCH_GTE", Mode::kGe},
      {"BRANCH_GT", Mode::kGt}, {"BRANCH_EQ", Mode::kEq},  {"BRANCH_NEQ", Mode::kNe}};
  for (auto& [name, mode] : kModes) {
    if (text == name) return mode;
  }
  ctx.reject(fmt::format("node mode '{}' is not known", text));
}

struct TreeNode {
  int64_t feature = 0, yes = -1, no = -1;
  double value = 0;
  Mode mode = Mode::kLeaf;
  bool missing_yes = false;
  std::vector<std::pair<int64_t, double>> weights;  // of a leaf: target or class, and what it adds
};

struct Ensemble {
  std::vector<TreeNode> nodes;
  Ints roots;
};

// A list attribute of numbers, or the tensor attribute `<name>_as_tensor`.
std::vector<double> number_list(const Attrs& attrs, const std::string& name) {
  if (const Tensor* t = attrs.tensor(name + "_as_tensor")) return to_doubles(*t);
  return attrs.numbers(name);
}

// Links are pairs of ids; every node but the roots must be reached once, so that there are no cycles.
void link(const RefContext& ctx, Ensemble& e, const std::map<std::pair<int64_t, int64_t>, int64_t>& index,
          const Ints& trees, const Ints& yes, const Ints& no) {
  std::vector<bool> reached(e.nodes.size(), false);
  auto find = [&](int64_t tree, int64_t id, size_t from) {
    auto at = index.find({tree, id});
    ctx.require(at != index.end(), "tree {} has no node {}", tree, id);
    auto k = static_cast<size_t>(at->second);
    ctx.require(!reached[k] && k != from, "node {} of tree {} is reached twice", id, tree);
    reached[k] = true;
    return at->second;
  };
  for (size_t i = 0; i < e.nodes.size(); ++i) {
    if (e.nodes[i].mode == Mode::kLeaf) continue;
    e.nodes[i].yes = find(trees[i], yes[i], i);
    e.nodes[i].no = find(trees[i], no[i], i);
  }
  int64_t last = 0;
  for (size_t i = 0; i < e.nodes.size(); ++i) {
    if (reached[i]) continue;
    ctx.require(e.roots.empty() || trees[i] != last, "tree {} has two roots", trees[i]);
    last = trees[i];
    e.roots.push_back(static_cast<int64_t>(i));
  }
}

// `what`: "class" or "target".
Ensemble read_ensemble(const RefContext& ctx, const std::string& what) {
  const Attrs& a = ctx.attrs();
  Ints trees = a.ints("nodes_treeids"), ids = a.ints("nodes_nodeids"), features = a.ints("nodes_featureids"),
       yes = a.ints("nodes_truenodeids"), no = a.ints("nodes_falsenodeids"),
       missing = a.ints("nodes_missing_value_tracks_true");
  std::vector<double> values = number_list(a, "nodes_values");
  Strings modes = a.strings("nodes_modes");
  size_t n = trees.size();
  ctx.require(ids.size() == n && features.size() == n && yes.size() == n && no.size() == n && values.size() == n &&
                  modes.size() == n && (missing.empty() || missing.size() == n),
              "the lists of nodes have different lengths");
  Ensemble e;
  std::map<std::pair<int64_t, int64_t>, int64_t> index;
  for (size_t i = 0; i < n; ++i) {
    e.nodes.push_back(
        {features[i], -1, -1, values[i], parse_mode(ctx, modes[i]), !missing.empty() && missing[i] != 0, {}});
    bool fresh = index.emplace(std::pair(trees[i], ids[i]), static_cast<int64_t>(i)).second;
    ctx.require(fresh, "node {} of tree {} is there twice", ids[i], trees[i]);
  }
  link(ctx, e, index, trees, yes, no);
  Ints wt = a.ints(what + "_treeids"), wn = a.ints(what + "_nodeids"), wi = a.ints(what + "_ids");
  std::vector<double> weights = number_list(a, what + "_weights");
  ctx.require(wt.size() == weights.size() && wn.size() == weights.size() && wi.size() == weights.size(),
              "the lists of {} weights have different lengths", what);
  for (size_t i = 0; i < weights.size(); ++i) {
    auto at = index.find({wt[i], wn[i]});
    ctx.require(at != index.end(), "a weight belongs to node {} of tree {}, which is not there", wn[i], wt[i]);
    e.nodes[static_cast<size_t>(at->second)].weights.emplace_back(wi[i], weights[i]);
  }
  return e;
}

bool takes_yes(const TreeNode& n, double x) {
  if (std::isnan(x)) return n.missing_yes;
  switch (n.mode) {
    case Mode::kLe: return x <= n.value;
    case Mode::kLt: return x < n.value;
    case Mode::kGe: return x >= n.value;
    case Mode::kGt: return x > n.value;
    case Mode::kEq: return x == n.value;
    default: return x != n.value;
  }
}

// The leaf that a row of features ends in.
const TreeNode& leaf_of(const RefContext& ctx, const Ensemble& e, int64_t root, const double* x, int64_t features) {
  const TreeNode* n = &e.nodes[static_cast<size_t>(root)];
  while (n->mode != Mode::kLeaf) {
    ctx.require(n->feature >= 0 && n->feature < features, "a tree asks for feature {} of {}", n->feature, features);
    n = &e.nodes[static_cast<size_t>(takes_yes(*n, x[n->feature]) ? n->yes : n->no)];
  }
  return *n;
}

struct Rows {
  std::vector<double> values;
  int64_t count, features;
};

Rows rows_of(const RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  ctx.require(x.rank() == 1 || x.rank() == 2, "the input must be a row or a matrix of features, it has {} axes",
              x.rank());
  Rows r{to_doubles(x), x.rank() == 2 ? x.dims()[0] : 1, x.dims().back()};
  return r;
}

// --- post transforms -------------------------------------------------------------------------------------------

double logistic(double x) { return 1 / (1 + std::exp(-x)); }

// The inverse of the error function by Newton steps on erf, scaled as the probit function.
double probit(double p) {
  double target = 2 * p - 1, x = 0;
  if (target <= -1 || target >= 1) return target * INFINITY;
  double w = -std::log((1 - target) * (1 + target)), k = 2 / (3.14159265358979324 * 0.147) - w / 2;
  x = std::copysign(std::sqrt(std::sqrt(k * k + w / 0.147) - k), target);
  for (int i = 0; i < 4; ++i) x -= (std::erf(x) - target) / (1.1283791670955126 * std::exp(-x * x));
  return 1.41421356237309505 * x;
}

void softmax(std::vector<double>& s, bool skip_zero) {
  double top = -INFINITY, sum = 0;
  for (double v : s) top = std::max(top, v);
  for (double& v : s) {
    if (skip_zero && std::fabs(v) < 1e-7) {
      v = 0;
    } else {
      sum += v = std::exp(v - top);
    }
  }
  for (double& v : s) v = sum > 0 ? v / sum : v;
}

template <class Context>
std::string post_transform(const Context& ctx) {
  std::string t = ctx.attrs().string("post_transform", "NONE");
  ctx.require(t == "NONE" || t == "SOFTMAX" || t == "LOGISTIC" || t == "SOFTMAX_ZERO" || t == "PROBIT",
              "post_transform '{}' is not known", t);
  return t;
}

void transform(const std::string& how, std::vector<double>& s) {
  if (how == "SOFTMAX" || how == "SOFTMAX_ZERO") return softmax(s, how == "SOFTMAX_ZERO");
  for (double& v : s) v = how == "LOGISTIC" ? logistic(v) : how == "PROBIT" ? probit(v) : v;
}

// --- the regressor ---------------------------------------------------------------------------------------------

void infer_regressor(InferContext& ctx) {
  post_transform(ctx);
  Dim rows = !ctx.shape(0) ? ctx.unknown(0, 0) : ctx.rank(0) == 2 ? (*ctx.shape(0))[0] : Dim(1);
  ctx.output(0, DType::kFloat32, Shape{rows, ctx.attrs().integer("n_targets", 1)});
}

void regressor(RefContext& ctx) {
  Ensemble e = read_ensemble(ctx, "target");
  Rows rows = rows_of(ctx);
  int64_t targets = ctx.attrs().integer("n_targets", 1);
  ctx.require(targets >= 1 && targets <= 1 << 20, "n_targets is {}", targets);
  std::string how = ctx.attrs().string("aggregate_function", "SUM"), after = post_transform(ctx);
  ctx.require(how == "SUM" || how == "AVERAGE" || how == "MIN" || how == "MAX", "aggregate_function '{}' is not known",
              how);
  std::vector<double> base = number_list(ctx.attrs(), "base_values");
  ctx.require(base.empty() || base.size() == 1 || static_cast<int64_t>(base.size()) == targets,
              "{} base values are given for {} targets", base.size(), targets);
  Tensor& out = make_output(ctx, 0, DType::kFloat32, {rows.count, targets});
  for (int64_t r = 0; r < rows.count; ++r) {
    std::vector<double> sum(static_cast<size_t>(targets), 0);
    std::vector<bool> seen(sum.size(), false);
    for (int64_t root : e.roots) {
      for (auto [target, weight] :
           leaf_of(ctx, e, root, rows.values.data() + r * rows.features, rows.features).weights) {
        ctx.require(target >= 0 && target < targets, "a weight belongs to target {} of {}", target, targets);
        auto t = static_cast<size_t>(target);
        if (how == "MIN" || how == "MAX") {
          sum[t] = !seen[t] ? weight : how == "MIN" ? std::min(sum[t], weight) : std::max(sum[t], weight);
        } else {
          sum[t] += weight;
        }
        seen[t] = true;
      }
    }
    for (size_t t = 0; t < sum.size(); ++t) {
      if (how == "AVERAGE") sum[t] /= static_cast<double>(e.roots.size());
      if (!base.empty()) sum[t] += base[base.size() == 1 ? 0 : t];
    }
    transform(after, sum);
    for (size_t t = 0; t < sum.size(); ++t) out.set(r * targets + static_cast<int64_t>(t), sum[t]);
  }
}

// --- the classifier --------------------------------------------------------------------------------------------

struct Labels {
  Strings strings;
  Ints ints;
  int64_t count() const { return static_cast<int64_t>(strings.empty() ? ints.size() : strings.size()); }
};

template <class Context>
Labels labels_of(const Context& ctx) {
  Labels l{ctx.attrs().strings("classlabels_strings"), ctx.attrs().ints("classlabels_int64s")};
  ctx.require(l.count() > 0, "no class labels are given");
  return l;
}

void infer_classifier(InferContext& ctx) {
  post_transform(ctx);
  Labels labels = labels_of(ctx);
  Dim rows = !ctx.shape(0) ? ctx.unknown(0, 0) : ctx.rank(0) == 2 ? (*ctx.shape(0))[0] : Dim(1);
  ctx.output(0, labels.strings.empty() ? DType::kInt64 : DType::kString, Shape{rows});
  ctx.output(1, DType::kFloat32, Shape{rows, std::max<int64_t>(labels.count(), 1)});
}

// Two classes whose trees speak of one of them only: the scores of both, and which wins.
size_t binary_scores(const RefContext& ctx, std::vector<double>& s, double score, bool all_positive,
                     const std::string& after) {
  size_t winner = score > (all_positive ? 0.5 : 0.0) ? 1 : 0;
  if (after == "LOGISTIC") {
    s = {logistic(-score), logistic(score)};
  } else if (after == "PROBIT") {
    ctx.reject("post_transform PROBIT of a single score is not defined for two classes");
  } else if (all_positive) {
    s = {1 - score, score};
  } else {
    s = {-score, score};
  }
  if (after == "SOFTMAX" || after == "SOFTMAX_ZERO") softmax(s, after == "SOFTMAX_ZERO");
  return winner;
}

void classifier(RefContext& ctx) {
  Ensemble e = read_ensemble(ctx, "class");
  Rows rows = rows_of(ctx);
  Labels labels = labels_of(ctx);
  int64_t classes = labels.count();
  std::string after = post_transform(ctx);
  std::vector<double> base = number_list(ctx.attrs(), "base_values");
  ctx.require(base.empty() || base.size() == 1 || static_cast<int64_t>(base.size()) == classes,
              "{} base values are given for {} classes", base.size(), classes);
  bool all_positive = true, one_id = true;
  int64_t only = -1;
  for (const TreeNode& n : e.nodes) {
    for (auto [id, weight] : n.weights) {
      ctx.require(id >= 0 && id < classes, "a weight belongs to class {} of {}", id, classes);
      all_positive = all_positive && weight >= 0;
      one_id = one_id && (only < 0 || only == id);
      only = id;
    }
  }
  bool binary = classes == 2 && one_id && base.size() < 2;
  Tensor chosen = Tensor::allocate(labels.strings.empty() ? DType::kInt64 : DType::kString, {rows.count});
  Tensor& scores = make_output(ctx, 1, DType::kFloat32, {rows.count, classes});
  for (int64_t r = 0; r < rows.count; ++r) {
    std::vector<double> s(static_cast<size_t>(classes), 0);
    for (int64_t root : e.roots) {
      const TreeNode& leaf = leaf_of(ctx, e, root, rows.values.data() + r * rows.features, rows.features);
      for (auto [id, weight] : leaf.weights) s[static_cast<size_t>(id)] += weight;
    }
    size_t winner = 0;
    if (binary) {
      double score = s[static_cast<size_t>(std::max<int64_t>(only, 0))] + (base.empty() ? 0 : base[0]);
      winner = binary_scores(ctx, s, score, all_positive, after);
    } else {
      for (size_t c = 0; c < s.size() && !base.empty(); ++c) s[c] += base[base.size() == 1 ? 0 : c];
      winner = static_cast<size_t>(std::max_element(s.begin(), s.end()) - s.begin());
      transform(after, s);
    }
    if (labels.strings.empty()) {
      chosen.set_int(r, labels.ints[winner]);
    } else {
      chosen.mutable_data<std::string>()[r] = labels.strings[winner];
    }
    for (size_t c = 0; c < s.size(); ++c) scores.set(r * classes + static_cast<int64_t>(c), s[c]);
  }
  ctx.set(0, chosen);
}

const Strings kNodeAttrs{"base_values",
                         "base_values_as_tensor",
                         "nodes_falsenodeids",
                         "nodes_featureids",
                         "nodes_hitrates",
                         "nodes_hitrates_as_tensor",
                         "nodes_missing_value_tracks_true",
                         "nodes_modes",
                         "nodes_nodeids",
                         "nodes_treeids",
                         "nodes_truenodeids",
                         "nodes_values",
                         "nodes_values_as_tensor",
                         "post_transform"};

Strings with(Strings more) {
  more.insert(more.end(), kNodeAttrs.begin(), kNodeAttrs.end());
  return more;
}

}  // namespace

void define_trees_ops(OpTable& table) {
  table.add({.name = "ai.onnx.ml.TreeEnsembleRegressor",
             .doc = "Sums (or averages, ...) what the leaves of all trees give.",
             .infer = infer_regressor,
             .reference = regressor,
             .attrs = with({"aggregate_function", "n_targets", "target_ids", "target_nodeids", "target_treeids",
                            "target_weights", "target_weights_as_tensor"})});
  table.add({.name = "ai.onnx.ml.TreeEnsembleClassifier",
             .doc = "The class whose leaves add up to most, and all scores.",
             .max_outputs = 2,
             .infer = infer_classifier,
             .reference = classifier,
             .attrs = with({"class_ids", "class_nodeids", "class_treeids", "class_weights", "class_weights_as_tensor",
                            "classlabels_int64s", "classlabels_strings"})});
}

}  // namespace tenon
