// CPU tactic of the tree ensembles in float32: the trees as one flat array that a row walks without a look at the
// attributes. Sums are taken in double and in the order of the trees, as in the reference.
#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.hpp"
#include "tactic/tactic.hpp"

namespace tenon {
namespace {

constexpr int64_t kMostClasses = 64;  // sums on the stack

// A branch, or (feature < 0) a leaf whose weights are [yes, no).
struct FlatNode {
  float value;
  int32_t feature;
  int32_t yes, no;
  bool missing_yes;
};

enum class After : uint8_t { kNone, kLogistic, kSoftmax };

struct Forest {
  std::vector<FlatNode> nodes;
  std::vector<int32_t> roots;
  std::vector<std::pair<int32_t, double>> weights;  // class or target, and what it adds
  std::string mode;                                 // that all branches have
  std::vector<double> base;
  Ints labels;
  int64_t classes = 1, features = 0;
  After after = After::kNone;
  bool binary = false, positive = true, average = false;
  int32_t only = 0;
};

// Nodes, links and roots; every node is reached at most once, so walks end.
const char* read_nodes(const Problem& p, Forest& f, std::map<std::pair<int64_t, int64_t>, int32_t>& index) {
  const Attrs& a = p.attrs();
  Ints trees = a.ints("nodes_treeids"), ids = a.ints("nodes_nodeids"), features = a.ints("nodes_featureids"),
       yes = a.ints("nodes_truenodeids"), no = a.ints("nodes_falsenodeids"),
       missing = a.ints("nodes_missing_value_tracks_true");
  Floats values = a.numbers("nodes_values");
  Strings modes = a.strings("nodes_modes");
  size_t n = trees.size();
  bool same = ids.size() == n && features.size() == n && yes.size() == n && no.size() == n && values.size() == n &&
              modes.size() == n && (missing.empty() || missing.size() == n);
  if (!same || n == 0 || n > INT32_MAX) return "lists of nodes of different lengths";
  for (size_t i = 0; i < n; ++i) {
    if (!index.emplace(std::pair(trees[i], ids[i]), static_cast<int32_t>(i)).second)
      return "a node that is there twice";
    bool leaf = modes[i] == "LEAF";
    if (!leaf && f.mode.empty()) f.mode = modes[i];
    if (!leaf && modes[i] != f.mode) return "branches of several modes";
    if (!leaf && (features[i] < 0 || features[i] >= f.features)) return "a feature that is not there";
    f.nodes.push_back({static_cast<float>(values[i]), leaf ? -1 : static_cast<int32_t>(features[i]), 0, 0,
                       !missing.empty() && missing[i] != 0});
  }
  std::vector<bool> reached(n, false);
  for (size_t i = 0; i < n; ++i) {
    if (f.nodes[i].feature < 0) continue;
    for (bool side : {true, false}) {
      auto at = index.find({trees[i], side ? yes[i] : no[i]});
      if (at == index.end() || reached[static_cast<size_t>(at->second)]) return "links that make no tree";
      reached[static_cast<size_t>(at->second)] = true;
      (side ? f.nodes[i].yes : f.nodes[i].no) = at->second;
    }
  }
  for (size_t i = 0; i < n; ++i) {
    if (!reached[i]) f.roots.push_back(static_cast<int32_t>(i));
  }
  if (f.roots.empty()) return "links that make no tree";
  std::vector<int64_t> seen;
  for (int32_t r : f.roots) seen.push_back(trees[static_cast<size_t>(r)]);
  for (size_t i = 1; i < seen.size(); ++i) {
    if (seen[i] == seen[i - 1]) return "a tree with two roots";
  }
  return nullptr;
}

const char* read_weights(const Problem& p, Forest& f, const std::map<std::pair<int64_t, int64_t>, int32_t>& index,
                         const std::string& what) {
  const Attrs& a = p.attrs();
  Ints trees = a.ints(what + "_treeids"), nodes = a.ints(what + "_nodeids"), ids = a.ints(what + "_ids");
  Floats weights = a.numbers(what + "_weights");
  if (trees.size() != weights.size() || nodes.size() != weights.size() || ids.size() != weights.size()) {
    return "lists of weights of different lengths";
  }
  std::vector<std::vector<std::pair<int32_t, double>>> of(f.nodes.size());
  bool one = true;
  for (size_t i = 0; i < weights.size(); ++i) {
    auto at = index.find({trees[i], nodes[i]});
    if (at == index.end() || ids[i] < 0 || ids[i] >= f.classes) return "a weight of nothing";
    of[static_cast<size_t>(at->second)].emplace_back(static_cast<int32_t>(ids[i]), weights[i]);
    f.positive = f.positive && weights[i] >= 0;
    one = one && ids[i] == ids[0];
    f.only = static_cast<int32_t>(ids[i]);
  }
  for (size_t i = 0; i < f.nodes.size(); ++i) {
    if (f.nodes[i].feature >= 0) continue;
    f.nodes[i].yes = static_cast<int32_t>(f.weights.size());
    f.weights.insert(f.weights.end(), of[i].begin(), of[i].end());
    f.nodes[i].no = static_cast<int32_t>(f.weights.size());
  }
  f.binary = what == "class" && f.classes == 2 && one && f.base.size() < 2;
  return nullptr;
}

const char* read_forest(const Problem& p, Forest& f) {
  const Attrs& a = p.attrs();
  const Operand& x = p.in[0];
  bool classes = p.node->op == "ai.onnx.ml.TreeEnsembleClassifier";
  std::string what = classes ? "class" : "target", how = a.string("aggregate_function", "SUM"),
              after = a.string("post_transform", "NONE");
  if (x.dtype != DType::kFloat32 || x.rank() != 2 || x.size() == 0 || !x.dense()) return "not a matrix of float32";
  for (const std::string& name : {std::string("nodes_values"), std::string("base_values"), what + "_weights"}) {
    if (a.has(name + "_as_tensor")) return "numbers in double";
  }
  f.features = x.dims[1];
  f.labels = a.ints("classlabels_int64s");
  f.classes = classes ? static_cast<int64_t>(f.labels.size()) : a.integer("n_targets", 1);
  if (f.classes < 1 || f.classes > kMostClasses) return "labels that are not integers, or too many";
  if (how != "SUM" && how != "AVERAGE") return "an aggregate other than SUM and AVERAGE";
  f.average = !classes && how == "AVERAGE";
  if (after != "NONE" && after != "LOGISTIC" && after != "SOFTMAX") return "an uncommon post_transform";
  f.after = after == "NONE" ? After::kNone : after == "LOGISTIC" ? After::kLogistic : After::kSoftmax;
  for (double b : a.numbers("base_values")) f.base.push_back(b);
  bool fits = f.base.empty() || f.base.size() == 1 || static_cast<int64_t>(f.base.size()) == f.classes;
  if (!fits) return "base values that do not fit";
  std::map<std::pair<int64_t, int64_t>, int32_t> index;
  if (const char* why = read_nodes(p, f, index)) return why;
  bool known = f.mode.empty() || f.mode == "BRANCH_LT" || f.mode == "BRANCH_LEQ" || f.mode == "BRANCH_GT" ||
               f.mode == "BRANCH_GTE";
  return known ? read_weights(p, f, index, what) : "branches that test for equality";
}

Verdict judge(const Problem& p) {
  Forest f;
  const char* why = read_forest(p, f);
  return why == nullptr ? Verdict::yes() : Verdict::no("{}", why);
}

template <class Less>
void add_trees(const Forest& f, const float* x, double* sums, Less less) {
  for (int32_t root : f.roots) {
    const FlatNode* n = &f.nodes[static_cast<size_t>(root)];
    while (n->feature >= 0) {
      float v = x[n->feature];
      bool yes = v != v ? n->missing_yes : less(v, n->value);
      n = &f.nodes[static_cast<size_t>(yes ? n->yes : n->no)];
    }
    for (int32_t k = n->yes; k < n->no; ++k) {
      const auto& [id, weight] = f.weights[static_cast<size_t>(k)];
      sums[id] += weight;
    }
  }
}

void add_all(const Forest& f, const float* x, double* sums) {
  if (f.mode == "BRANCH_LT") return add_trees(f, x, sums, [](float a, float b) { return a < b; });
  if (f.mode == "BRANCH_LEQ") return add_trees(f, x, sums, [](float a, float b) { return a <= b; });
  if (f.mode == "BRANCH_GT") return add_trees(f, x, sums, [](float a, float b) { return a > b; });
  add_trees(f, x, sums, [](float a, float b) { return a >= b; });
}

double logistic(double x) { return 1 / (1 + std::exp(-x)); }

void finish(const Forest& f, double* s) {
  if (f.after == After::kNone) return;
  double top = s[0], sum = 0;
  for (int64_t c = 0; c < f.classes; ++c) top = std::max(top, s[c]);
  for (int64_t c = 0; c < f.classes; ++c) {
    s[c] = f.after == After::kLogistic ? logistic(s[c]) : std::exp(s[c] - top);
    sum += s[c];
  }
  for (int64_t c = 0; c < f.classes && f.after == After::kSoftmax; ++c) s[c] /= sum;
}

// Scores of one row; the winner's index.
int64_t score(const Forest& f, const float* x, double* s) {
  std::fill_n(s, f.classes, 0.0);
  add_all(f, x, s);
  if (f.binary) {  // trees that speak of one of two classes only
    double v = s[f.only] + (f.base.empty() ? 0 : f.base[0]);
    int64_t winner = v > (f.positive ? 0.5 : 0.0) ? 1 : 0;
    bool complement = f.positive && f.after != After::kLogistic;
    s[0] = complement ? 1 - v : -v;
    s[1] = v;
    finish(f, s);
    return winner;
  }
  for (int64_t c = 0; c < f.classes; ++c) {
    if (f.average) s[c] /= static_cast<double>(f.roots.size());
    if (!f.base.empty()) s[c] += f.base[f.base.size() == 1 ? 0 : static_cast<size_t>(c)];
  }
  int64_t winner = std::max_element(s, s + f.classes) - s;
  finish(f, s);
  return winner;
}

std::unique_ptr<Kernel> prepare(const Problem& p, WeightStore&) {
  Forest forest;
  TENON_CHECK(read_forest(p, forest) == nullptr);
  bool classes = !forest.labels.empty();
  bool scores = !classes || (p.out.size() > 1 && p.out[1].present()), chosen = classes && p.out[0].present();
  int64_t rows = p.in[0].dims[0];
  return make_kernel([=, f = std::move(forest)](const RunArgs& a) {
    auto grain = std::max<int64_t>(1, 2000 / static_cast<int64_t>(f.roots.size()));
    a.pool.run_ranges(rows, grain, [&](int64_t begin, int64_t end) {
      double s[kMostClasses];
      for (int64_t r = begin; r < end; ++r) {
        int64_t winner = score(f, static_cast<const float*>(a.in[0]) + r * f.features, s);
        if (chosen) static_cast<int64_t*>(a.out[0])[r] = f.labels[static_cast<size_t>(winner)];
        if (!scores) continue;
        float* to = static_cast<float*>(a.out[classes ? 1 : 0]) + r * f.classes;
        for (int64_t c = 0; c < f.classes; ++c) to[c] = static_cast<float>(s[c]);
      }
    });
  });
}

}  // namespace

void define_trees_cpu(TacticTable& table) {
  table.add("ai.onnx.ml.TreeEnsembleClassifier", {{"flat", judge, prepare}});
  table.add("ai.onnx.ml.TreeEnsembleRegressor", {{"flat", judge, prepare}});
}

}  // namespace tenon
