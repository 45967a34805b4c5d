#include "cpu/conv.hpp"

#include <algorithm>
#include <cstring>

#include "base/error.hpp"
#include "base/thread_pool.hpp"
#include "cpu/gemm_block.hpp"
#include "cpu/gemm_thin.hpp"

namespace tenon::cpu {
namespace {

// Scratch of one thread: the padded input rows of one block of output rows. Half of a usual second-level
// cache, less the weights' panel.
constexpr int64_t kScratchFloats = (384 << 10) / 4;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t align16(int64_t floats) { return ceil_div(floats, 16) * 16; }

// How a convolution is run; follows from the shape, the strides and the number of threads alone.
struct Plan {
  int64_t oh, ow, cin, cout;  // of one group for the channels
  int64_t width;              // scratch: pixels of a padded row
  int64_t row_floats;         // scratch: floats of a row
  bool copy;                  // through the scratch, or in place
  bool merged;                // the taps of a filter row are one segment
  bool sparse;                // scratch: only the rows of the taps of one output row, none between dilated taps
  int64_t panels;             // of one group
  int64_t block_rows, row_blocks, panel_groups;
  int64_t scratch_floats;  // of one thread
  int64_t segment_floats;  // room for the segment offsets, in floats

  int64_t parts(const ConvShape& s) const { return s.n * row_blocks * panel_groups; }
  int64_t scratch_rows(const ConvShape& s, int64_t out_rows) const {
    return sparse ? s.kh : (out_rows - 1) * s.stride_h + (s.kh - 1) * s.dilation_h + 1;
  }
};

bool reads_padding(const ConvShape& s, int64_t oh, int64_t ow) {
  return s.pad_top > 0 || s.pad_left > 0 || (oh - 1) * s.stride_h + (s.kh - 1) * s.dilation_h - s.pad_top >= s.h ||
         (ow - 1) * s.stride_w + (s.kw - 1) * s.dilation_w - s.pad_left >= s.w;
}

void check(const ConvShape& s) {
  TENON_CHECK(s.n >= 0 && s.h >= 0 && s.w >= 0 && s.cin > 0 && s.cout > 0 && s.kh > 0 && s.kw > 0);
  TENON_CHECK(s.stride_h > 0 && s.stride_w > 0 && s.dilation_h > 0 && s.dilation_w > 0 && s.groups > 0);
  TENON_CHECK(s.cin % s.groups == 0 && s.cout % s.groups == 0);
}

// Cuts the work so that each thread finds several parts: by output rows while a block stays high enough, then
// by output channels (each part then copies its rows again, which is cheap against its multiplications).
void cut_work(const ConvShape& s, int threads, Plan& plan) {
  const int64_t fit = plan.row_floats == 0 ? plan.oh : kScratchFloats / plan.row_floats;
  const int64_t span = (s.kh - 1) * s.dilation_h + 1;
  plan.block_rows = std::clamp<int64_t>((fit - span) / s.stride_h + 1, 1, std::max<int64_t>(1, plan.oh));
  plan.panel_groups = 1;
  plan.sparse = plan.copy && s.dilation_h > 1 && plan.scratch_rows(s, plan.block_rows) > s.kh * plan.block_rows;
  if (plan.sparse) plan.block_rows = 1;
  const double work =
      static_cast<double>(s.n * plan.oh * plan.ow) * static_cast<double>(s.cout * plan.cin * s.kh * s.kw);
  if (threads > 1 && work > 5e5) {
    const int64_t wanted = ceil_div(4 * threads, s.n);
    const bool many_weights = plan.cin * s.kh * s.kw * s.cout > s.h * s.w * s.cin * 2;
    if (many_weights) plan.panel_groups = std::min(plan.panels * s.groups, wanted);
    const int64_t blocks = ceil_div(wanted, plan.panel_groups);
    if (ceil_div(plan.oh, plan.block_rows) < blocks) plan.block_rows = ceil_div(plan.oh, std::min(plan.oh, blocks));
  }
  plan.row_blocks = ceil_div(plan.oh, plan.block_rows);
}

Plan make_plan(const ConvShape& s, bool planar, int threads) {
  check(s);
  const TileKernels& kernels = tile_kernels();
  Plan plan{};
  plan.oh = s.oh();
  plan.ow = s.ow();
  plan.cin = s.cin / s.groups;
  plan.cout = s.cout / s.groups;
  plan.panels = ceil_div(plan.cout, kernels.panel());
  plan.width = (plan.ow - 1) * s.stride_w + (s.kw - 1) * s.dilation_w + 1;
  plan.copy = planar || reads_padding(s, plan.oh, plan.ow) || (s.kw > 1 && s.groups == 1 && plan.cin < 8);
  plan.merged = s.dilation_w == 1 && plan.copy && s.groups == 1;
  plan.row_floats = plan.copy ? plan.width * s.cin : 0;
  if (plan.oh <= 0 || plan.ow <= 0) return plan;
  cut_work(s, threads, plan);
  plan.scratch_floats = align16(plan.row_floats * plan.scratch_rows(s, plan.block_rows));
  plan.segment_floats = align16(2 * s.kh * s.kw);
  return plan;
}

size_t workspace_floats(const ConvShape& shape, bool planar, int threads) {
  const Plan plan = make_plan(shape, planar, threads);
  return static_cast<size_t>(plan.segment_floats + plan.scratch_floats * threads);
}

// One run: what the parts share.
struct Run {
  const TileKernels* kernels;
  const ConvShape* shape;
  const ConvArgs* args;
  const PlanarStrides* planar;  // null: the source is channels-last
  Plan plan;
  const int64_t* segments;
  int64_t segment_count, segment_length;
};

void copy_pixels(const float* from, int64_t pixel, int64_t count, int64_t channels, float* to) {
  if (pixel == channels) {
    std::memcpy(to, from, static_cast<size_t>(count * channels) * sizeof(float));
    return;
  }
  for (int64_t x = 0; x < count; ++x, from += pixel, to += channels) {
    std::memcpy(to, from, static_cast<size_t>(channels) * sizeof(float));
  }
}

void interleave(const float* from, int64_t plane, int64_t count, int64_t channels, float* to) {
  if (channels == 1) {
    std::copy_n(from, count, to);
    return;
  }
  if (channels == 3) {
    thin_kernels().interleave3(from, from + plane, from + 2 * plane, count, to);
    return;
  }
  for (int64_t c = 0; c < channels; ++c) {
    const float* line = from + c * plane;
    for (int64_t x = 0; x < count; ++x) to[x * channels + c] = line[x];
  }
}

// Copies the input rows that `out_rows` output rows of one image read, from row y0 on; zeros outside of the image.
void fill_scratch(const Run& run, int64_t image, int64_t y0, int64_t out_rows, float* scratch) {
  const ConvShape& s = *run.shape;
  const Plan& plan = run.plan;
  const int64_t left = std::clamp<int64_t>(s.pad_left, 0, plan.width), crop = std::max<int64_t>(0, -s.pad_left);
  const int64_t inside = std::max<int64_t>(0, std::min(s.w - crop, plan.width - left));
  const int64_t right = plan.width - left - inside;
  const int64_t rows = plan.scratch_rows(s, out_rows), step = plan.sparse ? s.dilation_h : 1;
  for (int64_t i = 0; i < rows; ++i, scratch += plan.row_floats) {
    const int64_t y = y0 + i * step;
    if (y < 0 || y >= s.h) {
      std::fill_n(scratch, plan.row_floats, 0.0f);
      continue;
    }
    float* to = std::fill_n(scratch, left * s.cin, 0.0f);
    if (run.planar != nullptr) {
      const PlanarStrides& p = *run.planar;
      interleave(run.args->src + image * p.batch + y * p.row + crop, p.channel, inside, s.cin, to);
    } else {
      const ImageStrides& p = run.args->src_strides;
      copy_pixels(run.args->src + image * p.batch + y * p.row + crop * p.pixel, p.pixel, inside, s.cin, to);
    }
    std::fill_n(to + inside * s.cin, right * s.cin, 0.0f);
  }
}

void fill_segments(Run& run, int64_t* segments) {
  const ConvShape& s = *run.shape;
  const Plan& plan = run.plan;
  const int64_t row = (plan.sparse ? 1 : s.dilation_h) * (plan.copy ? plan.row_floats : run.args->src_strides.row);
  const int64_t pixel = plan.copy ? s.cin : run.args->src_strides.pixel;
  run.segments = segments;
  run.segment_length = plan.merged ? s.kw * plan.cin : plan.cin;
  run.segment_count = plan.merged ? s.kh : s.kh * s.kw;
  for (int64_t i = 0; i < s.kh; ++i) {
    if (plan.merged) {
      segments[i] = i * row;
      continue;
    }
    for (int64_t j = 0; j < s.kw; ++j) segments[i * s.kw + j] = i * row + j * s.dilation_w * pixel;
  }
}

// Panels of all groups, counted through; the columns of neighbours follow each other.
struct Panels {
  int64_t begin, end;
  static int64_t column(const Plan& plan, int64_t panel) {
    const int64_t group = panel / plan.panels;
    return group * plan.cout + std::min(plan.cout, panel % plan.panels * tile_kernels().panel());
  }
};

// Output lines [begin, end) of an image.
struct Lines {
  int64_t image, begin, end;
};

// `base`: the source of the first line, group 0.
void run_panels(const Run& run, Tile tile, const Panels& panels, const Lines& lines, const float* base, int64_t step) {
  const ConvShape& s = *run.shape;
  const ConvArgs& args = *run.args;
  const Plan& plan = run.plan;
  const TileKernels& kernels = *run.kernels;
  const int64_t depth = plan.cin * s.kh * s.kw;
  const auto group_weights = static_cast<int64_t>(packed_b_floats(depth, plan.cout));
  for (int64_t p = panels.begin; p < panels.end; ++p) {
    const int64_t group = p / plan.panels, col = p % plan.panels * kernels.panel();
    tile.cols = std::min<int64_t>(kernels.panel(), plan.cout - col);
    const PanelStart start(args.epilogue.bias, group * plan.cout + col, tile.cols);
    tile.init = start.values;
    tile.b = args.weights + group * group_weights + col * depth;
    for (int64_t y = lines.begin; y < lines.end; ++y) {
      tile.a = base + (y - lines.begin) * step + group * plan.cin;
      tile.c = args.dst + lines.image * args.dst_strides.batch + y * args.dst_strides.row + group * plan.cout + col;
      run_rows(kernels, kernels.tile[panel_vectors(kernels, tile.cols)], tile, plan.ow);
    }
  }
}

// The post-op on whole lines, at once where they follow each other.
void run_post(const Run& run, const Panels& panels, const Lines& lines) {
  const ConvArgs& args = *run.args;
  const Plan& plan = run.plan;
  const PostOp& post = args.epilogue.post;
  const int64_t col = Panels::column(plan, panels.begin), cols = Panels::column(plan, panels.end) - col;
  const bool dense = args.dst_strides.row == plan.ow * args.dst_strides.pixel;
  const int64_t step = dense ? lines.end - lines.begin : 1;
  for (int64_t y = lines.begin; y < lines.end; y += step) {
    post.fn(post.ctx, args.dst + lines.image * args.dst_strides.batch + y * args.dst_strides.row + col,
            args.first_row + (lines.image * plan.oh + y) * plan.ow, step * plan.ow, args.dst_strides.pixel, col, cols);
  }
}

void run_part(const Run& run, int64_t part, float* scratch) {
  const ConvShape& s = *run.shape;
  const ConvArgs& args = *run.args;
  const Plan& plan = run.plan;
  const TileKernels& kernels = *run.kernels;
  const int64_t panel_group = part % plan.panel_groups;
  const int64_t y_block = part / plan.panel_groups % plan.row_blocks;
  const int64_t image = part / (plan.panel_groups * plan.row_blocks);
  const int64_t y_begin = y_block * plan.block_rows, y_end = std::min(plan.oh, y_begin + plan.block_rows);
  const int64_t in_begin = y_begin * s.stride_h - s.pad_top;

  Tile tile{};
  const float* base = scratch;
  int64_t row_step = plan.row_floats * s.stride_h;
  tile.lda = s.cin * s.stride_w;
  if (plan.copy) {
    fill_scratch(run, image, in_begin, y_end - y_begin, scratch);
  } else {
    const ImageStrides& p = args.src_strides;
    base = args.src + image * p.batch + in_begin * p.row - s.pad_left * p.pixel;
    row_step = p.row * s.stride_h;
    tile.lda = p.pixel * s.stride_w;
  }
  tile.segments = run.segments;
  tile.segment_count = run.segment_count;
  tile.segment_length = run.segment_length;
  tile.ldc = args.dst_strides.pixel;
  tile.accumulate = args.accumulate;
  set_activation(args.epilogue, tile);

  const int64_t panels = plan.panels * s.groups;
  const Panels mine{panels * panel_group / plan.panel_groups, panels * (panel_group + 1) / plan.panel_groups};
  const int64_t cols = mine.column(plan, mine.end) - mine.column(plan, mine.begin);
  const int64_t fit = std::max<int64_t>(1, post_rows(cols, kernels.max_rows) / plan.ow);
  const int64_t step = args.epilogue.post.fn == nullptr ? y_end - y_begin : fit;
  for (int64_t y = y_begin; y < y_end; y += step) {
    const Lines lines{image, y, std::min(y_end, y + step)};
    run_panels(run, tile, mine, lines, base + (y - y_begin) * row_step, row_step);
    if (args.epilogue.post.fn != nullptr) run_post(run, mine, lines);
  }
}

// A 1x1 convolution over dense rows is one matrix product.
bool is_matrix(const ConvShape& s, const ConvArgs& args) {
  const ImageStrides &a = args.src_strides, &c = args.dst_strides;
  return s.kh == 1 && s.kw == 1 && s.stride_h == 1 && s.stride_w == 1 && s.groups == 1 && s.oh() == s.h &&
         s.ow() == s.w && s.pad_top == 0 && s.pad_left == 0 &&
         (s.h == 1 || (a.row == s.w * a.pixel && c.row == s.w * c.pixel)) &&
         (s.n == 1 || (a.batch == s.h * s.w * a.pixel && c.batch == s.h * s.w * c.pixel));
}

void run_conv(ThreadPool& pool, const ConvShape& shape, const ConvArgs& args, const PlanarStrides* planar,
              float* workspace) {
  const TileKernels& kernels = tile_kernels();
  Run run{&kernels, &shape, &args, planar, make_plan(shape, planar != nullptr, pool.threads()), nullptr, 0, 0};
  const Plan& plan = run.plan;
  if (shape.n == 0 || plan.oh <= 0 || plan.ow <= 0) return;
  fill_segments(run, reinterpret_cast<int64_t*>(workspace));
  float* scratch = workspace + plan.segment_floats;
  pool.run_indexed(plan.parts(shape),
                   [&](int64_t part, int worker) { run_part(run, part, scratch + worker * plan.scratch_floats); });
}

}  // namespace

size_t conv_packed_floats(const ConvShape& s) {
  check(s);
  return static_cast<size_t>(s.groups) * packed_b_floats(s.cin / s.groups * s.kh * s.kw, s.cout / s.groups);
}

void conv_pack(const ConvShape& s, const float* oihw, float* packed) {
  check(s);
  const int64_t cin = s.cin / s.groups, cout = s.cout / s.groups, taps = s.kh * s.kw;
  for (int64_t g = 0; g < s.groups; ++g) {
    for_each_panel_row(taps * cin, cout, packed, [&](int64_t k, int64_t col, int64_t cols, float* to) {
      const float* from = oihw + ((g * cout + col) * cin + k % cin) * taps + k / cin;
      for (int64_t j = 0; j < cols; ++j) to[j] = from[j * cin * taps];
    });
    packed += packed_b_floats(taps * cin, cout);
  }
}

size_t conv_workspace_floats(const ConvShape& shape, int threads) { return workspace_floats(shape, false, threads); }

void conv(ThreadPool& pool, const ConvShape& shape, const ConvArgs& args, float* workspace) {
  check(shape);
  if (is_matrix(shape, args)) {
    gemm(pool,
         GemmArgs{shape.n * shape.h * shape.w, shape.cout, shape.cin, args.src, args.src_strides.pixel, args.weights,
                  args.dst, args.dst_strides.pixel, args.accumulate, args.epilogue, args.first_row});
    return;
  }
  run_conv(pool, shape, args, nullptr, workspace);
}

size_t conv_planar_workspace_floats(const ConvShape& shape, int threads) {
  return workspace_floats(shape, true, threads);
}

void conv_planar(ThreadPool& pool, const ConvShape& shape, const ConvArgs& args, const PlanarStrides& planar,
                 float* workspace) {
  run_conv(pool, shape, args, &planar, workspace);
}

}  // namespace tenon::cpu
