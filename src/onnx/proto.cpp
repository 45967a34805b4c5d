#include "onnx/proto.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace tenon::onnx {
namespace {

constexpr size_t kNoLimit = SIZE_MAX;

std::pair<std::string_view, std::string_view> read_entry(Bytes bytes, const Where& where) {
  std::pair<std::string_view, std::string_view> out;
  Message m(bytes, where);
  while (m.next()) {
    if (m.field() == 1) out.first = m.text("key");
    if (m.field() == 2) out.second = m.text("value");
  }
  return out;
}

std::string_view default_domain(std::string_view domain) { return domain == "ai.onnx" ? std::string_view() : domain; }

void read_opset(Bytes bytes, const Where& where, Opsets& out) {
  std::string domain;
  int64_t version = 0;
  Message m(bytes, where);
  while (m.next()) {
    if (m.field() == 1) domain = default_domain(m.name("domain"));
    if (m.field() == 2) version = m.integer("version");
  }
  if (version < 1 || version > 100000)
    where.reject(fmt::format("opset version {} of domain '{}' does not exist", version, domain));
  if (out.size() >= 1000) where.reject("more than 1000 opset imports");
  for (const auto& [have, old] : out) {
    if (have == domain && old != version)
      where.reject(fmt::format("domain '{}' is imported twice, as opset {} and {}", domain, old, version));
  }
  out.emplace_back(std::move(domain), version);
}

}  // namespace

DType checked_dtype(int64_t number, const Where& where) {
  if (!is_known(number)) where.reject(fmt::format("{} is not an element type of ONNX", number));
  return static_cast<DType>(number);
}

TensorProto read_tensor(Bytes bytes, const Where& where) {
  TensorProto t;
  t.self = bytes;
  Message m(bytes, where);
  auto count = [&](TensorProto::Typed which, std::string_view name, Wire wire) {
    t.counts[which] += packed_count(m, name, wire);
  };
  while (m.next()) {
    switch (m.field()) {
      case 1: m.integers("dims", t.dims, kMaxRank); break;
      case 2: t.data_type = m.integer("data_type"); break;
      case 3: t.segmented = true; break;
      case 4: count(TensorProto::kFloat, "float_data", Wire::kFixed32); break;
      case 5: count(TensorProto::kInt32, "int32_data", Wire::kVarint); break;
      case 6:
        m.bytes("string_data");
        ++t.counts[TensorProto::kString];
        break;
      case 7: count(TensorProto::kInt64, "int64_data", Wire::kVarint); break;
      case 8: t.name = m.name("name"); break;
      case 9: t.raw = m.bytes("raw_data"); break;
      case 10: count(TensorProto::kDouble, "double_data", Wire::kFixed64); break;
      case 11: count(TensorProto::kUint64, "uint64_data", Wire::kVarint); break;
      case 13:
        if (t.external_data.size() >= 64) where.reject("external_data has more than 64 entries");
        t.external_data.push_back(read_entry(
            m.bytes("external_data"), where.child("external_data", static_cast<int64_t>(t.external_data.size()))));
        break;
      case 14: {
        int64_t location = m.integer("data_location");
        if (location != 0 && location != 1) where.reject(fmt::format("data_location {} does not exist", location));
        t.external = location == 1;
        break;
      }
      default: break;
    }
  }
  return t;
}

std::string_view read_tensor_name(Bytes bytes, const Where& where) {
  std::string_view out;
  Message m(bytes, where);
  while (m.next()) {
    if (m.field() == 8) out = m.name("name");
  }
  return out;
}

std::string_view read_sparse_name(Bytes bytes, const Where& where) {
  std::string_view out;
  Message m(bytes, where);
  while (m.next()) {
    if (m.field() == 1) out = read_tensor_name(m.bytes("values"), where.child("values"));
  }
  return out;
}

SparseProto read_sparse(Bytes bytes, const Where& where) {
  SparseProto out;
  Message m(bytes, where);
  while (m.next()) {
    if (m.field() == 1) out.values = m.bytes("values");
    if (m.field() == 2) out.indices = m.bytes("indices");
    if (m.field() == 3) m.integers("dims", out.dims, kMaxRank);
  }
  return out;
}

namespace {

// Files older than IR 2 leave the type out; then the one field that is there tells it.
void guess_type(AttrProto& a, int64_t type) {
  if (a.type == AttrProto::kUndefined) a.type = type;
}

}  // namespace

AttrProto read_attr(Bytes bytes, const Where& where) {
  AttrProto a;
  int64_t declared = 0;
  Message m(bytes, where);
  while (m.next()) {
    switch (m.field()) {
      case 1: a.name = m.name("name"); break;
      case 2: a.f = m.number("f"), guess_type(a, AttrProto::kFloat); break;
      case 3: a.i = m.integer("i"), guess_type(a, AttrProto::kInt); break;
      case 4: a.s = m.text("s"), guess_type(a, AttrProto::kString); break;
      case 5: a.t = m.bytes("t"), guess_type(a, AttrProto::kTensor); break;
      case 6: a.g = m.bytes("g"), guess_type(a, AttrProto::kGraph); break;
      case 7: m.numbers("floats", a.floats, kNoLimit), guess_type(a, AttrProto::kFloats); break;
      case 8: m.integers("ints", a.ints, kNoLimit), guess_type(a, AttrProto::kInts); break;
      case 9: a.strings.push_back(m.text("strings")), guess_type(a, AttrProto::kStrings); break;
      case 10: guess_type(a, AttrProto::kTensors); break;
      case 11: guess_type(a, AttrProto::kGraphs); break;
      case 14: a.type_proto = m.bytes("tp"), guess_type(a, AttrProto::kTypeProto); break;
      case 15: guess_type(a, AttrProto::kTypeProtos); break;
      case 20: declared = m.integer("type"); break;
      case 21: a.ref = m.name("ref_attr_name"); break;
      case 22: a.sparse = m.bytes("sparse_tensor"), guess_type(a, AttrProto::kSparse); break;
      case 23: guess_type(a, AttrProto::kSparses); break;
      default: break;
    }
  }
  if (a.name.empty()) where.reject("an attribute has no name");
  if (declared < 0 || declared > AttrProto::kTypeProtos)
    where.reject(fmt::format("attribute '{}' has type {}, which does not exist", a.name, declared));
  if (declared != 0) {
    // The value must be of the declared kind; an absent value is that kind's zero.
    if (a.ref.empty() && a.type != AttrProto::kUndefined && a.type != declared)
      where.reject(
          fmt::format("attribute '{}' is declared as type {} but holds a value of type {}", a.name, declared, a.type));
    a.type = declared;
  }
  if (a.type == AttrProto::kUndefined && a.ref.empty())
    where.reject(fmt::format("attribute '{}' has neither a type nor a value", a.name));
  return a;
}

NodeProto read_node(Bytes bytes, const Where& where) {
  NodeProto n;
  Message m(bytes, where);
  while (m.next()) {
    switch (m.field()) {
      case 1: n.inputs.push_back(m.name("input")); break;
      case 2: n.outputs.push_back(m.name("output")); break;
      case 3: n.name = m.name("name"); break;
      case 4: n.op = m.name("op_type"); break;
      case 5: n.attributes.push_back(m.bytes("attribute")); break;
      case 7: n.domain = default_domain(m.name("domain")); break;
      case 8: n.overload = m.name("overload"); break;
      default: break;
    }
  }
  return n;
}

GraphProto read_graph(Bytes bytes, const Where& where) {
  GraphProto g;
  Message m(bytes, where);
  while (m.next()) {
    switch (m.field()) {
      case 1: g.nodes.push_back(m.bytes("node")); break;
      case 2: g.name = m.name("name"); break;
      case 5: g.initializers.push_back(m.bytes("initializer")); break;
      case 11: g.inputs.push_back(m.bytes("input")); break;
      case 12: g.outputs.push_back(m.bytes("output")); break;
      case 13: g.value_info.push_back(m.bytes("value_info")); break;
      case 15: g.sparse_initializers.push_back(m.bytes("sparse_initializer")); break;
      default: break;
    }
  }
  return g;
}

FunctionProto read_function(Bytes bytes, const Where& where) {
  FunctionProto f;
  Message m(bytes, where);
  while (m.next()) {
    switch (m.field()) {
      case 1: f.name = m.name("name"); break;
      case 4: f.inputs.push_back(m.name("input")); break;
      case 5: f.outputs.push_back(m.name("output")); break;
      case 6: f.attributes.push_back(m.name("attribute")); break;
      case 7: f.nodes.push_back(m.bytes("node")); break;
      case 9: read_opset(m.bytes("opset_import"), where.child("opset_import"), f.opsets); break;
      case 10: f.domain = default_domain(m.name("domain")); break;
      case 11: f.defaults.push_back(m.bytes("attribute_proto")); break;
      case 13: f.overload = m.name("overload"); break;
      default: break;
    }
  }
  if (f.name.empty()) where.reject("a function has no name");
  return f;
}

ModelProto read_model(Bytes bytes, const Where& where) {
  ModelProto out;
  Message m(bytes, where);
  while (m.next()) {
    switch (m.field()) {
      case 1: out.ir_version = m.integer("ir_version"); break;
      case 2: out.producer_name = m.text("producer_name"); break;
      case 3: out.producer_version = m.text("producer_version"); break;
      case 4: out.domain = m.text("domain"); break;
      case 5: out.model_version = m.integer("model_version"); break;
      case 6: out.doc = m.text("doc_string"); break;
      case 7:
        if (out.graph) where.reject("the model has two graphs");
        out.graph = m.bytes("graph");
        break;
      case 8: read_opset(m.bytes("opset_import"), where.child("opset_import"), out.opsets); break;
      case 14: out.metadata.push_back(read_entry(m.bytes("metadata_props"), where.child("metadata_props"))); break;
      case 25: out.functions.push_back(m.bytes("functions")); break;
      default: break;
    }
  }
  return out;
}

ValueInfo read_value_info(Bytes bytes, const Where& where) {
  ValueInfo v;
  Message m(bytes, where);
  while (m.next()) {
    if (m.field() == 1) v.name = m.name("name");
    if (m.field() == 2) v.type = m.bytes("type");
  }
  return v;
}

namespace {

Dim read_dim(Bytes bytes, const Where& where, size_t axis, const DimSymbol& dim_symbol) {
  std::optional<int64_t> value;
  std::string_view param;
  Message m(bytes, where);
  while (m.next()) {
    if (m.field() == 1) value = m.integer("dim_value"), param = {};
    if (m.field() == 2) param = m.name("dim_param"), value.reset();
  }
  if (value && *value > kMaxElements) where.reject(fmt::format("dimension {} is larger than 2^40", *value));
  return value && *value >= 0 ? Dim(*value) : dim_symbol(param, axis);
}

Shape read_shape(Bytes bytes, const Where& where, const DimSymbol& dim_symbol) {
  Shape out;
  Message m(bytes, where);
  while (m.next()) {
    if (m.field() != 1) continue;
    if (out.size() >= kMaxRank) where.reject(fmt::format("shapes have at most {} dimensions", kMaxRank));
    out.push_back(
        read_dim(m.bytes("dim"), where.child("dim", static_cast<int64_t>(out.size())), out.size(), dim_symbol));
  }
  return out;
}

Type read_tensor_type(Bytes bytes, const Where& where, const DimSymbol& dim_symbol) {
  Type t = Type::tensor(DType::kUndefined);
  Message m(bytes, where);
  while (m.next()) {
    if (m.field() == 1) {
      int64_t number = m.integer("elem_type");
      if (number != 0) t.dtype = checked_dtype(number, where);
    }
    if (m.field() == 2) {
      Bytes shape = m.bytes("shape");
      if (dim_symbol) t.shape = read_shape(shape, where.child("shape"), dim_symbol);
    }
  }
  return t;
}

// A sequence or optional (elem_type at field 1), or a map (key_type at 1, value_type at 2).
Type read_container(Bytes bytes, const Where& where, Type::Kind kind, const DimSymbol& dim_symbol) {
  Type element;
  DType key = DType::kUndefined;
  bool map = kind == Type::Kind::kMap;
  Message m(bytes, where);
  while (m.next()) {
    if (map && m.field() == 1) key = checked_dtype(m.integer("key_type"), where);
    if (m.field() == (map ? 2u : 1u))
      element = read_type(m.bytes("elem_type"), where.child(map ? "value_type" : "elem_type"), dim_symbol);
  }
  return Type::container(kind, std::move(element), key);
}

}  // namespace

Type read_type(Bytes bytes, const Where& where, const DimSymbol& dim_symbol) {
  Type out;
  Message m(bytes, where);
  while (m.next()) {
    switch (m.field()) {
      case 1: out = read_tensor_type(m.bytes("tensor_type"), where.child("tensor_type"), dim_symbol); break;
      case 4:
        out = read_container(m.bytes("sequence_type"), where.child("sequence_type"), Type::Kind::kSequence, dim_symbol);
        break;
      case 5: out = read_container(m.bytes("map_type"), where.child("map_type"), Type::Kind::kMap, dim_symbol); break;
      case 9:
        out = read_container(m.bytes("optional_type"), where.child("optional_type"), Type::Kind::kOptional, dim_symbol);
        break;
      case 7: fail(Code::kUnsupported, "{}: opaque types are not supported", where.text());
      case 8: fail(Code::kUnsupported, "{}: values of sparse tensor type are not supported", where.text());
      default: break;
    }
  }
  return out;
}

}  // namespace tenon::onnx
