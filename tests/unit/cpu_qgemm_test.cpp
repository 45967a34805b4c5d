#include "cpu/qgemm.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
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
  int64_t m, n, k;
  QType a_type = QType::kU8, b_type = QType::kS8;
  int32_t a_zp = 0, b_zp = 0;
  bool per_column = false, transposed = false;
  int64_t extra_lda = 0;
  Fill fill = Fill::kRandom;
};

class QGemm : public ::testing::TestWithParam<std::tuple<QIsa, int>> {
 protected:
  void SetUp() override {
    isa_ = std::get<0>(GetParam());
    if (!q_available(isa_)) GTEST_SKIP() << name(isa_) << " is not on this machine";
    pool_ = std::make_unique<ThreadPool>(std::get<1>(GetParam()));
  }

  void make(const Case& c) {
    case_ = c;
    lda_ = c.k + c.extra_lda;
    // The last row ends where the vector ends, so that a sanitizer sees any reading beyond it.
    a_ = bytes(rng_, c.m == 0 ? 0 : (c.m - 1) * lda_ + c.k, c.a_type, c.fill);
    b_ = bytes(rng_, c.k * c.n, c.b_type, c.fill);
    zero_points_.assign(static_cast<size_t>(c.per_column ? c.n : 1), c.b_zp);
    for (size_t i = 1; i < zero_points_.size(); ++i) zero_points_[i] = value(static_cast<uint8_t>(rng_()), c.b_type);
    row_stride_ = c.transposed ? 1 : c.n;
    col_stride_ = c.transposed ? c.k : 1;
    packed_ = std::make_unique<Aligned>(qgemm_packed_size(q_layout(isa_), c.k, c.n));
    qgemm_pack(q_layout(isa_),
               {c.k, c.n, b_.data(), c.b_type, row_stride_, col_stride_, zero_points_.data(), c.per_column},
               packed_->data);
    expected_.assign(static_cast<size_t>(c.m * c.n), 0);
    for (int64_t i = 0; i < c.m; ++i)
      for (int64_t j = 0; j < c.n; ++j) expected_[static_cast<size_t>(i * c.n + j)] = dot(i, j);
  }

  int32_t dot(int64_t i, int64_t j) const {
    const int32_t b_zp = zero_points_[static_cast<size_t>(case_.per_column ? j : 0)];
    int64_t sum = 0;
    for (int64_t k = 0; k < case_.k; ++k) {
      const uint8_t a = a_[static_cast<size_t>(i * lda_ + k)];
      const uint8_t b = b_[static_cast<size_t>(k * row_stride_ + j * col_stride_)];
      sum += (value(a, case_.a_type) - case_.a_zp) * (value(b, case_.b_type) - b_zp);
    }
    return static_cast<int32_t>(sum);
  }

  void run(const QEpilogue& epilogue) {
    Aligned workspace(qgemm_workspace(isa_, case_.k, pool_->threads()));
    qgemm(isa_, {case_.m, case_.n, case_.k, a_.data(), case_.a_type, lda_, case_.a_zp, packed_->data, epilogue},
          workspace.data, *pool_);
  }

  // int32 output in a wider buffer, whose margins must stay.
  void check_int32(const Case& c) {
    make(c);
    const int64_t ld = c.n + 5;
    std::vector<int32_t> out(static_cast<size_t>(c.m * ld + 8), -77);
    QEpilogue e;
    e.out = out.data() + 3;
    e.ld_out = ld;
    run(e);
    for (int64_t p = 0; p < static_cast<int64_t>(out.size()); ++p) {
      const int64_t at = p - 3;
      const bool inside = at >= 0 && at < c.m * ld && at % ld < c.n;
      const int32_t want = inside ? expected_[static_cast<size_t>(at / ld * c.n + at % ld)] : -77;
      ASSERT_EQ(out[static_cast<size_t>(p)], want)
          << "row " << at / ld << " column " << at % ld << " of " << c.m << "x" << c.n << "x" << c.k;
    }
  }

  QIsa isa_{};
  std::unique_ptr<ThreadPool> pool_;
  std::mt19937 rng_{7};
  Case case_{};
  int64_t lda_ = 0, row_stride_ = 0, col_stride_ = 0;
  std::vector<uint8_t> a_, b_;
  std::vector<int32_t> zero_points_, expected_;
  std::unique_ptr<Aligned> packed_;
};

TEST_P(QGemm, OddSizesAreExact) {
  const int64_t sizes[][3] = {{1, 1, 1},    {1, 16, 4},  {2, 17, 64},  {3, 15, 65},   {5, 33, 127},   {13, 48, 128},
                              {16, 64, 64}, {17, 65, 3}, {31, 16, 9},  {32, 32, 96},  {33, 80, 130},  {47, 1, 27},
                              {64, 70, 36}, {130, 8, 7}, {1, 300, 70}, {200, 96, 48}, {65, 130, 200}, {49, 16, 64}};
  for (const auto& s : sizes) check_int32({s[0], s[1], s[2]});
}

TEST_P(QGemm, AllTypesAndZeroPointsAreExact) {
  for (QType a : {QType::kU8, QType::kS8})
    for (QType b : {QType::kU8, QType::kS8})
      for (int32_t zp : {0, 1, 127})
        for (bool per_column : {false, true}) check_int32({19, 37, 70, a, b, zp, zp / 2, per_column});
}

TEST_P(QGemm, ExtremeValuesDoNotSaturate) {
  for (QType a : {QType::kU8, QType::kS8})
    for (QType b : {QType::kU8, QType::kS8}) {
      Case c{20, 20, 4000, a, b};
      c.fill = Fill::kExtreme;
      check_int32(c);
      c.a_zp = a == QType::kU8 ? 0 : 127;
      c.b_zp = b == QType::kU8 ? 0 : 127;
      check_int32(c);
    }
}

TEST_P(QGemm, StridedRowsAndTransposedWeights) {
  Case c{70, 33, 64};
  c.extra_lda = 13;
  c.transposed = true;
  check_int32(c);
  c.m = 64;
  check_int32(c);
  c.a_type = QType::kS8;
  c.a_zp = -5;
  check_int32(c);
}

TEST_P(QGemm, EmptySizes) {
  check_int32({0, 5, 5});
  check_int32({3, 4, 0});
}

TEST_P(QGemm, AccumulatorBiasIsAddedBeforeScaling) {
  make({21, 35, 40, QType::kU8, QType::kS8, 3, 0});
  std::vector<int32_t> bias(35);
  for (auto& b : bias) b = static_cast<int32_t>(rng_() % 100000) - 50000;
  std::vector<int32_t> raw(21 * 35);
  std::vector<float> scaled(21 * 35);
  const float scale = 0.25f;
  QEpilogue e;
  e.out = raw.data();
  e.ld_out = 35;
  e.acc_bias = bias.data();
  run(e);
  e.kind = QEpilogueKind::kFloat;
  e.out = scaled.data();
  e.scale = &scale;
  run(e);
  for (size_t i = 0; i < raw.size(); ++i) {
    ASSERT_EQ(raw[i], expected_[i] + bias[i % 35]);
    ASSERT_EQ(scaled[i], static_cast<float>(expected_[i] + bias[i % 35]) * scale);
  }
}

TEST_P(QGemm, FloatEpilogue) {
  make({37, 50, 60, QType::kU8, QType::kS8, 100, 3});
  std::vector<float> scale(50), bias(50), out(37 * 50);
  for (auto& s : scale) s = static_cast<float>(rng_() % 1000) * 1e-6f;
  for (auto& b : bias) b = static_cast<float>(rng_() % 1000) * 1e-2f - 5.0f;
  const float factor = 0.37f;
  for (const bool clip : {false, true}) {
    QEpilogue e;
    e.kind = QEpilogueKind::kFloat;
    e.out = out.data();
    e.ld_out = 50;
    e.scale = scale.data();
    e.scale_per_column = true;
    e.scale_factor = &factor;
    e.bias = bias.data();
    if (clip) e.lo = 0.0f, e.hi = 6.0f;
    run(e);
    for (size_t i = 0; i < out.size(); ++i) {
      const float scaled = static_cast<float>(expected_[i]) * (scale[i % 50] * factor);
      const float want = scaled + bias[i % 50];
      ASSERT_EQ(out[i], clip ? std::clamp(want, 0.0f, 6.0f) : want) << i;
    }
  }
}

TEST_P(QGemm, RequantisedOutputRoundsHalfToEvenAndSaturates) {
  for (int64_t n : {5, 16, 39, 64}) {
    make({23, n, 12, QType::kU8, QType::kS8, 128, 0});
    for (const float scale : {0.5f, 0.0125f, 3.0f, 1e30f}) {  // 0.5 makes ties
      std::vector<uint8_t> u(static_cast<size_t>(23 * n));
      std::vector<int8_t> s(u.size());
      QEpilogue e;
      e.kind = QEpilogueKind::kRequant;
      e.ld_out = n;
      e.scale = &scale;
      e.out_zp = 7;
      e.out = u.data();
      run(e);
      expect_requantised(u, expected_, scale, 7);
      e.out = s.data();
      e.out_type = QType::kS8;
      e.out_zp = -100;
      run(e);
      expect_requantised(s, expected_, scale, -100);
    }
  }
}

TEST_P(QGemm, TablesBehindARequantisation) {
  for (int64_t n : {5, 16, 39, 80, 150}) {
    make({70, n, 12, QType::kU8, QType::kS8, 128, 0});
    std::vector<float> scale(static_cast<size_t>(n));
    for (size_t i = 0; i < scale.size(); ++i) scale[i] = 0.01f + 0.001f * static_cast<float>(i % 7);
    std::vector<uint8_t> plain(static_cast<size_t>(70 * n)), bytes(plain.size()), table(256);
    std::vector<float> floats(plain.size()), float_table(256);
    for (size_t i = 0; i < 256; ++i) {
      table[i] = static_cast<uint8_t>(i * 37 + 11);
      float_table[i] = 0.25f * static_cast<float>(i) - 9.0f;
    }
    QEpilogue e;
    e.kind = QEpilogueKind::kRequant;
    e.ld_out = n;
    e.scale = scale.data();
    e.scale_per_column = true;
    e.bias = scale.data();
    e.out_zp = 100;
    e.out = plain.data();
    run(e);
    e.table = table.data();
    e.out = bytes.data();
    run(e);
    e.float_table = float_table.data();
    e.out = floats.data();
    run(e);
    for (size_t i = 0; i < plain.size(); ++i) {
      ASSERT_EQ(bytes[i], table[plain[i]]) << n << " at " << i;
      ASSERT_EQ(floats[i], float_table[plain[i]]) << n << " at " << i;
    }
  }
}

TEST_P(QGemm, RequantisedReluStopsAtTheZeroPoint) {
  make({9, 20, 30, QType::kU8, QType::kS8, 128, 0});
  const float scale = 0.01f;
  std::vector<uint8_t> out(9 * 20);
  QEpilogue e;
  e.kind = QEpilogueKind::kRequant;
  e.ld_out = 20;
  e.scale = &scale;
  e.out_zp = 50;
  e.out = out.data();
  e.lo = 0.0f;
  run(e);
  for (size_t i = 0; i < out.size(); ++i) {
    const float v = std::max(0.0f, std::nearbyint(static_cast<float>(expected_[i]) * scale)) + 50.0f;
    ASSERT_EQ(out[i], static_cast<uint8_t>(std::min(v, 255.0f)));
  }
}

struct Collected {
  std::vector<int32_t> values;
  int64_t n = 0;
};

TEST_P(QGemm, PostOpSeesEveryElementOnce) {
  make({130, 150, 33, QType::kS8, QType::kU8, -7, 9});
  Collected got{std::vector<int32_t>(130 * 150, 0), 150};
  QEpilogue e;
  e.kind = QEpilogueKind::kPostOp;
  e.post.ctx = &got;
  e.post.fn = [](const void* ctx, const int32_t* acc, int64_t ld, int64_t row, int64_t rows, int64_t col,
                 int64_t cols) {
    auto& to = *const_cast<Collected*>(static_cast<const Collected*>(ctx));
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c) {
        to.values[static_cast<size_t>((row + r) * to.n + col + c)] += acc[r * ld + c];
      }
  };
  run(e);
  EXPECT_EQ(got.values, expected_);
}

TEST_P(QGemm, RefusesABlobOfAnotherLayoutOrShape) {
  make({4, 8, 16});
  EXPECT_EQ(q_blob_layout(packed_->data, packed_->size), q_layout(isa_));
  EXPECT_EQ(q_blob_layout(packed_->data, 8), 0u);
  std::vector<int32_t> out(64);
  QEpilogue e;
  e.out = out.data();
  e.ld_out = 8;
  case_.k = 12;
  EXPECT_THROW(run(e), Error);
  case_.k = 16;
  packed_->data[0] ^= 1;
  EXPECT_EQ(q_blob_layout(packed_->data, packed_->size), 0u);
  EXPECT_THROW(run(e), Error);
}

INSTANTIATE_TEST_SUITE_P(Isa, QGemm, ::testing::Combine(::testing::ValuesIn(kAllQIsas), ::testing::Values(1, 2, 3)),
                         [](const auto& info) {
                           return std::string(name(std::get<0>(info.param))) + "_threads" +
                                  std::to_string(std::get<1>(info.param));
                         });

}  // namespace
}  // namespace tenon::cpu
