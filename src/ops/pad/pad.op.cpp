// Pad: grows (or, with negative numbers, shrinks) a tensor at both ends of its axes.
#include <algorithm>

#include "ops/support.hpp"

namespace tenon {
namespace {

enum class Mode { kConstant, kReflect, kEdge, kWrap };

template <class Context>
Mode pad_mode(const Context& ctx) {
  std::string mode = ctx.attrs().string("mode", "constant");
  if (mode == "constant") return Mode::kConstant;
  if (mode == "reflect") return Mode::kReflect;
  if (mode == "edge") return Mode::kEdge;
  ctx.require(mode == "wrap", "mode '{}' is not known (constant, reflect, edge and wrap are)", mode);
  return Mode::kWrap;
}

// Expands pads for `axes` to begins and ends of all axes.
template <class Context, class D>
std::vector<D> pads_of_all(const Context& ctx, const std::vector<D>& pads, const std::optional<Ints>& axes,
                           size_t rank) {
  size_t count = axes ? axes->size() : rank;
  ctx.require(pads.size() == 2 * count, "pads has {} entries where {} are needed", pads.size(), 2 * count);
  if (!axes) return pads;
  std::vector<D> out(2 * rank, D(0));
  Ints at = normalize_axes(ctx, *axes, static_cast<int64_t>(rank));
  for (size_t i = 0; i < count; ++i) {
    out[static_cast<size_t>(at[i])] = pads[i];
    out[rank + static_cast<size_t>(at[i])] = pads[count + i];
  }
  return out;
}

void infer_pad(InferContext& ctx) {
  pad_mode(ctx);
  if (!ctx.shape(0)) return ctx.output(0, ctx.dtype(0));
  Shape out = *ctx.shape(0);
  auto pads = ctx.content(1);
  auto axes = ctx.has(3) ? ctx.ints(3) : std::nullopt;
  if (!pads || (ctx.has(3) && !axes)) return ctx.output(0, ctx.dtype(0), unknown_shape(ctx, 0, out.size()));
  auto all = pads_of_all(ctx, *pads, axes, out.size());
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = out[i] + all[i] + all[out.size() + i];
    ctx.require(!out[i].is_const() || out[i].value() >= 0, "axis {} would have {} elements", i, out[i].text());
  }
  ctx.output(0, ctx.dtype(0), out);
}

// The input position for an output position, or -1 for the constant.
int64_t source(Mode mode, int64_t at, int64_t extent) {
  if (at >= 0 && at < extent) return at;
  switch (mode) {
    case Mode::kConstant: return -1;
    case Mode::kEdge: return std::clamp<int64_t>(at, 0, extent - 1);
    case Mode::kWrap: return ((at % extent) + extent) % extent;
    case Mode::kReflect: break;
  }
  if (extent == 1) return 0;
  int64_t period = 2 * (extent - 1);
  at = ((at % period) + period) % period;
  return at < extent ? at : period - at;
}

void pad(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  Mode mode = pad_mode(ctx);
  size_t rank = x.dims().size();
  auto axes = ctx.has(3) ? std::optional(ctx.in(3).to_ints()) : std::nullopt;
  Ints pads = pads_of_all(ctx, ctx.in(1).to_ints(), axes, rank);
  Dims dims(rank);
  std::vector<Ints> from(rank);  // per axis: the input position of each output position
  for (size_t i = 0; i < rank; ++i) {
    constexpr int64_t kLimit = int64_t{1} << 40;
    ctx.require(std::abs(pads[i]) < kLimit && std::abs(pads[rank + i]) < kLimit, "axis {} is padded by {} and {}", i,
                pads[i], pads[rank + i]);
    dims[i] = x.dims()[i] + pads[i] + pads[rank + i];
    ctx.require(dims[i] >= 0, "axis {} would have {} elements", i, dims[i]);
    bool fillable = mode == Mode::kConstant || x.dims()[i] > 0 || dims[i] == 0;
    ctx.require(fillable, "axis {} is empty, there is nothing to pad it with", i);
  }
  check_output_size(ctx, dims);
  if (element_count(dims) == 0) {
    ctx.make(0, x.dtype(), dims);
    return;
  }
  for (size_t i = 0; i < rank; ++i) {
    for (int64_t k = 0; k < dims[i]; ++k) from[i].push_back(source(mode, k - pads[i], x.dims()[i]));
  }
  Tensor& out = ctx.make(0, x.dtype(), dims);
  Tensor value = ctx.has(2) ? ctx.in(2) : Tensor::allocate(x.dtype(), {1});
  ctx.require(value.size() == 1 && value.dtype() == x.dtype(), "the padding value must be one {}", name(x.dtype()));
  Ints strides = strides_of(x.dims()), index(rank, 0);
  with_mover(out, x, [&](auto move) {
    with_mover(out, value, [&](auto fill) {
      for (int64_t at = 0; at < out.size(); ++at) {
        int64_t offset = 0;
        bool inside = true;
        for (size_t i = 0; i < rank; ++i) {
          int64_t k = from[i][static_cast<size_t>(index[i])];
          inside = inside && k >= 0;
          offset += k * strides[i];
        }
        inside ? move(at, offset) : fill(at, 0);
        for (size_t i = rank; i-- > 0;) {
          if (++index[i] < dims[i]) break;
          index[i] = 0;
        }
      }
    });
  });
}

}  // namespace

void define_pad_ops(OpTable& table) {
  table.add({.name = "Pad",
             .doc = "Pads axes at both ends with a constant, the edge, a reflection or by wrapping around.",
             .min_inputs = 2,
             .max_inputs = 4,
             .infer = infer_pad,
             .reference = pad,
             .attrs = {"mode"}});
}

}  // namespace tenon
