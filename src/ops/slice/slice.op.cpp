// Slice: a strided range of each axis.
#include <algorithm>
#include <limits>

#include "ops/support.hpp"

namespace tenon {
namespace {

struct Range {
  int64_t start = 0, step = 1, count = 0;
};

// numpy's rules: negative positions count from the end, positions outside are clamped.
Range resolve(int64_t start, int64_t end, int64_t step, int64_t extent) {
  auto clamp = [&](int64_t at, int64_t low, int64_t high) {
    if (at < 0) at = at < -extent ? low : at + extent;
    return std::clamp(at, low, high);
  };
  Range r{0, step, 0};
  if (step > 0) {
    r.start = clamp(start, 0, extent);
    int64_t stop = clamp(end, 0, extent), length = std::max<int64_t>(0, stop - r.start);
    r.count = length / step + (length % step != 0);
  } else {
    r.start = clamp(start, -1, extent - 1);
    int64_t stop = clamp(end, -1, extent - 1), length = std::max<int64_t>(0, r.start - stop);
    // -step overflows for the smallest step only, which takes one element.
    int64_t pace = step == std::numeric_limits<int64_t>::min() ? std::numeric_limits<int64_t>::max() : -step;
    r.count = length / pace + (length % pace != 0);
  }
  if (r.count <= 1) r.step = 1;  // a lone element needs no stride, and a huge one would overflow
  return r;
}

constexpr int64_t kFar = 999'999'999;  // exporters write "to the end" as this or larger

// Length of x[start:end:step] where the extent or a bound is symbolic; nothing when no formula is worth having.
std::optional<Dim> symbolic_length(const Dim& start, const Dim& end, int64_t step, const Dim& extent) {
  if (step == -1 && start == Dim(-1) && end.is_const() && end.value() < -kFar) return extent;
  if (step < 1) return std::nullopt;
  auto position = [&](const Dim& at) -> std::optional<Dim> {
    if (at == extent) return extent;
    if (at.is_const()) {
      if (at.value() >= kFar) return extent;
      if (at.value() < 0) return at.value() < -kFar ? Dim(0) : Dim::max(extent + at, Dim(0));
      if (at.value() == 0) return Dim(0);
      return Dim::min(at, extent);
    }
    // A symbolic bound that is the extent less a constant, or one that does not reach beyond it: clamp from above.
    Dim rest = extent - at;
    if (rest.is_const()) return rest.value() >= 0 ? at : extent;
    if (extent.is_const() || at.is_symbol()) return Dim::min(at, extent);
    return Dim::min(at, extent);
  };
  auto from = position(start), to = position(end);
  if (!from || !to) return std::nullopt;
  Dim length = *to - *from;
  if (length.is_const()) length = std::max<int64_t>(0, length.value());
  // extent - min(k, extent) and the like may not be reduced further: the difference cannot be negative then.
  bool safe = length.is_const() || *from == Dim(0) || *to == extent;
  if (!safe) length = Dim::max(length, Dim(0));
  return Dim::ceil_div(length, step);
}

void infer_slice(InferContext& ctx) {
  const auto& in = ctx.shape(0);
  if (!in) return ctx.output(0, ctx.dtype(0));
  Shape out = *in;
  auto starts = ctx.content(1), ends = ctx.content(2);
  auto axes = ctx.has(3) ? ctx.ints(3) : std::nullopt, steps = ctx.has(4) ? ctx.ints(4) : std::nullopt;
  if (ctx.has(3) && !axes) return ctx.output(0, ctx.dtype(0), unknown_shape(ctx, 0, out.size()));
  size_t count = axes ? axes->size() : starts ? starts->size() : ends ? ends->size() : out.size();
  ctx.require((!starts || starts->size() == count) && (!ends || ends->size() == count) &&
                  (!steps || steps->size() == count) && count <= out.size(),
              "starts, ends, axes and steps must have one length, at most the rank {}", out.size());
  if (!axes) {
    axes.emplace();
    for (size_t i = 0; i < count; ++i) axes->push_back(static_cast<int64_t>(i));
  }
  Ints where = normalize_axes(ctx, *axes, ctx.rank(0));
  for (size_t i = 0; i < count; ++i) {
    auto axis = static_cast<size_t>(where[i]);
    std::optional<Dim> length;
    if (steps) ctx.require((*steps)[i] != 0, "the step of axis {} is 0", axis);
    if (starts && ends && (steps || !ctx.has(4))) {
      int64_t step = steps ? (*steps)[i] : 1;
      const Dim &from = (*starts)[i], &to = (*ends)[i];
      bool numbers = from.is_const() && to.is_const() && out[axis].is_const();
      length = numbers ? Dim(resolve(from.value(), to.value(), step, out[axis].value()).count)
                       : symbolic_length(from, to, step, out[axis]);
    }
    out[axis] = length ? *length : ctx.unknown(0, axis);
  }
  ctx.output(0, ctx.dtype(0), out);
  auto content = ctx.content(0);
  if (!content || out.size() != 1 || !starts || !ends || count != 1) return;
  if (!(*starts)[0].is_const() || !(*ends)[0].is_const() || (ctx.has(4) && !steps)) return;
  Range r =
      resolve((*starts)[0].value(), (*ends)[0].value(), steps ? (*steps)[0] : 1, static_cast<int64_t>(content->size()));
  std::vector<Dim> part;
  for (int64_t i = 0; i < r.count; ++i) part.push_back((*content)[static_cast<size_t>(r.start + i * r.step)]);
  ctx.output_content(0, part);
}

void slice(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  Ints starts = ctx.in(1).to_ints(), ends = ctx.in(2).to_ints(), axes, steps(starts.size(), 1);
  if (ctx.has(3)) {
    axes = ctx.in(3).to_ints();
  } else {
    for (size_t i = 0; i < starts.size(); ++i) axes.push_back(static_cast<int64_t>(i));
  }
  if (ctx.has(4)) steps = ctx.in(4).to_ints();
  ctx.require(ends.size() == starts.size() && axes.size() == starts.size() && steps.size() == starts.size(),
              "starts, ends, axes and steps have {}, {}, {} and {} entries", starts.size(), ends.size(), axes.size(),
              steps.size());
  axes = normalize_axes(ctx, axes, x.rank());
  Dims dims = x.dims();
  Ints strides = strides_of(dims);
  int64_t offset = 0;
  for (size_t i = 0; i < axes.size(); ++i) {
    auto axis = static_cast<size_t>(axes[i]);
    ctx.require(steps[i] != 0, "the step of axis {} is 0", axis);
    Range r = resolve(starts[i], ends[i], steps[i], dims[axis]);
    if (r.count > 0) offset += r.start * strides[axis];
    dims[axis] = r.count;
    strides[axis] *= r.step;
  }
  strided_copy(ctx.make(0, x.dtype(), dims), x, offset, strides);
}

}  // namespace

void define_slice_ops(OpTable& table) {
  table.add({.name = "Slice",
             .doc = "x[start:end:step] along the given axes, as numpy does it.",
             .min_inputs = 3,
             .max_inputs = 5,
             .infer = infer_slice,
             .reference = slice});
}

}  // namespace tenon
