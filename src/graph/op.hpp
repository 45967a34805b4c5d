// Op: what an operator means. A primitive op has a reference (naive, doubles); a composite op has a body in
// graph text that serves as reference, shape inference, decomposition and fusion pattern. OpTable finds ops
// by name; the table of all ops is made in ops/. Ops are immutable after start-up and may be read from any
// thread.
//
// Ops mean the newest ONNX version of themselves; the importer converts older ones.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.hpp"

namespace tenon {

class OpTable;

/// What an op's shape inference sees and answers. Inputs may have unknown types while a graph is being
/// imported; then the inference says what it can and leaves the rest.
class InferContext {
 public:
  InferContext(Graph& graph, NodeId node, const OpTable& ops)
      : graph_(graph), ops_(ops), node_(graph.node(node)), fused_(node_.attrs.has("epilogue")) {}

  const Node& node() const noexcept { return node_; }
  const Attrs& attrs() const noexcept { return node_.attrs; }
  size_t input_count() const noexcept { return node_.inputs.size(); }
  size_t output_count() const noexcept { return node_.outputs.size(); }
  bool has(size_t i) const noexcept { return node_.has(i); }

  const Type& type(size_t i) const;  ///< unknown type when the input is absent
  DType dtype(size_t i) const { return type(i).dtype; }
  /// The shape, when the rank is known.
  const std::optional<Shape>& shape(size_t i) const { return type(i).shape; }
  int rank(size_t i) const { return type(i).rank(); }
  /// The constant at an input, or null.
  const Tensor* constant(size_t i) const;
  /// The contents of a small integer input, constants as numbers, shape arithmetic as expressions. Nothing if
  /// unknown.
  std::optional<std::vector<Dim>> content(size_t i) const;
  /// As content() when all are numbers.
  std::optional<Ints> ints(size_t i) const;

  void output(size_t i, Type type);  ///< ignored when the node has no such output
  void output(size_t i, DType dtype, std::optional<Shape> shape = std::nullopt) {
    output(i, Type::tensor(dtype, std::move(shape)));
  }
  void output_content(size_t i, std::vector<Dim> content);
  /// A dimension that only the data decide: a fresh symbol, the same again for the same node, output and
  /// axis.
  Dim unknown(size_t output, size_t axis) const;

  /// Throws invalid-argument naming the node.
  template <class... Args>
  void require(bool ok, fmt::format_string<Args...> format, Args&&... args) const {
    if (!ok) [[unlikely]]
      reject(fmt::format(format, std::forward<Args>(args)...));
  }
  [[noreturn]] void reject(const std::string& why) const;
  /// `axis` brought into [0, rank); rejects what is outside.
  int64_t axis(int64_t axis, int64_t rank) const;

  Graph& graph() noexcept { return graph_; }
  const OpTable& ops() const noexcept { return ops_; }
  /// Of a node with an epilogue: what the op itself makes, before the epilogue.
  const Type& anchor() const noexcept { return anchor_; }

 private:
  friend void infer_node(Graph& graph, NodeId node, const OpTable& ops);
  Graph& graph_;
  const OpTable& ops_;
  const Node& node_;
  bool fused_;
  Type anchor_;
};

/// What a reference sees: concrete inputs; it allocates and sets its outputs.
struct RefContext {
  const Node& node;
  const OpTable& ops;                    ///< for control flow
  std::span<const Datum* const> inputs;  ///< null for an input left out
  std::span<Datum> outputs;

  const Attrs& attrs() const noexcept { return node.attrs; }
  bool has(size_t i) const noexcept { return i < inputs.size() && inputs[i] != nullptr; }
  const Tensor& in(size_t i) const;  ///< an error that names the node when it is absent or no tensor
  Tensor& make(size_t i, DType dtype,
               Dims dims);  ///< allocates output i (zeros); a scratch tensor if it is not wanted
  void set(size_t i, Datum value) {
    if (i < outputs.size()) outputs[i] = std::move(value);
  }
  template <class... Args>
  void require(bool ok, fmt::format_string<Args...> format, Args&&... args) const {
    if (!ok) [[unlikely]]
      reject(fmt::format(format, std::forward<Args>(args)...));
  }
  [[noreturn]] void reject(const std::string& why) const;
  int64_t axis(int64_t axis, int64_t rank) const;

  Tensor scratch{};
};

/// A node may carry an *epilogue*: attribute "epilogue", a graph of elementwise nodes whose first input is the op's own
/// output 0 and whose further inputs are extra inputs of the node, appended after the op's max_inputs (ones left out
/// are kNone). Output 0 of the node is then the epilogue's result. The interpreter and infer_node treat this for every
/// op.
struct Op {
  std::string name;
  std::string_view doc;
  int min_inputs = 1, max_inputs = 1;    ///< max -1: any number
  int min_outputs = 1, max_outputs = 1;  ///< max -1: any number
  void (*infer)(InferContext&) = nullptr;
  void (*reference)(RefContext&) = nullptr;  ///< null for a composite
  std::string_view body;                     ///< composite: "(x) => (y) { ... }" in graph text
  bool elementwise = false;  ///< broadcasts its inputs; each output element depends on the matching input elements
  bool commutative = false;  ///< of its first two inputs
  bool pure = true;          ///< same inputs, same outputs (not so: random ops)
  bool data_shapes = false;  ///< output shapes depend on input data beyond content() (NonZero, NonMaxSuppression...)
  Strings attrs{};           ///< names of the attributes it understands; others are rejected on import
};

class OpTable {
 public:
  void add(Op op);
  const Op* find(std::string_view name) const noexcept;
  const Op& at(std::string_view name) const;  ///< an unsupported error when there is none
  const std::map<std::string, Op, std::less<>>& all() const noexcept { return ops_; }

 private:
  std::map<std::string, Op, std::less<>> ops_;
};

/// Infers the types (and symbolic contents) of all values of the graph, in order. Idempotent. A type that is
/// known already and contradicts what is inferred is an error naming the node; known dimensions refine
/// unknown ones.
void infer_types(Graph& graph, const OpTable& ops);
void infer_node(Graph& graph, NodeId node, const OpTable& ops);

/// Infers a body (an epilogue, a pointwise region, a branch) for the given input types and returns its output types.
std::vector<Type> infer_body(Graph& body, std::vector<Type> inputs, const OpTable& ops);

// Helpers that many ops share.

/// Numpy broadcasting of shapes, symbols included: a symbol against 1 gives the symbol, against a number
/// gives the number (it must be that or 1), against another symbol max(a,b). Nothing where the two numbers
/// contradict.
std::optional<Shape> broadcast_shapes(const Shape& a, const Shape& b);
Dims broadcast_dims(const Dims& a, const Dims& b, std::string_view what);
/// Element strides of `dims` seen as `target` (0 along broadcast axes); `dims` is aligned to the right.
Ints broadcast_strides(const Dims& dims, const Dims& target);
/// Row-major element strides.
Ints strides_of(std::span<const int64_t> dims);

}  // namespace tenon
