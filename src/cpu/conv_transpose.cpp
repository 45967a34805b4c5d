#include "cpu/conv_transpose.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/error.hpp"
#include "base/thread_pool.hpp"
#include "cpu/gemm_block.hpp"

namespace tenon::cpu {
namespace {

// One axis of one phase: outputs first, first + stride, ... are sums over taps k0 + t * tap_step, and with t the input
// position falls by `dilation`.
struct AxisPhase {
  int64_t first, count;          // outputs
  int64_t taps, tap0, tap_step;  // of the filter
  int64_t dilation, pad;         // of the ordinary convolution
};

AxisPhase axis_phase(int64_t phase, int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t pad) {
  const int64_t common = std::gcd(stride, dilation);
  AxisPhase a{};
  a.first = ((phase - pad) % stride + stride) % stride;
  a.count = a.first >= size ? 0 : (size - a.first + stride - 1) / stride;
  a.tap_step = stride / common;
  a.dilation = dilation / common;
  while (a.tap0 < a.tap_step && a.tap0 * dilation % stride != phase) ++a.tap0;
  if (a.tap0 == a.tap_step || a.tap0 >= kernel) return a;  // no taps: these outputs are the bias
  a.taps = (kernel - a.tap0 + a.tap_step - 1) / a.tap_step;
  a.pad = (a.taps - 1) * a.dilation - (a.first + pad - a.tap0 * dilation) / stride;
  return a;
}

struct Phase {
  AxisPhase y, x;
  bool has_taps() const { return y.taps > 0 && x.taps > 0; }
  bool has_outputs() const { return y.count > 0 && x.count > 0; }
};

Phase phase_of(const ConvTransposeShape& s, int64_t index) {
  return {axis_phase(index / s.stride_w, s.oh, s.kh, s.stride_h, s.dilation_h, s.pad_top),
          axis_phase(index % s.stride_w, s.ow, s.kw, s.stride_w, s.dilation_w, s.pad_left)};
}

// The ordinary convolution of a phase that has taps and outputs.
ConvShape conv_of(const ConvTransposeShape& s, const Phase& p) {
  ConvShape c;
  c.n = s.n, c.h = s.h, c.w = s.w, c.cin = s.cin, c.cout = s.cout, c.groups = s.groups;
  c.kh = p.y.taps, c.kw = p.x.taps;
  c.dilation_h = p.y.dilation, c.dilation_w = p.x.dilation;
  c.pad_top = p.y.pad, c.pad_left = p.x.pad;
  c.pad_bottom = p.y.count + (c.kh - 1) * c.dilation_h - s.h - c.pad_top;
  c.pad_right = p.x.count + (c.kw - 1) * c.dilation_w - s.w - c.pad_left;
  return c;
}

void check(const ConvTransposeShape& s) {
  TENON_CHECK(s.cin > 0 && s.cout > 0 && s.kh > 0 && s.kw > 0 && s.groups > 0 && s.stride_h > 0 && s.stride_w > 0);
  TENON_CHECK(s.dilation_h > 0 && s.dilation_w > 0 && s.cin % s.groups == 0 && s.cout % s.groups == 0);
}

size_t phase_floats(const ConvTransposeShape& s, const Phase& p) {
  return static_cast<size_t>(s.groups) * packed_b_floats(s.cin / s.groups * p.y.taps * p.x.taps, s.cout / s.groups);
}

void pack_phase(const ConvTransposeShape& s, const Phase& p, const float* weights, float* packed) {
  const int64_t cin = s.cin / s.groups, cout = s.cout / s.groups;
  for (int64_t g = 0; g < s.groups; ++g) {
    const float* group = weights + g * cin * cout * s.kh * s.kw;
    for_each_panel_row(cin * p.y.taps * p.x.taps, cout, packed, [&](int64_t k, int64_t col, int64_t cols, float* to) {
      const int64_t c = k % cin, tx = k / cin % p.x.taps, ty = k / cin / p.x.taps;
      const int64_t ky = p.y.tap0 + (p.y.taps - 1 - ty) * p.y.tap_step;
      const int64_t kx = p.x.tap0 + (p.x.taps - 1 - tx) * p.x.tap_step;
      for (int64_t j = 0; j < cols; ++j) to[j] = group[((c * cout + col + j) * s.kh + ky) * s.kw + kx];
    });
    packed += packed_b_floats(cin * p.y.taps * p.x.taps, cout);
  }
}

// Outputs that no input reaches.
void fill_phase(const ConvTransposeShape& s, const Phase& p, const ConvArgs& args) {
  Tile act{};
  set_activation(args.epilogue, act);
  for (int64_t i = 0; i < s.n * p.y.count * p.x.count; ++i) {
    const int64_t x = p.x.first + i % p.x.count * s.stride_w;
    const int64_t y = p.y.first + i / p.x.count % p.y.count * s.stride_h;
    float* to = args.dst + i / (p.x.count * p.y.count) * args.dst_strides.batch + y * args.dst_strides.row +
                x * args.dst_strides.pixel;
    for (int64_t c = 0; c < s.cout; ++c) {
      const float v = args.epilogue.bias == nullptr ? 0.0f : args.epilogue.bias[c];
      to[c] = activate(act, v);
    }
  }
}

constexpr int64_t kMostJoined = 512;  // columns

// The ordinary 1x1 convolution of one filter row to kw * cout columns.
ConvShape joined_conv(const ConvTransposeShape& s) {
  ConvShape c;
  c.n = s.n, c.h = s.h, c.w = s.w, c.cin = s.cin, c.cout = s.cout * s.kw;
  return c;
}

void pack_joined(const ConvTransposeShape& s, const float* weights, float* packed) {
  for (int64_t ky = 0; ky < s.kh; ++ky) {
    for_each_panel_row(s.cin, s.cout * s.kw, packed, [&](int64_t k, int64_t col, int64_t cols, float* to) {
      for (int64_t j = 0; j < cols; ++j) {
        const int64_t kx = (col + j) / s.cout, o = (col + j) % s.cout;
        to[j] = weights[((k * s.cout + o) * s.kh + ky) * s.kw + kx];
      }
    });
    packed += packed_b_floats(s.cin, s.cout * s.kw);
  }
}

void run_joined(ThreadPool& pool, const ConvTransposeShape& s, const ConvArgs& args, float* workspace) {
  TENON_CHECK(can_join(s) && args.dst_strides.pixel == s.cout);
  const ConvShape shape = joined_conv(s);
  float bias[kMostJoined];
  ConvArgs part = args;
  part.epilogue.post = {};
  part.dst_strides.pixel = shape.cout;
  part.dst_strides.row *= s.stride_h;
  for (int64_t j = 0; args.epilogue.bias != nullptr && j < shape.cout; ++j) bias[j] = args.epilogue.bias[j % s.cout];
  if (args.epilogue.bias != nullptr) part.epilogue.bias = bias;
  for (int64_t ky = 0; ky < s.kh; ++ky) {
    part.dst = args.dst + ky * args.dst_strides.row;
    part.weights = args.weights + ky * static_cast<int64_t>(packed_b_floats(s.cin, shape.cout));
    conv(pool, shape, part, workspace);
  }
}

void run_phases(ThreadPool& pool, const ConvTransposeShape& s, const ConvArgs& args, float* workspace) {
  const float* weights = args.weights;
  for (int64_t i = 0; i < s.stride_h * s.stride_w; ++i) {
    const Phase p = phase_of(s, i);
    ConvArgs part = args;
    part.weights = weights;
    part.dst = args.dst + p.y.first * args.dst_strides.row + p.x.first * args.dst_strides.pixel;
    part.dst_strides.pixel *= s.stride_w;
    part.dst_strides.row *= s.stride_h;
    part.epilogue.post = {};
    weights += phase_floats(s, p);
    if (!p.has_outputs()) continue;
    if (p.has_taps()) {
      conv(pool, conv_of(s, p), part, workspace);
    } else {
      fill_phase(s, p, args);
    }
  }
}

}  // namespace

bool can_join(const ConvTransposeShape& s) {
  return s.groups == 1 && s.kh == s.stride_h && s.kw == s.stride_w && s.dilation_h == 1 && s.dilation_w == 1 &&
         s.pad_top == 0 && s.pad_left == 0 && s.oh == s.h * s.stride_h && s.ow == s.w * s.stride_w &&
         s.kw * s.cout <= kMostJoined;
}

size_t conv_transpose_packed_floats(const ConvTransposeShape& s) {
  check(s);
  if (s.joined) return static_cast<size_t>(s.kh) * packed_b_floats(s.cin, s.cout * s.kw);
  size_t total = 0;
  for (int64_t i = 0; i < s.stride_h * s.stride_w; ++i) total += phase_floats(s, phase_of(s, i));
  return total;
}

void conv_transpose_pack(const ConvTransposeShape& s, const float* weights, float* packed) {
  check(s);
  if (s.joined) return pack_joined(s, weights, packed);
  for (int64_t i = 0; i < s.stride_h * s.stride_w; ++i) {
    const Phase p = phase_of(s, i);
    if (p.has_taps()) pack_phase(s, p, weights, packed);
    packed += phase_floats(s, p);
  }
}

size_t conv_transpose_workspace_floats(const ConvTransposeShape& s, int threads) {
  check(s);
  if (s.joined) return conv_workspace_floats(joined_conv(s), threads);
  size_t most = 0;
  for (int64_t i = 0; i < s.stride_h * s.stride_w; ++i) {
    const Phase p = phase_of(s, i);
    if (p.has_taps() && p.has_outputs()) most = std::max(most, conv_workspace_floats(conv_of(s, p), threads));
  }
  return most;
}

void conv_transpose(ThreadPool& pool, const ConvTransposeShape& s, const ConvArgs& args, float* workspace) {
  check(s);
  TENON_CHECK(!args.accumulate);
  if (s.n <= 0 || s.oh <= 0 || s.ow <= 0) return;
  s.joined ? run_joined(pool, s, args, workspace) : run_phases(pool, s, args, workspace);
  const PostOp post = args.epilogue.post;
  if (post.fn == nullptr) return;
  pool.run_ranges(s.n * s.oh, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* row = args.dst + i / s.oh * args.dst_strides.batch + i % s.oh * args.dst_strides.row;
      post.fn(post.ctx, row, args.first_row + i * s.ow, s.ow, args.dst_strides.pixel, 0, s.cout);
    }
  });
}

}  // namespace tenon::cpu
