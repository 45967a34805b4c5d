// The tape against the same expressions in double, on every instruction set that the machine has.
#include "cpu/pointwise.hpp"

#include <gmock/gmock.h>

#include <bit>
#include <cmath>
#include <functional>
#include <random>
#include <vector>

#include "base/error.hpp"
#include "hwy/targets.h"

namespace tenon::cpu {
namespace {

/// Runs `body` once for each supported target, best first, by disabling the better ones.
void for_each_target(const std::function<void(const char*)>& body) {
  const int64_t all = hwy::SupportedTargets();
  int64_t disabled = 0;
  for (int64_t left = all; left != 0; left &= left - 1) {
    const int64_t target = left & -left;
    hwy::DisableTargets(disabled);
    body(hwy::TargetName(target));
    disabled |= target;
  }
  hwy::DisableTargets(0);
}

double ulps(float got, double want) {
  if (std::isnan(want)) return std::isnan(got) ? 0 : 1e30;
  const float rounded = static_cast<float>(want);
  if (std::isinf(rounded) || std::isinf(got)) return got == rounded ? 0 : 1e30;
  int exponent;
  std::frexp(std::max(std::fabs(want), 1.1754943508222875e-38), &exponent);
  return std::fabs(got - want) / std::ldexp(1.0, exponent - 24);
}

/// Magnitudes from subnormal to large, both signs, and the special values.
std::vector<float> interesting(size_t n, uint32_t seed) {
  std::mt19937 rng(seed);
  std::uniform_real_distribution<float> exponent(-30, 7), unit(-1, 1);
  const float inf = INFINITY;
  std::vector<float> out = {0.0f,    -0.0f,    inf,   -inf,   NAN,    1.0f,    -1.0f,   0.5f,   1.5f,
                            2.5f,    -2.5f,    88.7f, 88.8f,  -87.4f, -103.9f, -104.5f, 1e-40f, -1e-40f,
                            3.4e38f, -3.4e38f, 1e10f, -1e10f, 20.0f,  -20.0f,  9.1f,    4.0f};
  while (out.size() < n) {
    out.push_back(out.size() % 2 ? unit(rng) * 12 : std::copysign(std::exp2(exponent(rng)), unit(rng)));
  }
  return out;
}

using Unary = double (*)(double, double, double);
struct UnaryCase {
  EwOp op;
  Unary reference;
  double limit;     // ulps against double
  double absolute;  // or this error, times max(1, |x|)
};

#define REF(Name) \
  EwOp::k##Name, [](double x, double p, double q) -> double { return ew::ref_##Name(x, p, q); }

TEST(Pointwise, UnaryOpsMatchDouble) {
  const UnaryCase cases[] = {{REF(Neg), 0, 0},
                             {REF(Abs), 0, 0},
                             {REF(Sign), 0, 0},
                             {REF(Floor), 0, 0},
                             {REF(Ceil), 0, 0},
                             {REF(Round), 0, 0},
                             {REF(Trunc), 0, 0},
                             {REF(Sqrt), 0.5001, 0},
                             {REF(Rsqrt), 1.6, 0},
                             {REF(Reciprocal), 0.5001, 0},
                             {REF(Square), 0.5001, 0},
                             {REF(Exp), 2, 0},
                             {REF(Log), 2, 0},
                             {REF(Erf), 7, 0},
                             {REF(Tanh), 6, 0},
                             {REF(Sin), 1, 0},
                             {REF(Cos), 1, 0},
                             {REF(Tan), 1, 0},
                             {REF(Asin), 1, 0},
                             {REF(Acos), 1, 0},
                             {REF(Atan), 1, 0},
                             {REF(Sinh), 2, 0},
                             {REF(Cosh), 2, 0},
                             {REF(Asinh), 2, 0},
                             {REF(Acosh), 2, 0},
                             {REF(Atanh), 2, 0},
                             {REF(Relu), 0, 0},
                             {REF(Sigmoid), 4, 1e-37},
                             {REF(Silu), 5, 1e-37},
                             {REF(Gelu), 0, 4e-7},
                             {REF(GeluTanh), 0, 6e-7},
                             {REF(HardSwish), 2, 1e-7},
                             {REF(Mish), 8, 1e-37},
                             {REF(Softplus), 4, 0},
                             {REF(Softsign), 2, 0},
                             {REF(LogSigmoid), 4, 0},
                             {REF(LeakyRelu), 1, 0},
                             {REF(Elu), 5, 0},
                             {REF(Celu), 7, 0},
                             {REF(Selu), 5, 0},
                             {REF(HardSigmoid), 3, 2e-7},
                             {REF(ThresholdedRelu), 0, 0},
                             {REF(Shrink), 0.5001, 0},
                             {REF(Swish), 7, 2e-7},
                             {REF(Clip), 0, 0},
                             {REF(AddConst), 0.5001, 0},
                             {REF(MulConst), 0.5001, 0},
                             {REF(Affine), 3, 2e-7},
                             {REF(IsNaN), 0, 0},
                             {REF(IsInf), 0, 0},
                             {REF(Not), 0, 0}};
  const auto x = interesting(20011, 1);
  std::vector<float> y(x.size());
  for_each_target([&](const char* target) {
    for (const auto& c : cases) {
      const float p = 0.75f, q = 1.25f;
      Tape tape;
      tape.add_output(tape.emit(c.op, {tape.add_input(DType::kFloat32)}, p, q), DType::kFloat32);
      tape.finish();
      const void* in[] = {x.data()};
      void* out[] = {y.data()};
      const int64_t stride[] = {1};
      run_row(tape, in, stride, out, static_cast<int64_t>(x.size()));
      double worst = 0;
      float at = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        double want = c.reference(x[i], p, q);
        if (c.op == EwOp::kSquare && std::isinf(static_cast<float>(want))) continue;
        double error = ulps(y[i], want);
        if (std::fabs(y[i] - want) <= c.absolute * std::max(1.0, std::fabs(double(x[i])))) error = 0;
        if (error > worst) worst = error, at = x[i];
      }
      EXPECT_LE(worst, c.limit) << info(c.op).name << " at " << at << " on " << target << ": "
                                << c.reference(at, p, q);
    }
  });
}

}  // namespace
}  // namespace tenon::cpu
