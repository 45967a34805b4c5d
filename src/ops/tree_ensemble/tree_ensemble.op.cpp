// TreeEnsemble of ai.onnx.ml 5: inner nodes and leaves in lists of their own, set membership as a test.
#include <algorithm>
#include <cmath>

#include "ops/support.hpp"

namespace tenon {
namespace {

enum Mode : uint8_t { kLe, kLt, kGe, kGt, kEq, kNe, kMember };

struct Inner {
  Mode mode;
  bool yes_leaf, no_leaf, missing_yes;
  int64_t feature, yes, no;
  double split;
  size_t first = 0, last = 0;  // of kMember: the values in `members`
};

struct Forest {
  std::vector<Inner> nodes;
  std::vector<double> members, weights;
  Ints targets, roots;
};

// Reads the values of the k-th set; sets end in NaN.
void read_members(const RefContext& ctx, Forest& f) {
  if (const Tensor* t = ctx.attrs().tensor("membership_values")) f.members = to_doubles(*t);
  size_t at = 0;
  for (Inner& n : f.nodes) {
    if (n.mode != kMember) continue;
    ctx.require(at < f.members.size(), "membership_values has fewer sets than there are nodes of mode BRANCH_MEMBER");
    n.first = at;
    while (at < f.members.size() && !std::isnan(f.members[at])) ++at;
    n.last = at++;
  }
}

// Children come after their parents, so that every walk ends; otherwise each node is looked at for a cycle.
void check_links(const RefContext& ctx, const Forest& f) {
  auto nodes = static_cast<int64_t>(f.nodes.size()), leaves = static_cast<int64_t>(f.weights.size());
  for (const Inner& n : f.nodes) {
    for (auto [leaf, to] : {std::pair(n.yes_leaf, n.yes), std::pair(n.no_leaf, n.no)})
      ctx.require(to >= 0 && to < (leaf ? leaves : nodes), "a branch leads to {} {} of {}", leaf ? "leaf" : "node", to,
                  leaf ? leaves : nodes);
  }
  for (int64_t r : f.roots) ctx.require(r >= 0 && r < nodes, "a tree's root is node {} of {}", r, nodes);
}

Forest read_forest(const RefContext& ctx) {
  const Attrs& a = ctx.attrs();
  Ints features = a.ints("nodes_featureids"), yes = a.ints("nodes_truenodeids"), no = a.ints("nodes_falsenodeids"),
       yes_leaf = a.ints("nodes_trueleafs"), no_leaf = a.ints("nodes_falseleafs"),
       missing = a.ints("nodes_missing_value_tracks_true");
  const Tensor *modes = a.tensor("nodes_modes"), *splits = a.tensor("nodes_splits"),
               *weights = a.tensor("leaf_weights");
  ctx.require(modes != nullptr && splits != nullptr && weights != nullptr,
              "nodes_modes, nodes_splits and leaf_weights are needed");
  size_t n = features.size();
  bool same = yes.size() == n && no.size() == n && yes_leaf.size() == n && no_leaf.size() == n &&
              static_cast<size_t>(modes->size()) == n && static_cast<size_t>(splits->size()) == n;
  ctx.require(same && (missing.empty() || missing.size() == n), "the lists of nodes have different lengths");
  Forest f;
  for (size_t i = 0; i < n; ++i) {
    int64_t mode = modes->int_at(static_cast<int64_t>(i));
    ctx.require(mode >= 0 && mode <= kMember, "node mode {} is not known", mode);
    f.nodes.push_back({static_cast<Mode>(mode), yes_leaf[i] != 0, no_leaf[i] != 0, !missing.empty() && missing[i] != 0,
                       features[i], yes[i], no[i], splits->at(static_cast<int64_t>(i))});
  }
  f.weights = to_doubles(*weights);
  f.targets = a.ints("leaf_targetids");
  f.roots = a.ints("tree_roots");
  ctx.require(f.targets.size() == f.weights.size(), "the lists of leaves have different lengths");
  read_members(ctx, f);
  check_links(ctx, f);
  return f;
}

bool takes_yes(const Forest& f, const Inner& n, double x) {
  if (std::isnan(x)) return n.missing_yes;
  switch (n.mode) {
    case kLe: return x <= n.split;
    case kLt: return x < n.split;
    case kGe: return x >= n.split;
    case kGt: return x > n.split;
    case kEq: return x == n.split;
    case kNe: return x != n.split;
    default: break;
  }
  // Members are kept in the type of the input.
  auto from = f.members.begin() + static_cast<int64_t>(n.first), to = f.members.begin() + static_cast<int64_t>(n.last);
  return std::find(from, to, x) != to;
}

int64_t leaf_of(const RefContext& ctx, const Forest& f, int64_t root, const double* x, int64_t features) {
  int64_t at = root;
  for (size_t steps = 0; steps <= f.nodes.size(); ++steps) {
    const Inner& n = f.nodes[static_cast<size_t>(at)];
    ctx.require(n.feature >= 0 && n.feature < features, "a tree asks for feature {} of {}", n.feature, features);
    bool yes = takes_yes(f, n, x[n.feature]);
    at = yes ? n.yes : n.no;
    if (yes ? n.yes_leaf : n.no_leaf) return at;
  }
  ctx.reject("a tree's branches form a cycle");
}

template <class Context>
int64_t targets_of(const Context& ctx) {
  int64_t targets = ctx.attrs().integer("n_targets", 1);
  ctx.require(targets >= 1 && targets <= 1 << 20, "n_targets is {}", targets);
  return targets;
}

enum Transform { kNone, kSoftmax, kLogistic, kSoftmaxZero, kProbit };

// The inverse of the normal distribution's cumulative function, by bisection.
double probit(double p) {
  if (!(p > 0 && p < 1)) return p <= 0 ? -INFINITY : p >= 1 ? INFINITY : NAN;
  double low = -40, high = 40;
  for (int i = 0; i < 200; ++i) {
    double middle = (low + high) / 2;
    (0.5 * std::erfc(-middle / std::sqrt(2.0)) < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

void transform(int64_t how, std::vector<double>& s) {
  if (how == kSoftmax || how == kSoftmaxZero) {
    double top = *std::max_element(s.begin(), s.end()), sum = 0;
    for (double& v : s) sum += v = how == kSoftmaxZero && std::fabs(v) < 1e-7 ? 0 : std::exp(v - top);
    for (double& v : s) v = sum > 0 ? v / sum : v;
  }
  for (double& v : s) v = how == kLogistic ? 1 / (1 + std::exp(-v)) : how == kProbit ? probit(v) : v;
}

void infer(InferContext& ctx) {
  Dim rows = !ctx.shape(0) ? ctx.unknown(0, 0) : ctx.rank(0) == 2 ? (*ctx.shape(0))[0] : Dim(1);
  ctx.output(0, ctx.dtype(0), Shape{rows, targets_of(ctx)});
}

void tree_ensemble(RefContext& ctx) {
  Forest f = read_forest(ctx);
  const Tensor& x = ctx.in(0);
  ctx.require(x.rank() == 1 || x.rank() == 2, "the input must be a row or a matrix of features, it has {} axes",
              x.rank());
  int64_t rows = x.rank() == 2 ? x.dims()[0] : 1, features = x.dims().back(), targets = targets_of(ctx);
  int64_t aggregate = ctx.attrs().integer("aggregate_function", 1), after = ctx.attrs().integer("post_transform", 0);
  ctx.require(aggregate >= 0 && aggregate <= 3, "aggregate_function {} is not known", aggregate);
  ctx.require(after >= 0 && after <= kProbit, "post_transform {} is not known", after);
  std::vector<double> values = to_doubles(x);
  Tensor& out = make_output(ctx, 0, x.dtype(), {rows, targets});
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<double> sum(static_cast<size_t>(targets), 0);
    std::vector<bool> seen(sum.size(), false);
    for (int64_t root : f.roots) {
      auto leaf = static_cast<size_t>(leaf_of(ctx, f, root, values.data() + r * features, features));
      ctx.require(f.targets[leaf] >= 0 && f.targets[leaf] < targets, "a leaf belongs to target {} of {}",
                  f.targets[leaf], targets);
      auto t = static_cast<size_t>(f.targets[leaf]);
      double weight = f.weights[leaf];
      if (aggregate <= 1) {
        sum[t] += aggregate == 0 ? weight / static_cast<double>(f.roots.size()) : weight;
      } else {
        sum[t] = !seen[t] ? weight : aggregate == 2 ? std::min(sum[t], weight) : std::max(sum[t], weight);
      }
      seen[t] = true;
    }
    transform(after, sum);
    for (size_t t = 0; t < sum.size(); ++t) out.set(r * targets + static_cast<int64_t>(t), sum[t]);
  }
}

}  // namespace

void define_tree_ensemble_ops(OpTable& table) {
  table.add({.name = "ai.onnx.ml.TreeEnsemble",
             .doc = "Adds up (or averages, ...) the leaves that a row of features ends in.",
             .infer = infer,
             .reference = tree_ensemble,
             .attrs = {"aggregate_function", "leaf_targetids", "leaf_weights", "membership_values", "n_targets",
                       "nodes_falseleafs", "nodes_falsenodeids", "nodes_featureids", "nodes_hitrates",
                       "nodes_missing_value_tracks_true", "nodes_modes", "nodes_splits", "nodes_trueleafs",
                       "nodes_truenodeids", "post_transform", "tree_roots"}});
}

}  // namespace tenon
