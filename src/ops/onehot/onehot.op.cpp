// OneHot: indices as vectors with one element on.
#include "ops/support.hpp"

namespace tenon {
namespace {

void infer_onehot(InferContext& ctx) {
  if (!ctx.shape(0)) return ctx.output(0, ctx.dtype(2));
  Shape out = *ctx.shape(0);
  int64_t axis = ctx.axis(ctx.attrs().integer("axis", -1), ctx.rank(0) + 1);
  auto depth = ctx.content(1);
  bool known = depth && depth->size() == 1;
  out.insert(out.begin() + axis, known ? (*depth)[0] : ctx.unknown(0, static_cast<size_t>(axis)));
  ctx.output(0, ctx.dtype(2), out);
}

void onehot(RefContext& ctx) {
  const Tensor &indices = ctx.in(0), &values = ctx.in(2);
  ctx.require(ctx.in(1).size() == 1, "depth must be one number");
  ctx.require(values.size() == 2, "values must be the off and the on value, {} are given", values.size());
  int64_t depth = ctx.in(1).int_at(0);
  ctx.require(depth >= 0, "depth is {}", depth);
  Dims dims = indices.dims();
  auto axis = static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", -1), indices.rank() + 1));
  int64_t outer = product(dims, 0, axis), inner = product(dims, axis, dims.size());
  dims.insert(dims.begin() + static_cast<int64_t>(axis), depth);
  Tensor& out = make_output(ctx, 0, values.dtype(), dims);
  with_mover(out, values, [&](auto move) {
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i = 0; i < inner; ++i) {
        int64_t hot = indices.int_at(o * inner + i);
        if (hot < 0) hot += depth;
        for (int64_t d = 0; d < depth; ++d) move((o * depth + d) * inner + i, d == hot ? 1 : 0);
      }
    }
  });
}

}  // namespace

void define_onehot_ops(OpTable& table) {
  table.add({.name = "OneHot",
             .doc = "A new axis that is on at the index and off elsewhere; indices outside give all off.",
             .min_inputs = 3,
             .max_inputs = 3,
             .infer = infer_onehot,
             .reference = onehot,
             .attrs = {"axis"}});
}

}  // namespace tenon
