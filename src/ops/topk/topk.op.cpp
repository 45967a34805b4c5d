// TopK: the k largest or smallest elements along an axis.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/support.hpp"

namespace tenon {
namespace {

void infer_topk(InferContext& ctx) {
  if (!ctx.shape(0)) {
    ctx.output(0, ctx.dtype(0));
    return ctx.output(1, DType::kInt64);
  }
  Shape out = *ctx.shape(0);
  auto axis = static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", -1), ctx.rank(0)));
  auto k = ctx.content(1);
  if (k && k->size() == 1) {
    bool numbers = (*k)[0].is_const() && out[axis].is_const();
    ctx.require(!numbers || ((*k)[0].value() >= 0 && (*k)[0].value() <= out[axis].value()), "k is {} for an axis of {}",
                (*k)[0].text(), out[axis].text());
    out[axis] = (*k)[0];
  } else {
    out[axis] = ctx.unknown(0, axis);
  }
  ctx.output(0, ctx.dtype(0), out);
  ctx.output(1, DType::kInt64, out);
}

void topk(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  auto axis = static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", -1), x.rank()));
  ctx.require(ctx.in(1).size() == 1, "k must be one number");
  int64_t k = ctx.in(1).int_at(0), extent = x.dims()[axis];
  ctx.require(k >= 0 && k <= extent, "k is {} for an axis of {}", k, extent);
  bool largest = ctx.attrs().integer("largest", 1) != 0;
  Dims dims = x.dims();
  int64_t outer = product(dims, 0, axis), inner = product(dims, axis + 1, dims.size());
  dims[axis] = k;
  Tensor values = Tensor::allocate(x.dtype(), dims), indices = Tensor::allocate(DType::kInt64, dims);
  std::vector<int64_t> order(static_cast<size_t>(extent));
  with_mover(values, x, [&](auto move) {
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i = 0; i < inner; ++i) {
        auto at = [&](int64_t j) { return (o * extent + j) * inner + i; };
        // Equal elements in the order of their indices; NaN counts as the largest number.
        auto before = [&](auto a, auto b) {
          if (a != a || b != b) return largest ? (a != a && b == b) : (a == a && b != b);
          return largest ? a > b : a < b;
        };
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
          if (is_floating(x.dtype())) return before(x.at(at(a)), x.at(at(b)));
          int64_t p = x.int_at(at(a)), q = x.int_at(at(b));
          if (x.dtype() == DType::kUInt64) return before(static_cast<uint64_t>(p), static_cast<uint64_t>(q));
          return before(p, q);
        });
        for (int64_t j = 0; j < k; ++j) {
          int64_t to = (o * k + j) * inner + i, from = order[static_cast<size_t>(j)];
          move(to, at(from));
          indices.set_int(to, from);
        }
      }
    }
  });
  ctx.set(0, values);
  ctx.set(1, indices);
}

}  // namespace

void define_topk_ops(OpTable& table) {
  table.add({.name = "TopK",
             .doc = "The k largest (or smallest) elements along an axis, in order, and their indices.",
             .min_inputs = 2,
             .max_inputs = 2,
             .min_outputs = 1,
             .max_outputs = 2,
             .infer = infer_topk,
             .reference = topk,
             .attrs = {"axis", "largest", "sorted"}});
}

}  // namespace tenon
