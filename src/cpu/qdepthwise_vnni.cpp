// 8-bit depthwise convolution for AVX-512 VNNI: four kernel rows a multiply-add.
#include "cpu/qdepthwise_kernels.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#endif

namespace tenon::cpu::q {
namespace vnni_depthwise {

// Four kernel rows of 16 channels to [channel][row].
struct Combine {
  const uint8_t* at[4];
  __mmask16 some;
  __m512i flip;

  inline __m512i column(int64_t offset) const {
    const __m128i a = _mm_maskz_loadu_epi8(some, at[0] + offset);
    const __m128i b = _mm_maskz_loadu_epi8(some, at[1] + offset);
    const __m128i c = _mm_maskz_loadu_epi8(some, at[2] + offset);
    const __m128i d = _mm_maskz_loadu_epi8(some, at[3] + offset);
    __m512i v = _mm512_inserti32x4(_mm512_castsi128_si512(a), b, 1);
    v = _mm512_inserti32x4(_mm512_inserti32x4(v, c, 2), d, 3);
    const __m512i dwords = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i bytes = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    return _mm512_xor_si512(_mm512_shuffle_epi8(_mm512_permutexvar_epi32(dwords, v), bytes), flip);
  }
};

// The lines of kernel rows [4 * group, ...); lines of padding and rows that the kernel lacks (their weights are 0) have
// no position that advances, which `moving` tells.
struct Lines {
  const uint8_t* row[4];
  bool moving[4];

  Lines(const DepthwiseLine& l, int64_t group) {
    for (int64_t i = 0; i < 4; ++i) {
      const int64_t k = 4 * group + i;
      const uint8_t* line = k < l.kh ? l.rows[k] : nullptr;
      row[i] = line ? line : l.fill;
      moving[i] = line != nullptr;
    }
  }
};

void combine_columns(const DepthwiseLine& l, int64_t groups, int64_t columns, __m512i* to) {
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(l.flip));
  const auto some = static_cast<__mmask16>((1u << l.channels) - 1);
  const __m512i padding = _mm512_xor_si512(_mm512_set1_epi8(static_cast<char>(l.fill[0])), flip);
  for (int64_t g = 0; g < groups; ++g) {
    const Lines lines(l, g);
    for (int64_t c = 0; c < columns; ++c) {
      const int64_t x = l.ix + c;
      __m512i v = padding;
      if (x >= 0 && x < l.iw) {
        const int64_t offset = x * l.pixel_stride;
        Combine at{{}, some, flip};
        for (int i = 0; i < 4; ++i) at.at[i] = lines.row[i] + (lines.moving[i] ? offset : 0);
        v = at.column(0);
      }
      _mm512_store_si512(to + c * groups + g, v);
    }
  }
}

// Outputs [p, p + N) from combined columns.
template <int N>
inline void outputs(const DepthwiseLine& l, int64_t groups, const __m512i* columns, int64_t p) {
  const auto* w = static_cast<const __m512i*>(l.weights);
  __m512i sum[N];
  for (int i = 0; i < N; ++i) sum[i] = _mm512_setzero_si512();
  for (int plane = 0; plane < l.planes; ++plane) {
    for (int64_t j = 0; j < l.kw; ++j) {
      const __m512i* column = columns + (p * l.sw + j * l.dw) * groups;
      for (int64_t g = 0; g < groups; ++g, ++w) {
        const __m512i weight = _mm512_load_si512(w);
#pragma GCC unroll 4
        for (int i = 0; i < N; ++i) {
          sum[i] = _mm512_dpbusd_epi32(sum[i], _mm512_load_si512(column + i * l.sw * groups + g), weight);
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) _mm512_store_si512(l.acc + (p + i) * kTileCols, sum[i]);
}

// ---- 3x3, strides 1 and 2, in registers: a column is combined and at once multiplied for all its outputs ----

template <bool kFull>
class ColumnsOf3 {
 public:
  explicit ColumnsOf3(const DepthwiseLine& l)
      : x_(l.ix),
        width_(l.iw),
        some_(static_cast<__mmask16>((1u << l.channels) - 1)),
        flip_(_mm512_set1_epi8(static_cast<char>(l.flip))),
        padding_(_mm512_xor_si512(_mm512_set1_epi8(static_cast<char>(l.fill[0])), flip_)) {
    for (int i = 0; i < 3; ++i) {
      base_[i] = l.rows[i] ? l.rows[i] : l.fill;
      step_[i] = l.rows[i] ? l.pixel_stride : 0;
    }
  }

  inline __m512i next() {
    const int64_t x = x_++;
    if (x < 0 || x >= width_) return padding_;
    const __m512i dwords = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i bytes = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    __m512i v = _mm512_castsi128_si512(load(0, x));
    v = _mm512_inserti32x4(_mm512_inserti32x4(v, load(1, x), 1), load(2, x), 2);
    return _mm512_xor_si512(_mm512_shuffle_epi8(_mm512_permutexvar_epi32(dwords, v), bytes), flip_);
  }

 private:
  inline __m128i load(int row, int64_t x) const {
    const uint8_t* at = base_[row] + x * step_[row];
    if constexpr (kFull) return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    return _mm_maskz_loadu_epi8(some_, at);
  }

  const uint8_t* base_[3];
  int64_t step_[3];
  int64_t x_, width_;
  __mmask16 some_;
  __m512i flip_, padding_;
};

// The fourth byte of a lane is whatever the vector held: its weight is 0.
template <bool kFull>
void line3x3_stride1(const DepthwiseLine& l) {
  const auto* w = static_cast<const __m512i*>(l.weights);
  const __m512i w0 = w[0], w1 = w[1], w2 = w[2], zero = _mm512_setzero_si512();
  ColumnsOf3<kFull> columns(l);
  __m512i v = columns.next();
  __m512i next = _mm512_dpbusd_epi32(zero, v, w0);
  v = columns.next();
  __m512i sum = _mm512_dpbusd_epi32(next, v, w1);
  next = _mm512_dpbusd_epi32(zero, v, w0);
  for (int64_t p = 0; p < l.count; ++p) {
    v = columns.next();
    _mm512_store_si512(l.acc + p * kTileCols, _mm512_dpbusd_epi32(sum, v, w2));
    sum = _mm512_dpbusd_epi32(next, v, w1);
    next = _mm512_dpbusd_epi32(zero, v, w0);
  }
}

template <bool kFull>
void line3x3_stride2(const DepthwiseLine& l) {
  const auto* w = static_cast<const __m512i*>(l.weights);
  const __m512i w0 = w[0], w1 = w[1], w2 = w[2], zero = _mm512_setzero_si512();
  ColumnsOf3<kFull> columns(l);
  __m512i v = columns.next();
  for (int64_t p = 0; p < l.count; ++p) {
    const __m512i sum = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(zero, v, w0), columns.next(), w1);
    v = columns.next();
    _mm512_store_si512(l.acc + p * kTileCols, _mm512_dpbusd_epi32(sum, v, w2));
  }
}

void line(const DepthwiseLine& l) {
  if (l.kh == 3 && l.kw == 3 && l.dw == 1 && l.planes == 1 && l.sw <= 2) {
    if (l.channels == kBlock) return l.sw == 1 ? line3x3_stride1<true>(l) : line3x3_stride2<true>(l);
    return l.sw == 1 ? line3x3_stride1<false>(l) : line3x3_stride2<false>(l);
  }
  const int64_t groups = (l.kh + 3) / 4;
  auto* columns = static_cast<__m512i*>(l.columns);
  combine_columns(l, groups, (l.count - 1) * l.sw + (l.kw - 1) * l.dw + 1, columns);
  int64_t p = 0;
  for (; p + 4 <= l.count; p += 4) outputs<4>(l, groups, columns, p);
  for (; p < l.count; ++p) outputs<1>(l, groups, columns, p);
}

}  // namespace vnni_depthwise
}  // namespace tenon::cpu::q

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace tenon::cpu::q {
DepthwiseFn depthwise_vnni() noexcept { return vnni_kernels() ? vnni_depthwise::line : nullptr; }
}  // namespace tenon::cpu::q
#else
namespace tenon::cpu::q {
DepthwiseFn depthwise_vnni() noexcept { return nullptr; }
}  // namespace tenon::cpu::q
#endif
