// Gather, GatherElements, GatherND: reading at indices.
#include <algorithm>

#include "ops/support.hpp"

namespace tenon {
namespace {

// An index brought into [0, extent).
int64_t in_range(const RefContext& ctx, int64_t index, int64_t extent) {
  ctx.require(index >= -extent && index < extent, "index {} is outside an axis of {}", index, extent);
  return index < 0 ? index + extent : index;
}

void infer_gather(InferContext& ctx) {
  const auto &data = ctx.shape(0), &indices = ctx.shape(1);
  if (!data || !indices) return ctx.output(0, ctx.dtype(0));
  int64_t axis = ctx.axis(ctx.attrs().integer("axis", 0), ctx.rank(0));
  Shape out(data->begin(), data->begin() + axis);
  out.insert(out.end(), indices->begin(), indices->end());
  out.insert(out.end(), data->begin() + axis + 1, data->end());
  ctx.output(0, ctx.dtype(0), out);
  auto content = ctx.content(0);
  auto at = ctx.ints(1);
  if (!content || !at || data->size() != 1 || out.size() > 1) return;
  std::vector<Dim> picked;
  auto extent = static_cast<int64_t>(content->size());
  for (int64_t i : *at) {
    ctx.require(i >= -extent && i < extent, "index {} is outside an axis of {}", i, extent);
    picked.push_back((*content)[static_cast<size_t>(i < 0 ? i + extent : i)]);
  }
  ctx.output_content(0, picked);
}

void gather(RefContext& ctx) {
  const Tensor &x = ctx.in(0), &indices = ctx.in(1);
  auto axis = static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", 0), x.rank()));
  const Dims& d = x.dims();
  Dims dims(d.begin(), d.begin() + static_cast<int64_t>(axis));
  dims.insert(dims.end(), indices.dims().begin(), indices.dims().end());
  dims.insert(dims.end(), d.begin() + static_cast<int64_t>(axis) + 1, d.end());
  int64_t outer = product(d, 0, axis), inner = product(d, axis + 1, d.size()), extent = d[axis];
  Ints at = indices.to_ints();
  for (int64_t& i : at) i = in_range(ctx, i, extent);
  Tensor& out = make_output(ctx, 0, x.dtype(), dims);
  with_mover(out, x, [&](auto move) {
    int64_t to = 0;
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i : at) {
        for (int64_t k = 0; k < inner; ++k) move(to++, (o * extent + i) * inner + k);
      }
    }
  });
}

void infer_gather_elements(InferContext& ctx) {
  if (ctx.shape(0)) ctx.axis(ctx.attrs().integer("axis", 0), ctx.rank(0));
  bool same = !ctx.shape(0) || !ctx.shape(1) || ctx.rank(0) == ctx.rank(1);
  ctx.require(same, "data of rank {} and indices of rank {} differ", ctx.rank(0), ctx.rank(1));
  ctx.output(0, ctx.dtype(0), ctx.shape(1));
}

void gather_elements(RefContext& ctx) {
  const Tensor &x = ctx.in(0), &indices = ctx.in(1);
  auto axis = static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", 0), x.rank()));
  ctx.require(x.rank() == indices.rank(), "data of rank {} and indices of rank {} differ", x.rank(), indices.rank());
  for (size_t i = 0; i < x.dims().size(); ++i) {
    ctx.require(i == axis || indices.dims()[i] <= x.dims()[i], "indices of shape {} reach outside data of shape {}",
                dims_text(indices.dims()), dims_text(x.dims()));
  }
  Ints strides = strides_of(x.dims()), others = strides;
  others[axis] = 0;
  Tensor& out = ctx.make(0, x.dtype(), indices.dims());
  with_mover(out, x, [&](auto move) {
    int64_t to = 0;
    walk<1>(indices.dims(), {others}, [&](std::array<int64_t, 1> base) {
      int64_t i = in_range(ctx, indices.int_at(to), x.dims()[axis]);
      move(to++, base[0] + i * strides[axis]);
    });
  });
}

void infer_gather_nd(InferContext& ctx) {
  const auto &data = ctx.shape(0), &indices = ctx.shape(1);
  if (!data || !indices) return ctx.output(0, ctx.dtype(0));
  ctx.require(!indices->empty(), "indices must have an axis at least");
  int64_t batch = ctx.attrs().integer("batch_dims", 0);
  auto depth = indices->back().maybe();
  if (!depth) return ctx.output(0, ctx.dtype(0));
  bool fits = batch >= 0 && batch < ctx.rank(1) && *depth >= 0 && batch + *depth <= ctx.rank(0);
  ctx.require(fits, "index tuples of {} and {} batch axes do not fit data of rank {}", *depth, batch, ctx.rank(0));
  Shape out(indices->begin(), indices->end() - 1);
  out.insert(out.end(), data->begin() + batch + *depth, data->end());
  ctx.output(0, ctx.dtype(0), out);
}

void gather_nd(RefContext& ctx) {
  const Tensor &x = ctx.in(0), &indices = ctx.in(1);
  const Dims &d = x.dims(), &di = indices.dims();
  ctx.require(!di.empty(), "indices must have an axis at least");
  int64_t batch = ctx.attrs().integer("batch_dims", 0), depth = di.back();
  ctx.require(batch >= 0 && batch < indices.rank() && batch + depth <= x.rank(),
              "index tuples of {} and {} batch axes do not fit data of rank {}", depth, batch, x.rank());
  auto b = static_cast<size_t>(batch), n = static_cast<size_t>(depth);
  ctx.require(std::equal(d.begin(), d.begin() + batch, di.begin()), "the batch axes of {} and {} differ", dims_text(d),
              dims_text(di));
  Dims dims(di.begin(), di.end() - 1);
  dims.insert(dims.end(), d.begin() + batch + depth, d.end());
  int64_t batches = product(d, 0, b), block = product(d, b + n, d.size()), rows = product(di, b, di.size() - 1);
  Ints strides = strides_of(d);
  Tensor& out = make_output(ctx, 0, x.dtype(), dims);
  with_mover(out, x, [&](auto move) {
    int64_t to = 0, tuple = 0;
    int64_t batch_size = product(d, b, d.size());
    for (int64_t i = 0; i < batches; ++i) {
      for (int64_t r = 0; r < rows; ++r) {
        int64_t from = i * batch_size;
        for (size_t k = 0; k < n; ++k) from += in_range(ctx, indices.int_at(tuple++), d[b + k]) * strides[b + k];
        for (int64_t k = 0; k < block; ++k) move(to++, from + k);
      }
    }
  });
}

}  // namespace

void define_gather_ops(OpTable& table) {
  table.add({.name = "Gather",
             .doc = "Slices of the data at indices along one axis.",
             .min_inputs = 2,
             .max_inputs = 2,
             .infer = infer_gather,
             .reference = gather,
             .attrs = {"axis"}});
  table.add({.name = "GatherElements",
             .doc = "One element of the data for each index, along one axis.",
             .min_inputs = 2,
             .max_inputs = 2,
             .infer = infer_gather_elements,
             .reference = gather_elements,
             .attrs = {"axis"}});
  table.add({.name = "GatherND",
             .doc = "Slices of the data at index tuples.",
             .min_inputs = 2,
             .max_inputs = 2,
             .infer = infer_gather_nd,
             .reference = gather_nd,
             .attrs = {"batch_dims"}});
}

}  // namespace tenon
