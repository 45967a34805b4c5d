#include "cpu/depthwise.hpp"

#include <algorithm>
#include <limits>

#include "base/error.hpp"
#include "base/thread_pool.hpp"
#include "cpu/depthwise_tile.hpp"

namespace tenon::cpu {
namespace {

// Blocks of channels are taken a few at a time over all rows of a part, so that the rows that neighbouring output rows
// share are still in the first-level cache; fewer than kMinBlocks would break up the stream from memory.
constexpr int64_t kCacheFloats = (32 << 10) / 4;
constexpr int64_t kMinBlocks = 4;

struct Run {
  const DepthwiseKernels* kernels;
  const ConvShape* shape;
  const ConvArgs* args;
  int64_t oh, ow;
};

void run_row(const Run& run, int64_t index, int64_t block_begin, int64_t block_end) {
  const ConvShape& s = *run.shape;
  const ConvArgs& args = *run.args;
  const Epilogue& epilogue = args.epilogue;
  const int64_t image = index / run.oh, y = index % run.oh;
  const int64_t top = y * s.stride_h - s.pad_top;  // row of tap row 0
  const int64_t first = std::min(s.kh, top < 0 ? (-top + s.dilation_h - 1) / s.dilation_h : 0);
  const int64_t last = std::clamp(top >= s.h ? 0 : (s.h - 1 - top) / s.dilation_h + 1, first, s.kh);
  DepthwiseRow r{};
  r.row = args.src_strides.row * s.dilation_h;
  r.pixel = args.src_strides.pixel;
  r.rows = last - first;
  r.dst_pixel = args.dst_strides.pixel;
  r.ow = run.ow, r.w = s.w, r.kw = s.kw, r.stride = s.stride_w, r.dilation = s.dilation_w, r.pad_left = s.pad_left;
  r.channels = s.cin;
  r.bias = epilogue.bias;
  r.block_weights = s.kh * s.kw * run.kernels->lanes;
  r.swish = epilogue.act == Epilogue::kHardSwish, r.mul = epilogue.mul, r.add = epilogue.add;
  r.clamp = epilogue.act == Epilogue::kRelu || epilogue.act == Epilogue::kClip;
  r.lo = epilogue.act == Epilogue::kRelu ? 0.0f : epilogue.lo;
  r.hi = epilogue.act == Epilogue::kRelu ? std::numeric_limits<float>::infinity() : epilogue.hi;
  r.src = args.src + image * args.src_strides.batch + (top + first * s.dilation_h) * args.src_strides.row;
  r.weights = args.weights + first * s.kw * run.kernels->lanes;
  r.dst = args.dst + image * args.dst_strides.batch + y * args.dst_strides.row;
  r.block_begin = block_begin, r.block_end = block_end;
  run.kernels->row(r);
  if (epilogue.post.fn != nullptr) {
    const ChannelBlocks blocks{s.cin, run.kernels->lanes};
    // The last block ends at the last channel, so it may have stored anew what a block before it had finished.
    const int64_t c = blocks.begin(block_begin), end = std::min(s.cin, block_end * blocks.lanes);
    epilogue.post.fn(epilogue.post.ctx, r.dst + c, index * run.ow, run.ow, r.dst_pixel, c, end - c);
  }
}

}  // namespace

bool is_depthwise(const ConvShape& s) { return s.groups == s.cin && s.cout == s.cin; }

size_t depthwise_packed_floats(const ConvShape& s) {
  const ChannelBlocks blocks{s.cin, depthwise_kernels().lanes};
  return static_cast<size_t>(blocks.count() * blocks.lanes * s.kh * s.kw);
}

void depthwise_pack(const ConvShape& s, const float* weights, float* packed) {
  TENON_CHECK(is_depthwise(s));
  const ChannelBlocks blocks{s.cin, depthwise_kernels().lanes};
  const int64_t taps = s.kh * s.kw;
  for (int64_t block = 0; block < blocks.count(); ++block) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      for (int64_t lane = 0; lane < blocks.lanes; ++lane) {
        const int64_t c = blocks.begin(block) + lane;
        *packed++ = c < s.cin ? weights[c * taps + tap] : 0.0f;
      }
    }
  }
}

void depthwise(ThreadPool& pool, const ConvShape& s, const ConvArgs& args) {
  TENON_CHECK(is_depthwise(s) && s.stride_h > 0 && s.stride_w > 0 && s.dilation_h > 0 && s.dilation_w > 0);
  const DepthwiseKernels& kernels = depthwise_kernels();
  const Run run{&kernels, &s, &args, s.oh(), s.ow()};
  const int64_t rows = s.n * run.oh;
  if (rows <= 0 || run.ow <= 0) return;
  const double work = static_cast<double>(rows * run.ow) * static_cast<double>(s.cin * s.kh * s.kw);
  const int64_t parts = work < 1e5 ? 1 : std::min<int64_t>(rows, pool.threads() == 1 ? 1 : 4 * pool.threads());
  const int64_t blocks = ChannelBlocks{s.cin, kernels.lanes}.count();
  const int64_t fit = kCacheFloats / (s.w * (s.kh + s.stride_h) * kernels.lanes);
  const int64_t step = fit < kMinBlocks ? blocks : fit;
  pool.run(parts, [&](int64_t part) {
    for (int64_t b = 0; b < blocks; b += step) {
      for (int64_t i = rows * part / parts; i < rows * (part + 1) / parts; ++i)
        run_row(run, i, b, std::min(blocks, b + step));
    }
  });
}

}  // namespace tenon::cpu
