// Pooling over a window, NHWC: a thread makes OUT_VEC channels of an output pixel. KIND: 0 maximum, 1 mean of the pixels
// inside the image, 2 mean of the padded window. The instance defines the window as in conv_mma.cu, ELEM, A_LD. PARTS: lanes
// of a warp that share the window (for the mean of a whole image).
#include "prelude.cuh"
#include "generated.cuh"

constexpr int V = OUT_VEC;
constexpr int kGroups = (IMG_C + V - 1) / V, kTaps = KER_H * KER_W;

TENON_INLINE float combine(float a, float b) { return KIND == 0 ? ew::max(a, b) : a + b; }

extern "C" __global__ void __launch_bounds__(THREADS) kernel(const ELEM* a, Operands operands) {
  launch_next();
  i64 index = i64(blockIdx.x) * THREADS + threadIdx.x;
  const int part = int(index % PARTS);
  index /= PARTS;
  constexpr i64 kTotal = i64(BATCH) * OUT_H * OUT_W * kGroups;
  const bool active = index < kTotal;
  if (!active) index = 0;  // its lanes still take part in the shuffles
  int c = int(index % kGroups) * V;
  i64 pixel = index / kGroups;
  int x0 = int(pixel % OUT_W) * STRIDE_W - PAD_W, y0 = int(pixel / OUT_W % OUT_H) * STRIDE_H - PAD_H;
  const ELEM* image = a + pixel / (OUT_W * OUT_H) * (i64(IMG_H) * IMG_W * A_LD) + c;
  float acc[V];
  int count = 0;
  UNROLL for (int i = 0; i < V; ++i) acc[i] = KIND == 0 ? -__int_as_float(0x7f800000) : 0.0f;
  wait_previous();
  _Pragma("unroll 8") for (int tap = part; tap < kTaps; tap += PARTS) {
    int y = y0 + tap / KER_W * DIL_H, x = x0 + tap % KER_W * DIL_W;
    if (u32(y) < u32(IMG_H) && u32(x) < u32(IMG_W)) {
      float in[V];
      load<V>(in, image + (i64(y) * IMG_W + x) * A_LD);
      UNROLL for (int i = 0; i < V; ++i) acc[i] = combine(acc[i], in[i]);
      ++count;
    }
  }
  UNROLL for (int step = PARTS / 2; step > 0; step /= 2) {
    UNROLL for (int i = 0; i < V; ++i) acc[i] = combine(acc[i], __shfl_xor_sync(0xffffffffu, acc[i], step));
    count += __shfl_xor_sync(0xffffffffu, count, step);
  }
  if (!active || part != 0) return;
  if (KIND == 1) UNROLL for (int i = 0; i < V; ++i) acc[i] /= float(count);
  if (KIND == 2) UNROLL for (int i = 0; i < V; ++i) acc[i] *= 1.0f / float(kTaps);
  epilogue<V>(operands, pixel, c, acc);
}
