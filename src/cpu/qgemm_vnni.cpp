// The 8-bit kernels for AVX-512 VNNI. Not through Highway: release 1.0.3 has no target with avx512vnni.
#include "cpu/qgemm_kernels.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

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
  static inline void copy(uint8_t* to, const uint8_t* from, int64_t n, uint8_t flip) {
    const __m512i mask = _mm512_set1_epi8(static_cast<char>(flip));
    int64_t i = 0;
    for (; i + 64 <= n; i += 64) _mm512_storeu_si512(to + i, _mm512_xor_si512(_mm512_loadu_si512(from + i), mask));
    if (i < n) {
      const __mmask64 some = ~uint64_t{0} >> (64 - (n - i));
      _mm512_storeu_si512(to + i, _mm512_xor_si512(_mm512_maskz_loadu_epi8(some, from + i), mask));
    }
  }
};

void gather(const Gather& g, int64_t row_begin, int64_t rows, void* dst) {
  gather_rows<Flip>(g, row_begin, rows, static_cast<uint8_t*>(dst));
}

void row_sums(const void* a, int64_t lda, int64_t rows, int64_t k_padded, int32_t* sums) {
  const __m512i ones = _mm512_set1_epi8(1);
  for (int64_t r = 0; r < rows; ++r) {
    const uint8_t* row = static_cast<const uint8_t*>(a) + r * lda;
    __m512i sum = _mm512_setzero_si512();
    int64_t i = 0;
    for (; i + 64 <= k_padded; i += 64) sum = _mm512_dpbusd_epi32(sum, _mm512_loadu_si512(row + i), ones);
    if (i < k_padded) {
      const __mmask64 some = ~uint64_t{0} >> (64 - (k_padded - i));
      sum = _mm512_dpbusd_epi32(sum, _mm512_maskz_loadu_epi8(some, row + i), ones);
    }
    sums[r] = _mm512_reduce_add_epi32(sum);
  }
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
  const Kernels* base = simd_kernels(QIsa::kAvx512);
  if (!base || !__builtin_cpu_supports("avx512vnni")) return nullptr;
  static const Kernels kTable{QIsa::kVnni,    kLayoutI8x4,   1, false, nullptr, nullptr, vnni::tile, vnni::gather,
                              vnni::row_sums, base->epilogue};
  return &kTable;
}

}  // namespace tenon::cpu::q
#else
namespace tenon::cpu::q {
const Kernels* vnni_kernels() noexcept { return nullptr; }
}  // namespace tenon::cpu::q
#endif
