// Convolution (NHWC, as an implicit matrix product) and matrix product C[M, N] = A[M, K] * B[N, K]^T on tensor cores by
// mma.sync, with cp.async pipelines; also exact float32 by FFMA. One block makes a BM x BN tile in steps of 128 bytes of
// K; rows of the tiles in shared memory are 128 bytes, their 16-byte chunks swizzled by the row.
//
// The instance defines, besides what tile.cuh wants:
//   MATH            0 half, 1 bfloat16, 2 TF32, 3 float32 as three TF32 products, 4 float32 by FFMA
//   WARPS_M, WARPS_N, STAGES
//   CONV            1: A is an image [batch, IMG_H, IMG_W, IMG_C] seen through a window
//   G_K, B_LD       K and the distance of rows of B, in elements; B is zero from G_K to the next multiple of VEC_A
//   VEC_A, VEC_B    elements of A and of B that are copied at once;  B_K  elements of a row of B that may be read
//   A_LD            elements from one row (or pixel) of A to the next
//   BATCHED         1: blockIdx.z is a product of its own; A_BATCH, B_BATCH strides in elements, OUT rows G_M apart
#include "tile.cuh"

#if MATH == 0
typedef half_t elem;
#elif MATH == 1
typedef bf16_t elem;
#else
typedef float elem;
#endif

constexpr int kElem = sizeof(elem);
constexpr int kStep = 128 / kElem;        // K of a step
constexpr int kChunk = 16 / kElem;        // elements of a 16-byte chunk
constexpr int kSteps = (G_K + kStep - 1) / kStep;
constexpr int kWarpM = BM / WARPS_M, kWarpN = BN / WARPS_N;
constexpr int kFragM = kWarpM / 16, kFragN = kWarpN / 8;
constexpr int kStageBytes = (BM + BN) * 128;
constexpr int kRowsAtOnce = THREADS / 8;
constexpr int kLoadsA = (BM + kRowsAtOnce - 1) / kRowsAtOnce, kLoadsB = (BN + kRowsAtOnce - 1) / kRowsAtOnce;
static_assert(THREADS == 32 * WARPS_M * WARPS_N && kWarpN % 16 == 0 && kWarpM % 16 == 0, "tile and warps");

TENON_INLINE u32 swizzled(int row, int chunk) { return u32(row * 128 + ((chunk ^ (row & 7)) << 4)); }

// A row of A as this thread sees it: where it begins, and for a convolution where its window lies.
struct RowOfA {
  const elem* base;
#if CONV
  int y, x;
#endif
};

TENON_INLINE RowOfA row_of_a(const elem* a, i64 m) {
  RowOfA row;
#if CONV
  int pixel = int(m), image = pixel / (OUT_H * OUT_W), rest = pixel % (OUT_H * OUT_W);
  row.y = rest / OUT_W * STRIDE_H - PAD_H;
  row.x = rest % OUT_W * STRIDE_W - PAD_W;
  row.base = a + (i64(image) * IMG_H * IMG_W + i64(row.y) * IMG_W + row.x) * A_LD;
  if (m >= G_M) row.y = -(1 << 28);  // outside every image
#else
  row.base = m < G_M ? a + m * A_LD : nullptr;
#endif
  return row;
}

TENON_INLINE void copy_a(u32 to, const RowOfA& row, const elem* any, int k) {
  UNROLL for (int piece = 0; piece < kChunk; piece += VEC_A) {
    int kk = k + piece;
    bool valid = kk < G_K;
    const elem* from;
#if CONV
    int c = kk % IMG_C, tap = kk / IMG_C;
    int dy = tap / KER_W * DIL_H, dx = tap % KER_W * DIL_W;
    valid = valid && u32(row.y + dy) < u32(IMG_H) && u32(row.x + dx) < u32(IMG_W);
    from = row.base + (dy * IMG_W + dx) * i64(A_LD) + c;
#else
    valid = valid && row.base != nullptr;
    from = row.base + kk;
#endif
    copy_async<VEC_A * kElem>(to + piece * kElem, valid ? from : any, valid);
  }
}

#if MATH <= 3
struct Fragments {
  u32 a[kFragM][4], b[kFragN][2];
};

// Rows of fragments by ldmatrix: lanes 0-15 address the rows, lanes 16-31 the same rows 16 bytes further (A); for B
// lanes 0-7 and 16-23 the rows of the first and second 8 columns, 8-15 and 24-31 the same 16 bytes further.
TENON_INLINE void load_fragments(Fragments& f, u32 a, u32 b, int warp_m, int warp_n, int lane, int strip) {
  UNROLL for (int i = 0; i < kFragM; ++i) {
    load_matrices(f.a[i], a + swizzled(warp_m + i * 16 + (lane & 15), strip * 2 + (lane >> 4)));
  }
  UNROLL for (int j = 0; j < kFragN; j += 2) {
    u32 r[4];
    load_matrices(r, b + swizzled(warp_n + j * 8 + (lane & 7) + (lane >> 4) * 8, strip * 2 + ((lane >> 3) & 1)));
    f.b[j][0] = r[0], f.b[j][1] = r[1], f.b[j + 1][0] = r[2], f.b[j + 1][1] = r[3];
  }
}

#if MATH >= 2
TENON_INLINE u32 low_tf32(u32 x, u32 high) { return round_tf32(__float_as_uint(__uint_as_float(x) - __uint_as_float(high))); }
#endif

TENON_INLINE void multiply(float (&acc)[kFragM][kFragN][4], Fragments& f) {
#if MATH == 0
  UNROLL for (int i = 0; i < kFragM; ++i) UNROLL for (int j = 0; j < kFragN; ++j) mma_half(acc[i][j], f.a[i], f.b[j][0], f.b[j][1]);
#elif MATH == 1
  UNROLL for (int i = 0; i < kFragM; ++i) UNROLL for (int j = 0; j < kFragN; ++j) mma_bf16(acc[i][j], f.a[i], f.b[j][0], f.b[j][1]);
#elif MATH == 2
  UNROLL for (int i = 0; i < kFragM; ++i) UNROLL for (int e = 0; e < 4; ++e) f.a[i][e] = round_tf32(f.a[i][e]);
  UNROLL for (int j = 0; j < kFragN; ++j) UNROLL for (int e = 0; e < 2; ++e) f.b[j][e] = round_tf32(f.b[j][e]);
  UNROLL for (int i = 0; i < kFragM; ++i) UNROLL for (int j = 0; j < kFragN; ++j) mma_tf32(acc[i][j], f.a[i], f.b[j][0], f.b[j][1]);
#else
  // x = high + low, each exact in TF32 but for the last bits: high*high + high*low + low*high is float32's precision.
  u32 low_b[kFragN][2];
  UNROLL for (int j = 0; j < kFragN; ++j) UNROLL for (int e = 0; e < 2; ++e) {
    u32 high = round_tf32(f.b[j][e]);
    low_b[j][e] = low_tf32(f.b[j][e], high);
    f.b[j][e] = high;
  }
  UNROLL for (int i = 0; i < kFragM; ++i) {
    u32 low_a[4];
    UNROLL for (int e = 0; e < 4; ++e) {
      u32 high = round_tf32(f.a[i][e]);
      low_a[e] = low_tf32(f.a[i][e], high);
      f.a[i][e] = high;
    }
    UNROLL for (int j = 0; j < kFragN; ++j) {
      mma_tf32(acc[i][j], low_a, f.b[j][0], f.b[j][1]);
      mma_tf32(acc[i][j], f.a[i], low_b[j][0], low_b[j][1]);
      mma_tf32(acc[i][j], f.a[i], f.b[j][0], f.b[j][1]);
    }
  }
#endif
}

TENON_INLINE void multiply_stage(float (&acc)[kFragM][kFragN][4], u32 stage, int warp_m, int warp_n, int lane) {
  UNROLL for (int strip = 0; strip < 4; ++strip) {
    Fragments f;
    load_fragments(f, stage, stage + BM * 128, warp_m, warp_n, lane, strip);
    multiply(acc, f);
  }
}
#else
TENON_INLINE float4 shared_float4(u32 address) {
  float4 x;
  asm volatile("ld.shared.v4.f32 {%0,%1,%2,%3}, [%4];" : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w) : "r"(address));
  return x;
}

// The same places of the accumulators as the matrix instructions give, by multiply-adds.
TENON_INLINE void multiply_stage(float (&acc)[kFragM][kFragN][4], u32 stage, int warp_m, int warp_n, int lane) {
  int g = lane >> 2, t = lane & 3;
  _Pragma("unroll 2") for (int chunk = 0; chunk < 8; ++chunk) {
    float4 a[kFragM][2];
    UNROLL for (int i = 0; i < kFragM; ++i) UNROLL for (int h = 0; h < 2; ++h) {
      a[i][h] = shared_float4(stage + swizzled(warp_m + i * 16 + h * 8 + g, chunk));
    }
    UNROLL for (int j = 0; j < kFragN; ++j) UNROLL for (int e = 0; e < 2; ++e) {
      float4 b = shared_float4(stage + BM * 128 + swizzled(warp_n + j * 8 + t * 2 + e, chunk));
      UNROLL for (int i = 0; i < kFragM; ++i) UNROLL for (int h = 0; h < 2; ++h) {
        float& c = acc[i][j][h * 2 + e];
        c = fmaf(a[i][h].x, b.x, c), c = fmaf(a[i][h].y, b.y, c);
        c = fmaf(a[i][h].z, b.z, c), c = fmaf(a[i][h].w, b.w, c);
      }
    }
  }
}
#endif

extern "C" __global__ void __launch_bounds__(THREADS)
    kernel(const elem* a, const elem* b, Operands operands, float* partials, u32* counters) {
  extern __shared__ __align__(128) unsigned char shared[];
  const int tid = threadIdx.x, lane = tid & 31, warp = tid >> 5;
  const int warp_m = warp % WARPS_M * kWarpM, warp_n = warp / WARPS_M * kWarpN;
  constexpr int kTilesN = (G_N + BN - 1) / BN;
  const u32 tile = blockIdx.x / SPLIT, part = blockIdx.x % SPLIT;
  const i64 row0 = i64(tile / kTilesN) * BM;
  const int col0 = int(tile % kTilesN) * BN;
  launch_next();
#if BATCHED
  a += i64(blockIdx.z / A_SHARE) * A_BATCH;
  b += i64(blockIdx.z / B_SHARE) * B_BATCH;
#endif

  const int chunk = tid & 7, first_row = tid >> 3;
  const u32 smem = shared_address(shared);
  const elem* rows_b[kLoadsB];
  UNROLL for (int i = 0; i < kLoadsB; ++i) {
    int n = col0 + first_row + i * kRowsAtOnce;
    rows_b[i] = n < G_N ? b + i64(n) * B_LD + chunk * kChunk : nullptr;
  }
  constexpr int kPerPart = (kSteps + SPLIT - 1) / SPLIT;
  const int begin = int(part) * kPerPart, end = min(begin + kPerPart, kSteps);

  auto copy_stage_b = [&](int step) {
    u32 stage = smem + u32((step - begin) % STAGES) * kStageBytes + BM * 128;
    UNROLL for (int i = 0; i < kLoadsB; ++i) {
      int r = first_row + i * kRowsAtOnce;
      if (BN % kRowsAtOnce == 0 || r < BN) {
        UNROLL for (int piece = 0; piece < kChunk; piece += VEC_B) {
          bool valid = rows_b[i] != nullptr && step * kStep + chunk * kChunk + piece < B_K;
          copy_async<VEC_B * kElem>(stage + swizzled(r, chunk) + piece * kElem, valid ? rows_b[i] + step * kStep + piece : b, valid);
        }
      }
    }
  };
  RowOfA rows_a[kLoadsA];
  UNROLL for (int i = 0; i < kLoadsA; ++i) rows_a[i] = row_of_a(a, row0 + first_row + i * kRowsAtOnce);
  auto copy_stage_a = [&](int step) {
    u32 stage = smem + u32((step - begin) % STAGES) * kStageBytes;
    UNROLL for (int i = 0; i < kLoadsA; ++i) {
      int r = first_row + i * kRowsAtOnce;
      if (BM % kRowsAtOnce == 0 || r < BM) copy_a(stage + swizzled(r, chunk), rows_a[i], a, step * kStep + chunk * kChunk);
    }
  };

  // Weights are constants: they may be fetched before the predecessor's results are there.
#if B_CONSTANT
  UNROLL for (int s = 0; s < STAGES - 1; ++s) {
    if (begin + s < end) copy_stage_b(begin + s);
  }
#endif
  wait_previous();
  UNROLL for (int s = 0; s < STAGES - 1; ++s) {
    if (begin + s < end) {
#if !B_CONSTANT
      copy_stage_b(begin + s);
#endif
      copy_stage_a(begin + s);
    }
    copy_commit();
  }

  float acc[kFragM][kFragN][4];
  UNROLL for (int i = 0; i < kFragM; ++i) UNROLL for (int j = 0; j < kFragN; ++j) UNROLL for (int e = 0; e < 4; ++e) acc[i][j][e] = 0.0f;
  for (int step = begin; step < end; ++step) {
    copy_wait<STAGES - 2>();
    __syncthreads();
    if (step + STAGES - 1 < end) {
      copy_stage_b(step + STAGES - 1);
      copy_stage_a(step + STAGES - 1);
    }
    copy_commit();
    multiply_stage(acc, smem + u32((step - begin) % STAGES) * kStageBytes, warp_m, warp_n, lane);
  }
  copy_wait<0>();
  __syncthreads();

  float* staged = reinterpret_cast<float*>(shared);
  UNROLL for (int i = 0; i < kFragM; ++i) UNROLL for (int j = 0; j < kFragN; ++j) UNROLL for (int h = 0; h < 2; ++h) {
    int r = warp_m + i * 16 + h * 8 + (lane >> 2), c = warp_n + j * 8 + (lane & 3) * 2;
    *reinterpret_cast<float2*>(staged + r * TILE_LD + c) = make_float2(acc[i][j][h * 2], acc[i][j][h * 2 + 1]);
  }
#if BATCHED
  operands = batch_operands(operands, blockIdx.z);
#endif
#if SPLIT > 1 && CLUSTER
  finish_cluster(operands, staged, row0, col0, tid);
#elif SPLIT > 1
  __syncthreads();
  finish_workspace(operands, staged, partials, counters, tile, gridDim.x / SPLIT, part, row0, col0, tid);
#else
  __syncthreads();
  finish_tile(operands, staged, row0, col0, 0, BM, tid);
#endif
}
