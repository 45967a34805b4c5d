#include "cpu/winograd.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/thread_pool.hpp"
#include "cpu/gemm_block.hpp"
#include "cpu/winograd_tile.hpp"

namespace tenon::cpu {
namespace {

// The transformed patches of one block, and the products of one panel, stay in the second-level cache.
constexpr int64_t kBlockFloats = (1 << 20) / 4;
constexpr int64_t kSkew = 16;  // floats between the points' planes, so that they do not fall on the same cache sets

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Plan {
  int64_t oh, ow, tiles_y, tiles_x, tiles;
  int64_t blocks, block_tiles, panels, panel_groups;
  int64_t in_point, out_point;  // floats between points

  int64_t scratch() const { return kWinogradPoints * (in_point + out_point); }
};

Plan make_plan(const ConvShape& s, int threads) {
  const TileKernels& kernels = tile_kernels();
  Plan p{};
  p.oh = s.oh(), p.ow = s.ow();
  p.tiles_y = ceil_div(p.oh, kWinogradTile), p.tiles_x = ceil_div(p.ow, kWinogradTile);
  p.tiles = s.n * p.tiles_y * p.tiles_x;
  p.panels = ceil_div(s.cout, kernels.panel());
  const int64_t fit = kBlockFloats / (kWinogradPoints * (s.cin + kernels.panel()));
  const int64_t most = std::max<int64_t>(kernels.max_rows, fit / kernels.max_rows * kernels.max_rows);
  p.blocks = p.tiles <= most + most / 2 ? 1 : ceil_div(p.tiles, most);
  p.panel_groups = 1;
  const int64_t wanted = threads == 1 ? 1 : 2 * threads;
  if (p.blocks < wanted) {
    // Fewer tiles in a block, while the tile kernels are still full; else each part takes some panels and transforms
    // the input again.
    p.blocks = std::clamp(p.tiles / (2 * kernels.max_rows), p.blocks, wanted);
    p.panel_groups = std::min(p.panels, ceil_div(wanted, p.blocks));
  }
  p.block_tiles = ceil_div(p.tiles, std::max<int64_t>(1, p.blocks));
  p.in_point = ceil_div(p.block_tiles * s.cin, 16) * 16 + kSkew;
  p.out_point = p.block_tiles * kernels.panel() + kSkew;
  return p;
}

// One run: what the parts share.
struct Run {
  const TileKernels* kernels;
  const WinogradKernels* transforms;
  const ConvShape* shape;
  const ConvArgs* args;
  Plan plan;
};

struct TilePosition {
  int64_t image, y, x;  // of the first output pixel
};

TilePosition position(const Plan& plan, int64_t tile) {
  return {tile / (plan.tiles_x * plan.tiles_y), tile / plan.tiles_x % plan.tiles_y * kWinogradTile,
          tile % plan.tiles_x * kWinogradTile};
}

void transform_input(const Run& run, int64_t tile_begin, int64_t tile_end, float* points) {
  const ConvShape& s = *run.shape;
  const ImageStrides& strides = run.args->src_strides;
  WinogradInput in{};
  in.row = strides.row, in.pixel = strides.pixel, in.channels = s.cin, in.point = run.plan.in_point;
  for (int64_t tile = tile_begin; tile < tile_end; ++tile) {
    const TilePosition at = position(run.plan, tile);
    const int64_t y = at.y - s.pad_top, x = at.x - s.pad_left;
    in.src = run.args->src + at.image * strides.batch + y * strides.row + x * strides.pixel;
    in.y0 = std::clamp<int64_t>(-y, 0, kWinogradPatch), in.y1 = std::clamp<int64_t>(s.h - y, 0, kWinogradPatch);
    in.x0 = std::clamp<int64_t>(-x, 0, kWinogradPatch), in.x1 = std::clamp<int64_t>(s.w - x, 0, kWinogradPatch);
    in.points = points + (tile - tile_begin) * s.cin;
    run.transforms->input(in);
  }
}

void multiply(const Run& run, int64_t panel, int64_t cols, int64_t tiles, const float* in_points, float* out_points) {
  const TileKernels& kernels = *run.kernels;
  const int64_t cin = run.shape->cin, origin = 0;
  const int vectors = panel_vectors(kernels, cols);
  alignas(64) static constexpr float kZeros[kMaxPanel] = {};
  Tile tile{};
  tile.lda = cin;
  tile.segments = &origin, tile.segment_count = 1, tile.segment_length = cin;
  tile.ldc = kernels.panel();
  tile.init = kZeros;
  tile.cols = vectors * kernels.lanes;
  const float* weights = run.args->weights + panel * kernels.panel() * cin * kWinogradPoints;
  for (int64_t point = 0; point < kWinogradPoints; ++point) {
    tile.a = in_points + point * run.plan.in_point;
    tile.b = weights + point * cin * tile.cols;
    tile.c = out_points + point * run.plan.out_point;
    run_rows(kernels, kernels.tile[vectors], tile, tiles);
  }
}

void transform_output(const Run& run, int64_t panel, int64_t cols, int64_t tile_begin, int64_t tile_end,
                      const float* points) {
  const ConvArgs& args = *run.args;
  const int64_t width = run.kernels->panel(), col = panel * width;
  const PanelStart bias(args.epilogue.bias, col, cols);
  Tile act{};
  set_activation(args.epilogue, act);
  WinogradOutput out{};
  out.point = run.plan.out_point, out.bias = bias.values;
  out.row = args.dst_strides.row, out.pixel = args.dst_strides.pixel, out.channels = cols;
  out.clamp = act.clamp, out.lo = act.lo, out.hi = act.hi;
  out.swish = act.swish, out.mul = act.mul, out.add = act.add;
  for (int64_t tile = tile_begin; tile < tile_end; ++tile) {
    const TilePosition at = position(run.plan, tile);
    out.points = points + (tile - tile_begin) * width;
    out.dst = args.dst + at.image * args.dst_strides.batch + at.y * out.row + at.x * out.pixel + col;
    out.rows = std::min<int64_t>(kWinogradTile, run.plan.oh - at.y);
    out.columns = std::min<int64_t>(kWinogradTile, run.plan.ow - at.x);
    run.transforms->output(out);
  }
}

// Calls the post-op for columns [col, col + cols) of the block's pixels, once for each run of pixels in an output row.
void finish(const Run& run, int64_t col, int64_t cols, int64_t tile_begin, int64_t tile_end) {
  const ConvArgs& args = *run.args;
  const PostOp& post = args.epilogue.post;
  if (post.fn == nullptr) return;
  for (int64_t tile = tile_begin; tile < tile_end;) {
    const TilePosition at = position(run.plan, tile);
    const int64_t next = std::min(tile_end, (tile / run.plan.tiles_x + 1) * run.plan.tiles_x);
    const int64_t pixels = std::min(run.plan.ow - at.x, (next - tile) * kWinogradTile);
    for (int64_t y = at.y; y < std::min(run.plan.oh, at.y + kWinogradTile); ++y) {
      post.fn(
          post.ctx,
          args.dst + at.image * args.dst_strides.batch + y * args.dst_strides.row + at.x * args.dst_strides.pixel + col,
          args.first_row + (at.image * run.plan.oh + y) * run.plan.ow + at.x, pixels, args.dst_strides.pixel, col,
          cols);
    }
    tile = next;
  }
}

void run_part(const Run& run, int64_t part, float* scratch) {
  const Plan& plan = run.plan;
  const int64_t block = part / plan.panel_groups, group = part % plan.panel_groups;
  const int64_t begin = plan.tiles * block / plan.blocks, end = plan.tiles * (block + 1) / plan.blocks;
  float* products = scratch + kWinogradPoints * plan.in_point;
  transform_input(run, begin, end, scratch);
  const int64_t width = run.kernels->panel(), cout = run.shape->cout;
  const int64_t first = plan.panels * group / plan.panel_groups, last = plan.panels * (group + 1) / plan.panel_groups;
  for (int64_t panel = first; panel < last; ++panel) {
    const int64_t cols = std::min(width, cout - panel * width);
    multiply(run, panel, cols, end - begin, scratch, products);
    transform_output(run, panel, cols, begin, end, products);
  }
  finish(run, first * width, std::min(cout, last * width) - first * width, begin, end);
}

// G g of one axis: values of the filter's polynomial at the points, scaled.
void filter_axis(const double (&g)[3], double (&out)[kWinogradPatch]) {
  constexpr double a = kWinogradA, b = kWinogradB, aa = a * a, bb = b * b;
  const double scale_a = 1 / (2 * aa * (aa - bb)), scale_b = 1 / (2 * bb * (bb - aa));
  out[0] = g[0] / (aa * bb);
  out[1] = (g[0] + a * g[1] + aa * g[2]) * scale_a;
  out[2] = (g[0] - a * g[1] + aa * g[2]) * scale_a;
  out[3] = (g[0] + b * g[1] + bb * g[2]) * scale_b;
  out[4] = (g[0] - b * g[1] + bb * g[2]) * scale_b;
  out[5] = g[2];
}

// One filter to its 36 points.
void transform_filter(const float* filter, double (&points)[kWinogradPatch][kWinogradPatch]) {
  double half[3][kWinogradPatch];
  for (int x = 0; x < 3; ++x) {
    const double column[3] = {filter[x], filter[3 + x], filter[6 + x]};
    filter_axis(column, half[x]);
  }
  for (int y = 0; y < kWinogradPatch; ++y) {
    const double row[3] = {half[0][y], half[1][y], half[2][y]};
    filter_axis(row, points[y]);
  }
}

}  // namespace

bool winograd_applies(const ConvShape& s) {
  return s.kh == 3 && s.kw == 3 && s.stride_h == 1 && s.stride_w == 1 && s.dilation_h == 1 && s.dilation_w == 1 &&
         s.groups == 1 && s.cin >= 16 && s.cout >= 16;
}

size_t winograd_packed_floats(const ConvShape& s) { return kWinogradPoints * packed_b_floats(s.cin, s.cout); }

void winograd_pack(const ConvShape& s, const float* oihw, float* packed) {
  TENON_CHECK(winograd_applies(s));
  const TileKernels& kernels = tile_kernels();
  for (int64_t col = 0; col < s.cout; col += kernels.panel()) {
    const int64_t cols = std::min<int64_t>(kernels.panel(), s.cout - col);
    const int64_t padded = panel_vectors(kernels, cols) * kernels.lanes;
    for (int64_t c = 0; c < s.cin; ++c) {
      for (int64_t j = 0; j < padded; ++j) {
        double points[kWinogradPatch][kWinogradPatch] = {};
        if (j < cols) transform_filter(oihw + ((col + j) * s.cin + c) * 9, points);
        for (int point = 0; point < kWinogradPoints; ++point) {
          packed[(point * s.cin + c) * padded + j] =
              static_cast<float>(points[point / kWinogradPatch][point % kWinogradPatch]);
        }
      }
    }
    packed += kWinogradPoints * s.cin * padded;
  }
}

size_t winograd_workspace_floats(const ConvShape& s, int threads) {
  return static_cast<size_t>(make_plan(s, threads).scratch() * threads);
}

void winograd(ThreadPool& pool, const ConvShape& s, const ConvArgs& args, float* workspace) {
  TENON_CHECK(winograd_applies(s) && !args.accumulate);
  const Run run{&tile_kernels(), &winograd_kernels(), &s, &args, make_plan(s, pool.threads())};
  if (run.plan.tiles <= 0) return;
  pool.run_indexed(run.plan.blocks * run.plan.panel_groups,
                   [&](int64_t part, int worker) { run_part(run, part, workspace + worker * run.plan.scratch()); });
}

}  // namespace tenon::cpu
