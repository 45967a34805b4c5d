// How a product's tile leaves a kernel: sums of a split K, the epilogue, stores. Used by the matrix kernels, which put
// their accumulators into shared memory as rows of TILE_LD floats. The instance defines:
//   G_M, G_N    rows and columns of the product       BM, BN    the tile       THREADS   threads of a block
//   SPLIT       blocks that share a tile's K          OUT_VEC   columns that may be loaded and stored at once
#pragma once
#include "prelude.cuh"
#include "generated.cuh"

#define TILE_LD (BN + 8)

template <int V>
TENON_INLINE void read_tile(float (&x)[V], const float* from) {
  if constexpr (V % 4 == 0) {
    UNROLL for (int i = 0; i < V; i += 4) {
      float4 f = *reinterpret_cast<const float4*>(from + i);
      x[i] = f.x, x[i + 1] = f.y, x[i + 2] = f.z, x[i + 3] = f.w;
    }
  } else {
    UNROLL for (int i = 0; i < V; ++i) x[i] = from[i];
  }
}

/// OUT_VEC columns of one row, or fewer at the right edge.
TENON_INLINE void finish_columns(const Operands& operands, i64 row, int col, const float (&x)[OUT_VEC]) {
  if (G_N % OUT_VEC == 0 || col + OUT_VEC <= G_N) {
    epilogue<OUT_VEC>(operands, row, col, x);
  } else {
    UNROLL for (int i = 0; i < OUT_VEC; ++i) {
      float one[1] = {x[i]};
      if (col + i < G_N) epilogue<1>(operands, row, col + i, one);
    }
  }
}

/// Rows [first, first + count) of the tile whose corner is (row0, col0), from `tile` in this block's shared memory.
TENON_INLINE void finish_tile(const Operands& operands, const float* tile, i64 row0, int col0, int first, int count, int tid) {
  constexpr int kGroups = BN / OUT_VEC;
  for (int i = tid; i < count * kGroups; i += THREADS) {
    int r = first + i / kGroups, c = i % kGroups * OUT_VEC;
    if (row0 + r >= G_M || col0 + c >= G_N) continue;
    float x[OUT_VEC];
    read_tile(x, tile + r * TILE_LD + c);
    finish_columns(operands, row0 + r, col0 + c, x);
  }
}

#if SPLIT > 1
#if CLUSTER
/// The SPLIT blocks of a cluster each have partial sums of one tile: each block adds up and finishes its share of the rows.
TENON_INLINE void finish_cluster(const Operands& operands, float* tile, i64 row0, int col0, int tid) {
  static_assert(BM % SPLIT == 0, "a split that divides the tile's rows");
  constexpr int kRows = BM / SPLIT, kGroups = BN / 4;
  cluster_barrier();
  u32 rank = cluster_rank();
  int first = int(rank) * kRows;
  for (int i = tid; i < kRows * kGroups; i += THREADS) {
    int r = first + i / kGroups, c = i % kGroups * 4;
    float sum[4] = {0, 0, 0, 0};
    u32 address = shared_address(tile + r * TILE_LD + c);
    UNROLL for (int s = 0; s < SPLIT; ++s) {
      float x[4];
      load_peer(x, peer_address(address, s));
      UNROLL for (int j = 0; j < 4; ++j) sum[j] += x[j];
    }
    // Only this block reads and writes these rows of its own tile from here on.
    UNROLL for (int j = 0; j < 4; ++j) tile[r * TILE_LD + c + j] = sum[j];
  }
  __syncthreads();
  finish_tile(operands, tile, row0, col0, first, kRows, tid);
  cluster_barrier();  // no block leaves while its tile is read
}
#else
/// Partial sums go to `partials` [SPLIT, tiles, BM, BN]; the block that arrives last adds them up in order.
TENON_INLINE void finish_workspace(const Operands& operands, float* tile, float* partials, u32* counters, u32 tile_index,
                                   u32 tiles, u32 part, i64 row0, int col0, int tid) {
  __shared__ bool last;
  constexpr int kGroups = BM * BN / 4;
  float* mine = partials + (u64(part) * tiles + tile_index) * (BM * BN);
  for (int i = tid; i < kGroups; i += THREADS) {
    int r = i * 4 / BN, c = i * 4 % BN;
    *reinterpret_cast<float4*>(mine + i * 4) = *reinterpret_cast<const float4*>(tile + r * TILE_LD + c);
  }
  __threadfence();
  __syncthreads();
  if (tid == 0) {
    last = atomicAdd(counters + tile_index, 1u) == SPLIT - 1;
    if (last) counters[tile_index] = 0;  // ready for the next run
  }
  __syncthreads();
  if (!last) return;
  __threadfence();
  for (int i = tid; i < kGroups; i += THREADS) {
    int r = i * 4 / BN, c = i * 4 % BN;
    float4 sum = {0, 0, 0, 0};
    UNROLL for (int s = 0; s < SPLIT; ++s) {
      float4 x = __ldcg(reinterpret_cast<const float4*>(partials + (u64(s) * tiles + tile_index) * (BM * BN) + i * 4));
      sum.x += x.x, sum.y += x.y, sum.z += x.z, sum.w += x.w;
    }
    *reinterpret_cast<float4*>(tile + r * TILE_LD + c) = sum;
  }
  __syncthreads();
  finish_tile(operands, tile, row0, col0, 0, BM, tid);
}
#endif
#endif
