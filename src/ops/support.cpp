#include "ops/support.hpp"

#include <algorithm>

#include "graph/limits.hpp"

namespace tenon {

static_assert(kMaxElements == kMaxTensorElements);

void check_output_size(const RefContext& ctx, const Dims& dims) {
  ctx.require(element_count(dims) <= kMaxElements, "the output of shape {} has more elements than the limit of {}",
              dims_text(dims), kMaxElements);
}

Tensor& make_output(RefContext& ctx, size_t i, DType dtype, Dims dims) {
  check_output_size(ctx, dims);
  return ctx.make(i, dtype, std::move(dims));
}

std::vector<double> to_doubles(const Tensor& tensor) {
  std::vector<double> out(static_cast<size_t>(tensor.size()));
  bool packed = bits(tensor.dtype()) < 8 || (is_floating(tensor.dtype()) && bits(tensor.dtype()) == 8);
  if (packed) {
    for (int64_t i = 0; i < tensor.size(); ++i) out[static_cast<size_t>(i)] = tensor.at(i);
    return out;
  }
  visit_numeric(tensor.dtype(), "reading numbers", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* in = tensor.data<T>();
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<double>(in[i]);
  });
  return out;
}

void store_doubles(Tensor& out, const std::vector<double>& values) {
  TENON_CHECK(static_cast<int64_t>(values.size()) == out.size());
  if (out.dtype() == DType::kFloat32) {
    float* to = out.mutable_data<float>();
    for (size_t i = 0; i < values.size(); ++i) to[i] = static_cast<float>(values[i]);
    return;
  }
  for (size_t i = 0; i < values.size(); ++i) out.set(static_cast<int64_t>(i), values[i]);
}

void strided_copy(Tensor& out, const Tensor& in, int64_t offset, const Ints& strides) {
  const Dims& dims = out.dims();
  int64_t row = dims.empty() ? 1 : dims.back(), step = dims.empty() ? 0 : strides.back();
  with_mover(out, in, [&](auto move) {
    int64_t at = 0;
    walk_rows<1>(dims, {strides}, [&](std::array<int64_t, 1> from) {
      for (int64_t i = 0; i < row; ++i) move(at++, offset + from[0] + i * step);
    });
  });
}

int64_t product(const Dims& dims, size_t from, size_t to) {
  return element_count(std::span(dims).subspan(from, to - from));
}

Dim product(const Shape& shape, size_t from, size_t to) {
  Dim out(1);
  for (size_t i = from; i < to; ++i) out = out * shape[i];
  return out;
}

void infer_same(InferContext& ctx) { ctx.output(0, ctx.type(0)); }

namespace {

template <class Context>
Ints normalize(const Context& ctx, const Ints& axes, int64_t rank) {
  Ints out;
  for (int64_t a : axes) {
    int64_t axis = ctx.axis(a, rank);
    ctx.require(std::find(out.begin(), out.end(), axis) == out.end(), "axis {} is given twice", a);
    out.push_back(axis);
  }
  return out;
}

}  // namespace

Ints normalize_axes(const InferContext& ctx, const Ints& axes, int64_t rank) { return normalize(ctx, axes, rank); }
Ints normalize_axes(const RefContext& ctx, const Ints& axes, int64_t rank) { return normalize(ctx, axes, rank); }

Shape unknown_shape(const InferContext& ctx, size_t output, size_t rank) {
  Shape out;
  for (size_t i = 0; i < rank; ++i) out.push_back(ctx.unknown(output, i));
  return out;
}

DType dtype_attribute(const Node& node, std::string_view name, DType otherwise) {
  int64_t number = node.attrs.integer(name, 0);
  if (number == 0) return otherwise;  // ONNX writes "not given" as 0 too
  expect(is_known(number), "node '{}' ({}): attribute {} = {} is no element type", node.name, node.op, name, number);
  return static_cast<DType>(number);
}

}  // namespace tenon
