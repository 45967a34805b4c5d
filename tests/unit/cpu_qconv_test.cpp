#include "cpu/qconv.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "cpu_q_common.hpp"

namespace tenon::cpu {
namespace {

using qtest::Aligned, qtest::bytes, qtest::Fill, qtest::value, qtest::expect_requantised;

struct Case {
  QConvShape shape;
  QType x_type = QType::kU8, w_type = QType::kS8;
  int32_t x_zp = 0, w_zp = 0;
  bool per_channel = false;
  int64_t extra_pixel = 0, extra_row = 0, extra_batch = 0;
  Fill fill = Fill::kRandom;
};

class QConv : public ::testing::TestWithParam<std::tuple<QIsa, int>> {
 protected:
  void SetUp() override {
    isa_ = std::get<0>(GetParam());
    if (!q_available(isa_)) GTEST_SKIP() << name(isa_) << " is not on this machine";
    pool_ = std::make_unique<ThreadPool>(std::get<1>(GetParam()));
  }

  void make(const Case& c) {
    case_ = c;
    const QConvShape& s = c.shape;
    pixel_ = s.in_c + c.extra_pixel;
    row_ = s.in_w * pixel_ + c.extra_row;
    batch_ = s.in_h * row_ + c.extra_batch;
    x_ = bytes(rng_, (s.batch - 1) * batch_ + (s.in_h - 1) * row_ + (s.in_w - 1) * pixel_ + s.in_c, c.x_type, c.fill);
    w_ = bytes(rng_, s.out_c * (s.in_c / s.groups) * s.kernel_h * s.kernel_w, c.w_type, c.fill);
    zero_points_.assign(static_cast<size_t>(c.per_channel ? s.out_c : 1), c.w_zp);
    for (size_t i = 1; i < zero_points_.size(); ++i) zero_points_[i] = value(static_cast<uint8_t>(rng_()), c.w_type);
    packed_ = std::make_unique<Aligned>(qconv_packed_size(q_layout(isa_), s));
    qconv_pack(q_layout(isa_), s, {w_.data(), c.w_type, zero_points_.data(), c.per_channel}, packed_->data);
    expected_.clear();
    for (int64_t n = 0; n < s.batch; ++n)
      for (int64_t y = 0; y < s.out_h(); ++y)
        for (int64_t x = 0; x < s.out_w(); ++x)
          for (int64_t o = 0; o < s.out_c; ++o) expected_.push_back(dot(n, y, x, o));
  }

  int32_t dot(int64_t n, int64_t y, int64_t x, int64_t o) const {
    const QConvShape& s = case_.shape;
    const int64_t in = s.in_c / s.groups;
    const int64_t first = o / (s.out_c / s.groups) * in;
    const int32_t w_zp = zero_points_[static_cast<size_t>(case_.per_channel ? o : 0)];
    int64_t sum = 0;
    for (int64_t i = 0; i < s.kernel_h; ++i)
      for (int64_t j = 0; j < s.kernel_w; ++j) {
        const int64_t iy = y * s.stride_h - s.pad_top + i * s.dilation_h;
        const int64_t ix = x * s.stride_w - s.pad_left + j * s.dilation_w;
        if (iy < 0 || iy >= s.in_h || ix < 0 || ix >= s.in_w) continue;
        for (int64_t c = 0; c < in; ++c) {
          const uint8_t a = x_[static_cast<size_t>(n * batch_ + iy * row_ + ix * pixel_ + first + c)];
          const uint8_t w = w_[static_cast<size_t>(((o * in + c) * s.kernel_h + i) * s.kernel_w + j)];
          sum += (value(a, case_.x_type) - case_.x_zp) * (value(w, case_.w_type) - w_zp);
        }
      }
    return static_cast<int32_t>(sum);
  }

  void run(const QEpilogue& epilogue) {
    Aligned workspace(qconv_workspace(isa_, case_.shape, pool_->threads()));
    qconv(isa_, {case_.shape, x_.data(), case_.x_type, batch_, row_, pixel_, case_.x_zp, packed_->data, epilogue},
          workspace.data, *pool_);
  }

  void check_int32(const Case& c) {
    make(c);
    const int64_t channels = c.shape.out_c, ld = channels + 3;
    const int64_t pixels = static_cast<int64_t>(expected_.size()) / channels;
    std::vector<int32_t> out(static_cast<size_t>(pixels * ld), -77);
    QEpilogue e;
    e.out = out.data();
    e.ld_out = ld;
    run(e);
    for (int64_t p = 0; p < pixels * ld; ++p) {
      const int32_t want = p % ld < channels ? expected_[static_cast<size_t>(p / ld * channels + p % ld)] : -77;
      ASSERT_EQ(out[static_cast<size_t>(p)], want) << "pixel " << p / ld << " channel " << p % ld << " of " << channels;
    }
  }

  QIsa isa_{};
  std::unique_ptr<ThreadPool> pool_;
  std::mt19937 rng_{11};
  Case case_{};
  int64_t pixel_ = 0, row_ = 0, batch_ = 0;
  std::vector<uint8_t> x_, w_;
  std::vector<int32_t> zero_points_, expected_;
  std::unique_ptr<Aligned> packed_;
};

QConvShape shape(int64_t size, int64_t in_c, int64_t out_c, int64_t kernel, int64_t stride, int64_t pad) {
  return {1, size, size + 2, in_c, out_c, kernel, kernel, stride, stride, 1, 1, pad, pad, pad, pad, 1};
}

TEST_P(QConv, CommonShapesAreExact) {
  for (const auto& s :
       {shape(11, 3, 16, 3, 2, 1), shape(9, 16, 32, 3, 1, 1), shape(12, 32, 20, 3, 2, 1), shape(8, 64, 70, 1, 1, 0),
        shape(9, 48, 16, 1, 1, 0), shape(7, 20, 5, 1, 2, 0), shape(10, 5, 7, 5, 1, 2), shape(6, 130, 33, 3, 1, 1),
        shape(13, 4, 1, 6, 2, 2), shape(16, 1, 8, 7, 2, 3), shape(3, 8, 8, 3, 1, 3)}) {
    check_int32({s, QType::kU8, QType::kS8, 119, 0});
  }
}

TEST_P(QConv, AllTypesAndZeroPointsAreExact) {
  for (QType x : {QType::kU8, QType::kS8})
    for (QType w : {QType::kU8, QType::kS8})
      for (int32_t zp : {0, 5, 127})
        for (bool per_channel : {false, true}) {
          check_int32({shape(6, 10, 18, 3, 1, 1), x, w, zp, zp / 3, per_channel});
          check_int32({shape(8, 64, 16, 1, 1, 0), x, w, zp, zp / 3, per_channel});
        }
}

TEST_P(QConv, GroupsAndDilationsAndAsymmetricPads) {
  QConvShape s = shape(10, 24, 36, 3, 1, 1);
  s.groups = 4;
  check_int32({s, QType::kS8, QType::kU8, -9, 100, true});
  s.dilation_h = 2, s.dilation_w = 3;
  s.pad_top = 0, s.pad_left = 4, s.pad_bottom = 3, s.pad_right = 1;
  check_int32({s, QType::kU8, QType::kS8, 255, 0});
  s.stride_h = 2, s.stride_w = 3, s.kernel_h = 1;
  check_int32({s, QType::kU8, QType::kU8, 1, 2});
  s = shape(9, 12, 12, 3, 1, 1);
  s.groups = 12;
  check_int32({s, QType::kU8, QType::kS8, 7, 0});
}

TEST_P(QConv, BatchesAndStridedSlices) {
  for (int64_t kernel : {1, 3}) {
    Case c{shape(7, 32, 24, kernel, 1, kernel / 2), QType::kU8, QType::kS8, 33, 0};
    c.shape.batch = 3;
    check_int32(c);
    c.extra_pixel = 16;
    check_int32(c);
    c.extra_row = 5;
    check_int32(c);
    c.extra_batch = 11;
    check_int32(c);
  }
}

TEST_P(QConv, ExtremeValuesDoNotSaturate) {
  for (QType x : {QType::kU8, QType::kS8})
    for (QType w : {QType::kU8, QType::kS8}) {
      Case c{shape(5, 256, 17, 3, 1, 1), x, w, x == QType::kU8 ? 0 : 127, w == QType::kU8 ? 0 : 127};
      c.fill = Fill::kExtreme;
      check_int32(c);
    }
}

TEST_P(QConv, RequantisedGroupsUseTheirOwnParameters) {
  Case c{shape(6, 8, 40, 3, 1, 1), QType::kU8, QType::kS8, 128, 0};
  c.shape.groups = 2;
  make(c);
  std::vector<float> scale(40);
  std::vector<int32_t> bias(40);
  for (auto& s : scale) s = static_cast<float>(rng_() % 1000) * 1e-5f;
  for (auto& b : bias) b = static_cast<int32_t>(rng_() % 4000) - 2000;
  std::vector<uint8_t> out(expected_.size());
  QEpilogue e;
  e.kind = QEpilogueKind::kRequant;
  e.out = out.data();
  e.ld_out = 40;
  e.scale = scale.data();
  e.scale_per_column = true;
  e.acc_bias = bias.data();
  e.out_zp = 90;
  run(e);
  for (size_t i = 0; i < out.size(); ++i) {
    const float v = std::nearbyint(static_cast<float>(expected_[i] + bias[i % 40]) * scale[i % 40]) + 90.0f;
    ASSERT_EQ(out[i], static_cast<uint8_t>(std::clamp(v, 0.0f, 255.0f)));
  }
}

TEST_P(QConv, ABlobOfOtherWeightsIsRefused) {
  make({shape(6, 8, 16, 3, 1, 1)});
  QEpilogue e;
  case_.shape.kernel_h = 1;
  EXPECT_THROW(run(e), Error);
  case_.shape.groups = 3;
  EXPECT_THROW(run(e), Error);
}

INSTANTIATE_TEST_SUITE_P(Isa, QConv, ::testing::Combine(::testing::ValuesIn(kAllQIsas), ::testing::Values(1, 2, 3)),
                         [](const auto& info) {
                           return std::string(name(std::get<0>(info.param))) + "_threads" +
                                  std::to_string(std::get<1>(info.param));
                         });

}  // namespace
}  // namespace tenon::cpu
