// Conversion of older operator versions to the newest meaning of the operator, one small function a change. The
// importer hands every node over as a NodeEdit before it enters the graph; functions change it and may put helper
// nodes before it. convert_table() lists them: domain, operator, the opset versions they apply to.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.hpp"
#include "graph/op.hpp"

namespace tenon::onnx {

class NodeEdit {
 public:
  Graph& graph;
  std::string op;      ///< without its domain
  std::string domain;  ///< "" for ONNX's own
  int64_t version = 0;
  std::string name;
  std::vector<ValueId> inputs;
  std::vector<std::string> outputs;  ///< "" where the output is not wanted
  Attrs attrs;
  /// Puts a finished node into the graph: inference included; outputs have unique names.
  std::function<NodeId(std::string op, std::vector<ValueId>, std::vector<std::string> outputs, Attrs, std::string name)>
      place;
  /// The declared element type of a value that the inference does not know.
  std::function<DType(ValueId)> hint;
  /// A value name that is used nowhere else.
  std::function<std::string(std::string_view stem)> fresh;

  explicit NodeEdit(Graph& g) : graph(g) {}

  bool has(size_t i) const { return i < inputs.size() && inputs[i] != kNone; }
  bool wants(size_t output) const { return output < outputs.size() && !outputs[output].empty(); }
  ValueId in(size_t i) const;  ///< an error when it is absent
  const Tensor* constant_in(size_t i) const;
  DType dtype(ValueId v) const;  ///< kUndefined when not known
  int rank(ValueId v) const { return graph.value(v).type.rank(); }

  /// A helper node before this one; its one output.
  ValueId add(std::string helper_op, std::vector<ValueId> helper_inputs, Attrs helper_attrs = {});
  ValueId constant(Tensor value);
  ValueId ints(const Ints& values) { return constant(Tensor::of_ints(values)); }
  /// A scalar of the element type of `like` (by CastLike when that is not known).
  ValueId scalar_like(double value, ValueId like);
  /// Moves an attribute holding integers to input `index`; absent: nothing.
  void attr_to_input(std::string_view attr, size_t index);
  void set_input(size_t index, ValueId v);

  /// Places one of the outputs now, by a node of its own; the output is not made again.
  void produce(size_t output, std::string by_op, std::vector<ValueId> by_inputs, Attrs by_attrs = {});
  const std::vector<ValueId>& produced() const noexcept { return produced_; }

  template <class... Args>
  [[noreturn]] void unsupported(fmt::format_string<Args...> format, Args&&... args) const {
    fail(Code::kUnsupported, "{}", fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  std::vector<ValueId> produced_;  ///< by output; kNone where the node itself makes it
};

struct Conversion {
  std::string_view domain, op;
  int64_t first, last;  ///< opset versions, inclusive
  void (*convert)(NodeEdit&);
};

inline constexpr int64_t kNewestOpset = 28;
inline constexpr int64_t kAnyVersion = INT64_MAX;

/// Brings the node to the newest meaning. Conversions that rename the operator are followed by those of the new one.
void convert_node(NodeEdit& node);

// The tables, by topic.
std::span<const Conversion> axes_conversions();     ///< attributes that became inputs
std::span<const Conversion> math_conversions();     ///< broadcasting, activations, normalization
std::span<const Conversion> shape_conversions();    ///< resize, pad, slices, casts
std::span<const Conversion> other_conversions();    ///< recurrent ops, scan, machine learning
std::span<const Conversion> contrib_conversions();  ///< com.microsoft's fused operators

}  // namespace tenon::onnx
