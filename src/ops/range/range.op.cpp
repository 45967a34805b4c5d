// Range: numbers from a start towards a limit.
#include <cmath>

#include "ops/support.hpp"

namespace tenon {
namespace {

__extension__ typedef __int128 Wide;  // limit - start needs 65 bits

void infer_range(InferContext& ctx) {
  auto start = ctx.content(0), limit = ctx.content(1), delta = ctx.content(2);
  auto step = ctx.ints(2);
  bool known = start && limit && step && start->size() == 1 && limit->size() == 1 && step->size() == 1;
  if (!known) return ctx.output(0, ctx.dtype(0), Shape{ctx.unknown(0, 0)});
  ctx.require((*step)[0] != 0, "delta is 0");
  Dim span = (*limit)[0] - (*start)[0];
  Dim count = Dim::ceil_div(span, (*step)[0]);
  if (count.is_const()) {
    count = std::max<int64_t>(0, count.value());
  } else if (!((*start)[0] == Dim(0)) || (*step)[0] < 0) {
    count = Dim::max(count, 0);
  }
  ctx.output(0, ctx.dtype(0), Shape{count});
  if (count.is_const() && count.value() <= 64) {
    std::vector<Dim> content;
    for (int64_t i = 0; i < count.value(); ++i) content.push_back((*start)[0] + Dim(i) * (*step)[0]);
    ctx.output_content(0, content);
  }
}

void range(RefContext& ctx) {
  const Tensor &start = ctx.in(0), &limit = ctx.in(1), &delta = ctx.in(2);
  ctx.require(start.size() == 1 && limit.size() == 1 && delta.size() == 1, "start, limit and delta must be scalars");
  if (is_floating(start.dtype())) {
    double from = start.at(0), to = limit.at(0), step = delta.at(0);
    ctx.require(step != 0, "delta is 0");
    double count = std::ceil((to - from) / step);
    ctx.require(count < static_cast<double>(kMaxElements), "Range would give {} elements", count);
    Tensor& out = make_output(ctx, 0, start.dtype(), {count > 0 ? static_cast<int64_t>(count) : 0});
    for (int64_t i = 0; i < out.size(); ++i) out.set(i, from + static_cast<double>(i) * step);
    return;
  }
  auto from = static_cast<Wide>(start.int_at(0)), to = static_cast<Wide>(limit.int_at(0)),
       step = static_cast<Wide>(delta.int_at(0));
  ctx.require(step != 0, "delta is 0");
  Wide span = to - from, count = span / step + (span % step != 0 && (span > 0) == (step > 0) ? 1 : 0);
  ctx.require(count <= kMaxElements, "Range would give more than {} elements", kMaxElements);
  Tensor& out = make_output(ctx, 0, start.dtype(), {count > 0 ? static_cast<int64_t>(count) : 0});
  for (int64_t i = 0; i < out.size(); ++i) out.set_int(i, static_cast<int64_t>(from + i * step));
}

}  // namespace

void define_range_ops(OpTable& table) {
  table.add({.name = "Range",
             .doc = "start, start + delta, ... before limit.",
             .min_inputs = 3,
             .max_inputs = 3,
             .infer = infer_range,
             .reference = range});
}

}  // namespace tenon
