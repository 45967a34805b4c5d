// Ops whose output shape the data decide: NonZero, Compress, Unique.
#include <algorithm>
#include <numeric>

#include "ops/support.hpp"

namespace tenon {
namespace {

bool is_zero(const Tensor& x, int64_t i) {
  if (x.dtype() == DType::kString) return x.data<std::string>()[i].empty();
  return x.at(i) == 0;
}

void infer_nonzero(InferContext& ctx) {
  if (!ctx.shape(0)) return ctx.output(0, DType::kInt64, unknown_shape(ctx, 0, 2));
  ctx.output(0, DType::kInt64, Shape{ctx.rank(0), ctx.unknown(0, 1)});
}

void nonzero(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  Ints found;
  for (int64_t i = 0; i < x.size(); ++i) {
    if (!is_zero(x, i)) found.push_back(i);
  }
  auto count = static_cast<int64_t>(found.size());
  Tensor& out = ctx.make(0, DType::kInt64, {x.rank(), count});
  Ints strides = strides_of(x.dims());
  for (int64_t k = 0; k < count; ++k) {
    int64_t rest = found[static_cast<size_t>(k)];
    for (int64_t a = 0; a < x.rank(); ++a) {
      out.set_int(a * count + k, rest / strides[static_cast<size_t>(a)]);
      rest %= strides[static_cast<size_t>(a)];
    }
  }
}

// --- Compress --------------------------------------------------------------------------------------------------

void infer_compress(InferContext& ctx) {
  if (!ctx.attrs().has("axis")) return ctx.output(0, ctx.dtype(0), Shape{ctx.unknown(0, 0)});
  if (!ctx.shape(0)) return ctx.output(0, ctx.dtype(0));
  Shape out = *ctx.shape(0);
  auto axis = static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", 0), ctx.rank(0)));
  out[axis] = ctx.unknown(0, axis);
  ctx.output(0, ctx.dtype(0), out);
}

void compress(RefContext& ctx) {
  const Tensor &given = ctx.in(0), &condition = ctx.in(1);
  bool flat = !ctx.attrs().has("axis");
  Tensor x = flat ? given.reshaped({given.size()}) : given;
  auto axis = flat ? 0 : static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", 0), x.rank()));
  Dims dims = x.dims();
  int64_t extent = dims[axis], outer = product(dims, 0, axis), inner = product(dims, axis + 1, dims.size());
  ctx.require(condition.rank() == 1 && condition.size() <= extent, "a condition of {} does not fit an axis of {}",
              condition.size(), extent);
  Ints keep;
  for (int64_t i = 0; i < condition.size(); ++i) {
    if (condition.int_at(i) != 0) keep.push_back(i);
  }
  dims[axis] = static_cast<int64_t>(keep.size());
  Tensor& out = ctx.make(0, x.dtype(), dims);
  with_mover(out, x, [&](auto move) {
    int64_t to = 0;
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i : keep) {
        for (int64_t k = 0; k < inner; ++k) move(to++, (o * extent + i) * inner + k);
      }
    }
  });
}

// --- Unique ----------------------------------------------------------------------------------------------------

void infer_unique(InferContext& ctx) {
  bool flat = !ctx.attrs().has("axis");
  if (flat) {
    ctx.output(0, ctx.dtype(0), Shape{ctx.unknown(0, 0)});
  } else if (ctx.shape(0)) {
    Shape out = *ctx.shape(0);
    auto axis = static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", 0), ctx.rank(0)));
    out[axis] = ctx.unknown(0, axis);
    ctx.output(0, ctx.dtype(0), out);
  } else {
    ctx.output(0, ctx.dtype(0));
  }
  Shape count{ctx.unknown(0, 0)};
  for (size_t i : {1, 3}) ctx.output(i, DType::kInt64, count);
  ctx.output(2, DType::kInt64, Shape{ctx.output_count() > 2 ? ctx.unknown(2, 0) : Dim(0)});
}

// Orders the slices of x along the middle of [outer, extent, inner].
struct SliceOrder {
  const Tensor& x;
  int64_t outer, extent, inner;

  int compare(int64_t a, int64_t b) const {
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t k = 0; k < inner; ++k) {
        int64_t i = (o * extent + a) * inner + k, j = (o * extent + b) * inner + k;
        int c = 0;
        if (x.dtype() == DType::kString) {
          c = x.data<std::string>()[i].compare(x.data<std::string>()[j]);
        } else if (is_floating(x.dtype())) {
          c = x.at(i) < x.at(j) ? -1 : x.at(i) > x.at(j) ? 1 : 0;
        } else if (x.dtype() == DType::kUInt64) {
          auto p = static_cast<uint64_t>(x.int_at(i)), q = static_cast<uint64_t>(x.int_at(j));
          c = p < q ? -1 : p > q;
        } else {
          c = x.int_at(i) < x.int_at(j) ? -1 : x.int_at(i) > x.int_at(j);
        }
        if (c != 0) return c;
      }
    }
    return 0;
  }
};

void unique(RefContext& ctx) {
  const Tensor& given = ctx.in(0);
  bool flat = !ctx.attrs().has("axis"), sorted = ctx.attrs().integer("sorted", 1) != 0;
  Tensor x = flat ? given.reshaped({given.size()}) : given;
  auto axis = flat ? 0 : static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", 0), x.rank()));
  Dims dims = x.dims();
  SliceOrder order{x, product(dims, 0, axis), dims[axis], product(dims, axis + 1, dims.size())};
  Ints by_value(static_cast<size_t>(order.extent));
  std::iota(by_value.begin(), by_value.end(), 0);
  std::stable_sort(by_value.begin(), by_value.end(), [&](int64_t a, int64_t b) { return order.compare(a, b) < 0; });
  // Groups of equal slices, in order of value; each begins with its first occurrence.
  std::vector<Ints> groups;
  for (int64_t i : by_value) {
    if (groups.empty() || order.compare(groups.back()[0], i) != 0) groups.emplace_back();
    groups.back().push_back(i);
  }
  if (!sorted) std::sort(groups.begin(), groups.end(), [](const Ints& a, const Ints& b) { return a[0] < b[0]; });
  auto count = static_cast<int64_t>(groups.size());
  dims[axis] = count;
  Tensor& out = ctx.make(0, x.dtype(), dims);
  with_mover(out, x, [&](auto move) {
    int64_t to = 0;
    for (int64_t o = 0; o < order.outer; ++o) {
      for (const Ints& g : groups) {
        for (int64_t k = 0; k < order.inner; ++k) move(to++, (o * order.extent + g[0]) * order.inner + k);
      }
    }
  });
  Tensor first = Tensor::allocate(DType::kInt64, {count}), counts = Tensor::allocate(DType::kInt64, {count}),
         inverse = Tensor::allocate(DType::kInt64, {order.extent});
  for (int64_t g = 0; g < count; ++g) {
    const Ints& members = groups[static_cast<size_t>(g)];
    first.set_int(g, members[0]);
    counts.set_int(g, static_cast<int64_t>(members.size()));
    for (int64_t i : members) inverse.set_int(i, g);
  }
  ctx.set(1, first);
  ctx.set(2, inverse);
  ctx.set(3, counts);
}

}  // namespace

void define_nonzero_ops(OpTable& table) {
  table.add({.name = "NonZero",
             .doc = "The indices of all elements that are not zero, one column each.",
             .infer = infer_nonzero,
             .reference = nonzero,
             .data_shapes = true});
  table.add({.name = "Compress",
             .doc = "The slices along an axis (or the elements) for which the condition holds.",
             .min_inputs = 2,
             .max_inputs = 2,
             .infer = infer_compress,
             .reference = compress,
             .data_shapes = true,
             .attrs = {"axis"}});
  table.add({.name = "Unique",
             .doc = "Each different element (or slice along an axis) once, with first indices, inverse and counts.",
             .max_outputs = 4,
             .infer = infer_unique,
             .reference = unique,
             .data_shapes = true,
             .attrs = {"axis", "sorted"}});
}

}  // namespace tenon
