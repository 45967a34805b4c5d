// Expand (broadcasting to a shape) and Tile (repeating).
#include "base/checked.hpp"
#include "ops/support.hpp"

namespace tenon {
namespace {

void infer_expand(InferContext& ctx) {
  auto target = ctx.content(1);
  if (!target || !ctx.shape(0)) {
    const auto& shape = ctx.shape(1);
    bool ranked = ctx.shape(0) && shape && shape->size() == 1 && (*shape)[0].is_const() && (*shape)[0].value() <= 64;
    if (!ranked) return ctx.output(0, ctx.dtype(0));
    size_t rank = std::max(ctx.shape(0)->size(), static_cast<size_t>((*shape)[0].value()));
    return ctx.output(0, ctx.dtype(0), unknown_shape(ctx, 0, rank));
  }
  for (const Dim& d : *target) ctx.require(!d.is_const() || d.value() >= 0, "the target shape has {}", d.text());
  auto out = broadcast_shapes(*ctx.shape(0), *target);
  ctx.require(out.has_value(), "shape {} does not broadcast to {}", shape_text(*ctx.shape(0)), shape_text(*target));
  ctx.output(0, ctx.dtype(0), out);
  auto content = ctx.content(0);
  if (!content || out->size() > 1 || !all_const(*out) || content->size() > 1) return;
  int64_t count = out->empty() ? 1 : (*out)[0].value();
  if (count <= 64 && !content->empty()) {
    ctx.output_content(0, std::vector<Dim>(static_cast<size_t>(count), (*content)[0]));
  }
}

void expand(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  Dims target = ctx.in(1).to_ints();
  for (int64_t d : target) ctx.require(d >= 0, "the target shape has {}", d);
  Dims dims = broadcast_dims(x.dims(), target, "Expand");
  strided_copy(make_output(ctx, 0, x.dtype(), dims), x, 0, broadcast_strides(x.dims(), dims));
}

void infer_tile(InferContext& ctx) {
  auto repeats = ctx.content(1);
  if (!ctx.shape(0)) return ctx.output(0, ctx.dtype(0));
  Shape out = *ctx.shape(0);
  if (!repeats) return ctx.output(0, ctx.dtype(0), unknown_shape(ctx, 0, out.size()));
  ctx.require(repeats->size() == out.size(), "{} repeats are given for {} axes", repeats->size(), out.size());
  for (size_t i = 0; i < out.size(); ++i) {
    const Dim& r = (*repeats)[i];
    ctx.require(!r.is_const() || r.value() >= 0, "axis {} is repeated {} times", i, r.text());
    out[i] = out[i] * r;
  }
  ctx.output(0, ctx.dtype(0), out);
}

void tile(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  Ints repeats = ctx.in(1).to_ints(), strides = strides_of(x.dims());
  ctx.require(repeats.size() == x.dims().size(), "{} repeats are given for {} axes", repeats.size(), x.rank());
  Dims dims, spread;  // each axis becomes (repeat, extent)
  Ints steps;
  for (size_t i = 0; i < repeats.size(); ++i) {
    ctx.require(repeats[i] >= 0, "axis {} is repeated {} times", i, repeats[i]);
    dims.push_back(checked_mul(x.dims()[i], repeats[i]));
    spread.insert(spread.end(), {repeats[i], x.dims()[i]});
    steps.insert(steps.end(), {0, strides[i]});
  }
  check_output_size(ctx, dims);
  Tensor out = Tensor::allocate(x.dtype(), spread);
  strided_copy(out, x, 0, steps);
  ctx.set(0, out.reshaped(dims));
}

}  // namespace

void define_expand_ops(OpTable& table) {
  table.add({.name = "Expand",
             .doc = "Broadcasts to a shape, in both directions.",
             .min_inputs = 2,
             .max_inputs = 2,
             .infer = infer_expand,
             .reference = expand});
  table.add({.name = "Tile",
             .doc = "Repeats a tensor along each axis.",
             .min_inputs = 2,
             .max_inputs = 2,
             .infer = infer_tile,
             .reference = tile});
}

}  // namespace tenon
