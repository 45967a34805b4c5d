// A tiny protobuf writer and ONNX messages made with it, for the importer's tests. Independent of the code under test.
#pragma once

#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "onnx/import.hpp"

namespace tenon::onnx_test {

inline std::string varint(uint64_t v) {
  std::string out;
  for (; v >= 0x80; v >>= 7) out += static_cast<char>(v | 0x80);
  return out + static_cast<char>(v);
}
inline std::string number(int field, int64_t v) {
  return varint(static_cast<uint64_t>(field) << 3) + varint(static_cast<uint64_t>(v));
}
inline std::string blob(int field, const std::string& bytes) {
  return varint(static_cast<uint64_t>(field) << 3 | 2) + varint(bytes.size()) + bytes;
}
inline std::string fixed32(int field, float v) {
  std::string out(4, '\0');
  std::memcpy(out.data(), &v, 4);
  return varint(static_cast<uint64_t>(field) << 3 | 5) + out;
}
template <class T>
std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

using Dims = std::vector<int64_t>;

inline std::string tensor_head(const std::string& name, int type, const Dims& dims) {
  std::string out;
  for (int64_t d : dims) out += number(1, d);
  return out + number(2, type) + (name.empty() ? "" : blob(8, name));
}
inline std::string tensor(const std::string& name, int type, const Dims& dims, const std::string& raw_data) {
  return tensor_head(name, type, dims) + blob(9, raw_data);
}
inline std::string floats(const std::string& name, const Dims& dims, const std::vector<float>& v) {
  return tensor(name, 1, dims, raw(v));
}
inline std::string int64s(const std::string& name, const std::vector<int64_t>& v) {
  return tensor(name, 7, {static_cast<int64_t>(v.size())}, raw(v));
}

inline std::string dim(int64_t value) { return blob(1, number(1, value)); }
inline std::string dim(const std::string& param) { return blob(1, param.empty() ? "" : blob(2, param)); }
/// A ValueInfoProto; `dims` are Dimension fields one after another.
inline std::string value(const std::string& name, int type, const std::string& dims) {
  return blob(1, name) + blob(2, blob(1, number(1, type) + blob(2, dims)));
}
inline std::string value(const std::string& name) { return blob(1, name); }

inline std::string attr_int(const std::string& name, int64_t v) { return blob(1, name) + number(3, v) + number(20, 2); }
inline std::string attr_float(const std::string& name, float v) {
  return blob(1, name) + fixed32(2, v) + number(20, 1);
}
inline std::string attr_string(const std::string& name, const std::string& v) {
  return blob(1, name) + blob(4, v) + number(20, 3);
}
inline std::string attr_tensor(const std::string& name, const std::string& v) {
  return blob(1, name) + blob(5, v) + number(20, 4);
}
inline std::string attr_graph(const std::string& name, const std::string& v) {
  return blob(1, name) + blob(6, v) + number(20, 5);
}
inline std::string attr_ints(const std::string& name, const std::vector<int64_t>& v) {
  std::string out = blob(1, name);
  for (int64_t i : v) out += number(8, i);
  return out + number(20, 7);
}
inline std::string attr_ref(const std::string& name, const std::string& ref, int type) {
  return blob(1, name) + blob(21, ref) + number(20, type);
}

using Names = std::vector<std::string>;

inline std::string node(const std::string& op, const Names& in, const Names& out, const Names& attrs = {},
                        const std::string& domain = "", const std::string& name = "") {
  std::string n;
  for (const auto& i : in) n += blob(1, i);
  for (const auto& o : out) n += blob(2, o);
  if (!name.empty()) n += blob(3, name);
  n += blob(4, op);
  for (const auto& a : attrs) n += blob(5, a);
  return n + (domain.empty() ? "" : blob(7, domain));
}

struct G {
  Names nodes, inputs, outputs, initializers, sparse;
  std::string bytes() const {
    std::string out = blob(2, "g");
    for (const auto& n : nodes) out += blob(1, n);
    for (const auto& i : initializers) out += blob(5, i);
    for (const auto& i : inputs) out += blob(11, i);
    for (const auto& o : outputs) out += blob(12, o);
    for (const auto& s : sparse) out += blob(15, s);
    return out;
  }
};

inline std::string opset(const std::string& domain, int64_t version) {
  return blob(8, (domain.empty() ? "" : blob(1, domain)) + number(2, version));
}
inline std::string model(const std::string& graph, int64_t version = 21, const std::string& more = "") {
  return number(1, 10) + blob(7, graph) + opset("", version) + more;
}
inline std::string model(const G& graph, int64_t version = 21, const std::string& more = "") {
  return model(graph.bytes(), version, more);
}

inline GraphPtr import(const std::string& bytes, const onnx::ImportOptions& options = {}) {
  return onnx::import_bytes(std::as_bytes(std::span(bytes.data(), bytes.size())), nullptr, options);
}
inline GraphPtr import_loosely(const std::string& bytes) {
  onnx::ImportOptions options;
  options.allow_unknown_ops = true;
  return import(bytes, options);
}

/// The message of the error that importing gives, with its notes; "" when there is none.
inline std::string error_of(const std::string& bytes, Code* code = nullptr) {
  try {
    import_loosely(bytes);
  } catch (const Error& e) {
    if (code != nullptr) *code = e.code();
    return e.what();
  }
  return "";
}

/// x:float32[2] through `nodes` to y.
inline G line(Names nodes, Names initializers = {}) {
  return {std::move(nodes), {value("x", 1, dim(2))}, {value("y", 1, dim(2))}, std::move(initializers), {}};
}

/// The operators in order of use: "Relu Add".
inline std::string ops_of(const Graph& g) {
  std::string out;
  for (NodeId id : g.order()) out += (out.empty() ? "" : " ") + g.node(id).op;
  return out;
}
inline const Node& only(const Graph& g, std::string_view op) {
  for (NodeId id : g.order()) {
    if (g.node(id).op == op) return g.node(id);
  }
  fail(Code::kNotFound, "no {} in: {}", op, ops_of(g));
}
inline const Tensor& constant(const Graph& g, ValueId id) {
  expect(id != kNone && g.value(id).is_constant(), "the value is no constant");
  return g.value(id).constant;
}

}  // namespace tenon::onnx_test
