#include "graph/interpret.hpp"

#include "base/error.hpp"
#include "graph/body.hpp"
#include "graph/text.hpp"

namespace tenon {
namespace {

thread_local int depth = 0;
struct DepthGuard {
  DepthGuard() {
    if (++depth > 100) {
      --depth;
      fail(Code::kInvalidArgument, "control flow is nested more than 100 deep");
    }
  }
  ~DepthGuard() { --depth; }
};

}  // namespace

namespace {

// The op itself on its own inputs, then the epilogue on its result and the extra inputs.
std::vector<Datum> interpret_fused(const Node& node, const OpTable& ops, std::span<const Datum* const> inputs) {
  GraphPtr epilogue = node.attrs.graph("epilogue");
  TENON_CHECK(epilogue != nullptr && !epilogue->inputs.empty());
  size_t extras = epilogue->inputs.size() - 1;
  expect(extras <= inputs.size(), "{}: the epilogue has more inputs than the node", node.op);
  Node plain = node;
  plain.attrs.erase("epilogue");
  auto own = inputs.first(inputs.size() - extras);
  while (!own.empty() && own.back() == nullptr) own = own.first(own.size() - 1);
  plain.inputs.resize(own.size());
  std::vector<Datum> outputs = interpret_node(plain, ops, own);
  std::vector<Datum> arguments{std::move(outputs.at(0))};
  for (const Datum* extra : inputs.last(extras)) {
    TENON_CHECK(extra != nullptr);
    arguments.push_back(*extra);
  }
  outputs[0] = interpret(*epilogue, ops, arguments).at(0);
  return outputs;
}

// A composite: a graph of this node alone, with the body in its place.
std::vector<Datum> interpret_body(const Node& node, const OpTable& ops, std::span<const Datum* const> inputs) {
  Graph g;
  std::vector<ValueId> own;
  std::vector<Datum> arguments;
  for (const Datum* d : inputs) {
    own.push_back(kNone);
    if (d == nullptr) continue;
    expect(d->is_tensor(), "{}: its inputs must be tensors", node.op);
    own.back() = g.add_input(fmt::format("x{}", arguments.size()), Type::tensor(d->tensor));
    arguments.push_back(*d);
  }
  std::vector<std::string> names;
  for (size_t i = 0; i < node.outputs.size(); ++i)
    names.push_back(node.outputs[i] == kNone ? "" : fmt::format("y{}", i));
  NodeId id = g.add_node(node.op, std::move(own), std::move(names), node.attrs, node.name);
  std::vector<size_t> wanted;
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    if (node.outputs[i] == kNone) continue;
    wanted.push_back(i);
    g.outputs.push_back(g.node(id).outputs[i]);
  }
  if (!expand_body(g, id, ops)) {
    fail(Code::kUnsupported, "operator {} has no reference for these inputs and attributes", node.op);
  }
  std::vector<Datum> results = interpret(g, ops, arguments), outputs(node.outputs.size());
  for (size_t i = 0; i < wanted.size(); ++i) outputs[wanted[i]] = results[i];
  return outputs;
}

}  // namespace

BodyRuntime*& body_runtime() noexcept {
  thread_local BodyRuntime* runtime = nullptr;
  return runtime;
}

std::vector<Datum> interpret_node(const Node& node, const OpTable& ops, std::span<const Datum* const> inputs) {
  if (node.attrs.has("epilogue")) return interpret_fused(node, ops, inputs);
  const Op& op = ops.at(node.op);
  std::vector<Datum> outputs(node.outputs.size());
  if (op.reference != nullptr) {
    RefContext context{node, ops, inputs, outputs};
    op.reference(context);
    return outputs;
  }
  return interpret_body(node, ops, inputs);
}

std::vector<Datum> interpret(const Graph& graph, const OpTable& ops, std::span<const Datum> inputs,
                             const Observer& observer) {
  DepthGuard guard;
  expect(inputs.size() == graph.inputs.size(), "graph '{}' takes {} inputs, {} were given", graph.name,
         graph.inputs.size(), inputs.size());
  std::vector<Datum> values(static_cast<size_t>(graph.value_count()));
  std::vector<int> left(values.size(), 0);
  auto slot = [](ValueId v) { return static_cast<size_t>(v); };
  for (size_t i = 0; i < inputs.size(); ++i) values[slot(graph.inputs[i])] = inputs[i];
  std::vector<NodeId> order = graph.order();
  for (NodeId id : order) {
    for (ValueId v : graph.node(id).inputs) {
      if (v != kNone) ++left[slot(v)];
    }
  }
  for (ValueId v : graph.outputs) ++left[slot(v)];
  std::vector<const Datum*> arguments;
  auto load = [&](ValueId v) {
    const Value& value = graph.value(v);
    if (value.is_constant() && !values[slot(v)].tensor.defined()) values[slot(v)] = Datum(value.constant);
  };
  for (NodeId id : order) {
    const Node& node = graph.node(id);
    arguments.clear();
    for (ValueId v : node.inputs) {
      if (v != kNone) load(v);
      arguments.push_back(v == kNone ? nullptr : &values[slot(v)]);
    }
    std::vector<Datum> outputs;
    try {
      outputs = interpret_node(node, ops, arguments);
    } catch (Error& e) {
      throw e.note(fmt::format("while interpreting {}", print_node(graph, node)));
    }
    if (observer) observer(node, outputs);
    for (size_t i = 0; i < node.outputs.size() && i < outputs.size(); ++i) {
      if (node.outputs[i] != kNone && left[slot(node.outputs[i])] > 0)
        values[slot(node.outputs[i])] = std::move(outputs[i]);
    }
    for (ValueId v : node.inputs) {
      if (v != kNone && --left[slot(v)] == 0) values[slot(v)] = Datum();
    }
  }
  std::vector<Datum> out;
  for (ValueId v : graph.outputs) {
    load(v);
    out.push_back(values[slot(v)]);
  }
  return out;
}

}  // namespace tenon
