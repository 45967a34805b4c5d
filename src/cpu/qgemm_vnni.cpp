// The 8-bit kernels for AVX-512 VNNI. Not through Highway: release 1.0.3 has no target with avx512vnni.
#include "cpu/qgemm_kernels.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>
#include <limits>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#endif

namespace tenon::cpu::q {
namespace vnni {

inline __m512i broadcast4(const uint8_t* p) {
  int32_t four;
  std::memcpy(&four, p, sizeof four);
  return _mm512_set1_epi32(four);
}

// Rows are addressed from one pointer for every three, so that pointers stay in registers.
template <int MR, int NV>
__attribute__((noinline)) void block(const uint8_t* a, int64_t lda, const int8_t* b, int64_t panel_stride,
                                     int64_t quads, int32_t* acc) {
  constexpr int kGroups = (MR + 2) / 3;
  __m512i sum[MR][NV];
  const uint8_t* base[kGroups];
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) base[g] = a + 3 * g * lda;
#pragma GCC unroll 12
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) sum[r][v] = _mm512_setzero_si512();
  }
  for (int64_t q = 0; q < quads; ++q) {
    __m512i w[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) w[v] = _mm512_load_si512(b + v * panel_stride + 64 * q);
#pragma GCC unroll 12
    for (int r = 0; r < MR; ++r) {
      const __m512i x = broadcast4(base[r / 3] + (r % 3) * lda + 4 * q);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) sum[r][v] = _mm512_dpbusd_epi32(sum[r][v], x, w[v]);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) _mm512_store_si512(acc + r * kTileCols + v * kPanel, sum[r][v]);
  }
}

template <int NV>
void tile_panels(const Tile& t, const int8_t* b, int32_t* acc) {
  constexpr int kRows = NV <= 2 ? 12 : 6;
  const auto* a = static_cast<const uint8_t*>(t.a);
  const int64_t quads = t.k_padded / 4;
  int64_t r = 0;
  for (; r + kRows <= t.rows; r += kRows) {
    block<kRows, NV>(a + r * t.lda, t.lda, b, t.panel_stride, quads, acc + r * kTileCols);
  }
  for (; r + 4 <= t.rows; r += 4) block<4, NV>(a + r * t.lda, t.lda, b, t.panel_stride, quads, acc + r * kTileCols);
  for (; r + 2 <= t.rows; r += 2) block<2, NV>(a + r * t.lda, t.lda, b, t.panel_stride, quads, acc + r * kTileCols);
  if (r < t.rows) block<1, NV>(a + r * t.lda, t.lda, b, t.panel_stride, quads, acc + r * kTileCols);
}

void tile(const Tile& t) {
  const auto* b = static_cast<const int8_t*>(t.b);
  switch (t.panels) {
    case 1: return tile_panels<1>(t, b, t.acc);
    case 2: return tile_panels<2>(t, b, t.acc);
    case 3: return tile_panels<3>(t, b, t.acc);
    default: return tile_panels<4>(t, b, t.acc);
  }
}

#include "cpu/qgemm_gather-inl.hpp"

struct Flip {
  // Runs of Full whole vectors and a part, which may be empty.
  template <int Full>
  static inline void short_rows(uint8_t* to, int64_t to_step, const uint8_t* from, int64_t from_step, int64_t count,
                                __mmask64 part, __m512i mask) {
    for (int64_t p = 0; p < count; ++p, to += to_step, from += from_step) {
#pragma GCC unroll 3
      for (int i = 0; i < Full; ++i) {
        _mm512_storeu_si512(to + 64 * i, _mm512_xor_si512(_mm512_loadu_si512(from + 64 * i), mask));
      }
      const __m512i last = _mm512_maskz_loadu_epi8(part, from + 64 * Full);
      _mm512_mask_storeu_epi8(to + 64 * Full, part, _mm512_xor_si512(last, mask));
    }
  }

  static inline void long_rows(uint8_t* to, int64_t to_step, const uint8_t* from, int64_t from_step, int64_t count,
                               int64_t n, __mmask64 part, __m512i mask) {
    for (int64_t p = 0; p < count; ++p, to += to_step, from += from_step) {
      int64_t i = 0;
      for (; i + 64 <= n; i += 64) _mm512_storeu_si512(to + i, _mm512_xor_si512(_mm512_loadu_si512(from + i), mask));
      _mm512_mask_storeu_epi8(to + i, part, _mm512_xor_si512(_mm512_maskz_loadu_epi8(part, from + i), mask));
    }
  }

  static inline void rows(uint8_t* to, int64_t to_step, const uint8_t* from, int64_t from_step, int64_t count,
                          int64_t n, uint8_t flip) {
    const __m512i mask = _mm512_set1_epi8(static_cast<char>(flip));
    const __mmask64 part = (uint64_t{1} << (n % 64)) - 1;
    switch (n / 64) {
      case 0: return short_rows<0>(to, to_step, from, from_step, count, part, mask);
      case 1: return short_rows<1>(to, to_step, from, from_step, count, part, mask);
      case 2: return short_rows<2>(to, to_step, from, from_step, count, part, mask);
      case 3: return short_rows<3>(to, to_step, from, from_step, count, part, mask);
      default: return long_rows(to, to_step, from, from_step, count, n, part, mask);
    }
  }
};

void gather(const Gather& g, int64_t row_begin, int64_t rows, void* dst) {
  gather_rows<Flip>(g, row_begin, rows, static_cast<uint8_t*>(dst));
}

void row_sums(const void* a, int64_t lda, int64_t rows, int64_t k, int32_t* sums) {
  const __m512i ones = _mm512_set1_epi8(1);
  for (int64_t r = 0; r < rows; ++r) {
    const uint8_t* row = static_cast<const uint8_t*>(a) + r * lda;
    __m512i sum = _mm512_setzero_si512();
    int64_t i = 0;
    for (; i + 64 <= k; i += 64) sum = _mm512_dpbusd_epi32(sum, _mm512_loadu_si512(row + i), ones);
    if (i < k) {
      const __mmask64 some = ~uint64_t{0} >> (64 - (k - i));
      sum = _mm512_dpbusd_epi32(sum, _mm512_maskz_loadu_epi8(some, row + i), ones);
    }
    sums[r] = _mm512_reduce_add_epi32(sum);
  }
}

// ---- epilogue for 8-bit outputs: 64 bytes at a time, of 1, 2 or 4 rows; the rest as with AVX-512 ----

template <int NV>
struct Requant {
  __m512 scale[NV], bias[NV], lo, hi;
  __m512i term[NV], factor[NV];
  Requant(const EpilogueTile& t, const Parameters& p, int64_t c) : lo(_mm512_set1_ps(p.lo)), hi(_mm512_set1_ps(p.hi)) {
    for (int v = 0; v < NV; ++v) {
      scale[v] = _mm512_load_ps(p.scale + c + 16 * v);
      bias[v] = _mm512_load_ps(p.bias + c + 16 * v);
      term[v] = _mm512_load_si512(t.column_terms + c + 16 * v);
      factor[v] = t.row_factors ? _mm512_load_si512(t.row_factors + c + 16 * v) : _mm512_setzero_si512();
    }
  }

  // Rounded, before the zero point. Too low a float becomes the lowest int32, which saturates as it should.
  // kPlain: there is no bias and no lower bound.
  template <bool kRowTerm, bool kPlain>
  inline __m512i apply(const int32_t* acc, int32_t row_sum, int v) const {
    __m512i sum = _mm512_add_epi32(_mm512_load_si512(acc), term[v]);
    if constexpr (kRowTerm) sum = _mm512_add_epi32(sum, _mm512_mullo_epi32(_mm512_set1_epi32(row_sum), factor[v]));
    __m512 x = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale[v]);
    if constexpr (!kPlain) x = _mm512_max_ps(_mm512_add_ps(x, bias[v]), lo);
    return _mm512_cvtps_epi32(_mm512_min_ps(x, hi));
  }
};

// Packing leaves dword 4 * lane + vector; wanted is 4 * vector + lane.
template <bool kSigned>
inline __m512i pack64(const __m512i* v, __m512i zp) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i low = _mm512_adds_epi16(_mm512_packs_epi32(v[0], v[1]), zp);
  const __m512i high = _mm512_adds_epi16(_mm512_packs_epi32(v[2], v[3]), zp);
  const __m512i all = kSigned ? _mm512_packs_epi16(low, high) : _mm512_packus_epi16(low, high);
  return _mm512_permutexvar_epi32(order, all);
}

template <int NV>
inline void store_rows(__m512i all, uint8_t* out, int64_t ld, int64_t rows, __mmask16 some) {
  if constexpr (NV == 4) {
    _mm512_storeu_si512(out, all);
  } else if constexpr (NV == 2) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_castsi512_si256(all));
    if (rows > 1) _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + ld), _mm512_extracti64x4_epi64(all, 1));
  } else {
    _mm_mask_storeu_epi8(out, some, _mm512_castsi512_si128(all));
    if (rows > 1) _mm_mask_storeu_epi8(out + ld, some, _mm512_extracti32x4_epi32(all, 1));
    if (rows > 2) _mm_mask_storeu_epi8(out + 2 * ld, some, _mm512_extracti32x4_epi32(all, 2));
    if (rows > 3) _mm_mask_storeu_epi8(out + 3 * ld, some, _mm512_extracti32x4_epi32(all, 3));
  }
}

template <int NV, bool kSigned, bool kRowTerm, bool kPlain>
void requant_columns(const EpilogueTile& t, const Parameters& p, int64_t c) {
  constexpr int64_t kRows = 4 / NV;
  const Requant<NV> requant(t, p, c);
  const __m512i zp = _mm512_set1_epi16(static_cast<int16_t>(t.epilogue->out_zp));
  const int64_t ld = t.epilogue->ld_out;
  uint8_t* out = static_cast<uint8_t*>(t.epilogue->out) + t.row_begin * ld + t.col_begin + c;
  const int64_t cols = t.cols - c;
  const auto some = static_cast<__mmask16>(cols >= 16 ? 0xFFFF : (1 << cols) - 1);
  for (int64_t r = 0; r < t.rows; r += kRows) {
    __m512i v[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const int64_t row = r + i / NV < t.rows ? r + i / NV : t.rows - 1;
      const int32_t sum = kRowTerm ? t.row_sums[row] : 0;
      v[i] = requant.template apply<kRowTerm, kPlain>(t.acc + row * kTileCols + c + 16 * (i % NV), sum, i % NV);
    }
    store_rows<NV>(pack64<kSigned>(v, zp), out + r * ld, ld, t.rows - r, some);
  }
}

template <bool kSigned, bool kRowTerm, bool kPlain>
void requant(const EpilogueTile& t) {
  const Parameters p(t);
  if (t.cols == kTileCols) return requant_columns<4, kSigned, kRowTerm, kPlain>(t, p, 0);
  int64_t c = 0;
  for (; c + 32 <= t.cols; c += 32) requant_columns<2, kSigned, kRowTerm, kPlain>(t, p, c);
  for (; c < t.cols; c += 16) requant_columns<1, kSigned, kRowTerm, kPlain>(t, p, c);
}

template <bool kSigned, bool kRowTerm>
void requant(const EpilogueTile& t) {
  const bool plain = !t.epilogue->bias && t.epilogue->lo < -std::numeric_limits<float>::max();
  return plain ? requant<kSigned, kRowTerm, true>(t) : requant<kSigned, kRowTerm, false>(t);
}

void epilogue(const EpilogueTile& t) {
  if (t.epilogue->kind != QEpilogueKind::kRequant) return simd_kernels(QIsa::kAvx512)->epilogue(t);
  const bool row_term = t.row_factors != nullptr;
  if (t.epilogue->out_type == QType::kS8) return row_term ? requant<true, true>(t) : requant<true, false>(t);
  return row_term ? requant<false, true>(t) : requant<false, false>(t);
}

}  // namespace vnni
}  // namespace tenon::cpu::q

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace tenon::cpu::q {

const Kernels* vnni_kernels() noexcept {
  static const bool kHave = simd_kernels(QIsa::kAvx512) && __builtin_cpu_supports("avx512vnni");
  if (!kHave) return nullptr;
  static const Kernels kTable{QIsa::kVnni,
                              kLayoutI8x4,
                              1,
                              false,
                              nullptr,
                              nullptr,
                              vnni::tile,
                              vnni::gather,
                              vnni::row_sums,
                              vnni::epilogue,
                              simd_kernels(QIsa::kAvx512)->column_terms};
  return &kTable;
}

}  // namespace tenon::cpu::q
#else
namespace tenon::cpu::q {
const Kernels* vnni_kernels() noexcept { return nullptr; }
}  // namespace tenon::cpu::q
#endif
