// Trilu: the upper or lower triangle of matrices.
#include "ops/support.hpp"

namespace tenon {
namespace {

void infer_trilu(InferContext& ctx) {
  ctx.require(ctx.rank(0) < 0 || ctx.rank(0) >= 2, "the input must be a matrix at least, it has {} axes", ctx.rank(0));
  ctx.output(0, ctx.type(0));
}

void trilu(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  const Dims& d = x.dims();
  ctx.require(d.size() >= 2, "the input must be a matrix at least, it has {} axes", d.size());
  bool upper = ctx.attrs().integer("upper", 1) != 0;
  int64_t k = ctx.has(1) && ctx.in(1).size() > 0 ? ctx.in(1).int_at(0) : 0;
  int64_t rows = d[d.size() - 2], columns = d.back();
  Tensor& out = ctx.make(0, x.dtype(), d);
  with_mover(out, x, [&](auto move) {
    for (int64_t i = 0; i < x.size(); ++i) {
      // c >= r + k without overflow for any k.
      int64_t column = i % columns, row = i / columns % rows;
      bool above = column - row >= k;
      if (upper ? above : above ? column - row == k : true) move(i, i);
    }
  });
}

}  // namespace

void define_trilu_ops(OpTable& table) {
  table.add({.name = "Trilu",
             .doc = "The part of matrices on and above (or on and below) diagonal k, zero elsewhere.",
             .max_inputs = 2,
             .infer = infer_trilu,
             .reference = trilu,
             .attrs = {"upper"}});
}

}  // namespace tenon
