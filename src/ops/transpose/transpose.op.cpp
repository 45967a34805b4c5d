// Transpose, DepthToSpace and SpaceToDepth: permutations of axes.
#include <numeric>

#include "ops/support.hpp"

namespace tenon {
namespace {

template <class Context>
Ints permutation(const Context& ctx, int64_t rank) {
  Ints perm = ctx.attrs().ints("perm");
  if (perm.empty() && !ctx.attrs().has("perm")) {
    perm.resize(static_cast<size_t>(rank));
    std::iota(perm.rbegin(), perm.rend(), 0);
  }
  ctx.require(static_cast<int64_t>(perm.size()) == rank, "perm has {} entries for an input of rank {}", perm.size(),
              rank);
  return normalize_axes(ctx, perm, rank);
}

void infer_transpose(InferContext& ctx) {
  if (!ctx.shape(0)) return ctx.output(0, ctx.dtype(0));
  Shape out;
  for (int64_t p : permutation(ctx, ctx.rank(0))) out.push_back((*ctx.shape(0))[static_cast<size_t>(p)]);
  ctx.output(0, ctx.dtype(0), out);
  auto content = ctx.content(0);
  if (content && out.size() <= 1) ctx.output_content(0, *content);
}

Tensor permuted(const Tensor& x, const Ints& perm) {
  Ints own = strides_of(x.dims()), strides;
  Dims dims;
  for (int64_t p : perm) {
    dims.push_back(x.dims()[static_cast<size_t>(p)]);
    strides.push_back(own[static_cast<size_t>(p)]);
  }
  Tensor out = Tensor::allocate(x.dtype(), dims);
  strided_copy(out, x, 0, strides);
  return out;
}

void transpose(RefContext& ctx) { ctx.set(0, permuted(ctx.in(0), permutation(ctx, ctx.in(0).rank()))); }

template <class Context>
int64_t block_size(const Context& ctx, int64_t rank) {
  int64_t block = ctx.attrs().integer("blocksize", 0);
  ctx.require(block >= 1 && block <= 1 << 20, "blocksize is {}", block);
  ctx.require(rank == 4, "the input must have 4 axes, not {}", rank);
  return block;
}

template <class Context>
bool column_row_depth(const Context& ctx) {
  std::string mode = ctx.attrs().string("mode", "DCR");
  ctx.require(mode == "DCR" || mode == "CRD", "mode '{}' is not known (DCR and CRD are)", mode);
  return mode == "CRD";
}

void infer_depth_to_space(InferContext& ctx) {
  column_row_depth(ctx);
  if (!ctx.shape(0)) return ctx.output(0, ctx.dtype(0), unknown_shape(ctx, 0, 4));
  int64_t b = block_size(ctx, ctx.rank(0));
  const Shape& x = *ctx.shape(0);
  ctx.require(!x[1].is_const() || x[1].value() % (b * b) == 0, "{} channels are no multiple of {} x {}", x[1].text(), b,
              b);
  ctx.output(0, ctx.dtype(0), Shape{x[0], Dim::floor_div(x[1], b * b), x[2] * b, x[3] * b});
}

void depth_to_space(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  int64_t b = block_size(ctx, x.rank());
  const Dims& d = x.dims();
  ctx.require(d[1] % (b * b) == 0, "{} channels are no multiple of {} x {}", d[1], b, b);
  int64_t c = d[1] / (b * b);
  Tensor out = column_row_depth(ctx) ? permuted(x.reshaped({d[0], c, b, b, d[2], d[3]}), {0, 1, 4, 2, 5, 3})
                                     : permuted(x.reshaped({d[0], b, b, c, d[2], d[3]}), {0, 3, 4, 1, 5, 2});
  ctx.set(0, out.reshaped({d[0], c, d[2] * b, d[3] * b}));
}

void infer_space_to_depth(InferContext& ctx) {
  if (!ctx.shape(0)) return ctx.output(0, ctx.dtype(0), unknown_shape(ctx, 0, 4));
  int64_t b = block_size(ctx, ctx.rank(0));
  const Shape& x = *ctx.shape(0);
  for (size_t i : {2, 3}) {
    ctx.require(!x[i].is_const() || x[i].value() % b == 0, "extent {} is no multiple of {}", x[i].text(), b);
  }
  ctx.output(0, ctx.dtype(0), Shape{x[0], x[1] * (b * b), Dim::floor_div(x[2], b), Dim::floor_div(x[3], b)});
}

void space_to_depth(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  int64_t b = block_size(ctx, x.rank());
  const Dims& d = x.dims();
  ctx.require(d[2] % b == 0 && d[3] % b == 0, "extents {} x {} are no multiples of {}", d[2], d[3], b);
  int64_t h = d[2] / b, w = d[3] / b;
  Tensor out = column_row_depth(ctx) ? permuted(x.reshaped({d[0], d[1], h, b, w, b}), {0, 1, 3, 5, 2, 4})
                                     : permuted(x.reshaped({d[0], d[1], h, b, w, b}), {0, 3, 5, 1, 2, 4});
  ctx.set(0, out.reshaped({d[0], d[1] * b * b, h, w}));
}

}  // namespace

void define_transpose_ops(OpTable& table) {
  table.add({.name = "Transpose",
             .doc = "Axis i of the output is axis perm[i] of the input; without perm the axes are reversed.",
             .infer = infer_transpose,
             .reference = transpose,
             .attrs = {"perm"}});
  table.add({.name = "DepthToSpace",
             .doc = "Moves blocks of channels into blocks of pixels.",
             .infer = infer_depth_to_space,
             .reference = depth_to_space,
             .attrs = {"blocksize", "mode"}});
  table.add({.name = "SpaceToDepth",
             .doc = "Moves blocks of pixels into channels.",
             .infer = infer_space_to_depth,
             .reference = space_to_depth,
             .attrs = {"blocksize", "mode"}});
}

}  // namespace tenon
