// Resize against values of ONNX's reference implementation (one axis), and against naive loops over both axes and
// layouts.
#include "cpu/resize.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <random>
#include <vector>

#include "base/error.hpp"
#include "cpu_each_target.hpp"

namespace tenon::cpu {
namespace {

struct Golden {
  ResizeMode mode;
  ResizeCoordinate coordinate;
  ResizeNearest nearest;
  int64_t in;
  float scale;
  float roi_start, roi_end;
  bool exclude_outside, antialias;
  std::vector<float> want;
};

// Input i is (3 i^2 + 5 i) mod 17; the extrapolation value is 9.5. Made with onnx.reference.
// clang-format off
const Golden kGolden[] = {
    {ResizeMode::kNearest, ResizeCoordinate::kHalfPixel, ResizeNearest::kRoundPreferFloor, 5, 2.0f, 0.0, 1.0, false, false,
     {0, 0, 8, 8, 5, 5, 8, 8, 0, 0}},
    {ResizeMode::kNearest, ResizeCoordinate::kHalfPixel, ResizeNearest::kRoundPreferFloor, 7, 0.6f, 0.0, 1.0, false, false,
     {0, 5, 0, 15}},
    {ResizeMode::kLinear, ResizeCoordinate::kHalfPixel, ResizeNearest::kRoundPreferFloor, 5, 2.0f, 0.0, 1.0, false, false,
     {0, 2, 6, 7.25f, 5.75f, 5.75f, 7.25f, 6, 2, 0}},
    {ResizeMode::kLinear, ResizeCoordinate::kHalfPixel, ResizeNearest::kRoundPreferFloor, 7, 0.6f, 0.0, 1.0, false, false,
     {2.66667f, 5, 2.66667f, 10.6667f}},
    {ResizeMode::kCubic, ResizeCoordinate::kHalfPixel, ResizeNearest::kRoundPreferFloor, 5, 2.0f, 0.0, 1.0, false, false,
     {-0.84375f, 1.91797f, 6.50391f, 8.05859f, 5.64453f, 5.64453f, 8.05859f, 6.50391f, 1.91797f, -0.84375f}},
    {ResizeMode::kCubic, ResizeCoordinate::kHalfPixel, ResizeNearest::kRoundPreferFloor, 7, 0.6f, 0.0, 1.0, false, false,
     {2.68519f, 5, 1.01852f, 12.5741f}},
    {ResizeMode::kNearest, ResizeCoordinate::kHalfPixelSymmetric, ResizeNearest::kRoundPreferFloor, 5, 2.0f, 0.0, 1.0, false, false,
     {0, 0, 8, 8, 5, 5, 8, 8, 0, 0}},
    {ResizeMode::kNearest, ResizeCoordinate::kHalfPixelSymmetric, ResizeNearest::kRoundPreferFloor, 7, 0.6f, 0.0, 1.0, false, false,
     {8, 5, 0, 15}},
    {ResizeMode::kLinear, ResizeCoordinate::kHalfPixelSymmetric, ResizeNearest::kRoundPreferFloor, 5, 2.0f, 0.0, 1.0, false, false,
     {0, 2, 6, 7.25f, 5.75f, 5.75f, 7.25f, 6, 2, 0}},
    {ResizeMode::kLinear, ResizeCoordinate::kHalfPixelSymmetric, ResizeNearest::kRoundPreferFloor, 7, 0.6f, 0.0, 1.0, false, false,
     {4, 5.5f, 1.33333f, 8.5f}},
    {ResizeMode::kCubic, ResizeCoordinate::kHalfPixelSymmetric, ResizeNearest::kRoundPreferFloor, 5, 2.0f, 0.0, 1.0, false, false,
     {-0.84375f, 1.91797f, 6.50391f, 8.05859f, 5.64453f, 5.64453f, 8.05859f, 6.50391f, 1.91797f, -0.84375f}},
    {ResizeMode::kCubic, ResizeCoordinate::kHalfPixelSymmetric, ResizeNearest::kRoundPreferFloor, 7, 0.6f, 0.0, 1.0, false, false,
     {4.28125f, 5.30903f, -0.101849f, 9.90625f}},
    {ResizeMode::kNearest, ResizeCoordinate::kPytorchHalfPixel, ResizeNearest::kRoundPreferFloor, 5, 2.0f, 0.0, 1.0, false, false,
     {0, 0, 8, 8, 5, 5, 8, 8, 0, 0}},
    {ResizeMode::kNearest, ResizeCoordinate::kPytorchHalfPixel, ResizeNearest::kRoundPreferFloor, 7, 0.6f, 0.0, 1.0, false, false,
     {0, 5, 0, 15}},
    {ResizeMode::kLinear, ResizeCoordinate::kPytorchHalfPixel, ResizeNearest::kRoundPreferFloor, 5, 2.0f, 0.0, 1.0, false, false,
     {0, 2, 6, 7.25f, 5.75f, 5.75f, 7.25f, 6, 2, 0}},
    {ResizeMode::kLinear, ResizeCoordinate::kPytorchHalfPixel, ResizeNearest::kRoundPreferFloor, 7, 0.6f, 0.0, 1.0, false, false,
     {2.66667f, 5, 2.66667f, 10.6667f}},
    {ResizeMode::kCubic, ResizeCoordinate::kPytorchHalfPixel, ResizeNearest::kRoundPreferFloor, 5, 2.0f, 0.0, 1.0, false, false,
     {-0.84375f, 1.91797f, 6.50391f, 8.05859f, 5.64453f, 5.64453f, 8.05859f, 6.50391f, 1.91797f, -0.84375f}},
    {ResizeMode::kCubic, ResizeCoordinate::kPytorchHalfPixel, ResizeNearest::kRoundPreferFloor, 7, 0.6f, 0.0, 1.0, false, false,
     {2.68519f, 5, 1.01852f, 12.5741f}},
    {ResizeMode::kNearest, ResizeCoordinate::kAlignCorners, ResizeNearest::kRoundPreferFloor, 5, 2.0f, 0.0, 1.0, false, false,
     {0, 0, 8, 8, 5, 5, 8, 8, 0, 0}},
    {ResizeMode::kNearest, ResizeCoordinate::kAlignCorners, ResizeNearest::kRoundPreferFloor, 7, 0.6f, 0.0, 1.0, false, false,
     {0, 5, 0, 2}},
    {ResizeMode::kLinear, ResizeCoordinate::kAlignCorners, ResizeNearest::kRoundPreferFloor, 5, 2.0f, 0.0, 1.0, false, false,
     {0, 3.55556f, 7.11111f, 7, 5.66667f, 5.66667f, 7, 7.11111f, 3.55556f, 0}},
    {ResizeMode::kLinear, ResizeCoordinate::kAlignCorners, ResizeNearest::kRoundPreferFloor, 7, 0.6f, 0.0, 1.0, false, false,
     {0, 5.375f, 2, 6.875f}},
    {ResizeMode::kCubic, ResizeCoordinate::kAlignCorners, ResizeNearest::kRoundPreferFloor, 5, 2.0f, 0.0, 1.0, false, false,
     {0, 3.7476f, 7.46228f, 7.77778f, 5.52263f, 5.52263f, 7.77778f, 7.46228f, 3.7476f, 0}},
    {ResizeMode::kCubic, ResizeCoordinate::kAlignCorners, ResizeNearest::kRoundPreferFloor, 7, 0.6f, 0.0, 1.0, false, false,
     {0, 5.18018f, 0.335942f, 7.67335f}},
    {ResizeMode::kNearest, ResizeCoordinate::kAsymmetric, ResizeNearest::kRoundPreferFloor, 5, 2.0f, 0.0, 1.0, false, false,
     {0, 0, 8, 8, 5, 5, 8, 8, 0, 0}},
    {ResizeMode::kNearest, ResizeCoordinate::kAsymmetric, ResizeNearest::kRoundPreferFloor, 7, 0.6f, 0.0, 1.0, false, false,
     {0, 5, 8, 15}},
    {ResizeMode::kLinear, ResizeCoordinate::kAsymmetric, ResizeNearest::kRoundPreferFloor, 5, 2.0f, 0.0, 1.0, false, false,
     {0, 4, 8, 6.5f, 5, 6.5f, 8, 4, 0, 0}},
    {ResizeMode::kLinear, ResizeCoordinate::kAsymmetric, ResizeNearest::kRoundPreferFloor, 7, 0.6f, 0.0, 1.0, false, false,
     {0, 6, 5.33333f, 15}},
    {ResizeMode::kCubic, ResizeCoordinate::kAsymmetric, ResizeNearest::kRoundPreferFloor, 5, 2.0f, 0.0, 1.0, false, false,
     {0, 4.28125f, 8, 6.96875f, 5, 6.96875f, 8, 4.28125f, 0, -0.75f}},
    {ResizeMode::kCubic, ResizeCoordinate::kAsymmetric, ResizeNearest::kRoundPreferFloor, 7, 0.6f, 0.0, 1.0, false, false,
     {0, 6.05556f, 4.98149f, 15}},
    {ResizeMode::kNearest, ResizeCoordinate::kTfCropAndResize, ResizeNearest::kRoundPreferFloor, 5, 2.0f, 0.2, 0.9, false, false,
     {8, 8, 8, 5, 5, 5, 8, 8, 8, 0}},
    {ResizeMode::kNearest, ResizeCoordinate::kTfCropAndResize, ResizeNearest::kRoundPreferFloor, 7, 0.6f, 0.2, 0.9, false, false,
     {8, 8, 0, 15}},
    {ResizeMode::kLinear, ResizeCoordinate::kTfCropAndResize, ResizeNearest::kRoundPreferFloor, 5, 2.0f, 0.2, 0.9, false, false,
     {6.4f, 7.66667f, 6.73333f, 5.8f, 5.13333f, 6.06667f, 7, 7.93333f, 5.68889f, 3.2f}},
    {ResizeMode::kLinear, ResizeCoordinate::kTfCropAndResize, ResizeNearest::kRoundPreferFloor, 7, 0.6f, 0.2, 0.9, false, false,
     {7.4f, 6.5375f, 1.4f, 13.2125f}},
    {ResizeMode::kCubic, ResizeCoordinate::kTfCropAndResize, ResizeNearest::kRoundPreferFloor, 5, 2.0f, 0.2, 0.9, false, false,
     {6.88f, 8.22634f, 7.37573f, 5.72178f, 5.02433f, 6.1736f, 7.77778f, 8.07529f, 6.19106f, 3.32f}},
    {ResizeMode::kCubic, ResizeCoordinate::kTfCropAndResize, ResizeNearest::kRoundPreferFloor, 7, 0.6f, 0.2, 0.9, false, false,
     {8.168f, 7.0364f, -0.070823f, 14.6427f}},
    {ResizeMode::kNearest, ResizeCoordinate::kHalfPixel, ResizeNearest::kRoundPreferFloor, 6, 1.5f, 0.0, 1.0, false, false,
     {0, 0, 8, 5, 5, 8, 0, 0, 15}},
    {ResizeMode::kNearest, ResizeCoordinate::kAsymmetric, ResizeNearest::kRoundPreferFloor, 6, 0.5f, 0.0, 1.0, false, false,
     {0, 5, 0}},
    {ResizeMode::kNearest, ResizeCoordinate::kHalfPixel, ResizeNearest::kRoundPreferCeil, 6, 1.5f, 0.0, 1.0, false, false,
     {0, 8, 8, 5, 8, 8, 0, 15, 15}},
    {ResizeMode::kNearest, ResizeCoordinate::kAsymmetric, ResizeNearest::kRoundPreferCeil, 6, 0.5f, 0.0, 1.0, false, false,
     {0, 5, 0}},
    {ResizeMode::kNearest, ResizeCoordinate::kHalfPixel, ResizeNearest::kFloor, 6, 1.5f, 0.0, 1.0, false, false,
     {0, 0, 8, 8, 5, 8, 8, 0, 15}},
    {ResizeMode::kNearest, ResizeCoordinate::kAsymmetric, ResizeNearest::kFloor, 6, 0.5f, 0.0, 1.0, false, false,
     {0, 5, 0}},
    {ResizeMode::kNearest, ResizeCoordinate::kHalfPixel, ResizeNearest::kCeil, 6, 1.5f, 0.0, 1.0, false, false,
     {0, 8, 5, 5, 8, 0, 0, 15, 15}},
    {ResizeMode::kNearest, ResizeCoordinate::kAsymmetric, ResizeNearest::kCeil, 6, 0.5f, 0.0, 1.0, false, false,
     {0, 5, 0}},
    {ResizeMode::kLinear, ResizeCoordinate::kHalfPixel, ResizeNearest::kFloor, 9, 0.4f, 0.0, 1.0, false, true,
     {4.2f, 6, 7.76f}},
    {ResizeMode::kLinear, ResizeCoordinate::kHalfPixel, ResizeNearest::kFloor, 9, 0.4f, 0.0, 1.0, true, true,
     {4.77273f, 6, 7.76f}},
    {ResizeMode::kLinear, ResizeCoordinate::kHalfPixel, ResizeNearest::kFloor, 5, 1.8f, 0.0, 1.0, true, false,
     {0, 2.66667f, 7.11111f, 6.66667f, 5, 6.66667f, 7.11111f, 2.66667f}},
    {ResizeMode::kLinear, ResizeCoordinate::kAlignCorners, ResizeNearest::kFloor, 9, 0.4f, 0.0, 1.0, false, true,
     {2.23077f, 6, 8.18182f}},
    {ResizeMode::kLinear, ResizeCoordinate::kAlignCorners, ResizeNearest::kFloor, 9, 0.4f, 0.0, 1.0, true, true,
     {3.22222f, 6, 8.18182f}},
    {ResizeMode::kLinear, ResizeCoordinate::kAlignCorners, ResizeNearest::kFloor, 5, 1.8f, 0.0, 1.0, true, false,
     {0, 4, 8, 6.5f, 5, 6.5f, 8, 4}},
    {ResizeMode::kCubic, ResizeCoordinate::kHalfPixel, ResizeNearest::kFloor, 9, 0.4f, 0.0, 1.0, false, true,
     {4.32f, 6.0327f, 7.9145f}},
    {ResizeMode::kCubic, ResizeCoordinate::kHalfPixel, ResizeNearest::kFloor, 9, 0.4f, 0.0, 1.0, true, true,
     {4.62527f, 5.9208f, 8.09737f}},
    {ResizeMode::kCubic, ResizeCoordinate::kHalfPixel, ResizeNearest::kFloor, 5, 1.8f, 0.0, 1.0, true, false,
     {-1.00599f, 2.41667f, 7.40136f, 7.26337f, 5, 7.26337f, 7.40136f, 2.41667f}},
    {ResizeMode::kCubic, ResizeCoordinate::kAlignCorners, ResizeNearest::kFloor, 9, 0.4f, 0.0, 1.0, false, true,
     {2.39297f, 6.04612f, 8.47381f}},
    {ResizeMode::kCubic, ResizeCoordinate::kAlignCorners, ResizeNearest::kFloor, 9, 0.4f, 0.0, 1.0, true, true,
     {3.42009f, 5.89427f, 8.63077f}},
    {ResizeMode::kCubic, ResizeCoordinate::kAlignCorners, ResizeNearest::kFloor, 5, 1.8f, 0.0, 1.0, true, false,
     {0, 3.91429f, 8, 6.96875f, 5, 6.96875f, 8, 3.91428f}},
    {ResizeMode::kLinear, ResizeCoordinate::kTfCropAndResize, ResizeNearest::kFloor, 6, 1.5f, -0.3, 1.2, false, false,
     {9.5f, 9.5f, 3, 7.0625f, 5.75f, 6.5f, 1.875f, 9.5f, 9.5f}},
    {ResizeMode::kNearest, ResizeCoordinate::kTfCropAndResize, ResizeNearest::kFloor, 6, 1.5f, -0.3, 1.2, false, false,
     {9.5f, 9.5f, 0, 8, 5, 8, 0, 9.5f, 9.5f}},
};
// clang-format on

ResizePlan plan_of(const ResizeOptions& options, ResizeAxis y, ResizeAxis x, int64_t batch, int64_t channels,
                   bool last) {
  ResizePlan p;
  p.options = options;
  p.batch = batch, p.channels = channels;
  p.src_n = channels * y.in * x.in, p.dst_n = channels * y.out * x.out;
  p.src_c = last ? 1 : y.in * x.in, p.dst_c = last ? 1 : y.out * x.out;
  p.src_h = last ? x.in * channels : x.in, p.dst_h = last ? x.out * channels : x.out;
  p.src_w = p.dst_w = last ? channels : 1;
  p.y = std::move(y), p.x = std::move(x);
  return p;
}

TEST(Resize, AgreesWithOnnxReference) {
  for (const Golden& g : kGolden) {
    ResizeOptions options;
    options.mode = g.mode, options.coordinate = g.coordinate, options.nearest = g.nearest;
    options.exclude_outside = g.exclude_outside, options.antialias = g.antialias, options.extrapolation_value = 9.5f;
    const int64_t out = static_cast<int64_t>(g.want.size());
    ASSERT_EQ(out, static_cast<int64_t>(std::floor(static_cast<double>(g.in) * g.scale)));
    std::vector<float> x(g.in);
    for (int64_t i = 0; i < g.in; ++i) x[i] = static_cast<float>((i * i * 3 + i * 5) % 17);
    for_each_target([&](const char* target) {
      ThreadPool pool(1);
      for (bool along_height : {false, true}) {
        ResizeAxis axis = make_resize_axis(options, g.in, out, g.scale, g.roi_start, g.roi_end);
        ResizeOptions plain = options;
        plain.coordinate = ResizeCoordinate::kHalfPixel;
        ResizeAxis one = make_resize_axis(plain, 1, 1, 1.0);
        std::vector<float> y(out, -1.0f);
        const ResizePlan p =
            along_height ? plan_of(options, axis, one, 1, 1, false) : plan_of(options, one, axis, 1, 1, false);
        run_resize(p, 4, x.data(), y.data(), pool);
        EXPECT_THAT(y, testing::Pointwise(testing::FloatNear(6e-5f), g.want))
            << "mode " << int(g.mode) << " coordinates " << int(g.coordinate) << " in " << g.in << " scale " << g.scale
            << " on " << target;
      }
    });
  }
}

struct Shape {
  int64_t batch, channels, in_h, in_w, out_h, out_w;
};

TEST(Resize, BothAxesBothLayouts) {
  const Shape shapes[] = {
      {2, 3, 5, 7, 10, 14}, {1, 40, 6, 5, 9, 11}, {1, 17, 9, 9, 4, 3}, {1, 1, 4, 3000, 7, 2100}, {2, 64, 8, 8, 16, 16}};
  for (const Shape& s : shapes) {
    std::vector<float> x(s.batch * s.channels * s.in_h * s.in_w);
    std::mt19937 rng(21);
    for (auto& v : x) v = static_cast<float>(rng() % 1000) * 0.01f - 5;
    for (ResizeMode mode : {ResizeMode::kNearest, ResizeMode::kLinear, ResizeMode::kCubic}) {
      for (bool antialias : {false, true}) {
        if (antialias && mode == ResizeMode::kNearest) continue;
        ResizeOptions options;
        options.mode = mode, options.antialias = antialias;
        for (bool last : {false, true}) {
          const ResizePlan p = plan_of(
              options, make_resize_axis(options, s.in_h, s.out_h, double(s.out_h) / double(s.in_h)),
              make_resize_axis(options, s.in_w, s.out_w, double(s.out_w) / double(s.in_w)), s.batch, s.channels, last);
          std::vector<double> want;  // from the tables, which the goldens vouch for
          for (int64_t n = 0; n < s.batch; ++n) {
            for (int64_t c = 0; c < s.channels; ++c) {
              for (int64_t oy = 0; oy < s.out_h; ++oy) {
                for (int64_t ox = 0; ox < s.out_w; ++ox) {
                  double sum = 0;
                  for (int64_t i = 0; i < p.y.taps; ++i) {
                    for (int64_t j = 0; j < p.x.taps; ++j) {
                      const int64_t iy = p.y.index[oy * p.y.taps + i], ix = p.x.index[ox * p.x.taps + j];
                      sum += double(p.y.weight[oy * p.y.taps + i]) * p.x.weight[ox * p.x.taps + j] *
                             x[n * p.src_n + c * p.src_c + iy * p.src_h + ix * p.src_w];
                    }
                  }
                  want.push_back(sum);
                }
              }
            }
          }
          for_each_target([&](const char* target) {
            for (int threads = 1; threads <= 3; ++threads) {
              ThreadPool pool(threads);
              std::vector<float> y(s.batch * p.dst_n + 64, 777.0f);
              run_resize(p, 4, x.data(), y.data(), pool);
              for (size_t i = y.size() - 64; i < y.size(); ++i) ASSERT_EQ(y[i], 777.0f);
              size_t at = 0;
              for (int64_t n = 0; n < s.batch; ++n) {
                for (int64_t c = 0; c < s.channels; ++c) {
                  for (int64_t oy = 0; oy < s.out_h; ++oy) {
                    for (int64_t ox = 0; ox < s.out_w; ++ox, ++at) {
                      ASSERT_NEAR(y[n * p.dst_n + c * p.dst_c + oy * p.dst_h + ox * p.dst_w], want[at], 1e-5)
                          << "mode " << int(mode) << " last " << last << " on " << target;
                    }
                  }
                }
              }
            }
          });
        }
      }
    }
  }
}

TEST(Resize, NearestMovesElementsOfAnySize) {
  ResizeOptions options;
  ThreadPool pool(2);
  const auto test = [&](auto element) {
    using T = decltype(element);
    for (bool last : {false, true}) {
      const ResizePlan p =
          plan_of(options, make_resize_axis(options, 2, 4, 2), make_resize_axis(options, 3, 6, 2), 1, 5, last);
      std::vector<T> x(30), y(120);
      for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(i * 3 + 1);
      run_resize(p, sizeof(T), x.data(), y.data(), pool);
      for (int64_t c = 0; c < 5; ++c) {
        for (int64_t oy = 0; oy < 4; ++oy) {
          for (int64_t ox = 0; ox < 6; ++ox) {
            ASSERT_EQ(y[c * p.dst_c + oy * p.dst_h + ox * p.dst_w],
                      x[c * p.src_c + oy / 2 * p.src_h + ox / 2 * p.src_w]);
          }
        }
      }
    }
  };
  test(uint8_t{});
  test(uint16_t{});
  test(float{});
  options.mode = ResizeMode::kLinear;
  const ResizePlan p =
      plan_of(options, make_resize_axis(options, 2, 4, 2), make_resize_axis(options, 2, 4, 2), 1, 1, false);
  uint8_t bytes[16] = {};
  EXPECT_THROW(run_resize(p, 1, bytes, bytes, pool), Error);
  EXPECT_THROW(make_resize_axis(options, 0, 4, 2), Error);
  EXPECT_THROW(make_resize_axis(options, 4, 4, 0), Error);
}

}  // namespace
}  // namespace tenon::cpu
