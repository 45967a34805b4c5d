// 8-bit integer matrix multiplication, C[M,N] = (A - a_zp) * (B - b_zp), exact in int32 (modulo 2^32, never
// saturating), with an epilogue applied to each tile while it is hot. B (the weights) is packed once into the
// caller's memory; the packed blob is position independent, 64-byte aligned, and names its layout, so that
// one made for another instruction set is recognised. Run functions allocate nothing: ask for the workspace
// size and pass the memory in (64-byte aligned). All functions are thread-safe as long as outputs and
// workspaces are not shared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "base/thread_pool.hpp"

namespace tenon::cpu {

/// Instruction sets of the 8-bit kernels, slowest first.
enum class QIsa : uint8_t { kSse4, kAvx2, kAvx512, kVnni, kAmx };
inline constexpr QIsa kAllQIsas[] = {QIsa::kSse4, QIsa::kAvx2, QIsa::kAvx512, QIsa::kVnni, QIsa::kAmx};

const char* name(QIsa isa) noexcept;
bool q_available(QIsa isa) noexcept;
/// The fastest one that this machine has, within the cap that cpu/isa.hpp sets. Slow: ask when planning, not when
/// running.
QIsa q_best_isa() noexcept;
/// The layout of blobs packed for `isa`: two instruction sets with the same id share blobs.
uint32_t q_layout(QIsa isa) noexcept;
/// The layout id that a packed blob carries; 0 when `bytes` is too small or it is no packed blob.
uint32_t q_blob_layout(const void* packed, size_t bytes) noexcept;

enum class QType : uint8_t { kU8, kS8 };

/// Called with finished int32 tiles, from any thread of the pool. `acc` holds `rows` x `cols` values, row
/// stride `ld_acc`; a row is a row of C, or the pixel (n * OH + oh) * OW + ow of a convolution; columns are
/// output channels.
struct QPostOp {
  void (*fn)(const void* ctx, const int32_t* acc, int64_t ld_acc, int64_t row_begin, int64_t rows, int64_t col_begin,
             int64_t cols) = nullptr;
  const void* ctx = nullptr;
};

enum class QEpilogueKind : uint8_t {
  kInt32,    ///< int32 out = acc
  kFloat,    ///< float out = clamp(acc * scale + bias, lo, hi)
  kRequant,  ///< u8/s8 out = saturate(round_half_even(clamp(acc * scale + bias, lo, hi)) + out_zp)
  kPostOp,   ///< the callback writes its own destination
};

/// What happens to the int32 accumulators. Float arithmetic is one multiplication and one addition, each
/// rounded (no fused multiply-add), after the conversion of the int32 to float; `scale` is multiplied by
/// `scale_factor` first. All pointers are read during the run, so that they may hold values of this run
/// (dynamic quantisation).
struct QEpilogue {
  QEpilogueKind kind = QEpilogueKind::kInt32;
  QType out_type = QType::kU8;
  void* out = nullptr;
  int64_t ld_out = 0;                 ///< elements between rows (pixels) of `out`
  const int32_t* acc_bias = nullptr;  ///< [N], added to the accumulator, for every kind
  const float* scale = nullptr;       ///< [N], or [1] unless scale_per_column; nullptr: 1
  bool scale_per_column = false;
  const float* scale_factor = nullptr;                 ///< [1]
  const float* bias = nullptr;                         ///< [N], added after scaling
  float lo = -std::numeric_limits<float>::infinity();  ///< 0 for relu; in units of the scaled value
  float hi = std::numeric_limits<float>::infinity();
  int32_t out_zp = 0;
  const uint8_t* table = nullptr;      ///< [256], kRequant: the result is table[the byte that it would be]
  const float* float_table = nullptr;  ///< [256], kRequant: a float result from that byte; instead of `table`
  QPostOp post;
};

/// The matrix to pack: element (k, n) is at data[k * row_stride + n * col_stride].
struct QGemmWeights {
  int64_t k = 0, n = 0;
  const void* data = nullptr;
  QType type = QType::kS8;
  int64_t row_stride = 0, col_stride = 1;
  const int32_t* zero_points = nullptr;  ///< nullptr: 0
  bool zero_point_per_column = false;
};

size_t qgemm_packed_size(uint32_t layout, int64_t k, int64_t n);
/// Packs into `packed` (64-byte aligned, qgemm_packed_size bytes, all of them written). Allocates nothing.
void qgemm_pack(uint32_t layout, const QGemmWeights& weights, void* packed);

struct QGemmArgs {
  int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;
  QType a_type = QType::kU8;
  int64_t lda = 0;
  int32_t a_zp = 0;
  const void* packed = nullptr;
  QEpilogue epilogue;
};

/// Bytes for a run with depth k on a pool of `threads`.
size_t qgemm_workspace(QIsa isa, int64_t k, int threads);
/// `packed` must have q_layout(isa) and the n and k of `args`; otherwise throws invalid-argument.
void qgemm(QIsa isa, const QGemmArgs& args, void* workspace, ThreadPool& pool);

}  // namespace tenon::cpu
