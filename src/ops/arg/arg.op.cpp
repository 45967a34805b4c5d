// ArgMax, ArgMin: where the extremum along an axis is.
#include "ops/support.hpp"

namespace tenon {
namespace {

void infer_arg(InferContext& ctx) {
  if (!ctx.shape(0)) return ctx.output(0, DType::kInt64);
  Shape out = *ctx.shape(0);
  int64_t axis = ctx.axis(ctx.attrs().integer("axis", 0), ctx.rank(0));
  out[static_cast<size_t>(axis)] = 1;
  if (ctx.attrs().integer("keepdims", 1) == 0) out.erase(out.begin() + axis);
  ctx.output(0, DType::kInt64, out);
}

template <bool kMax>
void arg(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  auto axis = static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", 0), x.rank()));
  bool last = ctx.attrs().integer("select_last_index", 0) != 0;
  const Dims& d = x.dims();
  int64_t outer = product(d, 0, axis), inner = product(d, axis + 1, d.size()), extent = d[axis];
  ctx.require(extent > 0, "axis {} is empty, it has no extremum", axis);
  Dims dims = d;
  dims[axis] = 1;
  if (ctx.attrs().integer("keepdims", 1) == 0) dims.erase(dims.begin() + static_cast<int64_t>(axis));
  Tensor& out = ctx.make(0, DType::kInt64, dims);
  auto run = [&](auto value) {
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i = 0; i < inner; ++i) {
        int64_t best = 0;
        auto top = value(o * extent * inner + i);
        for (int64_t k = 1; k < extent; ++k) {
          auto v = value((o * extent + k) * inner + i);
          if ((kMax ? v > top : v < top) || (last && v == top) || (v != v && top == top)) {
            best = k;
            top = v;
          }
        }
        out.set_int(o * inner + i, best);
      }
    }
  };
  if (is_floating(x.dtype())) return run([&](int64_t i) { return x.at(i); });
  if (x.dtype() == DType::kUInt64) return run([&](int64_t i) { return static_cast<uint64_t>(x.int_at(i)); });
  run([&](int64_t i) { return x.int_at(i); });
}

}  // namespace

void define_arg_ops(OpTable& table) {
  table.add({.name = "ArgMax",
             .doc = "The index of the largest element along an axis; the first of equals unless select_last_index.",
             .infer = infer_arg,
             .reference = arg<true>,
             .attrs = {"axis", "keepdims", "select_last_index"}});
  table.add({.name = "ArgMin",
             .doc = "The index of the smallest element along an axis; the first of equals unless select_last_index.",
             .infer = infer_arg,
             .reference = arg<false>,
             .attrs = {"axis", "keepdims", "select_last_index"}});
}

}  // namespace tenon
