#include "onnx/weights.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/checked.hpp"

namespace tenon::onnx {
namespace {

constexpr std::array<std::string_view, TensorProto::kTypedCount> kTypedNames = {
    "float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data"};

// The typed field that holds elements of a type.
TensorProto::Typed typed_field(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
    case DType::kComplex64: return TensorProto::kFloat;
    case DType::kFloat64:
    case DType::kComplex128: return TensorProto::kDouble;
    case DType::kString: return TensorProto::kString;
    case DType::kInt64: return TensorProto::kInt64;
    case DType::kUInt32:
    case DType::kUInt64: return TensorProto::kUint64;
    default: return TensorProto::kInt32;
  }
}

size_t alignment_of(DType dtype) {
  switch (dtype) {
    case DType::kComplex64: return 4;
    case DType::kComplex128: return 8;
    default: return static_cast<size_t>(std::max(bits(dtype) / 8, 1));
  }
}

// Entries of the typed field for `count` elements: sub-byte types are packed into bytes, complex ones are pairs.
int64_t entries_for(DType dtype, int64_t count) {
  if (dtype == DType::kComplex64 || dtype == DType::kComplex128) return checked_mul<int64_t>(count, 2);
  return bits(dtype) < 8 ? byte_size(dtype, count) : count;
}

template <class T>
void store(std::byte*& out, T value) {
  std::memcpy(out, &value, sizeof(T));
  out += sizeof(T);
}

// Writes the entries of the typed fields, in file order, one element of `width` bytes each.
void decode_entries(const TensorProto& t, TensorProto::Typed field, DType dtype, std::byte* out, const Where& where) {
  constexpr std::array<uint32_t, TensorProto::kTypedCount> kNumbers = {4, 5, 6, 7, 10, 11};
  constexpr std::array<Wire, TensorProto::kTypedCount> kWires = {Wire::kFixed32, Wire::kVarint,  Wire::kBytes,
                                                                 Wire::kVarint,  Wire::kFixed64, Wire::kVarint};
  int width = field == TensorProto::kFloat ? 4 : field == TensorProto::kDouble ? 8 : std::max(bits(dtype) / 8, 1);
  Message m(t.self, where);
  while (m.next()) {
    if (m.field() != kNumbers[field]) continue;
    for_each_packed(m, kTypedNames[field], kWires[field], [&](uint64_t v) {
      if (dtype == DType::kBool) v = v != 0;
      switch (width) {
        case 1: store(out, static_cast<uint8_t>(v)); break;
        case 2: store(out, static_cast<uint16_t>(v)); break;
        case 4: store(out, static_cast<uint32_t>(v)); break;
        default: store(out, v); break;
      }
    });
  }
}

void decode_strings(const TensorProto& t, Tensor& out, const Where& where) {
  auto* at = out.mutable_data<std::string>();
  Message m(t.self, where);
  while (m.next()) {
    if (m.field() == 6) *at++ = m.text("string_data");
  }
}

}  // namespace

Tensor Weights::tensor(Bytes proto, const Where& where) {
  if (auto at = shared_.find(proto.data()); sharing_ && at != shared_.end()) return at->second;
  Tensor out = decode(read_tensor(proto, where), where);
  if (sharing_) shared_.emplace(proto.data(), out);
  return out;
}

Tensor Weights::decode(const TensorProto& t, const Where& where) {
  Where named = where;
  std::string label;
  if (!t.name.empty()) {
    label = fmt::format("{} '{}'", where.field, t.name);
    named.field = label;
  }
  DType dtype = checked_dtype(t.data_type, named);
  if (t.segmented) fail(Code::kUnsupported, "{}: tensors cut into segments are not supported", named.text());
  int64_t count = element_count(t.dims);
  if (count > kMaxElements) named.reject(fmt::format("shape {} has more than 2^40 elements", dims_text(t.dims)));
  bool typed = std::any_of(t.counts.begin(), t.counts.end(), [](int64_t n) { return n != 0; });
  if (t.external) {
    if (t.raw || typed) named.reject("the tensor has data in the file as well as in an external one");
    return external(t, dtype, named);
  }
  if (!t.external_data.empty()) named.reject("external_data is set but data_location is not EXTERNAL");
  if (t.raw && typed) named.reject("the tensor has both raw_data and a typed field");
  if (!t.raw) return decode_typed(t, dtype, named);
  if (dtype == DType::kString) named.reject("strings cannot be raw_data");
  return from_bytes(t, dtype, *t.raw, owner_, named);
}

Tensor Weights::decode_typed(const TensorProto& t, DType dtype, const Where& where) {
  TensorProto::Typed field = typed_field(dtype);
  for (size_t i = 0; i < t.counts.size(); ++i) {
    if (t.counts[i] != 0 && i != field)
      where.reject(fmt::format("a {} tensor has its values in {} where {} belongs", tenon::name(dtype), kTypedNames[i],
                               kTypedNames[field]));
  }
  int64_t needed = entries_for(dtype, element_count(t.dims));
  if (t.counts[field] != needed)
    where.reject(fmt::format("{} has {} entries where shape {} of {} needs {}", kTypedNames[field], t.counts[field],
                             dims_text(t.dims), tenon::name(dtype), needed));
  Tensor out = Tensor::uninitialized(dtype, t.dims);
  if (dtype == DType::kString) {
    decode_strings(t, out, where);
  } else {
    decode_entries(t, field, dtype, out.mutable_raw(), where);
  }
  return out;
}

Tensor Weights::from_bytes(const TensorProto& t, DType dtype, Bytes bytes, std::shared_ptr<const void> owner,
                           const Where& where) {
  int64_t needed = byte_size(dtype, element_count(t.dims));
  if (static_cast<int64_t>(bytes.size()) != needed)
    where.reject(fmt::format("raw_data has {} bytes where shape {} of {} needs {}", bytes.size(), dims_text(t.dims),
                             tenon::name(dtype), needed));
  // A bool other than 0 and 1 must never be read as a C++ bool.
  bool odd_bools =
      dtype == DType::kBool && std::any_of(bytes.begin(), bytes.end(), [](std::byte b) { return b > std::byte{1}; });
  bool aligned = std::bit_cast<uintptr_t>(bytes.data()) % alignment_of(dtype) == 0;
  if (aligned && !odd_bools) return Tensor::view(dtype, t.dims, bytes, std::move(owner));
  Tensor out = Tensor::uninitialized(dtype, t.dims);
  if (!bytes.empty()) std::memcpy(out.mutable_raw(), bytes.data(), bytes.size());
  if (odd_bools) {
    for (size_t i = 0; i < bytes.size(); ++i) out.mutable_raw()[i] = std::byte{bytes[i] != std::byte{0}};
  }
  return out;
}

namespace {

// The flat places of the values: linear indices [nnz], or coordinates [nnz, rank]. Strictly increasing.
std::vector<int64_t> flat_indices(const Tensor& indices, const Dims& dims, int64_t nnz, const Where& where) {
  int64_t total = element_count(dims);
  bool linear = indices.rank() == 1;
  bool fits = indices.dtype() == DType::kInt64 && (linear || indices.rank() == 2) && indices.dims()[0] == nnz &&
              (linear || indices.dims()[1] == static_cast<int64_t>(dims.size()));
  if (!fits) where.reject(fmt::format("indices of shape {} do not fit {} values", dims_text(indices.dims()), nnz));
  std::vector<int64_t> out;
  const auto* at = indices.data<int64_t>();
  for (int64_t i = 0; i < nnz; ++i) {
    int64_t flat = linear ? *at++ : 0;
    for (size_t d = 0; !linear && d < dims.size(); ++d, ++at) {
      if (*at < 0 || *at >= dims[d]) where.reject(fmt::format("index {} is outside dimension {}", *at, dims[d]));
      flat = flat * dims[d] + *at;
    }
    if (flat < 0 || flat >= total) where.reject(fmt::format("index {} is outside {} elements", flat, total));
    if (!out.empty() && flat <= out.back()) where.reject("indices are not in increasing order");
    out.push_back(flat);
  }
  return out;
}

}  // namespace

Tensor Weights::sparse(Bytes proto, const Where& where) {
  if (auto at = shared_.find(proto.data()); sharing_ && at != shared_.end()) return at->second;
  SparseProto s = read_sparse(proto, where);
  Tensor values = tensor(s.values, where.child("values"));
  if (values.rank() != 1) where.reject("the values of a sparse tensor must be a list");
  int64_t bytes = byte_size(values.dtype(), element_count(s.dims));
  sparse_bytes_ = checked_add(sparse_bytes_, bytes);
  if (sparse_bytes_ > kMaxSparseBytes)
    where.reject(
        fmt::format("sparse tensors of the model would need more than {} bytes when made dense; store this one "
                    "of shape {} as a dense tensor",
                    kMaxSparseBytes, dims_text(s.dims)));
  Tensor indices =
      s.indices.empty() && values.size() == 0 ? Tensor::of_ints({}) : tensor(s.indices, where.child("indices"));
  std::vector<int64_t> places = flat_indices(indices, s.dims, values.size(), where);
  Tensor out = Tensor::allocate(values.dtype(), s.dims);
  int width = bits(values.dtype()) / 8;
  for (size_t i = 0; i < places.size(); ++i) {
    if (values.dtype() == DType::kString) {
      out.mutable_data<std::string>()[places[i]] = values.data<std::string>()[i];
    } else if (width == 0) {
      out.set(places[i], values.at(static_cast<int64_t>(i)));
    } else {
      std::memcpy(out.mutable_raw() + places[i] * width, values.raw() + static_cast<int64_t>(i) * width,
                  static_cast<size_t>(width));
    }
  }
  if (sharing_) shared_.emplace(proto.data(), out);
  return out;
}

}  // namespace tenon::onnx
