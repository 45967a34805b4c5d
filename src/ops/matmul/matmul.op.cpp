// MatMul (numpy's, with batches) and Gemm.
#include "ops/matmul_reference.hpp"

namespace tenon {
namespace {

void infer_matmul(InferContext& ctx) { ctx.output(0, ctx.dtype(0), matmul_shape(ctx, 0, 1)); }

void matmul(RefContext& ctx) {
  const Tensor &a = ctx.in(0), &b = ctx.in(1);
  ctx.require(a.dtype() == b.dtype(), "the inputs are {} and {}", name(a.dtype()), name(b.dtype()));
  MatMulPlan plan = plan_matmul(ctx, a.dims(), b.dims());
  Tensor& out = make_output(ctx, 0, a.dtype(), plan.out);
  if (is_floating(a.dtype())) return store_doubles(out, multiply(plan, to_doubles(a), to_doubles(b)));
  // Integers are exact: they wrap as the type does, which 64 bits give after truncation.
  auto bits_of = [](const Tensor& t) {
    std::vector<uint64_t> v(static_cast<size_t>(t.size()));
    for (int64_t i = 0; i < t.size(); ++i) v[static_cast<size_t>(i)] = static_cast<uint64_t>(t.int_at(i));
    return v;
  };
  std::vector<uint64_t> result = multiply(plan, bits_of(a), bits_of(b));
  for (int64_t i = 0; i < out.size(); ++i) out.set_int(i, static_cast<int64_t>(result[static_cast<size_t>(i)]));
}

struct GemmAttrs {
  double alpha, beta;
  bool transpose_a, transpose_b;
};

GemmAttrs gemm_attrs(const Attrs& attrs) {
  return {attrs.number("alpha", 1), attrs.number("beta", 1), attrs.integer("transA", 0) != 0,
          attrs.integer("transB", 0) != 0};
}

void infer_gemm(InferContext& ctx) {
  GemmAttrs g = gemm_attrs(ctx.attrs());
  const auto &a = ctx.shape(0), &b = ctx.shape(1);
  ctx.require((!a || a->size() == 2) && (!b || b->size() == 2), "the inputs must be matrices, they have {} and {} axes",
              ctx.rank(0), ctx.rank(1));
  Shape out = unknown_shape(ctx, 0, 2);
  if (a) out[0] = (*a)[g.transpose_a ? 1 : 0];
  if (b) out[1] = (*b)[g.transpose_b ? 0 : 1];
  if (a && b) {
    const Dim &inner = (*a)[g.transpose_a ? 0 : 1], &other = (*b)[g.transpose_b ? 1 : 0];
    ctx.require(!inner.is_const() || !other.is_const() || inner == other, "the inner extents {} and {} differ",
                inner.text(), other.text());
  }
  ctx.output(0, ctx.dtype(0), out);
}

std::vector<double> transposed(const std::vector<double>& m, int64_t rows, int64_t columns) {
  std::vector<double> out(m.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      out[static_cast<size_t>(c * rows + r)] = m[static_cast<size_t>(r * columns + c)];
    }
  }
  return out;
}

void gemm(RefContext& ctx) {
  const Tensor &a = ctx.in(0), &b = ctx.in(1);
  GemmAttrs g = gemm_attrs(ctx.attrs());
  ctx.require(a.rank() == 2 && b.rank() == 2, "the inputs must be matrices, they have {} and {} axes", a.rank(),
              b.rank());
  ctx.require(a.dtype() == b.dtype(), "the inputs are {} and {}", name(a.dtype()), name(b.dtype()));
  Dims da = a.dims(), db = b.dims();
  std::vector<double> x = to_doubles(a), y = to_doubles(b);
  if (g.transpose_a) {
    x = transposed(x, da[0], da[1]);
    std::swap(da[0], da[1]);
  }
  if (g.transpose_b) {
    y = transposed(y, db[0], db[1]);
    std::swap(db[0], db[1]);
  }
  MatMulPlan plan = plan_matmul(ctx, da, db);
  Tensor& out = make_output(ctx, 0, a.dtype(), plan.out);
  std::vector<double> result = multiply(plan, x, y);
  for (double& v : result) v *= g.alpha;
  if (ctx.has(2)) {
    const Tensor& c = ctx.in(2);
    ctx.require(broadcast_dims(c.dims(), plan.out, "Gemm") == plan.out, "C of shape {} does not broadcast to {}",
                dims_text(c.dims()), dims_text(plan.out));
    size_t at = 0;
    walk<1>(plan.out, {broadcast_strides(c.dims(), plan.out)},
            [&](std::array<int64_t, 1> i) { result[at++] += g.beta * c.at(i[0]); });
  }
  store_doubles(out, result);
}

}  // namespace

void define_matmul_ops(OpTable& table) {
  table.add({.name = "MatMul",
             .doc = "The matrix product of the last two axes, batched and broadcast over the others.",
             .min_inputs = 2,
             .max_inputs = 2,
             .infer = infer_matmul,
             .reference = matmul});
  table.add({.name = "Gemm",
             .doc = "alpha * A * B + beta * C, A and B transposed if wanted.",
             .min_inputs = 2,
             .max_inputs = 3,
             .infer = infer_gemm,
             .reference = gemm,
             .attrs = {"alpha", "beta", "transA", "transB"}});
}

}  // namespace tenon
