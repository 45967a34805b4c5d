#include "cpu/gemm.hpp"

#include <algorithm>
#include <cstring>

#include "base/error.hpp"
#include "base/thread_pool.hpp"
#include "cpu/gemm_block.hpp"
#include "cpu/gemm_thin.hpp"

namespace tenon::cpu {
namespace {

// A block of A rows (kRowBytes) is meant to stay in the second-level cache while the panels of B pass over
// it.
constexpr int64_t kRowBytes = 512 << 10;
constexpr int64_t kMaxBlockRows = 1024;  // what a post-op gets at a time must still be in the cache
constexpr int64_t kMaxDepth = 512;       // of k in one pass: a panel of B then fills at most 64 KiB

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t align16(int64_t floats) { return ceil_div(floats, 16) * 16; }

// Products below this size are not worth waking a thread (some microseconds of one core).
constexpr double kSmallWork = 5e5;

double work(int64_t batch, int64_t m, int64_t n, int64_t k) {
  return static_cast<double>(batch) * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
}

struct Block {
  int64_t row_begin, row_end, panel_begin, panel_end;
};

// One pass over k of a block, all panels.
void run_pass(const TileKernels& kernels, const GemmArgs& g, const Block& block, int64_t pass, int64_t passes) {
  const int64_t width = kernels.panel(), origin = 0;
  const int64_t k0 = g.k * pass / passes, k1 = g.k * (pass + 1) / passes;
  Tile tile{};
  tile.lda = g.lda;
  tile.ldc = g.ldc;
  tile.segments = &origin;
  tile.segment_count = 1;
  tile.segment_length = k1 - k0;
  tile.accumulate = g.accumulate || pass > 0;
  if (pass + 1 == passes) set_activation(g.epilogue, tile);
  for (int64_t p = block.panel_begin; p < block.panel_end; ++p) {
    const int64_t col = p * width;
    tile.cols = std::min(width, g.n - col);
    const int vectors = panel_vectors(kernels, tile.cols);
    const PanelStart start(pass == 0 ? g.epilogue.bias : nullptr, col, tile.cols);
    tile.init = start.values;
    tile.a = g.a + block.row_begin * g.lda + k0;
    tile.b = g.b + col * g.k + k0 * vectors * kernels.lanes;
    tile.c = g.c + block.row_begin * g.ldc + col;
    run_rows(kernels, kernels.tile[vectors], tile, block.row_end - block.row_begin);
  }
}

// A post-op gets whole rows, as many as it still finds in the cache: a tape then works on them where they lie.
void run_block(const TileKernels& kernels, const GemmArgs& g, const Block& block) {
  const int64_t passes = std::max<int64_t>(1, ceil_div(g.k, kMaxDepth));
  const PostOp& post = g.epilogue.post;
  const int64_t col = block.panel_begin * kernels.panel(), end = std::min(g.n, block.panel_end * kernels.panel());
  const int64_t step = post.fn == nullptr ? block.row_end - block.row_begin : post_rows(end - col, kernels.max_rows);
  for (int64_t row = block.row_begin; row < block.row_end; row += step) {
    const Block part{row, std::min(block.row_end, row + step), block.panel_begin, block.panel_end};
    for (int64_t pass = 0; pass < passes; ++pass) run_pass(kernels, g, part, pass, passes);
    if (post.fn == nullptr) continue;
    post.fn(post.ctx, g.c + row * g.ldc + col, g.first_row + row, part.row_end - row, g.ldc, col, end - col);
  }
}

// How the work is cut: blocks of rows by groups of panels.
struct Cut {
  int64_t row_blocks, panel_groups;
};

Cut cut_work(const TileKernels& kernels, int64_t m, int64_t n, int64_t k, int threads, int64_t batch) {
  const int64_t panels = ceil_div(n, kernels.panel());
  const int64_t tiles = ceil_div(m, kernels.max_rows);
  const int64_t fit = kRowBytes / 4 / std::max<int64_t>(1, std::min(k, kMaxDepth));
  const int64_t block_rows = std::clamp<int64_t>(fit, kernels.max_rows * 4, kMaxBlockRows);
  Cut cut{ceil_div(m, block_rows), 1};
  if (threads == 1) return cut;
  if (work(batch, m, n, k) < kSmallWork) return cut;
  const int64_t wanted = 3 * threads;
  if (batch * cut.row_blocks >= wanted) return cut;
  // A thread that takes rows reads all of B, one that takes panels all of A: cut along the longer side first.
  const bool by_rows = tiles >= wanted && m >= n / 4;
  if (by_rows) {
    cut.row_blocks = std::min(tiles, ceil_div(wanted, batch));
  } else {
    cut.panel_groups = std::min(panels, ceil_div(wanted, batch * cut.row_blocks));
    if (batch * cut.row_blocks * cut.panel_groups < threads)
      cut.row_blocks = std::min(tiles, 1 + (threads - 1) / cut.panel_groups);
  }
  return cut;
}

Block block_of(const TileKernels& kernels, const Cut& cut, int64_t m, int64_t n, int64_t part) {
  const int64_t panels = ceil_div(n, kernels.panel());
  const int64_t tiles = ceil_div(m, kernels.max_rows);
  const int64_t row = part / cut.panel_groups, group = part % cut.panel_groups;
  auto row_at = [&](int64_t i) { return m * (tiles * i / cut.row_blocks) / std::max<int64_t>(1, tiles); };
  return {row_at(row), row_at(row + 1), panels * group / cut.panel_groups, panels * (group + 1) / cut.panel_groups};
}

// Products that share B and follow each other in memory are one product.
BatchGemmArgs joined(BatchGemmArgs args) {
  if (args.batch > 1 && args.b_batch == 0 && args.a_batch == args.m * args.lda && args.c_batch == args.m * args.ldc) {
    args.m *= args.batch;
    args.batch = 1;
  }
  return args;
}

bool is_thin(const BatchGemmArgs& args) { return args.m <= kThinRows && (args.b_col == 1 || args.b_row == 1); }

// Scale, the old C, bias and activation for plain sums of columns [begin, end) of one product.
void finish_thin(const BatchGemmArgs& args, const float* sums, int64_t sums_ld, float* c, int64_t begin, int64_t end) {
  Tile act{};
  set_activation(args.epilogue, act);
  for (int64_t r = 0; r < args.m; ++r) {
    for (int64_t j = begin; j < end; ++j) {
      float v = sums[r * sums_ld + j - begin] * args.scale;
      if (args.epilogue.bias != nullptr) v += args.epilogue.bias[j];
      if (args.accumulate) v += c[r * args.ldc + j];
      c[r * args.ldc + j] = activate(act, v);
    }
  }
}

void run_thin(ThreadPool& pool, const BatchGemmArgs& args) {
  constexpr int64_t kColumns = 256;
  const ThinKernels& kernels = thin_kernels();
  const int64_t chunks = ceil_div(args.n, kColumns);
  auto run_chunk = [&](int64_t part) {
    const int64_t i = part / chunks, begin = part % chunks * kColumns, end = std::min(args.n, begin + kColumns);
    float sums[kThinRows * kColumns];
    const bool by_rows = args.b_col == 1;
    const Thin thin{args.a + i * args.a_batch,
                    args.lda,
                    args.m,
                    args.b + i * args.b_batch + begin * args.b_col,
                    by_rows ? args.b_row : args.b_col,
                    args.k,
                    end - begin,
                    sums,
                    kColumns};
    by_rows ? kernels.by_rows(thin) : kernels.by_columns(thin);
    float* c = args.c + i * args.c_batch;
    finish_thin(args, sums, kColumns, c, begin, end);
    const PostOp& post = args.epilogue.post;
    if (post.fn != nullptr) post.fn(post.ctx, c + begin, i * args.m, args.m, args.ldc, begin, end - begin);
  };
  if (work(args.batch, args.m, args.n, args.k) < kSmallWork) {
    for (int64_t part = 0; part < args.batch * chunks; ++part) run_chunk(part);
  } else {
    pool.run(args.batch * chunks, run_chunk);
  }
}

}  // namespace

size_t packed_b_floats(int64_t k, int64_t n) {
  const int64_t lanes = tile_kernels().lanes;
  return static_cast<size_t>(k * ceil_div(n, lanes) * lanes);
}

void pack_b(const float* b, int64_t row_stride, int64_t col_stride, int64_t k, int64_t n, float* packed, float scale) {
  for_each_panel_row(k, n, packed, [&](int64_t i, int64_t col, int64_t cols, float* to) {
    const float* from = b + i * row_stride + col * col_stride;
    if (col_stride == 1) {
      for (int64_t j = 0; j < cols; ++j) to[j] = from[j] * scale;
    } else {
      for (int64_t j = 0; j < cols; ++j) to[j] = from[j * col_stride] * scale;
    }
  });
}

void gemm(ThreadPool& pool, const GemmArgs& args) {
  TENON_CHECK(args.m >= 0 && args.n >= 0 && args.k >= 0);
  if (args.m == 0 || args.n == 0) return;
  const TileKernels& kernels = tile_kernels();
  const Cut cut = cut_work(kernels, args.m, args.n, args.k, pool.threads(), 1);
  pool.run(cut.row_blocks * cut.panel_groups,
           [&](int64_t part) { run_block(kernels, args, block_of(kernels, cut, args.m, args.n, part)); });
}

size_t batch_gemm_workspace_floats(const BatchGemmArgs& given, int) {
  const BatchGemmArgs args = joined(given);
  if (is_thin(args)) return 0;
  const int64_t copies = args.b_batch == 0 ? 1 : args.batch;
  return static_cast<size_t>(copies * align16(static_cast<int64_t>(packed_b_floats(args.k, args.n))));
}

void batch_gemm(ThreadPool& pool, const BatchGemmArgs& given, float* workspace) {
  const BatchGemmArgs args = joined(given);
  TENON_CHECK(args.batch >= 0 && args.m >= 0 && args.n >= 0 && args.k >= 0);
  if (args.batch == 0 || args.m == 0 || args.n == 0) return;
  if (is_thin(args)) return run_thin(pool, args);
  const TileKernels& kernels = tile_kernels();
  const int64_t copies = args.b_batch == 0 ? 1 : args.batch;
  const int64_t copy_floats = align16(static_cast<int64_t>(packed_b_floats(args.k, args.n)));
  const int64_t width = kernels.panel();
  const int64_t panels = ceil_div(args.n, width);
  pool.run_ranges(copies * panels, ceil_div(16384, std::max<int64_t>(1, args.k * width)),
                  [&](int64_t begin, int64_t end) {
                    for (int64_t i = begin; i < end; ++i) {
                      const int64_t copy = i / panels, col = i % panels * width;
                      pack_b(args.b + copy * args.b_batch + col * args.b_col, args.b_row, args.b_col, args.k,
                             std::min(width, args.n - col), workspace + copy * copy_floats + col * args.k, args.scale);
                    }
                  });
  const Cut cut = cut_work(kernels, args.m, args.n, args.k, pool.threads(), args.batch);
  const int64_t per_product = cut.row_blocks * cut.panel_groups;
  auto run_part = [&](int64_t part) {
    const int64_t i = part / per_product;
    GemmArgs one{args.m,
                 args.n,
                 args.k,
                 args.a + i * args.a_batch,
                 args.lda,
                 workspace + (copies == 1 ? 0 : i * copy_floats),
                 args.c + i * args.c_batch,
                 args.ldc,
                 args.accumulate,
                 args.epilogue,
                 i * args.m};
    run_block(kernels, one, block_of(kernels, cut, args.m, args.n, part % per_product));
  };
  const int64_t parts = args.batch * per_product;
  if (work(args.batch, args.m, args.n, args.k) < kSmallWork) {
    for (int64_t part = 0; part < parts; ++part) run_part(part);
  } else {
    pool.run(parts, run_part);
  }
}

}  // namespace tenon::cpu
