// Pointwise: a region of elementwise nodes run as one. Attribute "body" is the graph; its inputs are the node's inputs,
// which broadcast. Made by fusion, never imported.
#include "base/error.hpp"
#include "graph/interpret.hpp"
#include "graph/op.hpp"

namespace tenon {
namespace {

void infer(InferContext& c) {
  GraphPtr body = c.attrs().graph("body");
  c.require(body != nullptr && body->inputs.size() == c.input_count(), "attribute 'body' must be a graph of {} inputs",
            c.input_count());
  std::vector<Type> types;
  for (size_t i = 0; i < c.input_count(); ++i) types.push_back(c.type(i));
  std::vector<Type> out = infer_body(*body, std::move(types), c.ops());
  for (size_t i = 0; i < out.size(); ++i) c.output(i, out[i]);
}

void reference(RefContext& c) {
  GraphPtr body = c.attrs().graph("body");
  c.require(body != nullptr, "attribute 'body' must be a graph");
  std::vector<Datum> inputs;
  for (size_t i = 0; i < c.inputs.size(); ++i) inputs.emplace_back(c.in(i));
  std::vector<Datum> out = interpret(*body, c.ops, inputs);
  for (size_t i = 0; i < out.size(); ++i) c.set(i, std::move(out[i]));
}

}  // namespace

void define_pointwise_ops(OpTable& table) {
  Op op;
  op.name = "tenon.Pointwise";
  op.doc = "A region of elementwise nodes run as one.";
  op.min_inputs = 0;
  op.max_inputs = -1;
  op.max_outputs = -1;
  op.infer = infer;
  op.reference = reference;
  op.attrs = {"body"};
  table.add(op);
}

}  // namespace tenon
