// The 8-bit kernels for AMX: tiles of 16 rows by 16 columns by up to 64 deep, on the VNNI kernels' blob
// layout. Very few rows go to the VNNI kernel, which a tile would only half use.
#include "cpu/qgemm_kernels.hpp"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,amx-tile,amx-int8"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,amx-tile,amx-int8")
#endif

namespace tenon::cpu::q {
namespace amx {

struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

// Tiles 0-3 accumulate, 4 and 5 hold activations (16 rows of k_chunk bytes), 6 and 7 weights (k_chunk / 4
// rows of 64).
void begin(int64_t k_chunk) {
  TileConfig config;
  for (int i = 0; i < 8; ++i) {
    config.bytes[i] = static_cast<uint16_t>(i == 4 || i == 5 ? k_chunk : 64);
    config.rows[i] = static_cast<uint8_t>(i >= 6 ? k_chunk / 4 : 16);
  }
  // GCC's intrinsic tells the compiler of the first eight bytes only.
  asm volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

void end() { _tile_release(); }

struct Step {
  const uint8_t* a;
  int64_t lda;
  const int8_t* b;
  int64_t panel_stride;
  int64_t chunks, k_chunk;
};

void square(const Step& s, int32_t* acc) {
  const uint8_t* a1 = s.a + 16 * s.lda;
  const int8_t* b1 = s.b + s.panel_stride;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t c = 0; c < s.chunks; ++c) {
    _tile_loadd(6, s.b + c * s.k_chunk * 16, 64);
    _tile_loadd(4, s.a + c * s.k_chunk, s.lda);
    _tile_dpbusd(0, 4, 6);
    _tile_loadd(7, b1 + c * s.k_chunk * 16, 64);
    _tile_dpbusd(1, 4, 7);
    _tile_loadd(5, a1 + c * s.k_chunk, s.lda);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
  _tile_stored(0, acc, kTileCols * 4);
  _tile_stored(1, acc + 16, kTileCols * 4);
  _tile_stored(2, acc + 16 * kTileCols, kTileCols * 4);
  _tile_stored(3, acc + 16 * kTileCols + 16, kTileCols * 4);
}

// 16 columns, 16 * Units rows.
template <int Units>
void tall(const Step& s, int32_t* acc) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t c = 0; c < s.chunks; ++c) {
    const uint8_t* a = s.a + c * s.k_chunk;
    _tile_loadd(6, s.b + c * s.k_chunk * 16, 64);
    _tile_loadd(4, a, s.lda);
    _tile_dpbusd(0, 4, 6);
    if constexpr (Units > 1) {
      _tile_loadd(5, a + 16 * s.lda, s.lda);
      _tile_dpbusd(1, 5, 6);
    }
    if constexpr (Units > 2) {
      _tile_loadd(4, a + 32 * s.lda, s.lda);
      _tile_dpbusd(2, 4, 6);
    }
    if constexpr (Units > 3) {
      _tile_loadd(5, a + 48 * s.lda, s.lda);
      _tile_dpbusd(3, 5, 6);
    }
  }
  _tile_stored(0, acc, kTileCols * 4);
  if constexpr (Units > 1) _tile_stored(1, acc + 16 * kTileCols, kTileCols * 4);
  if constexpr (Units > 2) _tile_stored(2, acc + 32 * kTileCols, kTileCols * 4);
  if constexpr (Units > 3) _tile_stored(3, acc + 48 * kTileCols, kTileCols * 4);
}

// 16 rows, 16 * Panels columns.
template <int Panels>
void wide(const Step& s, int32_t* acc) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t c = 0; c < s.chunks; ++c) {
    const int8_t* b = s.b + c * s.k_chunk * 16;
    _tile_loadd(4, s.a + c * s.k_chunk, s.lda);
    _tile_loadd(6, b, 64);
    _tile_dpbusd(0, 4, 6);
    if constexpr (Panels > 1) {
      _tile_loadd(7, b + s.panel_stride, 64);
      _tile_dpbusd(1, 4, 7);
    }
    if constexpr (Panels > 2) {
      _tile_loadd(6, b + 2 * s.panel_stride, 64);
      _tile_dpbusd(2, 4, 6);
    }
    if constexpr (Panels > 3) {
      _tile_loadd(7, b + 3 * s.panel_stride, 64);
      _tile_dpbusd(3, 4, 7);
    }
  }
  _tile_stored(0, acc, kTileCols * 4);
  if constexpr (Panels > 1) _tile_stored(1, acc + 16, kTileCols * 4);
  if constexpr (Panels > 2) _tile_stored(2, acc + 32, kTileCols * 4);
  if constexpr (Panels > 3) _tile_stored(3, acc + 48, kTileCols * 4);
}

void all_rows_one_panel(const Step& s, int64_t units, int32_t* acc) {
  switch (units) {
    case 1: return tall<1>(s, acc);
    case 2: return tall<2>(s, acc);
    case 3: return tall<3>(s, acc);
    default: return tall<4>(s, acc);
  }
}

void one_unit_all_panels(const Step& s, int64_t panels, int32_t* acc) {
  switch (panels) {
    case 1: return wide<1>(s, acc);
    case 2: return wide<2>(s, acc);
    case 3: return wide<3>(s, acc);
    default: return wide<4>(s, acc);
  }
}

void tile(const Tile& t) {
  if (t.rows <= kFewRows) return vnni_kernels()->tile(t);
  const int64_t units = (t.rows + kUnitRows - 1) / kUnitRows;
  Step s{static_cast<const uint8_t*>(t.a), t.lda,    static_cast<const int8_t*>(t.b), t.panel_stride,
         t.k_padded / t.k_chunk,           t.k_chunk};
  if (units == 1) return one_unit_all_panels(s, t.panels, t.acc);
  int64_t p = 0;
  for (; p + 2 <= t.panels; p += 2) {
    Step at = s;
    at.b += p * s.panel_stride;
    int64_t u = 0;
    for (; u + 2 <= units; u += 2, at.a += 2 * kUnitRows * s.lda)
      square(at, t.acc + u * kUnitRows * kTileCols + p * kPanel);
    if (u < units) wide<2>(at, t.acc + u * kUnitRows * kTileCols + p * kPanel);
  }
  if (p < t.panels) {
    s.b += p * s.panel_stride;
    all_rows_one_panel(s, units, t.acc + p * kPanel);
  }
}

// The operating system hands out the tile state on request, once for the process.
bool permitted() {
  constexpr int kRequestPermission = 0x1023;
  constexpr int kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

bool in_processor() {
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  constexpr uint32_t kTile = 1u << 24;
  constexpr uint32_t kInt8 = 1u << 25;
  return (d & kTile) && (d & kInt8);
}

}  // namespace amx
}  // namespace tenon::cpu::q

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace tenon::cpu::q {

const Kernels* amx_kernels() noexcept {
  static const bool kHave = vnni_kernels() && amx::in_processor() && amx::permitted();
  if (!kHave) return nullptr;
  static const Kernels kTable{QIsa::kAmx,
                              kLayoutI8x4,
                              1,
                              true,
                              amx::begin,
                              amx::end,
                              amx::tile,
                              vnni_kernels()->gather,
                              vnni_kernels()->row_sums,
                              vnni_kernels()->epilogue,
                              vnni_kernels()->column_terms};
  return &kTable;
}

}  // namespace tenon::cpu::q
#else
namespace tenon::cpu::q {
const Kernels* amx_kernels() noexcept { return nullptr; }
}  // namespace tenon::cpu::q
#endif
