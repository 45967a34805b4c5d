// What the op slices share: moving elements of any type, walking index spaces with strides, reading numbers as
// doubles, size limits, and small shape inference helpers. Pure functions; safe from any thread.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "graph/op.hpp"

namespace tenon {

/// Outputs of more elements than this are refused: they come from hostile or broken shapes.
inline constexpr int64_t kMaxElements = int64_t{1} << 34;

/// Allocates output i after checking its size.
Tensor& make_output(RefContext& ctx, size_t i, DType dtype, Dims dims);
/// Refuses shapes above kMaxElements; `what` says what is being made.
void check_output_size(const RefContext& ctx, const Dims& dims);

/// All elements as doubles, and the inverse with rounding, saturation as Tensor::set does it.
std::vector<double> to_doubles(const Tensor& tensor);
void store_doubles(Tensor& out, const std::vector<double>& values);

// --- moving elements -------------------------------------------------------------------------------------------

struct Bytes16 {
  uint64_t low, high;
};

/// Calls f(move), where move(i, j) copies element j of `from` to element i of `to` (same type). One instance of f
/// per storage width, so that loops inside f are fast.
template <class F>
void with_mover(Tensor& to, const Tensor& from, F&& f) {
  TENON_CHECK(to.dtype() == from.dtype());
  if (from.dtype() == DType::kString) {
    auto* out = to.mutable_data<std::string>();
    const auto* in = from.data<std::string>();
    return f([=](int64_t i, int64_t j) { out[i] = in[j]; });
  }
  auto typed = [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* out = reinterpret_cast<T*>(to.mutable_raw());
    const T* in = reinterpret_cast<const T*>(from.raw());
    f([=](int64_t i, int64_t j) { out[i] = in[j]; });
  };
  switch (bits(from.dtype())) {
    case 8: return typed(TypeTag<uint8_t>{});
    case 16: return typed(TypeTag<uint16_t>{});
    case 32: return typed(TypeTag<uint32_t>{});
    case 64: return typed(TypeTag<uint64_t>{});
    case 128: return typed(TypeTag<Bytes16>{});
    default: break;
  }
  int width = bits(from.dtype());
  unsigned mask = (1u << width) - 1;
  auto* out = reinterpret_cast<uint8_t*>(to.mutable_raw());
  const auto* in = reinterpret_cast<const uint8_t*>(from.raw());
  f([=](int64_t i, int64_t j) {
    unsigned code = (static_cast<unsigned>(in[j * width / 8]) >> (j * width % 8)) & mask;
    unsigned shift = static_cast<unsigned>(i * width % 8);
    uint8_t& cell = out[i * width / 8];
    cell = static_cast<uint8_t>((cell & ~(mask << shift)) | (code << shift));
  });
}

/// Fills `out` (already sized) with out[i...] = in[offset + sum of i * strides].
void strided_copy(Tensor& out, const Tensor& in, int64_t offset, const Ints& strides);

// --- walking ---------------------------------------------------------------------------------------------------

/// Calls f(offsets) for each row (run along the last axis) of the index space `dims`, where offsets[k] is the dot
/// product of the row's first index with strides[k]. A scalar is one row. Nothing is called for empty spaces.
template <size_t N, class F>
void walk_rows(const Dims& dims, const std::array<Ints, N>& strides, F&& f) {
  std::array<int64_t, N> at{};
  for (int64_t d : dims) {
    if (d == 0) return;
  }
  size_t outer = dims.empty() ? 0 : dims.size() - 1;
  Ints index(outer, 0);
  for (;;) {
    f(at);
    size_t axis = outer;
    while (axis > 0) {
      --axis;
      if (++index[axis] < dims[axis]) {
        for (size_t k = 0; k < N; ++k) at[k] += strides[k][axis];
        break;
      }
      for (size_t k = 0; k < N; ++k) at[k] -= strides[k][axis] * (dims[axis] - 1);
      index[axis] = 0;
      if (axis == 0) return;
    }
    if (outer == 0) return;
  }
}

/// As walk_rows for every element: f(offsets).
template <size_t N, class F>
void walk(const Dims& dims, const std::array<Ints, N>& strides, F&& f) {
  int64_t row = dims.empty() ? 1 : dims.back();
  walk_rows(dims, strides, [&](std::array<int64_t, N> at) {
    for (int64_t i = 0; i < row; ++i) {
      f(at);
      if (!dims.empty()) {
        for (size_t k = 0; k < N; ++k) at[k] += strides[k].back();
      }
    }
  });
}

/// Product of dims[from, to).
int64_t product(const Dims& dims, size_t from, size_t to);
Dim product(const Shape& shape, size_t from, size_t to);

// --- shape inference -------------------------------------------------------------------------------------------

/// Output 0 has the type of input 0.
void infer_same(InferContext& ctx);
/// Brings the axes into [0, rank) and rejects repeated ones.
Ints normalize_axes(const InferContext& ctx, const Ints& axes, int64_t rank);
Ints normalize_axes(const RefContext& ctx, const Ints& axes, int64_t rank);
/// A shape of `rank` dims that only the data decide.
Shape unknown_shape(const InferContext& ctx, size_t output, size_t rank);
/// Element type named by an ONNX number in attribute `name`.
DType dtype_attribute(const Node& node, std::string_view name, DType otherwise);

}  // namespace tenon
