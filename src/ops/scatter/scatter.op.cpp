// ScatterElements, ScatterND: writing at indices.
#include "ops/support.hpp"

namespace tenon {
namespace {

enum class Reduction { kNone, kAdd, kMul, kMax, kMin };

template <class Context>
Reduction reduction(const Context& ctx) {
  std::string text = ctx.attrs().string("reduction", "none");
  if (text == "none") return Reduction::kNone;
  if (text == "add") return Reduction::kAdd;
  if (text == "mul") return Reduction::kMul;
  if (text == "max") return Reduction::kMax;
  ctx.require(text == "min", "reduction '{}' is not known (none, add, mul, max and min are)", text);
  return Reduction::kMin;
}

int64_t in_range(const RefContext& ctx, int64_t index, int64_t extent) {
  ctx.require(index >= -extent && index < extent, "index {} is outside an axis of {}", index, extent);
  return index < 0 ? index + extent : index;
}

template <class T>
T reduced(Reduction how, T a, T b) {
  switch (how) {
    case Reduction::kAdd: return a + b;
    case Reduction::kMul: return a * b;
    case Reduction::kMax: return a > b ? a : b;
    default: return a < b ? a : b;
  }
}

// out[at] = out[at] reduced with updates[from]; integers wrap.
void combine(Tensor& out, int64_t at, const Tensor& updates, int64_t from, Reduction how) {
  if (is_floating(out.dtype())) return out.set(at, reduced(how, out.at(at), updates.at(from)));
  int64_t a = out.int_at(at), b = updates.int_at(from);
  if (how == Reduction::kAdd || how == Reduction::kMul || out.dtype() == DType::kUInt64) {
    out.set_int(at, static_cast<int64_t>(reduced(how, static_cast<uint64_t>(a), static_cast<uint64_t>(b))));
  } else {
    out.set_int(at, reduced(how, a, b));
  }
}

void check_updates(const RefContext& ctx, const Tensor& x, const Tensor& updates) {
  ctx.require(x.dtype() == updates.dtype(), "updates of {} cannot be written to {}", name(updates.dtype()),
              name(x.dtype()));
}

// Calls write(at, from) for each update; the plain kind moves bits, so that every type works.
template <class F>
void apply(RefContext& ctx, Tensor& out, const Tensor& updates, F&& each) {
  Reduction how = reduction(ctx);
  if (how == Reduction::kNone) {
    with_mover(out, updates, [&](auto move) { each(move); });
  } else {
    each([&](int64_t at, int64_t from) { combine(out, at, updates, from, how); });
  }
}

void infer_scatter(InferContext& ctx) {
  reduction(ctx);
  ctx.output(0, ctx.type(0));
}

void scatter_elements(RefContext& ctx) {
  const Tensor &x = ctx.in(0), &indices = ctx.in(1), &updates = ctx.in(2);
  auto axis = static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", 0), x.rank()));
  check_updates(ctx, x, updates);
  ctx.require(x.rank() == indices.rank() && indices.dims() == updates.dims(),
              "indices of shape {} and updates of shape {} do not fit data of shape {}", dims_text(indices.dims()),
              dims_text(updates.dims()), dims_text(x.dims()));
  for (size_t i = 0; i < x.dims().size(); ++i) {
    ctx.require(i == axis || indices.dims()[i] <= x.dims()[i], "indices of shape {} reach outside data of shape {}",
                dims_text(indices.dims()), dims_text(x.dims()));
  }
  Ints strides = strides_of(x.dims()), others = strides;
  others[axis] = 0;
  Tensor out = x.clone();
  apply(ctx, out, updates, [&](auto write) {
    int64_t from = 0;
    walk<1>(indices.dims(), {others}, [&](std::array<int64_t, 1> base) {
      int64_t i = in_range(ctx, indices.int_at(from), x.dims()[axis]);
      write(base[0] + i * strides[axis], from);
      ++from;
    });
  });
  ctx.set(0, out);
}

void scatter_nd(RefContext& ctx) {
  const Tensor &x = ctx.in(0), &indices = ctx.in(1), &updates = ctx.in(2);
  check_updates(ctx, x, updates);
  const Dims &d = x.dims(), &di = indices.dims();
  ctx.require(!di.empty() && di.back() <= x.rank(), "indices of shape {} do not fit data of shape {}", dims_text(di),
              dims_text(d));
  auto depth = static_cast<size_t>(di.back());
  Dims wanted(di.begin(), di.end() - 1);
  wanted.insert(wanted.end(), d.begin() + di.back(), d.end());
  ctx.require(updates.dims() == wanted, "updates have shape {} where {} is needed", dims_text(updates.dims()),
              dims_text(wanted));
  int64_t rows = product(di, 0, di.size() - 1), block = product(d, depth, d.size());
  Ints strides = strides_of(d);
  Tensor out = x.clone();
  apply(ctx, out, updates, [&](auto write) {
    int64_t tuple = 0;
    for (int64_t r = 0; r < rows; ++r) {
      int64_t at = 0;
      for (size_t k = 0; k < depth; ++k) at += in_range(ctx, indices.int_at(tuple++), d[k]) * strides[k];
      for (int64_t k = 0; k < block; ++k) write(at + k, r * block + k);
    }
  });
  ctx.set(0, out);
}

}  // namespace

void define_scatter_ops(OpTable& table) {
  table.add({.name = "ScatterElements",
             .doc = "The data with one element replaced (or combined) for each index, along one axis.",
             .min_inputs = 3,
             .max_inputs = 3,
             .infer = infer_scatter,
             .reference = scatter_elements,
             .attrs = {"axis", "reduction"}});
  table.add({.name = "ScatterND",
             .doc = "The data with slices replaced (or combined) at index tuples.",
             .min_inputs = 3,
             .max_inputs = 3,
             .infer = infer_scatter,
             .reference = scatter_nd,
             .attrs = {"reduction"}});
}

}  // namespace tenon
