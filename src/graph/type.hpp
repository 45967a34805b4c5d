// Type of a value in a graph: a tensor of an element type and a (possibly unknown or symbolic) shape, or one
// of ONNX's containers. Datum is the matching run-time value that references and control flow pass around.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tensor/dim.hpp"
#include "tensor/tensor.hpp"

namespace tenon {

struct Type {
  enum class Kind : uint8_t { kUnknown, kTensor, kSequence, kMap, kOptional };

  Kind kind = Kind::kUnknown;
  DType dtype = DType::kUndefined;      ///< element type of a tensor; key type of a map
  std::optional<Shape> shape;           ///< nothing: the rank is not known
  std::shared_ptr<const Type> element;  ///< of a sequence or optional; value type of a map

  static Type tensor(DType dtype, std::optional<Shape> shape = std::nullopt) {
    Type t;
    t.kind = Kind::kTensor;
    t.dtype = dtype;
    t.shape = std::move(shape);
    return t;
  }
  static Type tensor(const Tensor& value) { return tensor(value.dtype(), to_shape(value.dims())); }
  static Type container(Kind kind, Type element, DType key = DType::kUndefined) {
    Type t;
    t.kind = kind;
    t.dtype = key;
    t.element = std::make_shared<const Type>(std::move(element));
    return t;
  }

  bool is_tensor() const noexcept { return kind == Kind::kTensor; }
  bool is_static() const noexcept { return is_tensor() && shape && all_const(*shape); }
  int rank() const { return shape ? static_cast<int>(shape->size()) : -1; }  ///< -1: not known
  /// "float32[N,3,224,224]", "int64[...]" (rank not known), "seq(float32[2])", "map(int64,float32[])",
  /// "opt(...)", "?".
  std::string text() const;
};

bool operator==(const Type& a, const Type& b);

/// A run-time value: a tensor, a sequence of data, a map (keys and values as two tensors of one length), or
/// an optional (a sequence of none or one).
struct Datum {
  Type::Kind kind = Type::Kind::kTensor;
  Tensor tensor;                      ///< the tensor; values of a map
  Tensor keys;                        ///< keys of a map
  std::vector<Datum> items;           ///< of a sequence; an optional's content
  DType element = DType::kUndefined;  ///< element type of an empty sequence

  Datum() = default;
  Datum(Tensor t) : tensor(std::move(t)) {}  // NOLINT(google-explicit-constructor): a tensor is the usual datum
  bool is_tensor() const noexcept { return kind == Type::Kind::kTensor; }
  static Datum sequence(std::vector<Datum> items, DType element = DType::kUndefined) {
    Datum d;
    d.kind = Type::Kind::kSequence;
    d.items = std::move(items);
    d.element = element;
    return d;
  }
};

}  // namespace tenon
