// The messages of an ONNX file as views into its bytes. Containers (a graph's nodes and initializers) are kept as
// undecoded spans and decoded one at a time, so memory stays proportional to what is in use. All of it is valid only
// while the bytes are.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "graph/type.hpp"
#include "onnx/wire.hpp"

namespace tenon::onnx {

using Names = std::vector<std::string_view>;
/// Domain ("" is ONNX's own) to version.
using Opsets = std::vector<std::pair<std::string, int64_t>>;

inline constexpr size_t kMaxRank = 32;
inline constexpr int64_t kMaxElements = int64_t{1} << 40;

struct TensorProto {
  // Typed fields in the order of kTypedFields.
  enum Typed { kFloat, kInt32, kString, kInt64, kDouble, kUint64, kTypedCount };

  Bytes self;
  std::string_view name;
  Dims dims;
  int64_t data_type = 0;
  std::optional<Bytes> raw;
  std::array<int64_t, kTypedCount> counts{};  ///< entries of each typed field
  bool segmented = false;
  bool external = false;
  std::vector<std::pair<std::string_view, std::string_view>> external_data;
};

struct SparseProto {
  Bytes values, indices;
  Dims dims;
};

struct AttrProto {
  enum Type : int64_t {
    kUndefined = 0,
    kFloat,
    kInt,
    kString,
    kTensor,
    kGraph,
    kFloats,
    kInts,
    kStrings,
    kTensors,
    kGraphs,
    kSparse,
    kSparses,
    kTypeProto,
    kTypeProtos
  };
  std::string_view name, ref;
  int64_t type = kUndefined;
  float f = 0;
  int64_t i = 0;
  std::string_view s;
  Bytes t, g, sparse, type_proto;
  std::vector<double> floats;
  std::vector<int64_t> ints;
  std::vector<std::string_view> strings;
};

struct NodeProto {
  std::string_view name, op, domain, overload;
  Names inputs, outputs;
  std::vector<Bytes> attributes;
};

struct GraphProto {
  std::string_view name;
  std::vector<Bytes> nodes, initializers, sparse_initializers, inputs, outputs, value_info;
};

struct FunctionProto {
  std::string_view name, domain, overload;
  Names inputs, outputs, attributes;
  std::vector<Bytes> defaults;  ///< attribute_proto
  std::vector<Bytes> nodes;
  Opsets opsets;
};

struct ModelProto {
  int64_t ir_version = 0, model_version = 0;
  std::string_view producer_name, producer_version, domain, doc;
  std::optional<Bytes> graph;
  Opsets opsets;
  std::vector<std::pair<std::string_view, std::string_view>> metadata;
  std::vector<Bytes> functions;
};

struct ValueInfo {
  std::string_view name;
  Bytes type;  ///< TypeProto; empty when not given
};

TensorProto read_tensor(Bytes bytes, const Where& where);
SparseProto read_sparse(Bytes bytes, const Where& where);
AttrProto read_attr(Bytes bytes, const Where& where);
NodeProto read_node(Bytes bytes, const Where& where);
GraphProto read_graph(Bytes bytes, const Where& where);
FunctionProto read_function(Bytes bytes, const Where& where);
ModelProto read_model(Bytes bytes, const Where& where);
ValueInfo read_value_info(Bytes bytes, const Where& where);

/// The name of a TensorProto or SparseTensorProto (that of its values) without reading the rest.
std::string_view read_tensor_name(Bytes bytes, const Where& where);
std::string_view read_sparse_name(Bytes bytes, const Where& where);

/// A TypeProto. `dim_symbol(param, axis)` makes the dimension of a named (or, with "", unnamed) axis; with no function
/// given, shapes are left out.
using DimSymbol = std::function<Dim(std::string_view param, size_t axis)>;
Type read_type(Bytes bytes, const Where& where, const DimSymbol& dim_symbol);

/// A data type number as a DType; rejects what ONNX does not define.
DType checked_dtype(int64_t number, const Where& where);

}  // namespace tenon::onnx
