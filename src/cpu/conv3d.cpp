#include "cpu/conv3d.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/thread_pool.hpp"
#include "cpu/gemm_block.hpp"

namespace tenon::cpu {
namespace {

ConvShape one_image(const Conv3dShape& s) {
  ConvShape plane = s.plane;
  plane.n = 1;
  return plane;
}

// The same output where the filter sees padding alone.
ConvShape no_input(const ConvShape& plane) {
  ConvShape empty = plane;
  empty.pad_top += plane.h;
  empty.h = 0;
  return empty;
}

}  // namespace

size_t conv3d_packed_floats(const Conv3dShape& s) { return static_cast<size_t>(s.kd) * conv_packed_floats(s.plane); }

void conv3d_pack(const Conv3dShape& s, const float* weights, float* packed) {
  const ConvShape& p = s.plane;
  const int64_t cin = p.cin / p.groups, cout = p.cout / p.groups, taps = p.kh * p.kw;
  for (int64_t z = 0; z < s.kd; ++z) {
    for (int64_t g = 0; g < p.groups; ++g) {
      for_each_panel_row(cin * taps, cout, packed, [&](int64_t k, int64_t col, int64_t cols, float* to) {
        for (int64_t j = 0; j < cols; ++j) {
          to[j] = weights[(((g * cout + col + j) * cin + k % cin) * s.kd + z) * taps + k / cin];
        }
      });
      packed += packed_b_floats(cin * taps, cout);
    }
  }
}

size_t conv3d_workspace_floats(const Conv3dShape& s, int threads) {
  const ConvShape plane = one_image(s);
  return std::max(conv_workspace_floats(plane, threads), conv_workspace_floats(no_input(plane), threads));
}

void conv3d(ThreadPool& pool, const Conv3dShape& s, const ConvArgs& args, int64_t src_plane, int64_t dst_plane,
            float* workspace) {
  TENON_CHECK(!args.accumulate && s.kd > 0 && s.stride_d > 0 && s.dilation_d > 0);
  const ConvShape plane = one_image(s);
  const int64_t od = s.od(), pixels = plane.oh() * plane.ow();
  const auto plane_weights = static_cast<int64_t>(conv_packed_floats(plane));
  for (int64_t i = 0; i < s.plane.n * od; ++i) {
    const int64_t image = i / od, front = i % od * s.stride_d - s.pad_front;  // plane of filter plane 0
    const int64_t first = std::min(s.kd, front < 0 ? (-front + s.dilation_d - 1) / s.dilation_d : 0);
    const int64_t last = std::clamp(front >= s.d ? 0 : (s.d - 1 - front) / s.dilation_d + 1, first, s.kd);
    ConvArgs step = args;
    step.dst += image * args.dst_strides.batch + i % od * dst_plane;
    step.first_row = args.first_row + i * pixels;
    if (first == last) {
      conv(pool, no_input(plane), step, workspace);
      continue;
    }
    for (int64_t z = first; z < last; ++z) {
      step.src = args.src + image * args.src_strides.batch + (front + z * s.dilation_d) * src_plane;
      step.weights = args.weights + z * plane_weights;
      step.accumulate = z > first;
      step.epilogue = z + 1 == last ? args.epilogue : Epilogue{};
      step.epilogue.bias = z == first ? args.epilogue.bias : nullptr;
      conv(pool, plane, step, workspace);
    }
  }
}

}  // namespace tenon::cpu
