// Recurrent operators, Scan, and the machine-learning domain.
#include "onnx/convert.hpp"

namespace tenon::onnx {
namespace {

// Up to opset 6, output_sequence said whether Y is wanted; the outputs themselves say so now.
void recurrent_1(NodeEdit& n) {
  n.attrs.erase("output_sequence");
  if (n.attrs.string("direction", "forward") == "foward") n.attrs.set("direction", std::string("forward"));
}

// Scan-8 had a batch: all inputs' axis 0 is the batch, axis 1 the sequence. That is a scan over the batch whose body
// is today's scan.
void scan_8(NodeEdit& n) {
  if (n.has(0)) n.unsupported("Scan of opset 8 with sequence_lens; export with opset 9 or newer");
  expect(!n.inputs.empty(), "Scan has no inputs");
  n.inputs.erase(n.inputs.begin());
  GraphPtr body = n.attrs.graph("body");
  expect(body != nullptr, "attribute 'body' is missing");
  int64_t captures = n.attrs.integer("captures", 0), scans = n.attrs.integer("num_scan_inputs", 0);
  auto total = static_cast<int64_t>(n.inputs.size()), own = total - captures;
  expect(scans >= 1 && scans <= own && static_cast<int64_t>(body->inputs.size()) == total,
         "num_scan_inputs {} does not fit {} inputs and a body of {}", scans, own, body->inputs.size());
  auto outer = std::make_shared<Graph>();
  outer->name = body->name + "_batch";
  std::vector<ValueId> inner_inputs;
  std::vector<std::string> inner_outputs;
  for (int64_t i = 0; i < total; ++i) {
    const Value& v = body->value(body->inputs[static_cast<size_t>(i)]);
    inner_inputs.push_back(outer->add_input("batch_" + v.name, Type::tensor(v.type.dtype)));
  }
  for (size_t i = 0; i < body->outputs.size(); ++i) inner_outputs.push_back(fmt::format("batch_result_{}", i));
  Attrs inner = n.attrs;
  if (inner.has("directions")) {
    inner.set("scan_input_directions", inner.ints("directions"));
    inner.erase("directions");
  }
  NodeId scan = outer->add_node("Scan", inner_inputs, inner_outputs, inner, n.name);
  outer->outputs = outer->node(scan).outputs;
  n.attrs = {};
  n.attrs.set("body", outer);
  n.attrs.set("num_scan_inputs", own);
  if (captures > 0) n.attrs.set("captures", captures);
}

// The first LabelEncoder mapped between strings and their places in one list, whichever way its input asks for.
void label_encoder_1(NodeEdit& n) {
  Strings classes = n.attrs.strings("classes_strings");
  Ints places(classes.size());
  for (size_t i = 0; i < places.size(); ++i) places[i] = static_cast<int64_t>(i);
  DType type = n.dtype(n.in(0));
  if (type == DType::kUndefined) n.unsupported("LabelEncoder of version 1 needs an input of known element type");
  bool from_text = type == DType::kString;
  n.attrs.erase("classes_strings");
  n.attrs.set(from_text ? "keys_strings" : "keys_int64s", from_text ? Attr(classes) : Attr(places));
  n.attrs.set(from_text ? "values_int64s" : "values_strings", from_text ? Attr(places) : Attr(classes));
  n.attrs.erase(from_text ? "default_string" : "default_int64");
}

constexpr Conversion kTable[] = {
    {"", "RNN", 1, 6, recurrent_1},
    {"", "GRU", 1, 6, recurrent_1},
    {"", "LSTM", 1, 6, recurrent_1},
    {"", "Scan", 8, 8, scan_8},
    {"ai.onnx.ml", "LabelEncoder", 1, 1, label_encoder_1},
};

}  // namespace

std::span<const Conversion> other_conversions() { return kTable; }

}  // namespace tenon::onnx
