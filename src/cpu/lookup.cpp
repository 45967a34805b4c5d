#include "cpu/lookup.hpp"

#include "cpu/isa.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tenon::cpu {
namespace {

template <class T>
void plain(const T* table, const LookupRows& r, T* to) {
  for (int64_t i = 0; i < r.rows; ++i) {
    const uint8_t* from = r.from + i * r.from_ld;
    for (int64_t j = 0; j < r.cols; ++j) to[i * r.to_ld + j] = table[from[j]];
  }
}

}  // namespace

#if defined(__x86_64__)
namespace {

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512vbmi")
#endif

struct Table {
  __m512i part[4];

  // A permutation of two registers takes seven bits of each index; the eighth picks the pair.
  inline __m512i of(__m512i x) const {
    const __m512i low = _mm512_permutex2var_epi8(part[0], x, part[1]);
    const __m512i high = _mm512_permutex2var_epi8(part[2], x, part[3]);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), low, high);
  }
};

void wide_bytes(const uint8_t* table, const LookupRows& r, uint8_t* to) {
  Table t;
  for (int i = 0; i < 4; ++i) t.part[i] = _mm512_loadu_si512(table + 64 * i);
  const __mmask64 rest = ~uint64_t{0} >> ((64 - r.cols % 64) % 64);
  for (int64_t i = 0; i < r.rows; ++i) {
    const uint8_t* from = r.from + i * r.from_ld;
    uint8_t* out = to + i * r.to_ld;
    int64_t j = 0;
    for (; j + 64 <= r.cols; j += 64) _mm512_storeu_si512(out + j, t.of(_mm512_loadu_si512(from + j)));
    if (j < r.cols) _mm512_mask_storeu_epi8(out + j, rest, t.of(_mm512_maskz_loadu_epi8(rest, from + j)));
  }
}

void wide_floats(const float* table, const LookupRows& r, float* to) {
  const auto rest = static_cast<__mmask16>(0xFFFF >> ((16 - r.cols % 16) % 16));
  for (int64_t i = 0; i < r.rows; ++i) {
    const uint8_t* from = r.from + i * r.from_ld;
    float* out = to + i * r.to_ld;
    int64_t j = 0;
    for (; j + 16 <= r.cols; j += 16) {
      const __m512i at = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + j)));
      _mm512_storeu_ps(out + j, _mm512_i32gather_ps(at, table, 4));
    }
    if (j < r.cols) {
      const __m512i at = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(rest, from + j));
      _mm512_mask_storeu_ps(out + j, rest, _mm512_i32gather_ps(at, table, 4));
    }
  }
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

bool have_wide() {
  static const bool kMachine =
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi");
  return kMachine && vector_lanes() == 16;  // within the cap; the name would be asked of the processor each time
}

}  // namespace

void lookup_bytes(const uint8_t* table, const LookupRows& rows, uint8_t* to) {
  have_wide() ? wide_bytes(table, rows, to) : plain(table, rows, to);
}

void lookup_floats(const float* table, const LookupRows& rows, float* to) {
  have_wide() ? wide_floats(table, rows, to) : plain(table, rows, to);
}
#else
void lookup_bytes(const uint8_t* table, const LookupRows& rows, uint8_t* to) { plain(table, rows, to); }
void lookup_floats(const float* table, const LookupRows& rows, float* to) { plain(table, rows, to); }
#endif

}  // namespace tenon::cpu
