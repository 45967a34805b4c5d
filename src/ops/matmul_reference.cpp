#include "ops/matmul_reference.hpp"

namespace tenon {

std::optional<Shape> matmul_shape(InferContext& ctx, size_t ia, size_t ib) {
  if (!ctx.shape(ia) || !ctx.shape(ib)) return std::nullopt;
  Shape a = *ctx.shape(ia), b = *ctx.shape(ib);
  ctx.require(!a.empty() && !b.empty(), "a scalar cannot be multiplied as a matrix");
  bool vector_a = a.size() == 1, vector_b = b.size() == 1;
  if (vector_a) a.insert(a.begin(), 1);
  if (vector_b) b.push_back(1);
  const Dim &inner = a.back(), &other = b[b.size() - 2];
  ctx.require(!inner.is_const() || !other.is_const() || inner == other, "the inner extents of {} and {} differ",
              shape_text(a), shape_text(b));
  auto out = broadcast_shapes({a.begin(), a.end() - 2}, {b.begin(), b.end() - 2});
  ctx.require(out.has_value(), "the batch axes of {} and {} do not broadcast", shape_text(a), shape_text(b));
  if (!vector_a) out->push_back(a[a.size() - 2]);
  if (!vector_b) out->push_back(b.back());
  return out;
}

MatMulPlan plan_matmul(const RefContext& ctx, Dims a, Dims b) {
  ctx.require(!a.empty() && !b.empty(), "a scalar cannot be multiplied as a matrix");
  bool vector_a = a.size() == 1, vector_b = b.size() == 1;
  if (vector_a) a.insert(a.begin(), 1);
  if (vector_b) b.push_back(1);
  ctx.require(a.back() == b[b.size() - 2], "the inner extents of {} and {} differ", dims_text(a), dims_text(b));
  MatMulPlan p;
  p.rows = a[a.size() - 2];
  p.inner = a.back();
  p.columns = b.back();
  Dims batch_a(a.begin(), a.end() - 2), batch_b(b.begin(), b.end() - 2);
  p.batch = broadcast_dims(batch_a, batch_b, "the batch axes of a matrix product");
  p.a_batch = broadcast_strides(batch_a, p.batch);
  p.b_batch = broadcast_strides(batch_b, p.batch);
  for (int64_t& s : p.a_batch) s *= p.rows * p.inner;
  for (int64_t& s : p.b_batch) s *= p.inner * p.columns;
  p.out = p.batch;
  if (!vector_a) p.out.push_back(p.rows);
  if (!vector_b) p.out.push_back(p.columns);
  check_output_size(ctx, p.out);
  return p;
}

}  // namespace tenon
