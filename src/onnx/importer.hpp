// The importer's state: one object an import. See import.hpp for what comes out.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "graph/op.hpp"
#include "onnx/convert.hpp"
#include "onnx/import.hpp"
#include "onnx/proto.hpp"
#include "onnx/weights.hpp"

namespace tenon::onnx {

/// Values of a function's attributes at a call; those without value are absent.
using AttrEnv = std::map<std::string, Attr, std::less<>>;

/// A value of an outer graph and what stands for it inside.
struct Capture {
  ValueId outer, inner;
};

/// A graph being filled: what is shared by the scopes (functions) that write into it.
struct Build {
  Graph& graph;
  std::unordered_set<std::string> names;  ///< in use in this graph
  std::vector<Capture> captures;
  int64_t next = 0;  ///< for fresh names
};

/// Names in sight. A body's scope has the enclosing one as parent; a function's scope has none.
struct Scope {
  struct Name {
    ValueId id = kNone;  ///< kNone: an optional input left out, or a constant not made yet
    enum Kind : uint8_t { kValue, kInitializer, kSparse, kAttribute } kind = kValue;
    Bytes proto{};                ///< of a constant not made yet
    std::optional<Tensor> value;  ///< of a Constant node not made yet
  };
  Build& build;
  Scope* parent = nullptr;
  const Opsets& opsets;
  const AttrEnv* env = nullptr;  ///< of the function this is in
  std::string prefix;            ///< of names in an inlined function
  std::unordered_map<std::string_view, Name> names;
  const GraphProto* proto = nullptr;
  std::optional<std::unordered_map<std::string_view, DType>> hints;  ///< declared element types, read when asked for
};

/// A sub-graph of a node, imported.
struct Body {
  std::string attribute;
  GraphPtr graph;
  size_t own_inputs;
  std::vector<Capture> captures;
};

class Importer {
 public:
  Importer(Bytes bytes, std::shared_ptr<const void> owner, std::optional<std::string> directory,
           const ImportOptions& options)
      : bytes_(bytes), weights_(std::move(owner), std::move(directory)), options_(options) {}
  GraphPtr run();

 private:
  struct Unknown {
    int64_t count = 0;
    std::string first_node;
    int64_t version = 0;
  };
  using Order = std::vector<size_t>;

  // import.cpp: the model
  void read_functions(const ModelProto& model, const Where& where);
  void set_metadata(Graph& graph, const ModelProto& model, const GraphProto& proto) const;
  [[noreturn]] void fail_unknown(const ModelProto& model) const;

  // import_graph.cpp: graphs
  void fill_graph(Scope& scope, const GraphProto& proto, const Where& where, bool main);
  void add_inputs(Scope& scope, const GraphProto& proto, const Where& where, bool main);
  void add_initializers(Scope& scope, const GraphProto& proto, const Where& where);
  void add_outputs(Scope& scope, const GraphProto& proto, const Where& where, bool main);
  Body import_body(Scope& outer, Bytes proto, std::string attribute, const Where& where);
  void import_nodes(Scope& scope, const std::vector<Bytes>& nodes, const Where& where);
  Order order_nodes(const Scope& scope, const std::vector<Bytes>& nodes, const Where& where);
  const std::vector<std::string_view>& free_names(Bytes graph, const Where& where);
  std::vector<std::string_view> needed_names(const NodeProto& node, const Where& where);
  DimSymbol symbols_of(std::string_view input) const;
  Dim named_dim(std::string_view param) const;

  // import_node.cpp: nodes
  void import_node(Scope& scope, const NodeProto& node, const Where& where);
  bool import_constant(Scope& scope, const NodeProto& node, const Where& where);
  void import_op(Scope& scope, const NodeProto& node, const Where& where);
  void import_call(Scope& scope, const NodeProto& node, size_t function, const Where& where);
  std::optional<Attr> import_attr(Scope& scope, const AttrProto& proto, const Where& where);
  void attach_bodies(NodeEdit& edit, std::vector<Body>& bodies);
  void finish_node(Scope& scope, NodeEdit& edit, const NodeProto& node);
  NodeId place_node(Scope& scope, std::string op, std::vector<ValueId> inputs, std::vector<std::string> outputs,
                    Attrs attrs, std::string name);
  void check_op(const Op& op, const Node& node) const;
  void note_unknown(const Scope& scope, const std::string& op, const std::string& node);
  ValueId find(Scope& scope, std::string_view name, const Where& where);
  std::optional<ValueId> try_find(Scope& scope, std::string_view name, const Where& where);
  void define(Scope& scope, std::string_view name, ValueId id, const Where& where);
  DType hint(Scope& scope, ValueId id) const;
  std::string unique_name(Build& build, std::string_view stem) const;
  void part_names(Build& build) const;
  std::string output_name(Scope& scope, std::string_view name) const;
  int64_t opset(const Scope& scope, std::string_view domain) const;
  void spend(int64_t& counter, int64_t amount, int64_t limit, std::string_view what) const;

  Bytes bytes_;
  Weights weights_;
  const ImportOptions& options_;
  std::vector<FunctionProto> functions_;
  std::map<std::string, size_t, std::less<>> function_index_;  ///< by "domain:name:overload"
  std::vector<size_t> call_stack_;
  std::unordered_map<const std::byte*, std::vector<std::string_view>> free_names_;
  std::set<std::string, std::less<>> input_symbols_;  ///< lone symbols among the model's input dimensions
  std::map<std::string, Unknown> unknown_;
  int64_t nodes_ = 0, inlined_nodes_ = 0, names_ = 0, attribute_bytes_ = 0, calls_ = 0;
};

}  // namespace tenon::onnx
