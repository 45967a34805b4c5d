// Shape and Size: what a tensor measures.
#include <algorithm>

#include "ops/support.hpp"

namespace tenon {
namespace {

// The half-open range of axes that start and end choose; both are clamped.
std::pair<size_t, size_t> chosen(const Attrs& attrs, int64_t rank) {
  auto clamp = [&](int64_t axis) { return std::clamp<int64_t>(axis < 0 ? axis + rank : axis, 0, rank); };
  int64_t start = clamp(attrs.integer("start", 0)), end = clamp(attrs.integer("end", rank));
  return {static_cast<size_t>(start), static_cast<size_t>(std::max(start, end))};
}

void infer_shape(InferContext& ctx) {
  const auto& shape = ctx.shape(0);
  if (!shape) return ctx.output(0, DType::kInt64, Shape{ctx.unknown(0, 0)});
  auto [start, end] = chosen(ctx.attrs(), ctx.rank(0));
  ctx.output(0, DType::kInt64, Shape{Dim(static_cast<int64_t>(end - start))});
  ctx.output_content(0, {shape->begin() + static_cast<int64_t>(start), shape->begin() + static_cast<int64_t>(end)});
}

void shape(RefContext& ctx) {
  const Dims& dims = ctx.in(0).dims();
  auto [start, end] = chosen(ctx.attrs(), ctx.in(0).rank());
  ctx.set(0, Tensor::of_ints(std::span(dims).subspan(start, end - start)));
}

void infer_size(InferContext& ctx) {
  ctx.output(0, DType::kInt64, Shape{});
  if (ctx.shape(0)) ctx.output_content(0, {product(*ctx.shape(0), 0, ctx.shape(0)->size())});
}

void size(RefContext& ctx) { ctx.set(0, Tensor::scalar<int64_t>(ctx.in(0).size())); }

}  // namespace

void define_shape_ops(OpTable& table) {
  table.add({.name = "Shape",
             .doc = "The dimensions of a tensor, or those from start to end.",
             .infer = infer_shape,
             .reference = shape,
             .attrs = {"start", "end"}});
  table.add({.name = "Size", .doc = "The number of elements.", .infer = infer_size, .reference = size});
}

}  // namespace tenon
