// Inside of the 8-bit kernels: what an instruction set provides, and the driver that both qgemm and qconv
// are. Every activation is brought to uint8 (int8 is shifted by 128) and every weight to int8 (uint8 is
// shifted by -128), zero points alike, so that there is one kind of product; sums of weights kept in the blob
// undo the zero points.
//   layout i8x4: activations uint8, weights [panel of 16 columns][k / 4][16][4] int8     (VNNI, AMX)
//   layout i16x2: activations int16, weights [panel of 16 columns][k / 2][16][2] int16   (multiply-add of
//   pairs)
#pragma once

#include <cstdint>

#include "cpu/qgemm.hpp"

namespace tenon::cpu::q {

inline constexpr uint32_t kLayoutI8x4 = 0x51010410;   // "Q", version 1, k grouped by 4, panels of 16
inline constexpr uint32_t kLayoutI16x2 = 0x51010210;  // k grouped by 2
inline constexpr int64_t kPanel = 16;                 // columns of a weight panel
inline constexpr int64_t kTileCols = 64;              // columns of an accumulator tile
inline constexpr int64_t kUnitRows = 16;              // rows are handed out in multiples of this
inline constexpr int64_t kMaxTileRows = 64;
inline constexpr int64_t kMaxItemRows = 256;  // of an item of work: more than a tile when weights are many
inline constexpr int64_t kFewRows = 2;        // so few rows are not worth whole units

/// First bytes of a packed blob; then for each group: int32 weight sums, int32 zero points, weight panels.
struct alignas(64) BlobHeader {
  uint32_t layout;
  uint16_t has_zero_points;
  uint16_t planes;  // depthwise only; 1 elsewhere
  int64_t groups;
  int64_t n, k;  // of one group
  int64_t k_padded;
  int64_t k_chunk;  // k_padded is a multiple of it: the depth of one AMX tile
};

/// A product of `rows` activation rows by `panels` (at most 4) weight panels into acc (row stride kTileCols).
struct Tile {
  const void* a;
  int64_t lda;  // elements
  const void* b;
  int64_t panel_stride;  // bytes
  int64_t rows, panels;
  int64_t k_padded, k_chunk;
  int32_t* acc;
};

/// Where activation rows come from: row (n * oh + y) * ow + x is the patch of that output pixel,
/// [kh][kw][channels]. A plain matrix is a picture of one row of M pixels with a 1x1 kernel.
struct Gather {
  const uint8_t* src;
  int64_t batch_stride, row_stride, pixel_stride;
  int64_t ih, iw, oh, ow, kh, kw, sh, sw, dh, dw, pad_top, pad_left;
  int64_t channels;
  int64_t k_padded;
  uint8_t flip;  // 0x80 makes int8 uint8
  uint8_t fill;  // the zero point, after flipping
};

struct EpilogueTile {
  const QEpilogue* epilogue;
  int32_t* acc;  // row stride kTileCols; corrected in place
  int64_t row_begin, rows, col_begin, cols;
  const int32_t* column_terms;  // [kTileCols], added to every row
  const int32_t* row_factors;   // [kTileCols] or nullptr: row_factors[c] * row_sums[r] is added
  const int32_t* row_sums;
};

/// The epilogue's parameters for the columns of a tile; columns up to the next multiple of 16 are defined.
struct Parameters {
  alignas(64) float scale[kTileCols];
  alignas(64) float bias[kTileCols];
  float lo, hi;  // with the bounds of a requantised type

  explicit Parameters(const EpilogueTile& tile);
};

/// What undoes the zero points in `columns` (a multiple of 16) columns: (a - za)(b - zb) = ab - za b - zb a + za zb,
/// summed over k, modulo 2^32. terms = bias + za (k zb - sums), to be added; factors = -zb, of the row's sum.
struct ColumnTerms {
  const int32_t* sums;
  const int32_t* zero_points;
  const int32_t* bias;  // [columns] or nullptr
  int64_t columns;
  int32_t za, k;
  int32_t* terms;
  int32_t* factors;
};

struct Kernels {
  QIsa isa;
  uint32_t layout;
  int element_bytes;               // of gathered activations
  bool whole_units;                // tile() touches rows in multiples of kUnitRows unless rows <= kFewRows
  void (*begin)(int64_t k_chunk);  // prepares the thread; may be nullptr
  void (*end)();
  void (*tile)(const Tile& tile);
  void (*gather)(const Gather& gather, int64_t row_begin, int64_t rows, void* dst);
  void (*row_sums)(const void* a, int64_t lda, int64_t rows, int64_t k, int32_t* sums);
  void (*epilogue)(const EpilogueTile& tile);
  void (*column_terms)(const ColumnTerms& columns);
};

/// Kernels of an available instruction set; nullptr when this build or machine has none.
const Kernels* kernels(QIsa isa) noexcept;
/// The same, or throws invalid-argument.
const Kernels& kernels_or_fail(QIsa isa);
const Kernels* simd_kernels(QIsa isa) noexcept;  // SSE4, AVX2, AVX-512
const Kernels* vnni_kernels() noexcept;
const Kernels* amx_kernels() noexcept;

/// The epilogue of a tile, and the table lookup behind it.
void finish_tile(const Kernels& kernels, const EpilogueTile& tile);

int64_t padded_k(uint32_t layout, int64_t k) noexcept;
int64_t chunk_k(uint32_t layout, int64_t k) noexcept;
size_t packed_size(uint32_t layout, int64_t groups, int64_t k, int64_t n);
BlobHeader make_header(uint32_t layout, int64_t groups, int64_t k, int64_t n, bool has_zero_points);
/// Throws unless `packed` is a blob of this layout and shape.
const BlobHeader& checked_header(const void* packed, uint32_t layout, int64_t groups, int64_t k, int64_t n);

/// One group's weights while packing: (k, n) is data[k / inner * outer_stride + k % inner * inner_stride + n
/// * col_stride].
struct PackSource {
  const uint8_t* data;
  QType type;
  int64_t inner, outer_stride, inner_stride;
  int64_t col_stride;
  const int32_t* zero_points;
  bool zero_point_per_column;
};
/// Whether any of the n columns has a zero point after the shift.
bool has_zero_points(const PackSource& source, int64_t n);
void pack_header(const BlobHeader& header, void* packed);
void pack_group(const BlobHeader& header, const PackSource& source, int64_t group, void* packed);

/// Rows of `gather` times the packed weights; group g reads channels [g * channels, ...).
struct Problem {
  Gather gather;
  int64_t rows;
  int64_t groups;
  int64_t n;     // of one group
  int32_t a_zp;  // after flipping
  const void* packed;
  const QEpilogue* epilogue;
};
size_t workspace(QIsa isa, int64_t k, int threads);
void run(const Kernels& kernels, const Problem& problem, void* workspace, ThreadPool& pool);

}  // namespace tenon::cpu::q
