#include "graph/interpret.hpp"

#include "base/error.hpp"
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
  if (op.body.empty()) fail(Code::kUnsupported, "operator {} has no reference", node.op);
  GraphPtr body = parse_graph(op.body);
  std::vector<Datum> arguments;
  for (size_t i = 0; i < body->inputs.size(); ++i) {
    if (i >= inputs.size() || inputs[i] == nullptr) fail(Code::kInvalidArgument, "{}: input {} is missing", node.op, i);
    arguments.push_back(*inputs[i]);
  }
  return interpret(*body, ops, arguments);
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
