// Concat: joins tensors along one axis.
#include "ops/support.hpp"

namespace tenon {
namespace {

void infer_concat(InferContext& ctx) {
  ctx.require(ctx.attrs().has("axis"), "attribute axis is missing");
  std::optional<Shape> out;
  int rank = -1;
  bool all_ranks = true;
  for (size_t i = 0; i < ctx.input_count(); ++i) {
    if (ctx.rank(i) < 0) {
      all_ranks = false;
      continue;
    }
    ctx.require(rank < 0 || rank == ctx.rank(i), "inputs of rank {} and {} cannot be joined", rank, ctx.rank(i));
    rank = ctx.rank(i);
  }
  if (rank < 0) return ctx.output(0, ctx.dtype(0));
  auto axis = static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", 0), rank));
  Dim total(0);
  for (size_t i = 0; i < ctx.input_count(); ++i) {
    if (!ctx.shape(i)) continue;
    const Shape& s = *ctx.shape(i);
    total = total + s[axis];
    if (!out) out = s;
    for (size_t k = 0; k < s.size(); ++k) {
      if (k == axis || s[k] == (*out)[k]) continue;
      ctx.require(!s[k].is_const() || !(*out)[k].is_const(), "shapes {} and {} cannot be joined along axis {}",
                  shape_text(*out), shape_text(s), axis);
      if (s[k].is_const()) (*out)[k] = s[k];
    }
  }
  (*out)[axis] = all_ranks ? total : ctx.unknown(0, axis);
  ctx.output(0, ctx.dtype(0), out);
  std::vector<Dim> content;
  for (size_t i = 0; i < ctx.input_count(); ++i) {
    auto part = ctx.content(i);
    if (!part || rank != 1) return;
    content.insert(content.end(), part->begin(), part->end());
  }
  ctx.output_content(0, content);
}

void concat(RefContext& ctx) {
  const Tensor& first = ctx.in(0);
  auto axis = static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", 0), first.rank()));
  Dims dims = first.dims();
  for (size_t i = 1; i < ctx.inputs.size(); ++i) {
    Dims d = ctx.in(i).dims();
    ctx.require(ctx.in(i).dtype() == first.dtype(), "input {} is {}, the others are {}", i, name(ctx.in(i).dtype()),
                name(first.dtype()));
    ctx.require(d.size() == dims.size(), "inputs of rank {} and {} cannot be joined", dims.size(), d.size());
    dims[axis] += d[axis];
    d[axis] = dims[axis];
    ctx.require(d == dims, "shapes {} and {} cannot be joined along axis {}", dims_text(first.dims()),
                dims_text(ctx.in(i).dims()), axis);
  }
  Tensor& out = make_output(ctx, 0, first.dtype(), dims);
  int64_t outer = product(dims, 0, axis), stride = product(dims, axis, dims.size()), at = 0;
  for (size_t i = 0; i < ctx.inputs.size(); ++i) {
    const Tensor& x = ctx.in(i);
    int64_t run = product(x.dims(), axis, dims.size());
    with_mover(out, x, [&](auto move) {
      for (int64_t o = 0; o < outer; ++o) {
        for (int64_t k = 0; k < run; ++k) move(o * stride + at + k, o * run + k);
      }
    });
    at += run;
  }
}

}  // namespace

void define_concat_ops(OpTable& table) {
  table.add({.name = "Concat",
             .doc = "Joins tensors along `axis`.",
             .max_inputs = -1,
             .infer = infer_concat,
             .reference = concat,
             .attrs = {"axis"}});
}

}  // namespace tenon
