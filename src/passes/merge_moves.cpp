// Transposes, reshapes and casts that meet are one or none: rules in merge_moves.rules; and transposes with elementwise
// work between them, which is done in the other order of axes.
#include <algorithm>
#include <map>

#include "passes/rules.hpp"

namespace tenon {
namespace {

constexpr size_t kMaxTree = 64;

// composed(): the second permutation of the first, as $both.
bool composed(Match& m, std::span<const std::string>) {
  const Attr *inner = m.attr("inner"), *outer = m.attr("outer");
  if (inner == nullptr || outer == nullptr) return false;
  const auto &p = std::get<Ints>(*inner), &q = std::get<Ints>(*outer);
  if (p.size() != q.size()) return false;
  Ints both;
  for (int64_t k : q) both.push_back(p[static_cast<size_t>(k)]);
  m.set("both", both);
  return true;
}

// copies_no_dim(shape): no entry means "as in the input", which would be another input now.
bool copies_no_dim(Match& m, std::span<const std::string> a) {
  const Tensor* shape = m.constant(a[0]);
  if (shape == nullptr) return false;
  Ints dims = shape->to_ints();
  return std::find(dims.begin(), dims.end(), 0) == dims.end();
}

// widens(x, t, y): x and y have one type, and t holds all its values.
bool widens(Match& m, std::span<const std::string> a) {
  DType x = m.type(a[0]).dtype, t = m.type(a[1]).dtype, y = m.type(a[2]).dtype;
  if (x != y) return false;
  bool half = x == DType::kFloat16 || x == DType::kBFloat16;
  if (is_floating(x)) return (half && t == DType::kFloat32) || ((half || x == DType::kFloat32) && t == DType::kFloat64);
  bool small =
      x == DType::kInt8 || x == DType::kUInt8 || x == DType::kBool || x == DType::kInt16 || x == DType::kUInt16;
  return (small && (t == DType::kInt32 || t == DType::kInt64 || t == DType::kFloat32)) ||
         (x == DType::kInt32 && t == DType::kInt64);
}

constexpr Guard kGuards[] = {{"composed", composed}, {"copies_no_dim", copies_no_dim}, {"widens", widens}};

// Elementwise work between transposes by `inner` above and its inverse, `outer`, below.
class Between {
 public:
  Between(Graph& g, const OpTable& ops, Ints outer)
      : g_(g), ops_(ops), outer_(std::move(outer)), inner_(outer_.size()) {
    for (size_t i = 0; i < outer_.size(); ++i) inner_[static_cast<size_t>(outer_[i])] = static_cast<int64_t>(i);
  }

  bool collect(ValueId v) {
    if (v == kNone || map_.contains(v)) return true;
    const Value& value = g_.value(v);
    if (value.is_constant()) {
      return value.constant.dtype() != DType::kString && value.constant.rank() <= static_cast<int64_t>(outer_.size());
    }
    const Node* n = g_.producer(v);
    if (n == nullptr) return false;
    if (n->op == "Transpose") {
      if (n->attrs.ints("perm") != inner_) return false;
      map_[v] = n->inputs[0];
      ++leaves_;
      return true;
    }
    const Op* op = ops_.find(n->op);
    bool fits = op != nullptr && op->elementwise && n->outputs.size() == 1 && !n->attrs.has("epilogue") &&
                n->op != "PRelu" && n->op != "Clip" && g_.use_count(v) == 1 && nodes_.size() < kMaxTree;
    if (!fits) return false;
    NodeId id = n->id;
    std::vector<ValueId> inputs = n->inputs;
    for (ValueId in : inputs) {
      if (!collect(in)) return false;
    }
    nodes_.push_back(id);
    return true;
  }

  bool worth() const { return leaves_ > 0 && !nodes_.empty(); }

  ValueId build(ValueId result) {
    for (NodeId id : nodes_) {
      std::vector<ValueId> inputs;
      std::vector<ValueId> old = g_.node(id).inputs;
      for (ValueId v : old) inputs.push_back(moved(v));
      std::string op = g_.node(id).op;
      Attrs attrs = g_.node(id).attrs;
      ValueId made = g_.add(std::move(op), std::move(inputs), std::move(attrs), id);
      infer_node(g_, g_.value(made).producer, ops_);
      map_[g_.node(id).outputs[0]] = made;
    }
    return map_.at(result);
  }

 private:
  ValueId moved(ValueId v) {
    if (v == kNone) return v;
    auto at = map_.find(v);
    if (at != map_.end()) return at->second;
    const Tensor& t = g_.value(v).constant;
    if (t.size() == 1) return v;
    Dims dims(outer_.size() - t.dims().size(), 1), turned;
    dims.insert(dims.end(), t.dims().begin(), t.dims().end());
    for (int64_t k : outer_) turned.push_back(dims[static_cast<size_t>(k)]);
    Tensor out = Tensor::allocate(t.dtype(), turned);
    Ints from = strides_of(dims), to = strides_of(turned);
    for (int64_t i = 0; i < out.size(); ++i) {
      int64_t at_source = 0;
      for (size_t k = 0; k < turned.size(); ++k)
        at_source += i / to[k] % turned[k] * from[static_cast<size_t>(outer_[k])];
      out.set(i, t.at(at_source));
    }
    return map_[v] = g_.add_constant(std::move(out));
  }

  Graph& g_;
  const OpTable& ops_;
  Ints outer_, inner_;
  std::map<ValueId, ValueId> map_;
  std::vector<NodeId> nodes_;
  int leaves_ = 0;
};

bool cancel_around(Graph& g, NodeId id, const OpTable& ops) {
  const Node& n = g.node(id);
  if (n.op != "Transpose" || g.use_count(n.outputs[0]) == 0) return false;
  Ints perm = n.attrs.ints("perm");
  ValueId below = n.outputs[0], above = n.inputs[0];
  const Node* work = g.producer(above);
  if (perm.empty() || work == nullptr || work->op == "Transpose") return false;
  Between between(g, ops, perm);
  if (!between.collect(above) || !between.worth()) return false;
  ValueId made = between.build(above);
  g.replace_uses(below, made);
  return true;
}

}  // namespace

bool merge_moves(Graph& g, PassContext& context) {
  static const RuleSet rules(rule_file("merge_moves"), kGuards, context.ops);
  bool changed = rules.apply(g, context.ops);
  for (NodeId id : g.order()) changed |= cancel_around(g, id, context.ops);
  return changed;
}

}  // namespace tenon
