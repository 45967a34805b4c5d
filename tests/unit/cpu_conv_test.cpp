#include "cpu/conv.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/thread_pool.hpp"
#include "cpu/depthwise.hpp"
#include "cpu/winograd.hpp"
#include "cpu_kernel_testing.hpp"

namespace tenon::cpu {
namespace {

// n h w cin cout kh kw stride_h stride_w dilation_h dilation_w pad_top pad_left pad_bottom pad_right groups
const ConvShape kShapes[] = {
    {1, 5, 5, 1, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},          {2, 7, 9, 3, 16, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1},
    {1, 8, 8, 16, 24, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},        {2, 11, 13, 17, 33, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {1, 9, 31, 5, 8, 5, 5, 1, 2, 1, 1, 2, 2, 2, 2, 1},         {1, 12, 10, 33, 5, 3, 3, 1, 1, 2, 3, 2, 3, 2, 3, 1},
    {1, 10, 10, 8, 12, 3, 3, 1, 1, 1, 1, 0, 1, 2, 3, 1},       {2, 6, 6, 24, 40, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1},
    {1, 9, 9, 20, 17, 1, 1, 2, 2, 1, 1, 0, 0, 0, 0, 1},        {1, 7, 7, 20, 17, 1, 1, 1, 1, 1, 1, 1, 0, 1, 2, 1},
    {2, 8, 8, 12, 18, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 3},        {1, 6, 7, 8, 16, 3, 3, 2, 1, 1, 1, 1, 1, 1, 1, 8},
    {1, 1, 40, 10, 20, 1, 7, 1, 3, 1, 2, 0, 6, 0, 6, 1},       {1, 16, 16, 3, 48, 8, 8, 8, 8, 1, 1, 0, 0, 0, 0, 1},
    {1, 20, 20, 64, 70, 3, 3, 1, 1, 1, 1, 0, 0, 0, 0, 1},      {1, 4, 4, 130, 100, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {1, 14, 14, 3, 9, 7, 7, 2, 2, 1, 1, 3, 3, 3, 3, 1},        {1, 3, 3, 4, 4, 3, 3, 1, 1, 1, 1, 3, 3, 3, 3, 1},
    {1, 60, 61, 18, 20, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},      {3, 5, 4, 6, 64, 2, 2, 1, 1, 1, 1, 0, 0, 1, 1, 2},
    {1, 33, 33, 40, 9, 3, 3, 1, 1, 12, 12, 12, 12, 12, 12, 1}, {1, 29, 9, 24, 24, 3, 3, 2, 1, 9, 2, 9, 2, 9, 2, 3},
    {1, 30, 100, 128, 8, 3, 3, 1, 1, 6, 6, 6, 6, 6, 6, 1},     {1, 10, 10, 12, 24, 3, 3, 1, 1, 1, 1, 0, 0, 0, 0, 4},
    {1, 2, 2, 4, 4, 5, 5, 1, 1, 1, 1, 0, 0, 0, 0, 1},          {2, 9, 1, 7, 11, 3, 1, 2, 1, 1, 1, 1, 0, 1, 0, 1},
};

struct Image {
  int64_t n, h, w, c;
  ImageStrides strides;
  Floats data;
  Image(int64_t n, int64_t h, int64_t w, int64_t c, int64_t slack)
      : n(n),
        h(h),
        w(w),
        c(c),
        strides{c + slack, w * (c + slack) + 2 * slack, h * (w * (c + slack) + 2 * slack) + 3 * slack},
        data(static_cast<size_t>(n * strides.batch)) {}
  size_t index(int64_t i, int64_t y, int64_t x, int64_t ch) const {
    return static_cast<size_t>(i * strides.batch + y * strides.row + x * strides.pixel + ch);
  }
};

double naive(const ConvShape& s, const Image& src, const Floats& w, int64_t i, int64_t y, int64_t x, int64_t ch) {
  const int64_t cin = s.cin / s.groups, first = ch / (s.cout / s.groups) * cin;
  double sum = 0;
  for (int64_t ky = 0; ky < s.kh; ++ky) {
    for (int64_t kx = 0; kx < s.kw; ++kx) {
      const int64_t iy = y * s.stride_h + ky * s.dilation_h - s.pad_top;
      const int64_t ix = x * s.stride_w + kx * s.dilation_w - s.pad_left;
      if (iy < 0 || iy >= s.h || ix < 0 || ix >= s.w) continue;
      for (int64_t c = 0; c < cin; ++c) {
        sum += static_cast<double>(src.data[src.index(i, iy, ix, first + c)]) *
               w[((ch * cin + c) * s.kh + ky) * s.kw + kx];
      }
    }
  }
  return sum;
}

struct PostContext {
  const ConvShape* shape;
};

void add_position(const void* ctx, float* data, int64_t row_begin, int64_t rows, int64_t ld, int64_t col_begin,
                  int64_t cols) {
  const ConvShape& s = *static_cast<const PostContext*>(ctx)->shape;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      data[r * ld + c] += static_cast<float>((row_begin + r) % (s.ow() + 2)) + 0.5f * static_cast<float>(col_begin + c);
    }
  }
}

enum class Source { kImage, kPlanar, kDepthwise, kWinograd };

Floats pack(const ConvShape& s, const Floats& w, Source source) {
  if (source == Source::kDepthwise) {
    Floats packed(depthwise_packed_floats(s));
    depthwise_pack(s, w.data(), packed.data());
    return packed;
  }
  if (source == Source::kWinograd) {
    Floats packed(winograd_packed_floats(s));
    winograd_pack(s, w.data(), packed.data());
    return packed;
  }
  Floats packed(conv_packed_floats(s));
  conv_pack(s, w.data(), packed.data());
  return packed;
}

void expect_naive(const ConvShape& s, const Image& src, const Floats& w, const Floats& bias, bool fused,
                  const Image& dst, double allowed) {
  ASSERT_TRUE(dst.data.intact());
  size_t written = 0;
  for (size_t i = 0; i < dst.data.size(); ++i) written += std::isnan(dst.data[i]) ? 0 : 1;
  ASSERT_EQ(written, static_cast<size_t>(s.n * s.oh() * s.ow() * s.cout))
      << "wrote outside of the channels, or too little";
  for (int64_t i = 0; i < s.n; ++i) {
    for (int64_t y = 0; y < s.oh(); ++y) {
      for (int64_t x = 0; x < s.ow(); ++x) {
        for (int64_t c = 0; c < s.cout; ++c) {
          double want = naive(s, src, w, i, y, x, c);
          if (fused) {
            want = std::clamp(want + bias[c], -0.5, 1.5);
            want += static_cast<double>(((i * s.oh() + y) * s.ow() + x) % (s.ow() + 2)) + 0.5 * static_cast<double>(c);
          }
          ASSERT_NEAR(dst.data[dst.index(i, y, x, c)], want, allowed + 1e-6 * std::abs(want))
              << i << " " << y << " " << x << " " << c;
        }
      }
    }
  }
}

void check_conv(const ConvShape& s, int threads, int64_t slack, bool fused, Source source) {
  SCOPED_TRACE(testing::Message() << s.n << "x" << s.h << "x" << s.w << "x" << s.cin << " -> " << s.cout << ", " << s.kh
                                  << "x" << s.kw << ", " << threads << " threads, slack " << slack);
  ThreadPool pool(threads);
  Image src(s.n, s.h, s.w, s.cin, slack), dst(s.n, s.oh(), s.ow(), s.cout, slack);
  Floats w(static_cast<size_t>(s.cout * s.cin / s.groups * s.kh * s.kw)), bias(static_cast<size_t>(s.cout));
  for (int64_t i = 0; i < s.n * s.h * s.w; ++i) {  // only the channels: NaN stays between them
    for (int64_t c = 0; c < s.cin; ++c) {
      src.data[src.index(i / (s.h * s.w), i / s.w % s.h, i % s.w, c)] =
          static_cast<float>((i * 7 + c * 13) % 19 - 9) / 9;
    }
  }
  fill_random(w, 7);
  fill_random(bias, 8);
  Floats packed = pack(s, w, source);
  PostContext context{&s};
  ConvArgs args{src.data.data(), src.strides, packed.data(), dst.data.data(), dst.strides, {}};
  if (fused) args.epilogue = {bias.data(), Epilogue::kClip, -0.5f, 1.5f, {&add_position, &context}};
  double allowed = tolerance(s.cin * s.kh * s.kw);
  if (source == Source::kDepthwise) {
    depthwise(pool, s, args);
  } else if (source == Source::kWinograd) {
    Floats workspace(winograd_workspace_floats(s, threads));
    winograd(pool, s, args, workspace.data());
    ASSERT_TRUE(workspace.intact());
    allowed *= 4;
  } else if (source == Source::kImage) {
    Floats workspace(conv_workspace_floats(s, threads));
    conv(pool, s, args, workspace.data());
    ASSERT_TRUE(workspace.intact());
  } else {
    Floats planar(static_cast<size_t>(s.n * s.cin * s.h * s.w));
    for (int64_t i = 0; i < s.n * s.cin * s.h * s.w; ++i) {
      planar[i] = src.data[src.index(i / (s.cin * s.h * s.w), i / s.w % s.h, i % s.w, i / (s.h * s.w) % s.cin)];
    }
    args.src = planar.data();
    Floats workspace(conv_planar_workspace_floats(s, threads));
    conv_planar(pool, s, args, PlanarStrides::dense(s.cin, s.h, s.w), workspace.data());
    ASSERT_TRUE(workspace.intact());
  }
  ASSERT_TRUE(packed.intact());
  expect_naive(s, src, w, bias, fused, dst, allowed);
}

TEST(CpuConv, MatchesNaive) {
  for_each_isa([](const std::string&) {
    for (const ConvShape& s : kShapes) {
      for (int threads : {1, 2, 3}) check_conv(s, threads, threads - 1, threads != 2, Source::kImage);
    }
  });
}

TEST(CpuConv, PlanarSourceMatchesNaive) {
  for_each_isa([](const std::string&) {
    for (const ConvShape& s : kShapes) {
      for (int threads : {1, 3}) check_conv(s, threads, 0, threads == 1, Source::kPlanar);
    }
  });
}

ConvShape channelwise(int64_t n, int64_t h, int64_t w, int64_t channels, int64_t kh, int64_t kw, int64_t stride,
                      int64_t dilation, int64_t pad_before, int64_t pad_after) {
  return {n,      h,        w,        channels,   channels,   kh,        kw,        stride,
          stride, dilation, dilation, pad_before, pad_before, pad_after, pad_after, channels};
}

TEST(CpuConv, DepthwiseMatchesNaive) {
  for_each_isa([](const std::string&) {
    for (int64_t channels : {1, 3, 5, 8, 16, 17, 24, 33, 48}) {
      for (const ConvShape& s :
           {channelwise(1, 9, 14, channels, 3, 3, 1, 1, 1, 1), channelwise(2, 8, 11, channels, 3, 3, 2, 1, 0, 1),
            channelwise(1, 7, 7, channels, 5, 5, 1, 1, 2, 2), channelwise(1, 12, 23, channels, 5, 5, 2, 1, 2, 1),
            channelwise(1, 9, 12, channels, 3, 3, 1, 2, 2, 2), channelwise(1, 10, 9, channels, 7, 7, 1, 1, 3, 3),
            channelwise(1, 2, 2, channels, 3, 3, 1, 1, 1, 1), channelwise(1, 3, 30, channels, 1, 4, 3, 2, 5, 5),
            channelwise(1, 3, 4, channels, 2, 2, 1, 6, 6, 6)}) {
        for (int threads : {1, 2}) check_conv(s, threads, threads - 1, threads == 1, Source::kDepthwise);
      }
    }
  });
}

TEST(CpuConv, ChannelMultiplierIsAGroupedConvolution) {
  for_each_isa([](const std::string&) {
    const ConvShape s{1, 6, 7, 9, 27, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 9};
    check_conv(s, 2, 1, true, Source::kImage);
    EXPECT_FALSE(is_depthwise(s));
  });
}

ConvShape three_by_three(int64_t n, int64_t h, int64_t w, int64_t cin, int64_t cout, int64_t pad) {
  return {n, h, w, cin, cout, 3, 3, 1, 1, 1, 1, pad, pad, pad, pad, 1};
}

TEST(CpuConv, WinogradMatchesNaive) {
  for_each_isa([](const std::string&) {
    for (const ConvShape& s :
         {three_by_three(1, 8, 8, 16, 16, 1), three_by_three(2, 9, 7, 17, 33, 1), three_by_three(1, 3, 3, 32, 24, 0),
          three_by_three(1, 5, 14, 24, 70, 2), three_by_three(1, 40, 37, 20, 18, 1),
          three_by_three(1, 1, 1, 40, 100, 1), three_by_three(1, 12, 12, 130, 40, 0)}) {
      ASSERT_TRUE(winograd_applies(s));
      for (int threads : {1, 2, 3}) check_conv(s, threads, threads - 1, threads != 2, Source::kWinograd);
    }
  });
  EXPECT_FALSE(winograd_applies(three_by_three(1, 8, 8, 15, 16, 1)));
}

}  // namespace
}  // namespace tenon::cpu
