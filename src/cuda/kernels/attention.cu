// Attention by tiles with a running softmax: out = softmax(scale * Q K^T + mask) V, heads of HEAD elements (a multiple of
// 16), in half or bfloat16 with float sums. A block takes BQ queries of one head (16 a warp) and walks over keys BK at a time,
// the next tile's keys and values copied meanwhile.
//
// The instance defines MATH (0 half, 1 bfloat16), HEAD, BQ, BK, THREADS (BQ * 2), QUERIES, KEYS, HEADS, SHARE (heads of Q
// for one head of K and V), CAUSAL (0, 1) with CAUSAL_SHIFT (a query q sees keys <= q + shift), SOFTCAP (0: none), SCALE, and
// strides in elements: Q_BATCH, Q_HEAD, Q_ROW and alike for K_, V_, O_; MASK (0 none, 1 added floats or halves of type
// MASK_TYPE, 2 bools: false hides) with M_BATCH, M_HEAD, M_ROW (columns are neighbours; any may be 0).
#include "prelude.cuh"

#if MATH == 0
typedef half_t elem;
#else
typedef bf16_t elem;
#endif

constexpr int kRowBytes = HEAD * 2 + 16;  // the 16 more spread the banks
constexpr int kChunks = HEAD / 8;
constexpr int kTiles = (KEYS + BK - 1) / BK;
constexpr float kHidden = -1e30f;
static_assert(HEAD % 16 == 0 && BK % 16 == 0 && BQ % 16 == 0 && THREADS == BQ * 2, "tile");

TENON_INLINE void multiply(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
#if MATH == 0
  mma_half(c, a, b0, b1);
#else
  mma_bf16(c, a, b0, b1);
#endif
}

TENON_INLINE u32 pair(float x, float y) { return u32(From<elem>::make(x).bits) | u32(From<elem>::make(y).bits) << 16; }

template <int ROWS>
TENON_INLINE void copy_rows(u32 to, const elem* from, i64 row_stride, int first, int limit) {
  for (int i = threadIdx.x; i < ROWS * kChunks; i += THREADS) {
    int r = i / kChunks, c = i % kChunks;
    bool valid = first + r < limit;
    copy_async<16>(to + r * kRowBytes + c * 16, valid ? from + (first + r) * row_stride + c * 8 : from, valid);
  }
}

TENON_INLINE float masked(float s, const MASK_TYPE* mask, int q, int k) {
  s *= SCALE;
#if SOFTCAP_ON
  s = SOFTCAP * tanhf(s / SOFTCAP);
#endif
#if MASK == 1
  if (q < QUERIES && k < KEYS) s += to_float(mask[q * i64(M_ROW) + k]);
#elif MASK == 2
  if (q < QUERIES && k < KEYS && !mask[q * i64(M_ROW) + k]) s = kHidden;
#endif
#if CAUSAL
  if (k > q + CAUSAL_SHIFT) s = kHidden;
#endif
  return k < KEYS ? s : kHidden;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    kernel(const elem* q, const elem* k, const elem* v, const MASK_TYPE* mask, elem* out) {
  extern __shared__ __align__(128) unsigned char dynamic[];
  const u32 smem = shared_address(dynamic);
  const u32 tile_q = smem, tiles = smem + BQ * kRowBytes;
  constexpr u32 kTileBytes = BK * kRowBytes;  // K0, V0, K1, V1
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  const int first_q = blockIdx.x * BQ, head = blockIdx.y % HEADS, batch = blockIdx.y / HEADS;
  q += batch * i64(Q_BATCH) + head * i64(Q_HEAD);
  k += batch * i64(K_BATCH) + head / SHARE * i64(K_HEAD);
  v += batch * i64(V_BATCH) + head / SHARE * i64(V_HEAD);
  out += batch * i64(O_BATCH) + head * i64(O_HEAD);
  if (MASK) mask += batch * i64(M_BATCH) + head * i64(M_HEAD);
  int last = kTiles;
  if (CAUSAL) last = min(last, max((first_q + BQ - 1 + CAUSAL_SHIFT) / BK + 1, 1));
  launch_next();
  wait_previous();

  copy_rows<BQ>(tile_q, q, Q_ROW, first_q, QUERIES);
  copy_rows<BK>(tiles, k, K_ROW, 0, KEYS);
  copy_rows<BK>(tiles + kTileBytes, v, V_ROW, 0, KEYS);
  copy_commit();

  float sum[2] = {0, 0}, top[2] = {kHidden, kHidden}, acc[HEAD / 8][4];
  UNROLL for (int j = 0; j < HEAD / 8; ++j) UNROLL for (int e = 0; e < 4; ++e) acc[j][e] = 0.0f;
  for (int tile = 0; tile < last; ++tile) {
    const u32 keys = tiles + (tile & 1) * 2 * kTileBytes, values = keys + kTileBytes;
    if (tile + 1 < last) {
      const u32 next = tiles + ((tile + 1) & 1) * 2 * kTileBytes;
      copy_rows<BK>(next, k, K_ROW, (tile + 1) * BK, KEYS);
      copy_rows<BK>(next + kTileBytes, v, V_ROW, (tile + 1) * BK, KEYS);
    }
    copy_commit();
    copy_wait<1>();
    __syncthreads();

    float s[BK / 8][4];
    UNROLL for (int j = 0; j < BK / 8; ++j) UNROLL for (int e = 0; e < 4; ++e) s[j][e] = 0.0f;
    UNROLL for (int strip = 0; strip < HEAD / 16; ++strip) {
      u32 a[4];
      load_matrices(a, tile_q + (warp * 16 + (lane & 15)) * kRowBytes + strip * 32 + (lane >> 4) * 16);
      UNROLL for (int j = 0; j < BK / 8; j += 2) {
        u32 b[4];
        load_matrices(b, keys + (j * 8 + (lane & 7) + (lane >> 4) * 8) * kRowBytes + strip * 32 + ((lane >> 3) & 1) * 16);
        multiply(s[j], a, b[0], b[1]);
        multiply(s[j + 1], a, b[2], b[3]);
      }
    }
    const int row = first_q + warp * 16 + g;
    float new_top[2] = {top[0], top[1]};
    UNROLL for (int j = 0; j < BK / 8; ++j) UNROLL for (int e = 0; e < 4; ++e) {
      s[j][e] = masked(s[j][e], mask, row + (e >> 1) * 8, tile * BK + j * 8 + t * 2 + (e & 1));
      new_top[e >> 1] = fmaxf(new_top[e >> 1], s[j][e]);
    }
    float shrink[2];
    UNROLL for (int h = 0; h < 2; ++h) {
      new_top[h] = fmaxf(new_top[h], __shfl_xor_sync(0xffffffffu, new_top[h], 1));
      new_top[h] = fmaxf(new_top[h], __shfl_xor_sync(0xffffffffu, new_top[h], 2));
      shrink[h] = __expf(top[h] - new_top[h]);
      top[h] = new_top[h];
      sum[h] *= shrink[h];
    }
    UNROLL for (int j = 0; j < HEAD / 8; ++j) UNROLL for (int e = 0; e < 4; ++e) acc[j][e] *= shrink[e >> 1];
    UNROLL for (int j = 0; j < BK / 8; ++j) UNROLL for (int e = 0; e < 4; ++e) {
      s[j][e] = s[j][e] <= kHidden ? 0.0f : __expf(s[j][e] - top[e >> 1]);
      sum[e >> 1] += s[j][e];
    }
    UNROLL for (int strip = 0; strip < BK / 16; ++strip) {
      u32 a[4] = {pair(s[strip * 2][0], s[strip * 2][1]), pair(s[strip * 2][2], s[strip * 2][3]),
                  pair(s[strip * 2 + 1][0], s[strip * 2 + 1][1]), pair(s[strip * 2 + 1][2], s[strip * 2 + 1][3])};
      UNROLL for (int j = 0; j < HEAD / 8; j += 2) {
        u32 b[4];
        load_matrices_transposed(b, values + (strip * 16 + (lane & 15)) * kRowBytes + j * 16 + (lane >> 4) * 16);
        multiply(acc[j], a, b[0], b[1]);
        multiply(acc[j + 1], a, b[2], b[3]);
      }
    }
    __syncthreads();
  }
  UNROLL for (int h = 0; h < 2; ++h) {
    sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 1);
    sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 2);
    int row = first_q + warp * 16 + g + h * 8;
    if (row >= QUERIES) continue;
    float inverse = sum[h] > 0.0f ? 1.0f / sum[h] : 0.0f;  // a row that sees no key gives zeros
    UNROLL for (int j = 0; j < HEAD / 8; ++j) {
      *reinterpret_cast<u32*>(out + row * i64(O_ROW) + j * 8 + t * 2) = pair(acc[j][h * 2] * inverse, acc[j][h * 2 + 1] * inverse);
    }
  }
}
