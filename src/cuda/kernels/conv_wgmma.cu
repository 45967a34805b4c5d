// The same products as conv_mma.cu for sm_90a: the copy engine (TMA; im2col maps for windows) feeds a ring of stages, one
// warpgroup's thread produces, CONSUMERS warpgroups multiply by wgmma, 64 rows each. Without a split the grid is persistent
// and the next tile's loads run under this tile's epilogue; with one, the blocks of a cluster share a tile's K.
//
// The instance defines, besides what tile.cuh wants: MATH (0 half, 1 bfloat16, 2 TF32), STAGES, CONSUMERS (BM / 64),
// G_K, KERNEL steps: STEPS_C (steps of 128 bytes along the channels of one tap) and TAPS, KER_W, and for CONV the window as
// in conv_mma.cu. GRID: blocks of the grid. BAND: columns of an epilogue's step. Weights: rows of TAPS * STEPS_C * (128 bytes). generated.cuh has wgmma().
#include "hopper.cuh"
#include "tile.cuh"

constexpr int kElem = MATH == 2 ? 4 : 2;
constexpr int kStep = 128 / kElem;
constexpr int kSteps = TAPS * STEPS_C;
constexpr int kStageBytes = (BM + BN) * 128;
constexpr int kTilesM = (G_M + BM - 1) / BM, kTilesN = (G_N + BN - 1) / BN, kTiles = kTilesM * kTilesN;
constexpr int kPerPart = (kSteps + SPLIT - 1) / SPLIT;
constexpr int kBand = BAND;                  // columns that a warp finishes at once
constexpr int kBandLd = kBand + 8;           // floats; 8 more spread the banks
static_assert(BN % kBand == 0, "whole bands");
static_assert(THREADS == 128 * (CONSUMERS + 1) && BM == 64 * CONSUMERS, "one warpgroup for 64 rows, one to load");

struct Place {
  int row, col;  // tiles
};
// Bands of 8 tiles of rows: blocks that run together share rows and columns in the second-level cache.
TENON_INLINE Place place_of(int tile) {
  constexpr int kHeight = 8;
  int band = tile / (kHeight * kTilesN), rest = tile % (kHeight * kTilesN);
  int height = min(kHeight, kTilesM - band * kHeight);
  return {band * kHeight + rest % height, rest / height};
}

struct Pipeline {
  u32 stages, full, empty;  // addresses
  TENON_INLINE u32 stage(int i) const { return stages + u32(i % STAGES) * kStageBytes; }
  TENON_INLINE u32 filled(int i) const { return full + u32(i % STAGES) * 8; }
  TENON_INLINE u32 free(int i) const { return empty + u32(i % STAGES) * 8; }
  TENON_INLINE u32 parity(int i) const { return u32(i / STAGES) & 1; }
};

TENON_INLINE void fetch_b(const Pipeline& p, int i, const TensorMap* map, Place place, int step) {
  copy_box(p.stage(i) + BM * 128, map, p.filled(i), step * kStep, place.col * BN);
}

struct Corner {
  int x, y, image;
};
TENON_INLINE Corner corner_of(Place place) {
#if CONV
  int pixel = place.row * BM, rest = pixel % (OUT_H * OUT_W);
  return {rest % OUT_W * STRIDE_W - PAD_W, rest / OUT_W * STRIDE_H - PAD_H, pixel / (OUT_H * OUT_W)};
#else
  return {0, place.row * BM, 0};
#endif
}

TENON_INLINE void fetch_a(const Pipeline& p, int i, const TensorMap* map, Corner corner, int step) {
#if CONV
  int tap = step / STEPS_C, c = step % STEPS_C * kStep;
  copy_pixels(p.stage(i), map, p.filled(i), c, corner.x, corner.y, corner.image, u16(tap % KER_W * DIL_W), u16(tap / KER_W * DIL_H));
#else
  copy_box(p.stage(i), map, p.filled(i), step * kStep, corner.y);
#endif
}

/// The thread that loads. Weights of the first stages come before the wait for the predecessor.
TENON_INLINE void produce(const Pipeline& p, const TensorMap* map_a, const TensorMap* map_b, int first_tile, int stride,
                          int begin, int end) {
  int early = min(STAGES, end - begin);
  if (first_tile < kTiles) {
    for (int i = 0; i < early; ++i) {
      barrier_expect(p.filled(i), kStageBytes);
      fetch_b(p, i, map_b, place_of(first_tile), begin + i);
    }
  }
  wait_previous();
  int i = 0;
  for (int tile = first_tile; tile < kTiles; tile += stride) {
    Place place = place_of(tile);
    Corner corner = corner_of(place);
    for (int step = begin; step < end; ++step, ++i) {
      if (i >= early) {
        barrier_wait(p.free(i), p.parity(i) ^ 1);
        barrier_expect(p.filled(i), kStageBytes);
        fetch_b(p, i, map_b, place, step);
      }
      fetch_a(p, i, map_a, corner, step);
    }
  }
}

/// One tile's products of this warpgroup, K steps from `begin`; `i` counts stages over all tiles.
TENON_INLINE void multiply(float (&acc)[BN / 2], const Pipeline& p, int& i, int steps, int group, bool speaks) {
  UNROLL for (int e = 0; e < BN / 2; ++e) acc[e] = 0.0f;
  for (int step = 0; step < steps; ++step, ++i) {
    barrier_wait(p.filled(i), p.parity(i));
    u64 a = matrix_descriptor(p.stage(i) + group * 64 * 128), b = matrix_descriptor(p.stage(i) + BM * 128);
    wgmma_fence();
    UNROLL for (int strip = 0; strip < 4; ++strip) wgmma(acc, a + strip * 2, b + strip * 2);
    wgmma_commit();
    wgmma_wait<1>();
    if (step > 0 && speaks) barrier_arrive(p.free(i - 1));
  }
  wgmma_wait<0>();
  if (steps > 0 && speaks) barrier_arrive(p.free(i - 1));
}

#if SPLIT == 1
/// A warp's 16 rows, 64 columns at a time through its own piece of shared memory.
TENON_INLINE void finish_warp(const Operands& operands, const float (&acc)[BN / 2], float* band, i64 row0, int col0, int lane) {
  constexpr int kGroups = kBand / OUT_VEC;
  UNROLL for (int first = 0; first < BN; first += kBand) {
    UNROLL for (int j = 0; j < kBand / 8; ++j) UNROLL for (int h = 0; h < 2; ++h) {
      const float* from = acc + (first / 8 + j) * 4 + h * 2;
      *reinterpret_cast<float2*>(band + ((lane >> 2) + h * 8) * kBandLd + j * 8 + (lane & 3) * 2) = make_float2(from[0], from[1]);
    }
    __syncwarp();
    UNROLL for (int k = 0; k < 16 * kGroups; k += 32) {
      int r = (k + lane) / kGroups, c = (k + lane) % kGroups * OUT_VEC;
      if (row0 + r < G_M && col0 + first + c < G_N) {
        float x[OUT_VEC];
        read_tile(x, band + r * kBandLd + c);
        finish_columns(operands, row0 + r, col0 + first + c, x);
      }
    }
    __syncwarp();
  }
}
#endif

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    kernel(const __grid_constant__ TensorMap map_a, const __grid_constant__ TensorMap map_b, const Operands operands) {
  extern __shared__ unsigned char dynamic[];
  __shared__ __align__(8) u64 barriers[2 * STAGES];
  Pipeline p;
  p.stages = (shared_address(dynamic) + 1023) & ~1023u;
  p.full = shared_address(barriers);
  p.empty = p.full + STAGES * 8;
  float* staged = reinterpret_cast<float*>(dynamic + (p.stages - shared_address(dynamic)));
  const int tid = threadIdx.x, group = tid / 128, lane = tid & 31;
  launch_next();
  if (tid == 0) {
    prefetch_map(&map_a);
    prefetch_map(&map_b);
    for (int s = 0; s < STAGES; ++s) {
      barrier_init(p.full + s * 8, 1);
      barrier_init(p.empty + s * 8, CONSUMERS);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async;" ::: "memory");
  }
  __syncthreads();

#if SPLIT == 1
  const int first = blockIdx.x, stride = GRID;
  const int begin = 0, end = kSteps;
#else
  const int first = blockIdx.x / SPLIT, stride = kTiles;
  const int begin = min(int(blockIdx.x % SPLIT) * kPerPart, kSteps), end = min(begin + kPerPart, kSteps);
#endif
  if (group == 0) {
#if CONSUMERS == 2
    registers_down<40>();
#endif
    if (tid == 0) produce(p, &map_a, &map_b, first, stride, begin, end);
    __syncwarp();
  } else {
#if CONSUMERS == 2
    registers_up<232>();
#endif
    const int mine = group - 1, warp = (tid & 127) / 32;
    const bool speaks = (tid & 127) == 0;
    wait_previous();  // the epilogue reads results of earlier kernels
    int i = 0;
    float acc[BN / 2];
#if SPLIT == 1
    float* band = staged + STAGES * kStageBytes / 4 + (mine * 4 + warp) * 16 * kBandLd;
    for (int tile = first; tile < kTiles; tile += stride) {
      Place place = place_of(tile);
      multiply(acc, p, i, end - begin, mine, speaks);
      finish_warp(operands, acc, band, i64(place.row) * BM + mine * 64 + warp * 16, place.col * BN, lane);
    }
#else
    multiply(acc, p, i, end - begin, mine, speaks);
    // Every stage has been read by both warpgroups before either writes over it.
    asm volatile("bar.sync 1, %0;" ::"n"(CONSUMERS * 128) : "memory");
    UNROLL for (int j = 0; j < BN / 8; ++j) UNROLL for (int h = 0; h < 2; ++h) {
      int r = mine * 64 + warp * 16 + (lane >> 2) + h * 8;
      *reinterpret_cast<float2*>(staged + r * TILE_LD + j * 8 + (lane & 3) * 2) = make_float2(acc[j * 4 + h * 2], acc[j * 4 + h * 2 + 1]);
    }
#endif
  }
#if SPLIT > 1
  Place place = place_of(first);
  finish_cluster(operands, staged, i64(place.row) * BM, place.col * BN, tid);
#endif
}
