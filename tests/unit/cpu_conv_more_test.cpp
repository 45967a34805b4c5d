// Transposed and 3-D convolutions against naive sums.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/thread_pool.hpp"
#include "cpu/conv3d.hpp"
#include "cpu/conv_transpose.hpp"
#include "cpu_kernel_testing.hpp"

namespace tenon::cpu {
namespace {

// Adds a value that depends on the position, so that wrong or missing calls show.
void add_position(const void* ctx, float* data, int64_t row_begin, int64_t rows, int64_t ld, int64_t col_begin,
                  int64_t cols) {
  const int64_t period = *static_cast<const int64_t*>(ctx);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      data[r * ld + c] += static_cast<float>((row_begin + r) % period) + 0.5f * static_cast<float>(col_begin + c);
    }
  }
}

// n h w cin cout kh kw stride_h stride_w dilation_h dilation_w pad_top pad_left oh ow groups joined
const ConvTransposeShape kTransposed[] = {
    {1, 3, 3, 1, 1, 3, 3, 1, 1, 1, 1, 0, 0, 5, 5, 1},         {2, 5, 4, 16, 8, 2, 2, 2, 2, 1, 1, 0, 0, 10, 8, 1},
    {1, 5, 6, 17, 24, 4, 4, 2, 2, 1, 1, 1, 1, 10, 12, 1},     {1, 4, 4, 6, 9, 3, 3, 2, 2, 1, 1, 1, 1, 8, 8, 3},
    {1, 4, 5, 5, 33, 3, 3, 3, 2, 1, 1, 0, 1, 12, 10, 1},      {1, 3, 4, 8, 5, 2, 2, 3, 3, 1, 1, 0, 0, 10, 12, 1},
    {2, 4, 3, 4, 6, 3, 2, 2, 3, 2, 2, 1, 0, 9, 9, 2},         {1, 5, 5, 3, 4, 3, 3, 2, 2, 3, 1, 2, 2, 11, 8, 1},
    {1, 6, 6, 8, 16, 9, 9, 4, 4, 1, 1, 3, 3, 24, 24, 1},      {1, 1, 1, 12, 7, 4, 4, 1, 1, 1, 1, 0, 0, 4, 4, 1},
    {1, 4, 4, 4, 4, 3, 3, 1, 1, 2, 2, 3, 3, 2, 2, 4},         {2, 5, 7, 9, 1, 2, 2, 2, 2, 1, 1, 0, 0, 10, 14, 1, true},
    {1, 4, 3, 24, 24, 2, 2, 2, 2, 1, 1, 0, 0, 8, 6, 1, true}, {1, 3, 4, 5, 7, 3, 2, 3, 2, 1, 1, 0, 0, 9, 8, 1, true}};

void naive_transposed(const ConvTransposeShape& s, const Floats& src, const Floats& w, std::vector<double>& out) {
  const int64_t cin = s.cin / s.groups, cout = s.cout / s.groups;
  for (int64_t i = 0; i < s.n * s.h * s.w * s.cin * s.kh * s.kw; ++i) {
    const int64_t kx = i % s.kw, ky = i / s.kw % s.kh, c = i / (s.kw * s.kh) % s.cin;
    const int64_t pixel = i / (s.kw * s.kh * s.cin), x = pixel % s.w, y = pixel / s.w % s.h, n = pixel / (s.w * s.h);
    const int64_t oy = y * s.stride_h + ky * s.dilation_h - s.pad_top,
                  ox = x * s.stride_w + kx * s.dilation_w - s.pad_left;
    if (oy < 0 || oy >= s.oh || ox < 0 || ox >= s.ow) continue;
    for (int64_t o = 0; o < cout; ++o) {
      out[((n * s.oh + oy) * s.ow + ox) * s.cout + c / cin * cout + o] +=
          static_cast<double>(src[pixel * s.cin + c]) * w[((c * cout + o) * s.kh + ky) * s.kw + kx];
    }
  }
}

void check_transposed(const ConvTransposeShape& s, int threads, bool fused) {
  SCOPED_TRACE(testing::Message() << s.h << "x" << s.w << "x" << s.cin << " -> " << s.oh << "x" << s.ow << "x"
                                  << s.cout);
  ThreadPool pool(threads);
  const int64_t slack = s.joined ? 0 : threads - 1, pixel = s.cout + slack;
  Floats src(s.n * s.h * s.w * s.cin), w(s.cin * s.cout / s.groups * s.kh * s.kw), bias(s.cout);
  Floats dst(s.n * s.oh * s.ow * pixel), packed(conv_transpose_packed_floats(s));
  Floats workspace(conv_transpose_workspace_floats(s, threads));
  fill_random(src, 1);
  fill_random(w, 2);
  fill_random(bias, 3);
  conv_transpose_pack(s, w.data(), packed.data());
  ConvArgs args{src.data(), ImageStrides::dense(s.h, s.w, s.cin),   packed.data(),
                dst.data(), ImageStrides::dense(s.oh, s.ow, pixel), {}};
  const int64_t period = s.ow + 2;
  if (fused) args.epilogue = {bias.data(), Epilogue::kClip, -0.75f, 1.5f, {&add_position, &period}};
  conv_transpose(pool, s, args, workspace.data());
  ASSERT_TRUE(dst.intact() && workspace.intact() && packed.intact());
  std::vector<double> want(static_cast<size_t>(s.n * s.oh * s.ow * s.cout));
  naive_transposed(s, src, w, want);
  for (int64_t i = 0; i < s.n * s.oh * s.ow; ++i) {
    for (int64_t c = 0; c < pixel; ++c) {
      const float got = dst[i * pixel + c];
      if (c >= s.cout) {
        ASSERT_TRUE(std::isnan(got));
        continue;
      }
      double value = want[i * s.cout + c];
      if (fused)
        value =
            std::clamp(value + bias[c], -0.75, 1.5) + static_cast<double>(i % period) + 0.5 * static_cast<double>(c);
      ASSERT_NEAR(got, value, tolerance(s.cin * s.kh * s.kw) + 1e-6 * std::abs(value))
          << "pixel " << i << " channel " << c;
    }
  }
}

TEST(CpuConvTranspose, MatchesNaive) {
  for_each_isa([](const std::string&) {
    for (const ConvTransposeShape& s : kTransposed) {
      for (int threads : {1, 3}) check_transposed(s, threads, threads == 1);
    }
  });
}

Conv3dShape volume(int64_t d, int64_t kd, int64_t stride_d, int64_t dilation_d, int64_t front, int64_t back,
                   const ConvShape& plane) {
  return {plane, d, kd, stride_d, dilation_d, front, back};
}

double naive_3d(const Conv3dShape& s, const Floats& src, const Floats& w, int64_t n, int64_t z, int64_t y, int64_t x,
                int64_t o) {
  const ConvShape& p = s.plane;
  const int64_t cin = p.cin / p.groups, first = o / (p.cout / p.groups) * cin;
  double sum = 0;
  for (int64_t i = 0; i < s.kd * p.kh * p.kw * cin; ++i) {
    const int64_t c = i % cin, kx = i / cin % p.kw, ky = i / cin / p.kw % p.kh, kz = i / cin / p.kw / p.kh;
    const int64_t iz = z * s.stride_d + kz * s.dilation_d - s.pad_front;
    const int64_t iy = y * p.stride_h + ky * p.dilation_h - p.pad_top,
                  ix = x * p.stride_w + kx * p.dilation_w - p.pad_left;
    if (iz < 0 || iz >= s.d || iy < 0 || iy >= p.h || ix < 0 || ix >= p.w) continue;
    sum += static_cast<double>(src[(((n * s.d + iz) * p.h + iy) * p.w + ix) * p.cin + first + c]) *
           w[(((o * cin + c) * s.kd + kz) * p.kh + ky) * p.kw + kx];
  }
  return sum;
}

void check_3d(const Conv3dShape& s, int threads, bool fused) {
  const ConvShape& p = s.plane;
  ThreadPool pool(threads);
  Floats src(p.n * s.d * p.h * p.w * p.cin), w(p.cout * p.cin / p.groups * s.kd * p.kh * p.kw), bias(p.cout);
  const int64_t oh = p.oh(), ow = p.ow(), od = s.od();
  Floats dst(p.n * od * oh * ow * p.cout), packed(conv3d_packed_floats(s)),
      workspace(conv3d_workspace_floats(s, threads));
  fill_random(src, 1);
  fill_random(w, 2);
  fill_random(bias, 3);
  conv3d_pack(s, w.data(), packed.data());
  ConvArgs args{src.data(), {p.cin, p.w * p.cin, s.d * p.h * p.w * p.cin}, packed.data(),
                dst.data(), {p.cout, ow * p.cout, od * oh * ow * p.cout},  {}};
  const int64_t period = ow + 2;
  if (fused) args.epilogue = {bias.data(), Epilogue::kRelu, 0, 0, {&add_position, &period}};
  conv3d(pool, s, args, p.h * p.w * p.cin, oh * ow * p.cout, workspace.data());
  ASSERT_TRUE(dst.intact() && workspace.intact() && packed.intact());
  for (int64_t i = 0; i < p.n * od * oh * ow; ++i) {
    for (int64_t c = 0; c < p.cout; ++c) {
      double value = naive_3d(s, src, w, i / (ow * oh * od), i / (ow * oh) % od, i / ow % oh, i % ow, c);
      if (fused)
        value = std::max(0.0, value + bias[c]) + static_cast<double>(i % period) + 0.5 * static_cast<double>(c);
      ASSERT_NEAR(dst[i * p.cout + c], value, tolerance(p.cin * 27) + 1e-6 * std::abs(value)) << i << " " << c;
    }
  }
}

TEST(CpuConv3d, MatchesNaive) {
  for_each_isa([](const std::string&) {
    for (int threads : {1, 2}) {
      const bool fused = threads == 1;
      check_3d(volume(5, 3, 1, 1, 1, 1, {2, 6, 7, 5, 9, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1}), threads, fused);
      check_3d(volume(7, 3, 2, 2, 2, 1, {1, 5, 5, 8, 24, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 2}), threads, fused);
      check_3d(volume(3, 1, 1, 1, 0, 0, {1, 4, 4, 17, 33, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1}), threads, fused);
      check_3d(volume(2, 1, 1, 1, 2, 1, {1, 4, 4, 3, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1}), threads, fused);
    }
  });
}

}  // namespace
}  // namespace tenon::cpu
