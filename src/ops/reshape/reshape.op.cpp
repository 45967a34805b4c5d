// Ops that give the same elements another shape: Reshape, Flatten, Squeeze, Unsqueeze, Identity.
#include <algorithm>

#include "graph/limits.hpp"
#include "ops/support.hpp"

namespace tenon {
namespace {

// --- Reshape ---------------------------------------------------------------------------------------------------

// The dimension that -1 stands for: what the input has divided by what the target says, after cancelling equal ones.
Dim remaining(Shape have, Shape known) {
  for (auto d = known.begin(); d != known.end();) {
    auto same = std::find(have.begin(), have.end(), *d);
    if (same == have.end() || *d == Dim(0)) {
      ++d;
    } else {
      have.erase(same);
      d = known.erase(d);
    }
  }
  Dim divisor = product(known, 0, known.size());
  Dim total = product(have, 0, have.size());
  return divisor == Dim(0) ? Dim(0) : Dim::floor_div(total, divisor);
}

std::optional<Shape> reshape_shape(InferContext& ctx, const std::vector<Dim>& target) {
  const auto& in = ctx.shape(0);
  bool keep_zero = ctx.attrs().integer("allowzero", 0) != 0;
  Shape out, known;
  int64_t hole = -1;
  for (size_t i = 0; i < target.size(); ++i) {
    auto number = target[i].maybe();
    if (number && *number == -1) {
      ctx.require(hole < 0, "the target shape has -1 twice");
      hole = static_cast<int64_t>(i);
      out.emplace_back(-1);
      continue;
    }
    ctx.require(!number || *number >= 0, "dimension {} of the target shape is {}", i, number.value_or(0));
    if (number && *number == 0 && !keep_zero) {
      if (in) ctx.require(i < in->size(), "dimension {} is to be copied from an input of rank {}", i, in->size());
      out.push_back(in ? (*in)[i] : ctx.unknown(0, i));
    } else {
      out.push_back(target[i]);
    }
    known.push_back(out.back());
  }
  if (hole >= 0) {
    out[static_cast<size_t>(hole)] = in ? remaining(*in, known) : ctx.unknown(0, static_cast<size_t>(hole));
  }
  if (in && all_const(*in) && all_const(out)) {
    Dims from = const_dims(*in), to = const_dims(out);
    ctx.require(element_count(from) == element_count(to), "shape {} cannot be reshaped to {}", dims_text(from),
                dims_text(to));
  }
  return out;
}

void infer_reshape(InferContext& ctx) {
  auto target = ctx.content(1);
  if (!target) {
    const auto& shape = ctx.shape(1);
    bool known = shape && shape->size() == 1 && (*shape)[0].is_const();
    if (!known) return ctx.output(0, ctx.dtype(0));
    ctx.require((*shape)[0].value() >= 0 && (*shape)[0].value() <= 64, "the target shape has {} dimensions",
                (*shape)[0].value());
    return ctx.output(0, ctx.dtype(0), unknown_shape(ctx, 0, static_cast<size_t>((*shape)[0].value())));
  }
  auto shape = reshape_shape(ctx, *target);
  ctx.output(0, ctx.dtype(0), shape);
  auto content = ctx.content(0);
  if (content && shape->size() <= 1) ctx.output_content(0, *content);
}

void reshape(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  Dims out = ctx.in(1).to_ints();
  bool keep_zero = ctx.attrs().integer("allowzero", 0) != 0;
  int64_t hole = -1;
  for (size_t i = 0; i < out.size(); ++i) {
    ctx.require(out[i] >= -1, "dimension {} of the target shape is {}", i, out[i]);
    if (out[i] == 0 && !keep_zero) {
      ctx.require(i < x.dims().size(), "dimension {} is to be copied from an input of rank {}", i, x.rank());
      out[i] = x.dims()[i];
    } else if (out[i] == -1) {
      ctx.require(hole < 0, "the target shape has -1 twice");
      hole = static_cast<int64_t>(i);
    }
  }
  if (hole >= 0) {
    out[static_cast<size_t>(hole)] = 1;
    int64_t known = element_count(out);
    ctx.require(known != 0 && x.size() % known == 0, "{} elements cannot fill the target shape {} with one -1",
                x.size(), dims_text(out));
    out[static_cast<size_t>(hole)] = x.size() / known;
  }
  ctx.require(element_count(out) == x.size(), "shape {} cannot be reshaped to {}", dims_text(x.dims()), dims_text(out));
  ctx.set(0, x.reshaped(out));
}

// --- Flatten ---------------------------------------------------------------------------------------------------

// 0 <= axis <= rank here: axis `rank` puts everything in front.
template <class Context>
size_t flatten_axis(const Context& ctx, int64_t rank) {
  int64_t axis = ctx.attrs().integer("axis", 1);
  ctx.require(axis >= -rank && axis <= rank, "axis {} is outside an input of rank {}", axis, rank);
  return static_cast<size_t>(axis < 0 ? axis + rank : axis);
}

void infer_flatten(InferContext& ctx) {
  if (!ctx.shape(0)) return ctx.output(0, ctx.dtype(0), unknown_shape(ctx, 0, 2));
  const Shape& in = *ctx.shape(0);
  size_t axis = flatten_axis(ctx, ctx.rank(0));
  ctx.output(0, ctx.dtype(0), Shape{product(in, 0, axis), product(in, axis, in.size())});
}

void flatten(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  size_t axis = flatten_axis(ctx, x.rank());
  ctx.set(0, x.reshaped({product(x.dims(), 0, axis), product(x.dims(), axis, x.dims().size())}));
}

// --- Squeeze, Unsqueeze ----------------------------------------------------------------------------------------

void infer_squeeze(InferContext& ctx) {
  auto axes = ctx.has(1) ? ctx.ints(1) : std::nullopt;
  const auto& in = ctx.shape(0);
  if (!in || (ctx.has(1) && !axes) || (!axes && !all_const(*in))) return ctx.output(0, ctx.dtype(0));
  std::vector<bool> drop(in->size(), false);
  if (axes) {
    for (int64_t a : normalize_axes(ctx, *axes, ctx.rank(0))) {
      const Dim& d = (*in)[static_cast<size_t>(a)];
      ctx.require(!d.is_const() || d == Dim(1), "axis {} has {} elements and cannot be squeezed", a, d.text());
      drop[static_cast<size_t>(a)] = true;
    }
  }
  Shape out;
  for (size_t i = 0; i < in->size(); ++i) {
    if (axes ? !drop[i] : !((*in)[i] == Dim(1))) out.push_back((*in)[i]);
  }
  ctx.output(0, ctx.dtype(0), out);
  if (auto content = ctx.content(0)) ctx.output_content(0, *content);
}

void squeeze(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  std::vector<bool> drop(x.dims().size(), false);
  if (ctx.has(1)) {
    for (int64_t a : normalize_axes(ctx, ctx.in(1).to_ints(), x.rank())) {
      ctx.require(x.dims()[static_cast<size_t>(a)] == 1, "axis {} of shape {} cannot be squeezed", a,
                  dims_text(x.dims()));
      drop[static_cast<size_t>(a)] = true;
    }
  }
  Dims out;
  for (size_t i = 0; i < x.dims().size(); ++i) {
    if (ctx.has(1) ? !drop[i] : x.dims()[i] != 1) out.push_back(x.dims()[i]);
  }
  ctx.set(0, x.reshaped(out));
}

template <class D>
std::vector<D> unsqueezed(const std::vector<D>& in, const Ints& axes) {
  std::vector<D> out;
  size_t next = 0;
  for (size_t i = 0; i < in.size() + axes.size(); ++i) {
    bool added = std::find(axes.begin(), axes.end(), static_cast<int64_t>(i)) != axes.end();
    out.push_back(added ? D(1) : in[next++]);
  }
  return out;
}

template <class Context>
void require_few(const Context& ctx, const Ints& axes) {
  ctx.require(axes.size() <= kMaxTensorRank, "{} axes are added, a tensor has at most {}", axes.size(), kMaxTensorRank);
}

void infer_unsqueeze(InferContext& ctx) {
  auto axes = ctx.ints(1);
  if (!axes || !ctx.shape(0)) return ctx.output(0, ctx.dtype(0));
  require_few(ctx, *axes);
  Ints at = normalize_axes(ctx, *axes, ctx.rank(0) + static_cast<int64_t>(axes->size()));
  Shape out = unsqueezed(*ctx.shape(0), at);
  ctx.output(0, ctx.dtype(0), out);
  auto content = ctx.content(0);
  if (content && out.size() <= 1) ctx.output_content(0, *content);
}

void unsqueeze(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  Ints axes = ctx.in(1).to_ints();
  require_few(ctx, axes);
  axes = normalize_axes(ctx, axes, x.rank() + static_cast<int64_t>(axes.size()));
  ctx.set(0, x.reshaped(unsqueezed(x.dims(), axes)));
}

// --- Identity --------------------------------------------------------------------------------------------------

void infer_identity(InferContext& ctx) {
  ctx.output(0, ctx.type(0));
  if (auto content = ctx.content(0)) ctx.output_content(0, *content);
}

void identity(RefContext& ctx) {
  ctx.require(ctx.has(0), "input 0 is missing");
  ctx.set(0, *ctx.inputs[0]);
}

}  // namespace

void define_reshape_ops(OpTable& table) {
  table.add({.name = "Reshape",
             .doc = "The same elements in another shape; -1 is computed, 0 is copied (unless allowzero).",
             .min_inputs = 2,
             .max_inputs = 2,
             .infer = infer_reshape,
             .reference = reshape,
             .attrs = {"allowzero"}});
  table.add({.name = "Flatten",
             .doc = "A matrix: the axes before `axis` are its rows.",
             .infer = infer_flatten,
             .reference = flatten,
             .attrs = {"axis"}});
  table.add({.name = "Squeeze",
             .doc = "Drops axes of extent 1: those given, or all.",
             .max_inputs = 2,
             .infer = infer_squeeze,
             .reference = squeeze});
  table.add({.name = "Unsqueeze",
             .doc = "Adds axes of extent 1, counted in the output.",
             .min_inputs = 2,
             .max_inputs = 2,
             .infer = infer_unsqueeze,
             .reference = unsqueeze});
  table.add({.name = "Identity", .doc = "Its input.", .infer = infer_identity, .reference = identity});
}

}  // namespace tenon
