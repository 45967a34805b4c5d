// The 8-bit kernels for SSE4, AVX2 and AVX-512 without VNNI: exact products by multiply-add of int16 pairs
// (the 8-bit multiply-add of these instruction sets saturates). The epilogue here also serves the faster
// kernels.
#include <algorithm>
#include <cstring>

#include "cpu/qgemm_kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/qgemm_simd.cpp"
#define HWY_DISABLED_TARGETS HWY_SSSE3
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

// Highway also compiles its scalar target, which has no vectors to cut into 8, 16 and 32 bits.
#if HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
HWY_BEFORE_NAMESPACE();
namespace tenon::cpu::q {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D16 = hn::CappedTag<int16_t, 32>;
using D32 = hn::Repartition<int32_t, D16>;
using V32 = hn::Vec<D32>;

constexpr int kLanes16 = HWY_LANES(int16_t);
constexpr int kPanelVectors = 2 * static_cast<int>(kPanel) / kLanes16;  // vectors of int16 pairs in 16 columns
// Accumulators, one weight vector each and one activation must fit in 16 (32 for AVX-512) registers.
constexpr int kMaxPanels = kPanelVectors == 1 ? 4 : 1;
constexpr int kRows = kPanelVectors == 4 ? 2 : 6;

template <int MR, int NP>
HWY_NOINLINE void block(const int16_t* a, int64_t lda, const int16_t* b, int64_t panel_stride, int64_t pairs,
                        int32_t* acc) {
  constexpr int NV = NP * kPanelVectors;
  const D16 d16;
  const D32 d32;
  V32 sum[MR][NV];
  for (int r = 0; r < MR; ++r)
    for (int v = 0; v < NV; ++v) sum[r][v] = hn::Zero(d32);
  for (int64_t p = 0; p < pairs; ++p) {
    hn::Vec<D16> w[NV];
    for (int v = 0; v < NV; ++v) {
      w[v] = hn::Load(d16, b + (v / kPanelVectors) * panel_stride + (v % kPanelVectors) * kLanes16);
    }
    for (int r = 0; r < MR; ++r) {
      int32_t two;
      std::memcpy(&two, a + r * lda + 2 * p, sizeof two);
      const auto x = hn::BitCast(d16, hn::Set(d32, two));
      V32 unused = hn::Zero(d32);  // on x86 the pairs of a lane stay in that lane
      for (int v = 0; v < NV; ++v) sum[r][v] = hn::ReorderWidenMulAccumulate(d32, x, w[v], sum[r][v], unused);
    }
    b += 2 * kPanel;
  }
  for (int r = 0; r < MR; ++r)
    for (int v = 0; v < NV; ++v) hn::Store(sum[r][v], d32, acc + r * kTileCols + v * (kLanes16 / 2));
}

template <int NP>
void tile_panels(const Tile& t, const int16_t* b, int32_t* acc) {
  const auto* a = static_cast<const int16_t*>(t.a);
  const int64_t stride = t.panel_stride / 2;
  const int64_t pairs = t.k_padded / 2;
  int64_t r = 0;
  for (; r + kRows <= t.rows; r += kRows) block<kRows, NP>(a + r * t.lda, t.lda, b, stride, pairs, acc + r * kTileCols);
  for (; r + 2 <= t.rows; r += 2) block<2, NP>(a + r * t.lda, t.lda, b, stride, pairs, acc + r * kTileCols);
  if (r < t.rows) block<1, NP>(a + r * t.lda, t.lda, b, stride, pairs, acc + r * kTileCols);
}

void tile(const Tile& t) {
  const auto* b = static_cast<const int16_t*>(t.b);
  int64_t p = 0;
  for (; p + kMaxPanels <= t.panels; p += kMaxPanels) {
    tile_panels<kMaxPanels>(t, b + p * t.panel_stride / 2, t.acc + p * kPanel);
  }
  for (; p < t.panels; ++p) tile_panels<1>(t, b + p * t.panel_stride / 2, t.acc + p * kPanel);
}

#include "cpu/qgemm_gather-inl.hpp"

struct Widen {
  static inline void one(int16_t* to, const uint8_t* from, int64_t n, uint8_t flip) {
    const hn::Rebind<uint8_t, D16> d8;
    const D16 d16;
    const auto mask = hn::Set(d8, flip);
    for (int64_t i = 0; i + kLanes16 <= n; i += kLanes16) {
      hn::StoreU(hn::PromoteTo(d16, hn::Xor(hn::LoadU(d8, from + i), mask)), d16, to + i);
    }
    if (n >= kLanes16) {  // the last, partly again
      const int64_t i = n - kLanes16;
      hn::StoreU(hn::PromoteTo(d16, hn::Xor(hn::LoadU(d8, from + i), mask)), d16, to + i);
    } else {
      for (int64_t i = 0; i < n; ++i) to[i] = static_cast<int16_t>(from[i] ^ flip);
    }
  }

  static inline void rows(int16_t* to, int64_t to_step, const uint8_t* from, int64_t from_step, int64_t count,
                          int64_t n, uint8_t flip) {
    for (int64_t p = 0; p < count; ++p) one(to + p * to_step, from + p * from_step, n, flip);
  }
};

void gather(const Gather& g, int64_t row_begin, int64_t rows, void* dst) {
  gather_rows<Widen>(g, row_begin, rows, static_cast<int16_t*>(dst));
}

void row_sums(const void* a, int64_t lda, int64_t rows, int64_t k, int32_t* sums) {
  for (int64_t r = 0; r < rows; ++r) {
    const int16_t* row = static_cast<const int16_t*>(a) + r * lda;
    uint32_t sum = 0;
    for (int64_t i = 0; i < k; ++i) sum += static_cast<uint32_t>(row[i]);
    sums[r] = static_cast<int32_t>(sum);
  }
}

// ---- epilogue: one vector of columns at a time, so that its parameters stay in registers over the rows ----

using E32 = hn::CappedTag<int32_t, 16>;
using EF = hn::Rebind<float, E32>;
constexpr int kStep = kLanes16 / 2;

struct Columns {
  const int32_t* acc;
  hn::Vec<E32> term, factor;
  const int32_t* row_sums;  // nullptr: no factor

  HWY_INLINE hn::Vec<E32> load(int64_t r) const {
    const E32 d;
    auto v = hn::Add(hn::Load(d, acc + r * kTileCols), term);
    if (row_sums) v = hn::Add(v, hn::Mul(hn::Set(d, row_sums[r]), factor));
    return v;
  }
};

struct Scaling {
  hn::Vec<EF> scale, bias, lo, hi;
  bool has_bias;

  HWY_INLINE hn::Vec<EF> apply(hn::Vec<E32> acc) const {
    auto v = hn::Mul(hn::ConvertTo(EF(), acc), scale);
    if (has_bias) v = hn::Add(v, bias);
    return hn::Min(hn::Max(v, lo), hi);
  }
};

template <class T, class D, class V>
HWY_INLINE void store_columns(D d, V v, T* to, int64_t cols) {
  if (cols >= kStep) {
    hn::StoreU(v, d, to);
  } else {
    HWY_ALIGN T part[kStep];
    hn::Store(v, d, part);
    std::memcpy(to, part, static_cast<size_t>(cols) * sizeof(T));
  }
}

template <class T>
void requant_columns(const Columns& in, const Scaling& s, const EpilogueTile& t, T* out, int64_t cols) {
  const E32 d;
  const hn::Rebind<T, E32> d8;
  const auto zp = hn::Set(d, t.epilogue->out_zp);
  for (int64_t r = 0; r < t.rows; ++r) {
    const auto v = hn::Add(hn::NearestInt(s.apply(in.load(r))), zp);
    store_columns(d8, hn::DemoteTo(d8, v), out + r * t.epilogue->ld_out, cols);
  }
}

void finish_columns(const EpilogueTile& t, const Columns& in, const Parameters& p, int64_t c) {
  const QEpilogue& e = *t.epilogue;
  const E32 d;
  const EF df;
  const int64_t cols = t.cols - c;
  const int64_t at = t.row_begin * e.ld_out + t.col_begin + c;
  const Scaling s{hn::Load(df, p.scale + c), hn::Load(df, p.bias + c), hn::Set(df, p.lo), hn::Set(df, p.hi),
                  e.bias != nullptr};
  if (e.kind == QEpilogueKind::kInt32) {
    auto* out = static_cast<int32_t*>(e.out) + at;
    for (int64_t r = 0; r < t.rows; ++r) store_columns(d, in.load(r), out + r * e.ld_out, cols);
  } else if (e.kind == QEpilogueKind::kFloat) {
    auto* out = static_cast<float*>(e.out) + at;
    for (int64_t r = 0; r < t.rows; ++r) store_columns(df, s.apply(in.load(r)), out + r * e.ld_out, cols);
  } else if (e.kind == QEpilogueKind::kRequant && e.out_type == QType::kU8) {
    requant_columns(in, s, t, static_cast<uint8_t*>(e.out) + at, cols);
  } else if (e.kind == QEpilogueKind::kRequant) {
    requant_columns(in, s, t, static_cast<int8_t*>(e.out) + at, cols);
  } else {
    for (int64_t r = 0; r < t.rows; ++r) hn::Store(in.load(r), d, t.acc + r * kTileCols + c);
  }
}

void epilogue(const EpilogueTile& t) {
  const E32 d;
  const Parameters p(t);
  for (int64_t c = 0; c < t.cols; c += kStep) {
    const Columns in{t.acc + c, hn::Load(d, t.column_terms + c),
                     t.row_factors ? hn::Load(d, t.row_factors + c) : hn::Zero(d),
                     t.row_factors ? t.row_sums : nullptr};
    finish_columns(t, in, p, c);
  }
  if (t.epilogue->kind == QEpilogueKind::kPostOp) {
    t.epilogue->post.fn(t.epilogue->post.ctx, t.acc, kTileCols, t.row_begin, t.rows, t.col_begin, t.cols);
  }
}

void column_terms(const ColumnTerms& in) {
  const E32 d;
  const auto za = hn::Set(d, in.za);
  const auto k = hn::Set(d, in.k);
  for (int64_t c = 0; c < in.columns; c += kStep) {
    const auto zb = hn::LoadU(d, in.zero_points + c);
    auto term = hn::Mul(za, hn::Sub(hn::Mul(k, zb), hn::LoadU(d, in.sums + c)));
    if (in.bias) term = hn::Add(term, hn::LoadU(d, in.bias + c));
    hn::StoreU(term, d, in.terms + c);
    hn::StoreU(hn::Sub(hn::Zero(d), zb), d, in.factors + c);
  }
}

const Kernels* table() {
  static const Kernels kTable{HWY_TARGET == HWY_AVX3   ? QIsa::kAvx512
                              : HWY_TARGET == HWY_AVX2 ? QIsa::kAvx2
                                                       : QIsa::kSse4,
                              kLayoutI16x2,
                              2,
                              false,
                              nullptr,
                              nullptr,
                              tile,
                              gather,
                              row_sums,
                              epilogue,
                              column_terms};
  return &kTable;
}

}  // namespace HWY_NAMESPACE
}  // namespace tenon::cpu::q
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
namespace tenon::cpu::q {

namespace {

// Asked of the machine once (CPUID is slow on virtual machines), and not of Highway, whose answer can be capped.
struct Machine {
  bool sse4 = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("aes");
  bool avx2 = sse4 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
};

}  // namespace

const Kernels* simd_kernels(QIsa isa) noexcept {
  static const Machine kMachine;
  if (isa == QIsa::kSse4 && kMachine.sse4) return N_SSE4::table();
  if (isa == QIsa::kAvx2 && kMachine.avx2) return N_AVX2::table();
  if (isa == QIsa::kAvx512 && kMachine.avx512) return N_AVX3::table();
  return nullptr;
}

}  // namespace tenon::cpu::q
#endif
