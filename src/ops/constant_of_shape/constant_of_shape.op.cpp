// ConstantOfShape: a tensor of one value. EyeLike: ones on a diagonal.
#include "ops/support.hpp"

namespace tenon {
namespace {

Tensor fill_value(const Attrs& attrs) {
  const Tensor* value = attrs.tensor("value");
  return value ? *value : Tensor::allocate(DType::kFloat32, {1});
}

void infer_constant_of_shape(InferContext& ctx) {
  Tensor value = fill_value(ctx.attrs());
  ctx.require(value.size() == 1, "the value must be one element, it has {}", value.size());
  auto target = ctx.content(0);
  if (!target) {
    const auto& shape = ctx.shape(0);
    bool ranked = shape && shape->size() == 1 && (*shape)[0].is_const() && (*shape)[0].value() <= 64;
    if (!ranked) return ctx.output(0, value.dtype());
    return ctx.output(0, value.dtype(), unknown_shape(ctx, 0, static_cast<size_t>((*shape)[0].value())));
  }
  for (const Dim& d : *target) ctx.require(!d.is_const() || d.value() >= 0, "the shape has {}", d.text());
  ctx.output(0, value.dtype(), *target);
  bool integers = is_integer(value.dtype()) || value.dtype() == DType::kBool;
  if (integers && target->size() <= 1 && all_const(*target)) {
    int64_t count = target->empty() ? 1 : (*target)[0].value();
    if (count <= 64) ctx.output_content(0, std::vector<Dim>(static_cast<size_t>(count), Dim(value.int_at(0))));
  }
}

void constant_of_shape(RefContext& ctx) {
  Tensor value = fill_value(ctx.attrs());
  ctx.require(value.size() == 1, "the value must be one element, it has {}", value.size());
  Dims dims = ctx.in(0).to_ints();
  for (int64_t d : dims) ctx.require(d >= 0, "the shape has {}", d);
  Tensor& out = make_output(ctx, 0, value.dtype(), dims);
  with_mover(out, value, [&](auto move) {
    for (int64_t i = 0; i < out.size(); ++i) move(i, 0);
  });
}

void infer_eye_like(InferContext& ctx) {
  DType dtype = dtype_attribute(ctx.node(), "dtype", ctx.dtype(0));
  ctx.require(ctx.rank(0) < 0 || ctx.rank(0) == 2, "the input must be a matrix, it has {} axes", ctx.rank(0));
  ctx.output(0, dtype, ctx.shape(0));
}

void eye_like(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  ctx.require(x.rank() == 2, "the input must be a matrix, it has {} axes", x.rank());
  int64_t k = ctx.attrs().integer("k", 0), rows = x.dims()[0], columns = x.dims()[1];
  Tensor& out = make_output(ctx, 0, dtype_attribute(ctx.node, "dtype", x.dtype()), x.dims());
  ctx.require(k > -kMaxElements && k < kMaxElements, "diagonal {} is far outside the matrix", k);
  for (int64_t i = 0; i < rows; ++i) {
    if (i + k >= 0 && i + k < columns) out.set(i * columns + i + k, 1);
  }
}

}  // namespace

void define_constant_of_shape_ops(OpTable& table) {
  table.add({.name = "ConstantOfShape",
             .doc = "A tensor of the given shape filled with `value` (float 0 by default).",
             .infer = infer_constant_of_shape,
             .reference = constant_of_shape,
             .attrs = {"value"}});
  table.add({.name = "EyeLike",
             .doc = "A matrix like the input with ones on diagonal k.",
             .infer = infer_eye_like,
             .reference = eye_like,
             .attrs = {"dtype", "k"}});
}

}  // namespace tenon
