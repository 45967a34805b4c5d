// MatMul and Gemm by oneDNN in float32: a constant right side packed in its layout, or a batch of two that come at run
// time. Rows, columns or products of a batch are the pieces that the pool runs.
#include <algorithm>

#include "base/error.hpp"
#include "tactic/onednn.hpp"

namespace tenon {
namespace {

namespace dnn = cpu::onednn;

// C[m, n] = A[m, k] * B[k, n], `batch` times; everything dense, rows one after the other.
struct Product {
  int64_t batch = 1, m = 1, n = 1, k = 1;
  int64_t a_batch = 0;            // 0: one A for all
  int64_t b_row = 0, b_col = 1;   // of a constant B
  const Operand* bias = nullptr;  // a constant row
  std::vector<FusedStep> steps;
};

// Of one piece: products [b0, b1), rows [m0, m1), columns [n0, n1).
struct Range {
  int64_t b0, b1, m0, m1, n0, n1;
};

std::optional<Product> refuse(std::string& why, std::string text) {
  why = std::move(text);
  return std::nullopt;
}

std::optional<Product> matmul_product(const Problem& p, std::string& why) {
  const Operand &a = p.in[0], &b = p.in[1];
  if (a.rank() < 2 || b.rank() < 2) return refuse(why, "a vector operand");
  Product g;
  g.k = a.dims.back();
  g.n = g.b_row = b.dims.back();
  Dims a_outer(a.dims.begin(), a.dims.end() - 2), b_outer(b.dims.begin(), b.dims.end() - 2);
  if (element_count(b_outer) == 1) {
    g.m = element_count(Dims(a.dims.begin(), a.dims.end() - 1));
    return g;
  }
  bool shared = element_count(a_outer) == 1;
  if (!shared && a_outer != b_outer) return refuse(why, "batch dimensions broadcast");
  g.m = a.dims[a.dims.size() - 2];
  g.batch = element_count(b_outer);
  g.a_batch = shared ? 0 : g.m * g.k;
  return g;
}

std::optional<Product> gemm_product(const Problem& p, std::string& why) {
  const Operand &a = p.in[0], &b = p.in[1];
  if (a.rank() != 2 || b.rank() != 2) return refuse(why, "not matrices");
  if (p.attrs().integer("transA", 0) != 0) return refuse(why, "A is transposed");
  if (p.attrs().number("alpha", 1) != 1) return refuse(why, "alpha is not 1");
  bool transposed = p.attrs().integer("transB", 0) != 0;
  Product g;
  g.m = a.dims[0];
  g.k = a.dims[1];
  g.n = p.out[0].dims[1];
  g.b_row = transposed ? 1 : g.n;
  g.b_col = transposed ? g.k : 1;
  if (!p.has(2)) return g;
  const Operand& c = p.in[2];
  bool row = c.constant != nullptr && c.dtype == DType::kFloat32 && c.size() == g.n && c.dims.back() == g.n;
  if (!row || p.attrs().number("beta", 1) != 1) return refuse(why, "C is not a constant row");
  g.bias = &c;
  return g;
}

std::optional<Product> product_of(const Problem& p, bool packed, std::string& why) {
  if (dnn::library() == nullptr) return refuse(why, "there is no oneDNN library here");
  for (const Operand* o : {&p.in[0], &p.in[1], &p.out[0]}) {
    if (o->dtype != DType::kFloat32) return refuse(why, "only float32");
    if (o->size() == 0) return refuse(why, "an empty operand");
    if (!o->dense() || (o->format != Format::kPlain && !formats_agree(o->dims))) return refuse(why, "not dense");
  }
  auto g = p.node->op == "Gemm" ? gemm_product(p, why) : matmul_product(p, why);
  if (!g) return g;
  bool constant = p.in[1].constant != nullptr && g->batch == 1;
  if (packed != constant) return refuse(why, packed ? "the right side is not one constant matrix" : "it is constant");
  if (!packed && g->b_col != 1) return refuse(why, "B is transposed");
  auto steps = fused_steps(p, p.out[0].rank() - 1, why);
  if (!steps) return refuse(why, "epilogue: " + why);
  g->steps = std::move(*steps);
  return g;
}

std::vector<Range> cut(const Product& g, int threads) {
  std::vector<Range> out;
  auto each = [&](int64_t count, auto add) {
    int64_t parts = std::clamp<int64_t>(count, 1, threads);
    for (int64_t i = 0; i < parts; ++i) add(count * i / parts, count * (i + 1) / parts);
  };
  if (g.batch >= threads) {
    each(g.batch, [&](int64_t b, int64_t e) { out.push_back({b, e, 0, g.m, 0, g.n}); });
  } else if (g.m >= 16 * threads || g.batch > 1) {
    each(g.m, [&](int64_t b, int64_t e) { out.push_back({0, g.batch, b, e, 0, g.n}); });
  } else {  // whole vectors of columns
    each((g.n + 63) / 64, [&](int64_t b, int64_t e) { out.push_back({0, 1, 0, g.m, b * 64, std::min(e * 64, g.n)}); });
  }
  return out;
}

using Dims64 = std::vector<dnn::Dim>;

// One value for each column, one in all, or the piece of a whole matrix.
dnn::Desc operand_desc(const Problem& p, const Product& g, const Range& r, size_t index) {
  Spread spread = *spread_of(p.in[index], p.out[0].dims, p.out[0].rank() - 1);
  Dims64 dims{r.b1 - r.b0, r.m1 - r.m0, r.n1 - r.n0}, strides{g.m * g.n, g.n, 1};
  if (spread != Spread::kFull) dims = {1, 1, spread == Spread::kScalar ? 1 : dims[2]};
  if (spread != Spread::kFull) strides = {dims[2], dims[2], 1};
  if (g.batch == 1) {
    dims.erase(dims.begin());
    strides.erase(strides.begin());
  }
  return dnn::Desc::strided(dims, DType::kFloat32, strides);
}

dnn::PrimitiveDesc describe(const Problem& p, const Product& g, const Range& r, bool packed,
                            const dnn::DescHandle* weights, std::string& why) {
  int64_t m = r.m1 - r.m0, n = r.n1 - r.n0;
  Dims64 a{r.b1 - r.b0, m, g.k}, b{r.b1 - r.b0, g.k, n}, c{r.b1 - r.b0, m, n};
  Dims64 a_strides{g.a_batch == 0 ? m * g.k : g.a_batch, g.k, 1}, b_strides{g.k * g.n, g.n, 1},
      c_strides{g.m * g.n, g.n, 1};
  if (g.a_batch == 0) a[0] = 1;
  if (g.batch == 1) {
    for (Dims64* d : {&a, &b, &c, &a_strides, &b_strides, &c_strides}) d->erase(d->begin());
  }
  dnn::Desc source = dnn::Desc::strided(a, DType::kFloat32, a_strides);
  dnn::Desc right = packed ? dnn::Desc::any(b, DType::kFloat32) : dnn::Desc::strided(b, DType::kFloat32, b_strides);
  dnn::Desc result = dnn::Desc::strided(c, DType::kFloat32, c_strides);
  dnn::Desc bias = g.bias != nullptr ? dnn::Desc::dense({1, n}, DType::kFloat32) : dnn::Desc();
  auto made = dnn::PrimitiveDesc::make(
      attributes_of(g.steps, [&](size_t index) { return operand_desc(p, g, r, index); }),
      [&](const dnn::Api& f, dnn::PrimitiveDescHandle** to, dnn::EngineHandle* engine, const dnn::AttrHandle* attr) {
        return f.matmul_primitive_desc_create(to, engine, source.get(), weights != nullptr ? weights : right.get(),
                                              bias.get(), result.get(), attr);
      },
      why);
  if (!made || !made.slow()) return made;
  why = "oneDNN has only a slow implementation for it: " + made.implementation();
  return {};
}

struct Piece {
  Range range;
  dnn::PrimitiveDesc desc;
};

std::vector<Piece> pieces_of(const Problem& p, const Product& g, bool packed, std::string& why) {
  std::vector<Piece> out;
  for (const Range& r : cut(g, p.threads)) {
    bool share = packed && !out.empty() && r.n0 == out[0].range.n0 && r.n1 == out[0].range.n1;
    std::string unshared;
    dnn::PrimitiveDesc desc;
    if (share) desc = describe(p, g, r, packed, out[0].desc.argument(dnn::kWeights), unshared);
    if (!desc) desc = describe(p, g, r, packed, nullptr, why);
    if (!desc) return {};
    out.push_back({r, std::move(desc)});
  }
  return out;
}

template <bool packed>
Verdict judge(const Problem& p) {
  std::string why;
  auto g = product_of(p, packed, why);
  if (!g || pieces_of(p, *g, packed, why).empty()) return Verdict::no("{}", why);
  return Verdict::yes();
}

OnednnPiece placed(const Problem& p, const Product& g, const Piece& piece, const void* weights,
                   std::shared_ptr<const dnn::Call> call) {
  using Of = OnednnPiece::Address::Of;
  const Range& r = piece.range;
  int64_t to = 4 * (r.b0 * g.m * g.n + r.m0 * g.n + r.n0);
  OnednnPiece out;
  out.call = std::move(call);
  out.addresses.push_back({Of::kInput, 0, 4 * (r.b0 * g.a_batch + r.m0 * g.k), nullptr});
  if (weights != nullptr) {
    out.addresses.push_back({Of::kFixed, 0, 0, weights});
  } else {
    out.addresses.push_back({Of::kInput, 1, 4 * r.b0 * g.k * g.n, nullptr});
  }
  if (g.bias != nullptr) out.addresses.push_back({Of::kFixed, 0, 0, g.bias->constant->raw() + 4 * r.n0});
  for (const FusedStep& s : g.steps) {
    if (s.extra < 0) continue;
    auto index = static_cast<size_t>(s.extra);
    Spread spread = *spread_of(p.in[index], p.out[0].dims, p.out[0].rank() - 1);
    int64_t offset = spread == Spread::kFull ? to : spread == Spread::kChannel ? 4 * r.n0 : 0;
    out.addresses.push_back({Of::kInput, index, offset, nullptr});
  }
  out.addresses.push_back({Of::kOutput, 0, to, nullptr});
  return out;
}

template <bool packed>
std::unique_ptr<Kernel> prepare(const Problem& p, WeightStore& store) {
  std::string why;
  Product g = *product_of(p, packed, why);
  std::vector<Piece> pieces = pieces_of(p, g, packed, why);
  expect(!pieces.empty(), "oneDNN does not take this product any more: {}", why);
  std::vector<OnednnPiece> bound;
  for (const Piece& piece : pieces) {
    const void* weights = nullptr;
    if (packed) {
      int64_t n = piece.range.n1 - piece.range.n0;
      dnn::Desc plain = dnn::Desc::strided({g.k, n}, DType::kFloat32, {g.b_row, g.b_col});
      std::string key = fmt::format("{} {} columns {} {}", piece.desc.implementation(), n, g.b_row, g.b_col);
      weights = onednn_packed(store, *p.in[1].constant, plain, piece.desc.argument(dnn::kWeights), key,
                              4 * piece.range.n0 * g.b_col);
    }
    auto call = dnn::Call::make(piece.desc, arguments_of(g.steps, g.bias != nullptr), {}, why);
    expect(call != nullptr, "{}", why);
    bound.push_back(placed(p, g, piece, weights, std::move(call)));
  }
  return make_onednn_kernel(std::move(bound), p.threads, pieces[0].desc.implementation());
}

}  // namespace

void define_matmul_onednn(TacticTable& table) {
  std::vector<Tactic> tactics{{"onednn_packed", judge<true>, prepare<true>},
                              {"onednn_batch", judge<false>, prepare<false>}};
  table.add("MatMul", tactics);
  table.add("Gemm", tactics);
}

}  // namespace tenon
