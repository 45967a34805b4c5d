#include "onnx/convert.hpp"

#include <array>
#include <map>

namespace tenon::onnx {

ValueId NodeEdit::in(size_t i) const {
  expect(has(i), "input {} is missing", i);
  return inputs[i];
}

const Tensor* NodeEdit::constant_in(size_t i) const {
  if (!has(i)) return nullptr;
  const Value& v = graph.value(inputs[i]);
  return v.is_constant() ? &v.constant : nullptr;
}

DType NodeEdit::dtype(ValueId v) const {
  const Type& t = graph.value(v).type;
  if (t.is_tensor() && t.dtype != DType::kUndefined) return t.dtype;
  return hint ? hint(v) : DType::kUndefined;
}

ValueId NodeEdit::add(std::string helper_op, std::vector<ValueId> helper_inputs, Attrs helper_attrs) {
  NodeId id = place(std::move(helper_op), std::move(helper_inputs), {fresh(name.empty() ? op : name)},
                    std::move(helper_attrs), name);
  return graph.node(id).outputs[0];
}

ValueId NodeEdit::constant(Tensor value) {
  return graph.add_constant(std::move(value), fresh(name.empty() ? op : name));
}

ValueId NodeEdit::scalar_like(double value, ValueId like) {
  DType type = dtype(like);
  if (type == DType::kUndefined) return add("CastLike", {constant(Tensor::scalar(static_cast<float>(value))), like});
  Tensor t = Tensor::allocate(type, {});
  t.set(0, value);
  return constant(std::move(t));
}

void NodeEdit::set_input(size_t index, ValueId v) {
  if (inputs.size() <= index) inputs.resize(index + 1, kNone);
  inputs[index] = v;
}

void NodeEdit::attr_to_input(std::string_view attr, size_t index) {
  if (!attrs.has(attr)) return;
  set_input(index, ints(attrs.ints(attr)));
  attrs.erase(attr);
}

void NodeEdit::produce(size_t output, std::string by_op, std::vector<ValueId> by_inputs, Attrs by_attrs) {
  NodeId id = place(std::move(by_op), std::move(by_inputs), {outputs.at(output)}, std::move(by_attrs), name);
  produced_.resize(outputs.size(), kNone);
  produced_[output] = graph.node(id).outputs[0];
}

namespace {

using Index = std::multimap<std::string, const Conversion*, std::less<>>;

const Index& index() {
  static const Index made = [] {
    Index out;
    for (auto table :
         {axes_conversions(), math_conversions(), shape_conversions(), other_conversions(), contrib_conversions()}) {
      for (const Conversion& c : table) out.emplace(std::string(c.domain) + ":" + std::string(c.op), &c);
    }
    return out;
  }();
  return made;
}

}  // namespace

void convert_node(NodeEdit& node) {
  // A conversion may rename the operator once (Upsample to Resize); the old version does not apply to the new name's
  // older forms, because the conversion made the newest.
  auto [from, to] = index().equal_range(node.domain + ":" + node.op);
  for (auto at = from; at != to; ++at) {
    const Conversion& c = *at->second;
    if (node.version >= c.first && node.version <= c.last) c.convert(node);
  }
}

}  // namespace tenon::onnx
