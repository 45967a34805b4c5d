// What reads whole rows of COLS elements: softmax, log-softmax, layer and RMS norm, sums, means, maxima. A row is shared by
// GROUP threads (a warp, or a block) and kept in registers between the passes; statistics in float, the variance around the
// mean. KIND: 0 softmax, 1 log-softmax, 2 layer norm, 3 RMS norm, 4 sum, 5 mean, 6 maximum. `input(operands, row, col)` of the
// generated part gives the elements (it may add a residual); `epilogue` takes the result, with scale and bias in it.
#include "prelude.cuh"
#include "generated.cuh"

constexpr int V = OUT_VEC;
constexpr int kEach = (COLS + GROUP * V - 1) / (GROUP * V);  // vectors a thread keeps
constexpr bool kWhole = COLS % (GROUP * V) == 0;
#define kInfinity __int_as_float(0x7f800000)

template <bool MAX>
TENON_INLINE float reduce(float x, float* shared) {
  UNROLL for (int step = (GROUP < 32 ? GROUP : 32) / 2; step > 0; step /= 2) {
    float y = __shfl_xor_sync(0xffffffffu, x, step);
    x = MAX ? ew::max(x, y) : x + y;
  }
  if constexpr (GROUP > 32) {
    int warp = threadIdx.x / 32;
    __syncthreads();
    if (threadIdx.x % 32 == 0) shared[warp] = x;
    __syncthreads();
    x = shared[0];
    UNROLL for (int i = 1; i < GROUP / 32; ++i) x = MAX ? ew::max(x, shared[i]) : x + shared[i];
  }
  return x;
}

extern "C" __global__ void __launch_bounds__(THREADS) kernel(Operands operands) {
  __shared__ float shared[THREADS / 32];
  launch_next();
  const i64 row_wanted = i64(blockIdx.x) * (THREADS / GROUP) + threadIdx.x / GROUP;
  const bool active = row_wanted < ROWS;
  const i64 row = active ? row_wanted : ROWS - 1;  // a spare warp repeats the last row, and stores nothing
  const int member = threadIdx.x % GROUP;
  wait_previous();
  float x[kEach][V];
  UNROLL for (int k = 0; k < kEach; ++k) {
    int col = (k * GROUP + member) * V;
    if (kWhole || col < COLS) {
      input<V>(operands, row, col, x[k]);
    } else {
      UNROLL for (int i = 0; i < V; ++i) x[k][i] = KIND <= 1 || KIND == 6 ? -kInfinity : 0.0f;
    }
  }
  float scale = 1.0f, shift = 0.0f;
  if (KIND <= 1 || KIND == 6) {
    float top = -kInfinity;
    UNROLL for (int k = 0; k < kEach; ++k) UNROLL for (int i = 0; i < V; ++i) top = ew::max(top, x[k][i]);
    top = reduce<true>(top, shared);
    if (KIND == 6) {
      shift = top;
    } else {
      float base = top == -kInfinity ? 0.0f : top, sum = 0.0f;
      UNROLL for (int k = 0; k < kEach; ++k) UNROLL for (int i = 0; i < V; ++i) {
        float e = __expf(x[k][i] - base);
        sum += e;
        x[k][i] = KIND == 0 ? e : x[k][i] - base;
      }
      sum = reduce<false>(sum, shared);
      if (KIND == 0) scale = 1.0f / sum;
      if (KIND == 1) shift = -logf(sum);
    }
  } else {
    float sum = 0.0f;
    UNROLL for (int k = 0; k < kEach; ++k) UNROLL for (int i = 0; i < V; ++i) sum += KIND == 3 ? x[k][i] * x[k][i] : x[k][i];
    sum = reduce<false>(sum, shared);
    if (KIND == 4) shift = sum;
    if (KIND == 5) shift = sum / float(COLS);
    if (KIND == 3) scale = rsqrtf(sum / float(COLS) + EPSILON);
    if (KIND == 2) {
      float mean = sum / float(COLS), squares = 0.0f;
      UNROLL for (int k = 0; k < kEach; ++k) {
        int col = (k * GROUP + member) * V;
        UNROLL for (int i = 0; i < V; ++i) {
          float d = kWhole || col < COLS ? x[k][i] - mean : 0.0f;
          squares += d * d;
          x[k][i] = d;  // not x * scale - mean * scale: that cancels
        }
      }
      squares = reduce<false>(squares, shared);
      scale = rsqrtf(squares / float(COLS) + EPSILON);
    }
  }
  if (!active) return;
  if (KIND >= 4) {
    float one[1] = {shift};
    if (member == 0) epilogue<1>(operands, row, 0, one);
    return;
  }
  UNROLL for (int k = 0; k < kEach; ++k) {
    int col = (k * GROUP + member) * V;
    if (kWhole || col < COLS) {
      UNROLL for (int i = 0; i < V; ++i) x[k][i] = fmaf(x[k][i], scale, shift);
      epilogue<V>(operands, row, col, x[k]);
    }
  }
}
