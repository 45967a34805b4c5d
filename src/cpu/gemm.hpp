// Matrix products in fp32 with a fused epilogue: C[m, n] (+)= A[m, k] * B[k, n].
//
// A constant B is packed once, into memory of the caller's; the packed form has no pointers, so it may live
// in a mapped file, and is valid for one `layout_id()` (cpu/isa.hpp). No run function allocates: workspace is
// queried in floats and handed in, 64-byte aligned (packed B too); its contents need not be set. Everything
// is thread-safe as long as outputs and workspaces are distinct. Workspace queries take the
// number of threads of the pool that will run. All strides count floats. Zero sizes are
// allowed; k = 0 gives the bias alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

namespace tenon {
class ThreadPool;
}

namespace tenon::cpu {

/// A caller's function that is called on each finished block of results while it is hot in the cache: `rows`
/// x `cols` values from data[0], `ld` floats from row to row; row_begin and col_begin say where in C the
/// block lies. Blocks do not overlap and cover C; calls come from several threads.
struct PostOp {
  using Function = void (*)(const void* ctx, float* data, int64_t row_begin, int64_t rows, int64_t ld,
                            int64_t col_begin, int64_t cols);
  Function fn = nullptr;
  const void* ctx = nullptr;
};

/// What is done to each result, in this order: add bias, activation, post.
struct Epilogue {
  enum Act { kNone, kRelu, kClip, kHardSwish };
  const float* bias = nullptr;  // one value a column, or null
  Act act = kNone;
  float lo = 0;  // kClip: the limits
  float hi = std::numeric_limits<float>::infinity();
  PostOp post = {};
  float mul = 1, add = 0;  // kHardSwish: x * min(1, max(0, x / 6 + 0.5)) * mul + add
};

/// Floats that the packed form of a k x n matrix takes.
size_t packed_b_floats(int64_t k, int64_t n);

/// Packs scale * b[i * row_stride + j * col_stride], i < k, j < n. Every float of the packed form is written.
void pack_b(const float* b, int64_t row_stride, int64_t col_stride, int64_t k, int64_t n, float* packed,
            float scale = 1.0f);

struct GemmArgs {
  int64_t m = 0, n = 0, k = 0;
  const float* a = nullptr;  // row-major
  int64_t lda = 0;
  const float* b = nullptr;  // packed
  float* c = nullptr;
  int64_t ldc = 0;
  bool accumulate = false;  // add to what C holds (before the activation)
  Epilogue epilogue = {};
  int64_t first_row = 0;  // what PostOp is told of row 0
};

/// The product with a packed B. C must not overlap A.
void gemm(ThreadPool& pool, const GemmArgs& args);

/// `batch` products, B given plain at run time (any strides: a transposed B has b_row = 1). A batch stride
/// may be 0: that operand is shared. The epilogue is the same for all; PostOp's rows count batch * m rows.
struct BatchGemmArgs {
  int64_t batch = 1, m = 0, n = 0, k = 0;
  const float* a = nullptr;
  int64_t lda = 0, a_batch = 0;
  const float* b = nullptr;
  int64_t b_row = 0, b_col = 1, b_batch = 0;
  float* c = nullptr;
  int64_t ldc = 0, c_batch = 0;
  float scale = 1.0f;  // multiplies A * B
  bool accumulate = false;
  Epilogue epilogue = {};
};

size_t batch_gemm_workspace_floats(const BatchGemmArgs& args, int threads);
void batch_gemm(ThreadPool& pool, const BatchGemmArgs& args, float* workspace);

}  // namespace tenon::cpu
