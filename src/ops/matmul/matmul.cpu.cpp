// CPU tactics of MatMul and Gemm in float32: a packed constant right side, or both sides at run time (batched).
#include <cmath>

#include "base/error.hpp"
#include "cpu/gemm.hpp"
#include "cpu/isa.hpp"
#include "graph/op.hpp"
#include "tactic/epilogue.hpp"
#include "tactic/tactic.hpp"

namespace tenon {
namespace {

// C[m, n] = A[m, k] * B[k, n], `batch` times.
struct Product {
  int64_t batch = 1, m = 1, n = 1, k = 1;
  int64_t a_row = 0, a_batch = 0, b_row = 0, b_col = 1, b_batch = 0;
  float alpha = 1;
  const float* bias = nullptr;
  std::vector<int> row_axes;
  int column_axis = 0;
};

std::optional<Product> fail_with(std::string& why, std::string text) {
  why = std::move(text);
  return std::nullopt;
}

std::optional<Product> matmul_product(const Problem& p, std::string& why) {
  const Operand &a = p.in[0], &b = p.in[1], &c = p.out[0];
  if (a.rank() < 1 || b.rank() < 2) return fail_with(why, "a vector operand");
  if (!a.dense() || !b.dense()) return fail_with(why, "an operand is not dense");
  Product g;
  g.k = a.dims.back();
  g.n = b.dims.back();
  g.b_row = g.n;
  Dims b_outer(b.dims.begin(), b.dims.end() - 2);
  bool shared = element_count(b_outer) == 1;
  if (shared) {
    g.m = element_count(Dims(a.dims.begin(), a.dims.end() - 1));
  } else {
    if (a.rank() < 2) return fail_with(why, "a vector operand");
    Dims a_outer(a.dims.begin(), a.dims.end() - 2);
    g.m = a.dims[a.dims.size() - 2];
    bool a_shared = element_count(a_outer) == 1;
    if (!a_shared && a_outer != b_outer) return fail_with(why, "batch dimensions broadcast");
    g.batch = element_count(b_outer);
    g.a_batch = a_shared ? 0 : g.m * g.k;
    g.b_batch = g.k * g.n;
  }
  g.a_row = g.k;
  for (int i = 0; i + 1 < c.rank(); ++i) g.row_axes.push_back(i);
  g.column_axis = c.rank() - 1;
  if (g.row_axes.empty()) g.m = 1;
  return g;
}

std::optional<Product> gemm_product(const Problem& p, std::string& why) {
  const Operand &a = p.in[0], &b = p.in[1];
  if (a.rank() != 2 || b.rank() != 2) return fail_with(why, "not matrices");
  if (!a.dense() || !b.dense()) return fail_with(why, "an operand is not dense");
  if (p.attrs().integer("transA", 0) != 0) return fail_with(why, "A is transposed");
  Product g;
  bool trans_b = p.attrs().integer("transB", 0) != 0;
  g.m = a.dims[0];
  g.k = a.dims[1];
  g.n = p.out[0].dims[1];
  g.a_row = g.k;
  g.b_row = trans_b ? 1 : g.n;
  g.b_col = trans_b ? g.k : 1;
  g.alpha = static_cast<float>(p.attrs().number("alpha", 1));
  if (p.has(2)) {
    const Operand& c = p.in[2];
    bool row = c.constant != nullptr && c.size() == g.n && (c.dims.empty() || c.dims.back() == g.n);
    if (!row || p.attrs().number("beta", 1) != 1) return fail_with(why, "C is not a constant row");
    g.bias = c.constant->data<float>();
  }
  g.row_axes = {0};
  g.column_axis = 1;
  return g;
}

// An epilogue that only multiplies or divides by a scalar, as attention's scores have it: a factor of the right side.
std::optional<float> scalar_epilogue(const Problem& p) {
  const Graph* e = p.epilogue();
  if (e == nullptr || e->inputs.size() != 1 || e->node_count() != 1 || e->outputs.size() != 1) return std::nullopt;
  const Node* n = e->producer(e->outputs[0]);
  if (n == nullptr || n->inputs.size() != 2 || (n->op != "Mul" && n->op != "Div")) return std::nullopt;
  const bool first = n->inputs[0] == e->inputs[0];
  const Value& other = e->value(n->inputs[first ? 1 : 0]);
  if ((n->op == "Div" && !first) || !other.is_constant() || other.constant.size() != 1) return std::nullopt;
  if (other.constant.dtype() != DType::kFloat32 || p.out[0].dtype != DType::kFloat32) return std::nullopt;
  const double c = other.constant.at(0);
  const auto factor = static_cast<float>(n->op == "Mul" ? c : 1 / c);
  return std::isfinite(factor) ? std::optional<float>(factor) : std::nullopt;
}

// The epilogue, or the scalar that it is, moved into `g`.
std::optional<RowEpilogue> epilogue_of(const Problem& p, Product& g, std::string& why) {
  const auto factor = g.bias == nullptr ? scalar_epilogue(p) : std::nullopt;
  if (!factor) return RowEpilogue::make(p, g.row_axes, g.column_axis, why);
  g.alpha *= *factor;
  return RowEpilogue();
}

std::optional<Product> product_of(const Problem& p, std::string& why) {
  if (p.in[0].dtype != DType::kFloat32 || p.in[1].dtype != DType::kFloat32) return fail_with(why, "only float32");
  if (p.out[0].size() == 0) return fail_with(why, "an empty result");
  for (const Operand* o : {&p.in[0], &p.in[1], &p.out[0]}) {
    if (o->format != Format::kPlain && !formats_agree(o->dims)) return fail_with(why, "channels-last");
  }
  return p.node->op == "Gemm" ? gemm_product(p, why) : matmul_product(p, why);
}

Verdict judge_packed(const Problem& p) {
  std::string why;
  auto g = product_of(p, why);
  if (!g) return Verdict::no("{}", why);
  if (p.in[1].constant == nullptr) return Verdict::no("the right side is not constant");
  if (g->batch != 1) return Verdict::no("a batch of right sides");
  if (!epilogue_of(p, *g, why)) return Verdict::no("epilogue: {}", why);
  return Verdict::yes();
}

Verdict judge_batch(const Problem& p) {
  std::string why;
  auto g = product_of(p, why);
  if (!g) return Verdict::no("{}", why);
  if (p.in[1].constant != nullptr && g->batch == 1) return Verdict::no("the packed form takes a constant right side");
  if (!epilogue_of(p, *g, why)) return Verdict::no("epilogue: {}", why);
  return Verdict::yes();
}

std::unique_ptr<Kernel> prepare_packed(const Problem& p, WeightStore& store) {
  std::string why;
  Product g = *product_of(p, why);
  auto epilogue = *epilogue_of(p, g, why);
  std::string key = fmt::format("gemm {} {} {} {}", g.b_row, g.b_col, g.alpha, cpu::layout_id());
  const float* b = p.in[1].constant->data<float>();
  const std::byte* packed = store.pack(
      *p.in[1].constant, key, static_cast<int64_t>(cpu::packed_b_floats(g.k, g.n) * 4),
      [&](std::byte* to) { cpu::pack_b(b, g.b_row, g.b_col, g.k, g.n, reinterpret_cast<float*>(to), g.alpha); });
  return make_kernel(
      [=](const RunArgs& a) {
        RowEpilogue::Bound bound;
        cpu::GemmArgs args;
        args.m = g.m;
        args.n = g.n;
        args.k = g.k;
        args.a = static_cast<const float*>(a.in[0]);
        args.lda = g.a_row;
        args.b = reinterpret_cast<const float*>(packed);
        args.c = static_cast<float*>(a.out[0]);
        args.ldc = g.n;
        args.epilogue = epilogue.bind(a.in, g.bias, bound);
        cpu::gemm(a.pool, args);
      },
      0, cpu::isa_name());
}

std::unique_ptr<Kernel> prepare_batch(const Problem& p, WeightStore&) {
  std::string why;
  Product g = *product_of(p, why);
  auto epilogue = *epilogue_of(p, g, why);
  cpu::BatchGemmArgs args;
  args.batch = g.batch;
  args.m = g.m;
  args.n = g.n;
  args.k = g.k;
  args.lda = g.a_row;
  args.a_batch = g.a_batch;
  args.b_row = g.b_row;
  args.b_col = g.b_col;
  args.b_batch = g.b_batch;
  args.ldc = g.n;
  args.c_batch = g.m * g.n;
  args.scale = g.alpha;
  return make_kernel(
      [=](const RunArgs& a) {
        RowEpilogue::Bound bound;
        cpu::BatchGemmArgs call = args;
        call.a = static_cast<const float*>(a.in[0]);
        call.b = static_cast<const float*>(a.in[1]);
        call.c = static_cast<float*>(a.out[0]);
        call.epilogue = epilogue.bind(a.in, g.bias, bound);
        cpu::batch_gemm(a.pool, call, static_cast<float*>(a.workspace));
      },
      static_cast<int64_t>(cpu::batch_gemm_workspace_floats(args, p.threads) * 4), cpu::isa_name());
}

}  // namespace

void define_matmul_cpu(TacticTable& table) {
  std::vector<Tactic> tactics{{"gemm_packed", judge_packed, prepare_packed},
                              {"gemm_batch", judge_batch, prepare_batch}};
  table.add("MatMul", tactics);
  table.add("Gemm", tactics);
}

}  // namespace tenon
