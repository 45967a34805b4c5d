#include "plan/flow.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace tenon {
namespace {

using Kind = FlowSpec::Kind;

bool is_scalar(const Type& t, DType dtype) {
  return t.is_static() && t.dtype == dtype && element_count(const_dims(*t.shape)) == 1;
}

bool is_static_graph(const Graph& g) {
  for (NodeId id : g.order()) {
    if (!is_static_node(g, g.node(id))) return false;
  }
  auto fits = [&](ValueId v) {
    const Type& t = g.value(v).type;
    return t.is_static() && t.dtype != DType::kString && t.dtype != DType::kUndefined;
  };
  return std::all_of(g.inputs.begin(), g.inputs.end(), fits) && std::all_of(g.outputs.begin(), g.outputs.end(), fits);
}

Ints list_of(const Node& n, std::string_view name, size_t count, bool& ok) {
  Ints out = n.attrs.ints(name, Ints(count, 0));
  ok = ok && out.size() == count;
  out.resize(count, 0);
  return out;
}

class Reader {
 public:
  Reader(const Graph& g, const Node& n, std::string& why) : g_(g), n_(n), why_(why) {}

  std::optional<FlowSpec> read() {
    bool ok = is_static_node(g_, n_);
    if (!ok) return no("its shapes are not known before it runs");
    int64_t captures = n_.attrs.integer("captures", 0);
    if (captures < 0 || captures > static_cast<int64_t>(n_.inputs.size())) return no("its captures do not fit");
    spec_.captures = static_cast<size_t>(captures);
    if (n_.op == "If") return read_if();
    return n_.op == "Loop" ? read_loop() : read_scan();
  }

 private:
  std::optional<FlowSpec> no(std::string why) {
    why_ = std::move(why);
    return std::nullopt;
  }

  const Type& in_type(size_t i) const { return g_.value(n_.inputs[i]).type; }
  static const Type& type(const Graph& body, ValueId v) { return body.value(v).type; }

  // What the node makes of output i must be `want`, where it is wanted at all.
  bool makes(size_t i, const Type& want) const {
    return i >= n_.outputs.size() || n_.outputs[i] == kNone || g_.value(n_.outputs[i]).type == want;
  }

  std::optional<FlowSpec> read_if() {
    spec_.kind = Kind::kIf;
    spec_.first = 1;
    if (!n_.has(0) || !is_scalar(in_type(0), DType::kBool)) return no("its condition is not one truth value");
    if (spec_.captures + 1 != n_.inputs.size()) return no("its captures do not fit");
    for (const char* name : {"then_branch", "else_branch"}) {
      GraphPtr body = n_.attrs.graph(name);
      bool fits = body && body->inputs.size() == spec_.captures && body->outputs.size() >= n_.outputs.size();
      if (!fits) return no("a branch does not fit the node");
      bool planned = is_static_graph(*body);
      for (size_t i = 0; planned && i < spec_.captures; ++i) planned = type(*body, body->inputs[i]) == in_type(1 + i);
      for (size_t i = 0; planned && i < n_.outputs.size(); ++i) planned = makes(i, type(*body, body->outputs[i]));
      spec_.bodies.push_back(planned ? body : nullptr);
      spec_.interpreted.push_back(planned ? nullptr : body);
    }
    if (!spec_.bodies[0] && !spec_.bodies[1]) return no("neither branch has shapes that are known before it runs");
    return std::move(spec_);
  }

  // States from input `first` on are outputs `first_out` on of the body, of one type in every round.
  bool carries(const Graph& body, size_t first_in, size_t first_out) const {
    for (size_t i = 0; i < spec_.carried; ++i) {
      if (!n_.has(spec_.first + i)) return false;
      const Type& t = in_type(spec_.first + i);
      bool same = type(body, body.inputs[first_in + i]) == t && type(body, body.outputs[first_out + i]) == t;
      if (!same || !makes(i, t)) return false;
    }
    return true;
  }

  bool captures_fit(const Graph& body) const {
    for (size_t k = 1; k <= spec_.captures; ++k) {
      size_t outer = n_.inputs.size() - k;
      if (!n_.has(outer) || !(type(body, body.inputs[body.inputs.size() - k]) == in_type(outer))) return false;
    }
    return true;
  }

  // Collected output i of the node is the body's, stacked along `axis` (which is brought into range).
  bool collects(const Graph& body, size_t i, size_t first_out, int64_t& axis, int64_t rounds) const {
    const Type& element = type(body, body.outputs[first_out + i]);
    auto rank = static_cast<int64_t>(element.shape->size());
    if (axis < -rank - 1 || axis > rank || bits(element.dtype) % 8 != 0) return false;
    if (axis < 0) axis += rank + 1;
    Type whole = element;
    whole.shape->insert(whole.shape->begin() + axis, Dim(rounds));
    return makes(spec_.carried + i, whole);
  }

  std::optional<FlowSpec> read_loop() {
    spec_.kind = Kind::kLoop;
    spec_.first = 2;
    GraphPtr body = n_.attrs.graph("body");
    if (n_.inputs.size() < 2 + spec_.captures) return no("its captures do not fit");
    spec_.carried = n_.inputs.size() - 2 - spec_.captures;
    bool fits = body && body->inputs.size() == n_.inputs.size() && body->outputs.size() >= 1 + spec_.carried &&
                n_.outputs.size() + 1 <= body->outputs.size();
    if (!fits) return no("its body does not fit the node");
    spec_.collected = body->outputs.size() - 1 - spec_.carried;
    if (!is_static_graph(*body)) return no("a shape in its body is not known before it runs");
    bool scalars =
        (!n_.has(0) || is_scalar(in_type(0), DType::kInt64)) && (!n_.has(1) || is_scalar(in_type(1), DType::kBool)) &&
        is_scalar(type(*body, body->inputs[0]), DType::kInt64) &&
        is_scalar(type(*body, body->inputs[1]), DType::kBool) && is_scalar(type(*body, body->outputs[0]), DType::kBool);
    if (!scalars) return no("its count or condition is not one number");
    if (!captures_fit(*body) || !carries(*body, 2, 1)) return no("a carried value changes its shape");
    spec_.out_axes.assign(spec_.collected, 0);
    spec_.out_reversed.assign(spec_.collected, 0);
    if (spec_.collected > 0) spec_.rounds = collected_rounds();
    for (size_t i = 0; i < spec_.collected; ++i) {
      if (!collects(*body, i, 1 + spec_.carried, spec_.out_axes[i], spec_.rounds)) {
        return no("what it collects has no shape that is known before it runs");
      }
    }
    spec_.bodies = {body};
    return std::move(spec_);
  }

  // The rounds that the inferred type of a collected output promises; 0 when all of those are left out.
  int64_t collected_rounds() const {
    for (size_t i = spec_.carried; i < n_.outputs.size(); ++i) {
      if (n_.outputs[i] == kNone) continue;
      const Shape& shape = *g_.value(n_.outputs[i]).type.shape;
      return shape.empty() ? -1 : shape[0].value();
    }
    return -1;
  }

  std::optional<FlowSpec> read_scan() {
    spec_.kind = Kind::kScan;
    spec_.first = 0;
    GraphPtr body = n_.attrs.graph("body");
    int64_t scans = n_.attrs.integer("num_scan_inputs", 0);
    bool fits =
        body && scans >= 1 && scans + static_cast<int64_t>(spec_.captures) <= static_cast<int64_t>(n_.inputs.size());
    if (!fits) return no("its body does not fit the node");
    spec_.scans = static_cast<size_t>(scans);
    spec_.carried = n_.inputs.size() - spec_.scans - spec_.captures;
    fits = body->inputs.size() == n_.inputs.size() && body->outputs.size() >= spec_.carried &&
           n_.outputs.size() <= body->outputs.size();
    if (!fits) return no("its body does not fit the node");
    spec_.collected = body->outputs.size() - spec_.carried;
    if (!is_static_graph(*body)) return no("a shape in its body is not known before it runs");
    spec_.in_axes = list_of(n_, "scan_input_axes", spec_.scans, fits);
    spec_.in_reversed = list_of(n_, "scan_input_directions", spec_.scans, fits);
    spec_.out_axes = list_of(n_, "scan_output_axes", spec_.collected, fits);
    spec_.out_reversed = list_of(n_, "scan_output_directions", spec_.collected, fits);
    if (!fits || !captures_fit(*body) || !carries(*body, 0, 0)) return no("a carried value changes its shape");
    if (!slices_fit(*body)) return no("its scan inputs have no common length");
    for (size_t i = 0; i < spec_.collected; ++i) {
      if (!collects(*body, i, spec_.carried, spec_.out_axes[i], spec_.rounds)) {
        return no("what it collects changes its shape");
      }
    }
    spec_.bodies = {body};
    return std::move(spec_);
  }

  bool slices_fit(const Graph& body) {
    for (size_t i = 0; i < spec_.scans; ++i) {
      size_t at = spec_.carried + i;
      if (!n_.has(at)) return false;
      Type slice = in_type(at);
      auto rank = static_cast<int64_t>(slice.shape->size());
      int64_t& axis = spec_.in_axes[i];
      if (rank == 0 || axis < -rank || axis >= rank || bits(slice.dtype) % 8 != 0) return false;
      if (axis < 0) axis += rank;
      int64_t length = (*slice.shape)[static_cast<size_t>(axis)].value();
      slice.shape->erase(slice.shape->begin() + axis);
      if (!(type(body, body.inputs[at]) == slice) || (spec_.rounds >= 0 && spec_.rounds != length)) return false;
      spec_.rounds = length;
    }
    return true;
  }

  const Graph& g_;
  const Node& n_;
  std::string& why_;
  FlowSpec spec_;
};

}  // namespace

bool is_flow_op(const Node& n) { return n.op == "If" || n.op == "Loop" || n.op == "Scan"; }

std::optional<FlowSpec> flow_spec(const Graph& graph, const Node& node, std::string& why) {
  return Reader(graph, node, why).read();
}

}  // namespace tenon
