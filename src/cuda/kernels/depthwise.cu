// Depthwise convolution, NHWC: a thread makes OUT_VEC channels of TILE_W neighbouring output pixels of a row, sums in
// float. The instance defines the window as in conv_mma.cu, IMG_C channels, ELEM (the type of A and B), A_LD, and
// weights as [KER_H * KER_W, IMG_C]. Rows of the product are pixels, columns channels.
#include "prelude.cuh"
#include "generated.cuh"

constexpr int V = OUT_VEC;
constexpr int kGroups = (IMG_C + V - 1) / V, kAcross = (OUT_W + TILE_W - 1) / TILE_W;
constexpr int kSpan = (TILE_W - 1) * STRIDE_W + (KER_W - 1) * DIL_W + 1;  // input pixels under a row of outputs

extern "C" __global__ void __launch_bounds__(THREADS) kernel(const ELEM* a, const ELEM* b, Operands operands) {
  launch_next();
  i64 index = i64(blockIdx.x) * THREADS + threadIdx.x;
  constexpr i64 kTotal = i64(BATCH) * OUT_H * kAcross * kGroups;
  if (index >= kTotal) {
    wait_previous();
    return;
  }
  int c = int(index % kGroups) * V;
  index /= kGroups;
  int x0 = int(index % kAcross) * TILE_W;
  index /= kAcross;
  int y0 = int(index % OUT_H), image = int(index / OUT_H);
  float acc[TILE_W][V];
  UNROLL for (int t = 0; t < TILE_W; ++t) UNROLL for (int i = 0; i < V; ++i) acc[t][i] = 0.0f;
  wait_previous();
  _Pragma("unroll 1") for (int r = 0; r < KER_H; ++r) {
    int y = y0 * STRIDE_H - PAD_H + r * DIL_H;
    if (u32(y) >= u32(IMG_H)) continue;
    const ELEM* row = a + (i64(image) * IMG_H + y) * IMG_W * A_LD + c;
    float w[KER_W][V];
    UNROLL for (int s = 0; s < KER_W; ++s) load<V>(w[s], b + (r * KER_W + s) * IMG_C + c);
    UNROLL for (int k = 0; k < kSpan; ++k) {
      int x = x0 * STRIDE_W - PAD_W + k;
      float in[V];
      if (u32(x) < u32(IMG_W)) {
        load<V>(in, row + i64(x) * A_LD);
      } else {
        UNROLL for (int i = 0; i < V; ++i) in[i] = 0.0f;
      }
      UNROLL for (int t = 0; t < TILE_W; ++t) UNROLL for (int s = 0; s < KER_W; ++s) {
        if (t * STRIDE_W + s * DIL_W == k) {
          UNROLL for (int i = 0; i < V; ++i) acc[t][i] = fmaf(in[i], w[s][i], acc[t][i]);
        }
      }
    }
  }
  UNROLL for (int t = 0; t < TILE_W; ++t) {
    if (x0 + t < OUT_W) epilogue<V>(operands, (i64(image) * OUT_H + y0) * OUT_W + x0 + t, c, acc[t]);
  }
}
