// CUDA tactics of MatMul and Gemm: a packed constant right side, or one of the run that is turned first (batched).
#include "base/error.hpp"
#include "tactic/cuda.hpp"
#include "tactic/cuda_products.hpp"

namespace tenon {
namespace {

// C[m, n] = A[m, k] * B[k, n], `batch` times.
struct Shape {
  int64_t batch = 1, m = 1, n = 1, k = 1, a_batch = 0, b_batch = 0;
  int64_t b_row = 0, b_col = 1;
  float alpha = 1;
  std::optional<size_t> bias;
  std::vector<int> row_axes;
  int column_axis = 0;
};

std::optional<Shape> refuse(std::string& why, std::string text) {
  why = std::move(text);
  return std::nullopt;
}

std::optional<Shape> matmul_shape(const Problem& p, std::string& why) {
  const Operand &a = p.in[0], &b = p.in[1], &c = p.out[0];
  if (a.rank() < 2 || b.rank() < 2) return refuse(why, "a vector operand");
  Shape s;
  s.k = a.dims.back();
  s.n = s.b_row = b.dims.back();
  Dims a_outer(a.dims.begin(), a.dims.end() - 2), b_outer(b.dims.begin(), b.dims.end() - 2);
  s.m = a.dims[a.dims.size() - 2];
  if (element_count(b_outer) == 1) {
    s.m *= element_count(a_outer);
  } else {
    bool shared = element_count(a_outer) == 1;
    if (!shared && a_outer != b_outer) return refuse(why, "batch dimensions broadcast");
    s.batch = element_count(b_outer);
    s.a_batch = shared ? 0 : s.m * s.k;
    s.b_batch = s.k * s.n;
  }
  for (int i = 0; i + 1 < c.rank(); ++i) s.row_axes.push_back(i);
  s.column_axis = c.rank() - 1;
  return s;
}

std::optional<Shape> gemm_shape(const Problem& p, std::string& why) {
  const Operand &a = p.in[0], &b = p.in[1];
  if (a.rank() != 2 || b.rank() != 2) return refuse(why, "not matrices");
  if (p.attrs().integer("transA", 0) != 0) return refuse(why, "A is transposed");
  bool turned = p.attrs().integer("transB", 0) != 0;
  Shape s;
  s.m = a.dims[0];
  s.k = a.dims[1];
  s.n = p.out[0].dims[1];
  s.b_row = turned ? 1 : s.n;
  s.b_col = turned ? s.k : 1;
  s.alpha = static_cast<float>(p.attrs().number("alpha", 1));
  if (s.alpha != 1 && b.constant == nullptr) return refuse(why, "alpha without constant weights");
  if (p.has(2)) {
    const Operand& c = p.in[2];
    bool row = c.size() == 1 || (c.size() == s.n && c.dims.back() == s.n);
    if (!row || p.attrs().number("beta", 1) != 1) return refuse(why, "C is not a row");
    s.bias = 2;
  }
  s.row_axes = {0};
  s.column_axis = 1;
  return s;
}

std::optional<Shape> shape_of(const Problem& p, std::string& why) {
  if (!cuda_float(p.in[0].dtype) || p.in[1].dtype != p.in[0].dtype) return refuse(why, "not for this type");
  if (p.out[0].size() == 0 || p.in[0].size() == 0) return refuse(why, "an empty operand");
  for (const Operand* o : {&p.in[0], &p.in[1], &p.out[0]}) {
    if (!o->dense() || (o->format != Format::kPlain && !formats_agree(o->dims))) return refuse(why, "not plain");
  }
  return p.node->op == "Gemm" ? gemm_shape(p, why) : matmul_shape(p, why);
}

cuda::Product product_of(const Problem& p, const Shape& s) {
  auto product =
      cuda::Product::matrix(cuda_math(p.in[0].dtype), s.m, static_cast<int>(s.n), static_cast<int>(s.k), s.k);
  if (p.in[1].constant != nullptr && s.batch == 1) return product;
  product.b_constant = false;
  product.b_row = s.k;
  product.batches = static_cast<int>(s.batch);
  product.a_batch = s.a_batch;
  product.b_batch = s.b_batch;
  return product;
}

std::optional<CudaEpilogue> epilogue_of(const Problem& p, const Shape& s, std::string& why) {
  if (s.batch == 1) return CudaEpilogue::make(p, s.row_axes, s.column_axis, s.bias, why);
  // Rows within one product; what is added must be even over all of them, or the same everywhere.
  auto e = CudaEpilogue::make(p, s.row_axes, s.column_axis, s.bias, why);
  if (!e) return e;
  for (auto* list : {&e->tile.in, &e->tile.out}) {
    for (cuda::Access& a : *list) {
      if (a.row_div != 1) {
        why = "an operand that is addressed unevenly";
        return std::nullopt;
      }
      a.batch_stride = a.row_stride * s.m;
    }
  }
  return e;
}

Verdict judge(const Problem& p) {
  std::string why;
  auto s = shape_of(p, why);
  if (!s) return Verdict::no("{}", why);
  if (s->m > 0x7fffffff || s->n > (1 << 30) || s->k > (1 << 30)) return Verdict::no("a dimension beyond 2^30");
  auto epilogue = epilogue_of(p, *s, why);
  if (!epilogue) return Verdict::no("epilogue: {}", why);
  if (cuda::product_tactics(product_of(p, *s), epilogue->tile, CudaRuntime::current().device()->info(), 1).empty()) {
    return Verdict::no("no tile shape takes it (an odd number of 16-bit elements)");
  }
  return cuda_yes(p);
}

std::unique_ptr<Kernel> prepare(const Problem& p, WeightStore& store) {
  std::string why;
  Shape s = *shape_of(p, why);
  CudaEpilogue epilogue = *epilogue_of(p, s, why);
  cuda::Product product = product_of(p, s);
  if (product.b_row == 0) {
    auto weights = [&](const cuda::FilterLayout& layout) {
      return packed_weights(store, *p.in[1].constant, layout, product.math, s.b_col, s.b_row, 0, s.alpha);
    };
    return make_cuda_product(product, epilogue, weights, {}, 0);
  }
  // B turned to [batch, n, k] in the workspace, behind what the product itself needs there: see make_cuda_product.
  int size = cuda::element_size(product.math);
  int64_t bytes = s.batch * s.n * s.k * size;
  cuda::KernelPlan turn =
      cuda::plan_copy(size, {s.batch, s.n, s.k}, {s.b_batch, s.b_col, s.b_row}, {s.n * s.k, s.k, 1});
  CudaRuntime& r = CudaRuntime::current();
  turn.shape.programmatic = r.device()->info().capability() >= 90;
  CudaKernel::Launch first{r.function(turn), turn.shape, {}};
  first.params = [](const CudaBinding& b) {
    cuda::Operands operands;
    operands.in[0] = b.in[1];
    operands.out[0] = b.workspace;
    return cuda::operand_params(operands);
  };
  return make_cuda_product(product, epilogue, nullptr, {std::move(first)}, (bytes + 63) / 64 * 64);
}

}  // namespace

void define_matmul_cuda(TacticTable& table) {
  table.add("MatMul", {{"cuda_product", judge, prepare}});
  table.add("Gemm", {{"cuda_product", judge, prepare}});
}

}  // namespace tenon
