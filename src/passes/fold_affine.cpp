// A BatchNormalization, or a multiplication or addition by constants per channel, behind a convolution or matrix
// product with constant weights goes into the weights and the bias (computed in double).
#include <algorithm>
#include <cmath>

#include "passes/pass.hpp"

namespace tenon {
namespace {

// y = scale[c] * x + shift[c] over the channels.
struct Affine {
  std::vector<double> scale, shift;
  ValueId input = kNone;
};

int64_t channels_of(const Graph& g, const Node& anchor) {
  const Value& w = g.value(anchor.inputs[1]);
  if (!w.is_constant() || w.constant.dtype() != DType::kFloat32 || w.constant.rank() < 2) return 0;
  const Dims& d = w.constant.dims();
  if (anchor.op == "Conv") return d[0];
  if (anchor.op == "ConvTranspose") return d[1] * anchor.attrs.integer("group", 1);
  return 0;
}

bool is_anchor(const Graph& g, const Node* n) {
  if (n == nullptr || (n->op != "Conv" && n->op != "ConvTranspose") || n->attrs.has("epilogue")) return false;
  return channels_of(g, *n) > 0 && (!n->has(2) || g.value(n->inputs[2]).is_constant());
}

std::optional<Affine> batch_norm(const Graph& g, const Node& n) {
  if (n.op != "BatchNormalization" || n.inputs.size() < 5 || n.attrs.integer("training_mode", 0) != 0)
    return std::nullopt;
  for (size_t i = 1; i < 5; ++i) {
    if (!g.value(n.inputs[i]).is_constant()) return std::nullopt;
  }
  auto at = [&](size_t input, int64_t c) { return g.value(n.inputs[input]).constant.at(c); };
  double epsilon = n.attrs.number("epsilon", 1e-5);
  Affine a;
  a.input = n.inputs[0];
  for (int64_t c = 0; c < g.value(n.inputs[1]).constant.size(); ++c) {
    double scale = at(1, c) / std::sqrt(at(4, c) + epsilon);
    a.scale.push_back(scale);
    a.shift.push_back(at(2, c) - at(3, c) * scale);
  }
  return a;
}

// A constant of shape [C,1,1], [1,C,1,1] or one element, against a [N,C,H,W] value.
bool per_channel(const Tensor& t, int rank, int64_t channels) {
  if (t.dtype() != DType::kFloat32) return false;
  if (t.size() == 1) return t.rank() <= rank;
  auto axis = static_cast<int>(t.rank()) - (rank - 1);
  return t.size() == channels && axis >= 0 && t.rank() <= rank && t.dims()[static_cast<size_t>(axis)] == channels;
}

std::optional<Affine> arithmetic(const Graph& g, const Node& n, int64_t channels) {
  bool known = n.op == "Mul" || n.op == "Add" || n.op == "Sub" || n.op == "Div";
  if (!known || n.inputs.size() != 2) return std::nullopt;
  bool right = g.value(n.inputs[1]).is_constant();
  bool swapped = !right && g.value(n.inputs[0]).is_constant() && (n.op == "Mul" || n.op == "Add");
  if (!right && !swapped) return std::nullopt;
  const Tensor& k = g.value(n.inputs[right ? 1 : 0]).constant;
  Affine a;
  a.input = n.inputs[right ? 0 : 1];
  if (!per_channel(k, g.value(a.input).type.rank(), channels)) return std::nullopt;
  for (int64_t c = 0; c < channels; ++c) {
    double v = k.at(k.size() == 1 ? 0 : c);
    if (n.op == "Div" && v == 0) return std::nullopt;
    a.scale.push_back(n.op == "Mul" ? v : n.op == "Div" ? 1 / v : 1);
    a.shift.push_back(n.op == "Add" ? v : n.op == "Sub" ? -v : 0);
  }
  return a;
}

void apply(Graph& g, const Node& anchor, const Affine& a, ValueId result) {
  const Tensor& w = g.value(anchor.inputs[1]).constant;
  Tensor weights = Tensor::uninitialized(DType::kFloat32, w.dims());
  auto channels = static_cast<int64_t>(a.scale.size());
  int64_t group = anchor.attrs.integer("group", 1);
  int64_t inner = 1;
  for (size_t i = 2; i < w.dims().size(); ++i) inner *= w.dims()[i];
  for (int64_t i = 0; i < w.size(); ++i) {
    int64_t c;
    if (anchor.op == "Conv") {
      c = i / (w.size() / channels);
    } else {  // [Cin, Cout / group, ...]: the group is that of the input channel
      int64_t per_group = w.dims()[1], in = i / (per_group * inner);
      c = in / (w.dims()[0] / group) * per_group + i / inner % per_group;
    }
    weights.mutable_data<float>()[i] = static_cast<float>(w.at(i) * a.scale[static_cast<size_t>(c)]);
  }
  Tensor bias = Tensor::uninitialized(DType::kFloat32, {channels});
  for (int64_t c = 0; c < channels; ++c) {
    double old = anchor.has(2) ? g.value(anchor.inputs[2]).constant.at(c) : 0;
    auto k = static_cast<size_t>(c);
    bias.mutable_data<float>()[c] = static_cast<float>(old * a.scale[k] + a.shift[k]);
  }
  std::vector<ValueId> inputs{anchor.inputs[0], g.add_constant(std::move(weights)), g.add_constant(std::move(bias))};
  NodeId rank_of = anchor.id;
  std::string op = anchor.op;
  Attrs attrs = anchor.attrs;
  ValueId made = g.add(std::move(op), std::move(inputs), std::move(attrs), rank_of);
  g.value(made).type = g.value(result).type;
  g.replace_uses(result, made);
}

}  // namespace

bool fold_affine(Graph& g, PassContext&) {
  bool changed = false;
  for (NodeId id : g.order()) {
    const Node& n = g.node(id);
    if (n.inputs.empty() || n.outputs.empty() || n.attrs.has("epilogue")) continue;
    std::optional<Affine> a = batch_norm(g, n);
    for (size_t i = 0; !a && i < n.inputs.size() && i < 2; ++i) {
      const Node* anchor = g.producer(n.inputs[i]);
      if (is_anchor(g, anchor)) a = arithmetic(g, n, channels_of(g, *anchor));
    }
    if (!a || g.use_count(n.outputs[0]) == 0) continue;
    const Node* anchor = g.producer(a->input);
    bool fits = is_anchor(g, anchor) && channels_of(g, *anchor) == static_cast<int64_t>(a->scale.size());
    if (!fits || g.use_count(a->input) != 1) continue;
    if (g.value(a->input).type.rank() != g.value(n.outputs[0]).type.rank()) continue;
    apply(g, *anchor, *a, n.outputs[0]);
    changed = true;
  }
  return changed;
}

}  // namespace tenon
