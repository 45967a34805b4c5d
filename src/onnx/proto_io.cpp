#include "onnx/proto_io.hpp"

#include "base/error.hpp"
#include "onnx/weights.hpp"

namespace tenon::onnx {
namespace {

Datum read_datum(Bytes bytes, Weights& weights, const Type& type, const Where& where);

Type element_of(const Type& type) { return type.element != nullptr ? *type.element : Type{}; }

/// The field of a container that holds elements of a kind. SequenceProto and OptionalProto number them alike.
uint32_t field_of(const Type& element) {
  switch (element.kind) {
    case Type::Kind::kSequence: return 5;
    case Type::Kind::kMap: return 6;
    case Type::Kind::kOptional: return 7;
    default: return 3;
  }
}

// SequenceProto: name 1, elem_type 2, tensor_values 3, sparse 4, sequence_values 5, map_values 6, optional_values 7.
// OptionalProto: name 1, elem_type 2, tensor_value 3, sparse 4, sequence_value 5, map_value 6, optional_value 7.
Datum read_container(Bytes bytes, Weights& weights, const Type& type, const Where& where) {
  Type element = element_of(type);
  Datum out = Datum::sequence({}, element.dtype);
  out.kind = type.kind;
  uint32_t wanted = field_of(element);
  Message m(bytes, where);
  while (m.next()) {
    if (m.field() < 3 || m.field() > 7) continue;
    if (m.field() == 4) fail(Code::kUnsupported, "{}: sparse tensors are not supported here", where.text());
    if (m.field() != wanted)
      where.reject(fmt::format("field {} holds values of another kind than {}", m.field(), type.text()));
    Where at = where.child("values", static_cast<int64_t>(out.items.size()));
    out.items.push_back(read_datum(m.bytes("values"), weights, element, at));
  }
  if (type.kind == Type::Kind::kOptional && out.items.size() > 1) where.reject("an optional holds more than one value");
  return out;
}

// MapProto: name 1, key_type 2, keys 3, string_keys 4, values 5 (a SequenceProto). Integer keys are one of ONNX's
// integer types.
Datum read_map(Bytes bytes, Weights& weights, const Type& type, const Where& where) {
  std::vector<int64_t> keys;
  std::vector<std::string> string_keys;
  int64_t key_type = 0;
  Bytes values;
  Message m(bytes, where);
  while (m.next()) {
    switch (m.field()) {
      case 2: key_type = m.integer("key_type"); break;
      case 3: m.integers("keys", keys, SIZE_MAX); break;
      case 4: string_keys.emplace_back(m.text("string_keys")); break;
      case 5: values = m.bytes("values"); break;
      default: break;
    }
  }
  DType dtype = checked_dtype(key_type, where);
  Datum out;
  out.kind = Type::Kind::kMap;
  auto count = static_cast<int64_t>(dtype == DType::kString ? string_keys.size() : keys.size());
  out.keys = Tensor::allocate(dtype, {count});
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    if (dtype == DType::kString) {
      out.keys.mutable_data<std::string>()[i] = string_keys[i];
    } else {
      out.keys.set_int(static_cast<int64_t>(i), keys[i]);
    }
  }
  Type list = Type::container(Type::Kind::kSequence, Type::tensor(element_of(type).dtype));
  Datum items = read_container(values, weights, list, where.child("values"));
  if (static_cast<int64_t>(items.items.size()) != count)
    where.reject(fmt::format("a map has {} keys and {} values", count, items.items.size()));
  DType element = items.items.empty() ? element_of(type).dtype : items.items[0].tensor.dtype();
  if (element == DType::kUndefined) element = DType::kFloat32;
  out.tensor = Tensor::allocate(element, {count});
  for (int64_t i = 0; i < count; ++i) {
    const Tensor& t = items.items[static_cast<size_t>(i)].tensor;
    if (t.size() != 1 || t.dtype() != element) where.reject("the values of a map must be single numbers of one type");
    if (element == DType::kString) {
      out.tensor.mutable_data<std::string>()[i] = t.data<std::string>()[0];
    } else if (is_floating(element)) {
      out.tensor.set(i, t.at(0));
    } else {
      out.tensor.set_int(i, t.int_at(0));
    }
  }
  return out;
}

Datum read_datum(Bytes bytes, Weights& weights, const Type& type, const Where& where) {
  switch (type.kind) {
    case Type::Kind::kSequence:
    case Type::Kind::kOptional: return read_container(bytes, weights, type, where);
    case Type::Kind::kMap: return read_map(bytes, weights, type, where);
    default: return weights.tensor(bytes, where);
  }
}

}  // namespace

Datum read_tensor_pb(std::span<const std::byte> bytes, std::shared_ptr<const void> owner, const Type& type) {
  if (owner == nullptr) {
    auto copy = std::make_shared<std::vector<std::byte>>(bytes.begin(), bytes.end());
    bytes = *copy;
    owner = std::move(copy);
  }
  Weights weights(std::move(owner), std::nullopt);
  Where where{nullptr, "value", -1, 0};
  return read_datum(bytes, weights, type, where);
}

Datum read_tensor_pb(const std::string& path, const Type& type) {
  auto file = MappedFile::open(path);
  try {
    return read_tensor_pb(file->bytes(), file, type);
  } catch (Error& e) {
    e.note(fmt::format("while reading '{}'", path));
    throw;
  }
}

}  // namespace tenon::onnx
