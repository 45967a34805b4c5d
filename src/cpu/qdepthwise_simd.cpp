// 8-bit depthwise convolution for SSE4, AVX2 and AVX-512 without VNNI: two kernel rows, as int16, a multiply-add.
#include <cstring>

#include "cpu/qdepthwise_kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/qdepthwise_simd.cpp"
#define HWY_DISABLED_TARGETS HWY_SSSE3
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

// Highway also compiles its scalar target, which has no vectors to cut into 8, 16 and 32 bits.
#if HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
HWY_BEFORE_NAMESPACE();
namespace tenon::cpu::q {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D32 = hn::CappedTag<int32_t, 16>;
using D16 = hn::Repartition<int16_t, D32>;
using D8 = hn::Rebind<uint8_t, D32>;
constexpr int kLanes = HWY_LANES(int32_t);
constexpr int kVectors = static_cast<int>(kBlock) / kLanes;

// Two lines of 16 channels to [channel][line] int16.
HWY_INLINE void combine(const uint8_t* first, const uint8_t* second, uint8_t flip, int32_t* to) {
  const D8 d8;
  const D32 d32;
  const auto mask = hn::Set(d8, flip);
  for (int v = 0; v < kVectors; ++v) {
    const auto low = hn::PromoteTo(d32, hn::Xor(hn::LoadU(d8, first + v * kLanes), mask));
    const auto high = hn::PromoteTo(d32, hn::Xor(hn::LoadU(d8, second + v * kLanes), mask));
    hn::Store(hn::Or(low, hn::ShiftLeft<16>(high)), d32, to + v * kLanes);
  }
}

void combine_columns(const DepthwiseLine& l, int64_t groups, int64_t columns, int32_t* to) {
  for (int64_t g = 0; g < groups; ++g) {
    const uint8_t* line[2] = {l.rows[2 * g], 2 * g + 1 < l.kh ? l.rows[2 * g + 1] : nullptr};
    for (int64_t c = 0; c < columns; ++c) {
      const int64_t x = l.ix + c;
      const uint8_t* at[2];
      uint8_t part[2][kBlock];
      for (int i = 0; i < 2; ++i) {
        at[i] = line[i] && x >= 0 && x < l.iw ? line[i] + x * l.pixel_stride : l.fill;
        if (l.channels == kBlock || at[i] == l.fill) continue;
        std::memset(part[i], 0, sizeof part[i]);
        std::memcpy(part[i], at[i], static_cast<size_t>(l.channels));
        at[i] = part[i];
      }
      combine(at[0], at[1], l.flip, to + (c * groups + g) * kBlock);
    }
  }
}

template <int N>
HWY_INLINE void outputs(const DepthwiseLine& l, int64_t groups, const int32_t* columns, int64_t p) {
  const D32 d32;
  const D16 d16;
  for (int v = 0; v < kVectors; ++v) {
    const int32_t* w = static_cast<const int32_t*>(l.weights) + v * kLanes;
    hn::Vec<D32> sum[N];
    for (int i = 0; i < N; ++i) sum[i] = hn::Zero(d32);
    for (int64_t j = 0; j < l.kw; ++j) {
      const int32_t* column = columns + (p * l.sw + j * l.dw) * groups * kBlock + v * kLanes;
      for (int64_t g = 0; g < groups; ++g, w += kBlock) {
        const auto weight = hn::BitCast(d16, hn::Load(d32, w));
        for (int i = 0; i < N; ++i) {
          auto unused = hn::Zero(d32);  // on x86 the pairs of a lane stay in that lane
          const auto x = hn::BitCast(d16, hn::Load(d32, column + (i * l.sw * groups + g) * kBlock));
          sum[i] = hn::ReorderWidenMulAccumulate(d32, x, weight, sum[i], unused);
        }
      }
    }
    for (int i = 0; i < N; ++i) hn::Store(sum[i], d32, l.acc + (p + i) * kTileCols + v * kLanes);
  }
}

void line(const DepthwiseLine& l) {
  const int64_t groups = (l.kh + 1) / 2;
  auto* columns = static_cast<int32_t*>(l.columns);
  combine_columns(l, groups, (l.count - 1) * l.sw + (l.kw - 1) * l.dw + 1, columns);
  int64_t p = 0;
  for (; p + 4 <= l.count; p += 4) outputs<4>(l, groups, columns, p);
  for (; p < l.count; ++p) outputs<1>(l, groups, columns, p);
}

}  // namespace HWY_NAMESPACE
}  // namespace tenon::cpu::q
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
namespace tenon::cpu::q {

DepthwiseFn depthwise_simd(QIsa isa) noexcept {
  if (!simd_kernels(isa)) return nullptr;
  if (isa == QIsa::kAvx512) return N_AVX3::line;
  return isa == QIsa::kAvx2 ? N_AVX2::line : N_SSE4::line;
}

}  // namespace tenon::cpu::q
#endif
