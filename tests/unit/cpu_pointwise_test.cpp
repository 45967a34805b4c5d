// The tape against the same expressions in double, on every instruction set that the machine has.
#include "cpu/pointwise.hpp"

#include <gmock/gmock.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#include "base/error.hpp"
#include "cpu/pointwise_plain.hpp"
#include "cpu_each_target.hpp"

namespace tenon::cpu {
namespace {

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

#define REF(Name) EwOp::k##Name, [](double x, double p, double q) -> double { return ew::ref_##Name(x, p, q); }

const UnaryCase kUnaryCases[] = {{REF(Neg), 0, 0},
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
                                 {REF(Exp), 2, 1.2e-38},
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
                                 {REF(Softplus), 4, 1.2e-38},
                                 {REF(Softsign), 2, 0},
                                 {REF(LogSigmoid), 4, 1.2e-38},
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

TEST(Pointwise, UnaryOpsMatchDouble) {
  const auto x = interesting(20011, 1);
  std::vector<float> y(x.size());
  for_each_target([&](const char* target) {
    for (const auto& c : kUnaryCases) {
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
      EXPECT_LE(worst, c.limit) << info(c.op).name << " at " << at << " on " << target << ": " << c.reference(at, p, q);
    }
  });
}

// ---- A region as the naive interpreter sees it: values in double, any strides ----

struct Operand {
  DType dtype;
  std::vector<int64_t> strides;  // elements
  std::vector<char> bytes;       // with guard zones of kGuard elements at both ends
};
constexpr int64_t kGuard = 64;
constexpr char kGuardByte = 0x5a;

int64_t extent(const std::vector<int64_t>& dims, const std::vector<int64_t>& strides) {
  int64_t last = 0;
  for (size_t d = 0; d < dims.size(); ++d) last += (dims[d] - 1) * strides[d];
  return last + 1;
}

Operand make_operand(DType dtype, std::vector<int64_t> strides, const std::vector<int64_t>& dims, uint32_t seed) {
  Operand out{dtype, std::move(strides), {}};
  const int64_t size = tape_dtype_size(dtype), n = extent(dims, out.strides);
  out.bytes.assign(static_cast<size_t>((n + 2 * kGuard) * size), kGuardByte);
  std::mt19937 rng(seed);
  for (int64_t i = 0; i < n; ++i) {
    char* at = out.bytes.data() + (i + kGuard) * size;
    const auto put = [&](auto v) { memcpy(at, &v, sizeof(v)); };
    const int r = static_cast<int>(rng() % 255);
    switch (dtype) {
      case DType::kFloat32: put(static_cast<float>(r - 100) * 0.037f); break;
      case DType::kFloat64: put((r - 100) * 0.25); break;
      case DType::kFloat16: put(static_cast<uint16_t>(0x3000 + r * 31 + (r % 2) * 0x8000)); break;
      case DType::kBFloat16: put(static_cast<uint16_t>(0x3e00 + r + (r % 2) * 0x8000)); break;
      case DType::kInt32: put(r * 37 - 3000); break;
      case DType::kInt64: put(int64_t{r} * 3 - 200); break;
      case DType::kInt16:
      case DType::kUInt16: put(static_cast<int16_t>(r * 100)); break;
      case DType::kBool: put(static_cast<uint8_t>(r % 2)); break;
      default: put(static_cast<uint8_t>(r)); break;
    }
  }
  return out;
}

double half_to_double(uint16_t h) {
  const int exponent = (h >> 10) & 31, mantissa = h & 1023;
  double v = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  if (exponent == 31) v = mantissa ? NAN : INFINITY;
  return h & 0x8000 ? -v : v;
}

template <class T>
T get(const char* at) {
  T v;
  memcpy(&v, at, sizeof(v));
  return v;
}

double value_at(const Operand& x, int64_t offset) {
  const char* at = x.bytes.data() + (offset + kGuard) * tape_dtype_size(x.dtype);
  switch (x.dtype) {
    case DType::kFloat32: return get<float>(at);
    case DType::kFloat64: return get<double>(at);
    case DType::kFloat16: return half_to_double(get<uint16_t>(at));
    case DType::kBFloat16: return std::bit_cast<float>(static_cast<uint32_t>(get<uint16_t>(at)) << 16);
    case DType::kInt32: return get<int32_t>(at);
    case DType::kInt64: return static_cast<double>(get<int64_t>(at));
    case DType::kInt16: return get<int16_t>(at);
    case DType::kUInt16: return get<uint16_t>(at);
    case DType::kInt8: return get<int8_t>(at);
    default: return get<uint8_t>(at);
  }
}

void expect_guards(const Operand& x) {
  const size_t zone = static_cast<size_t>(kGuard * tape_dtype_size(x.dtype));
  for (size_t i = 0; i < zone; ++i) {
    ASSERT_EQ(x.bytes[i], kGuardByte) << "before the start, " << i;
    ASSERT_EQ(x.bytes[x.bytes.size() - 1 - i], kGuardByte) << "past the end, " << i;
  }
}

using Expression = std::function<double(const std::vector<double>&)>;

/// Plans and runs `tape` on every target with 1 to 3 threads; checks the one output against `expression`.
void check_region(const Tape& tape, const std::vector<int64_t>& dims, std::vector<Operand> inputs,
                  const Operand& output, const Expression& expression, double tolerance, const std::string& what) {
  std::vector<std::vector<int64_t>> strides;
  std::vector<const void*> in;
  for (const auto& x : inputs) {
    strides.push_back(x.strides);
    in.push_back(x.bytes.data() + kGuard * tape_dtype_size(x.dtype));
  }
  strides.push_back(output.strides);
  const PointwisePlan plan = make_plan(tape, dims, strides);
  int64_t total = 1;
  for (int64_t d : dims) total *= d;
  for_each_target([&](const char* target) {
    for (int threads = 1; threads <= 3; ++threads) {
      ThreadPool pool(threads);
      Operand result = output;
      std::fill(result.bytes.begin(), result.bytes.end(), kGuardByte);
      void* out[] = {result.bytes.data() + kGuard * tape_dtype_size(result.dtype)};
      run(plan, in.data(), out, pool);
      expect_guards(result);
      for (int64_t flat = 0; flat < total; ++flat) {
        std::vector<int64_t> offset(inputs.size() + 1, 0);
        int64_t rest = flat;
        for (size_t d = dims.size(); d-- > 0; rest /= dims[d]) {
          for (size_t i = 0; i < inputs.size(); ++i) offset[i] += rest % dims[d] * inputs[i].strides[d];
          offset.back() += rest % dims[d] * output.strides[d];
        }
        std::vector<double> v;
        for (size_t i = 0; i < inputs.size(); ++i) v.push_back(value_at(inputs[i], offset[i]));
        const double want = expression(v), got = value_at(result, offset.back());
        ASSERT_NEAR(got, want, tolerance * std::max(1.0, std::fabs(want)))
            << what << " element " << flat << " on " << target << ", " << threads << " threads";
      }
    }
  });
}

std::vector<int64_t> dense_strides(const std::vector<int64_t>& dims) {
  std::vector<int64_t> out(dims.size(), 1);
  for (size_t d = dims.size(); d-- > 1;) out[d - 1] = out[d] * dims[d];
  return out;
}

TEST(Pointwise, RegionsBroadcastInEveryWay) {
  struct Shape {
    std::vector<int64_t> dims;
    std::vector<int64_t> second;  // strides of the second operand
  };
  const Shape shapes[] = {{{7}, {0}},
                          {{1000}, {1}},
                          {{2, 3, 5, 7}, {0, 0, 0, 0}},
                          {{2, 3, 5, 7}, {0, 1, 0, 0}},
                          {{2, 5, 7, 3}, {0, 0, 0, 1}},
                          {{2, 64, 9, 9}, {0, 1, 0, 0}},
                          {{1, 33, 33, 24}, {0, 0, 0, 1}},
                          {{3, 700}, {0, 1}},
                          {{700, 3}, {1, 0}},
                          {{3, 700}, {1, 0}},
                          {{5, 17, 19}, {1, 5, 85}},
                          {{2, 1, 1030}, {0, 0, 2}},
                          {{4, 4, 4, 4, 4}, {16, 0, 4, 0, 1}},
                          {{51, 10, 2}, {0, 1, 0}},
                          {{}, {}}};
  for (const auto& shape : shapes) {
    Tape tape;
    const auto a = tape.add_input(DType::kFloat32), b = tape.add_input(DType::kFloat32);
    tape.add_output(
        tape.emit(EwOp::kMul, {tape.emit(EwOp::kAdd, {a, b}), tape.emit(EwOp::kSub, {a, tape.add_const(0.5f)})}),
        DType::kFloat32);
    tape.finish();
    const auto dense = dense_strides(shape.dims);
    check_region(
        tape, shape.dims,
        {make_operand(DType::kFloat32, dense, shape.dims, 1),
         make_operand(DType::kFloat32, shape.second, shape.dims, 2)},
        make_operand(DType::kFloat32, dense, shape.dims, 3), [](const auto& v) { return (v[0] + v[1]) * (v[0] - 0.5); },
        2e-6, "rank " + std::to_string(shape.dims.size()));
  }
}

TEST(Pointwise, ChannelsLastAndStridedOutputs) {
  const std::vector<int64_t> dims = {2, 5, 6, 7};           // N C H W
  const std::vector<int64_t> last = {5 * 42, 1, 7 * 5, 5};  // channels-last
  const std::vector<int64_t> gap = {9 * 42, 1, 7 * 9, 9};   // a slice of nine channels
  Tape tape;
  const auto x = tape.add_input(DType::kFloat32), scale = tape.add_input(DType::kFloat32);
  tape.add_output(tape.emit(EwOp::kSilu, {tape.emit(EwOp::kMul, {x, scale})}), DType::kFloat32);
  tape.finish();
  const Expression silu = [](const auto& v) { return ew::ref_Silu(v[0] * v[1]); };
  for (const auto& out : {last, gap, dense_strides(dims)}) {
    check_region(tape, dims,
                 {make_operand(DType::kFloat32, last, dims, 4), make_operand(DType::kFloat32, {0, 1, 0, 0}, dims, 5)},
                 make_operand(DType::kFloat32, out, dims, 6), silu, 2e-6, "silu");
  }
}

TEST(Pointwise, EveryMemoryTypeLoadsAndStores) {
  const DType types[] = {DType::kFloat32, DType::kFloat64, DType::kFloat16, DType::kBFloat16,
                         DType::kInt8,    DType::kUInt8,   DType::kInt16,   DType::kUInt16,
                         DType::kInt32,   DType::kInt64,   DType::kBool};
  const std::vector<int64_t> dims = {3, 347};
  for (DType from : types) {
    for (DType to : types) {
      if (to == DType::kBool && from != DType::kBool) continue;  // truth, tested below
      Tape tape;
      tape.add_output(tape.add_input(from), to);
      tape.finish();
      const auto range = [to](double lo, double hi) {
        return [=](const std::vector<double>& v) { return std::clamp(std::trunc(v[0]), lo, hi); };
      };
      Expression want = [](const auto& v) { return v[0]; };
      if (to == DType::kInt8) want = range(-128, 127);
      if (to == DType::kUInt8) want = range(0, 255);
      if (to == DType::kInt16) want = range(-32768, 32767);
      if (to == DType::kUInt16) want = range(0, 65535);
      if (to == DType::kInt32 || to == DType::kInt64) want = range(-2e9, 2e9);
      const double tolerance = to == DType::kBFloat16 ? 0.0040 : to == DType::kFloat16 ? 0.0005 : 1e-7;
      check_region(tape, dims, {make_operand(from, {350, 1}, dims, 7)}, make_operand(to, {360, 1}, dims, 8), want,
                   tolerance, "type " + std::to_string(int(from)) + " to " + std::to_string(int(to)));
    }
  }
}

/// Runs one tape on a dense float row; gives the output's elements.
template <class T>
std::vector<T> run_floats(const Tape& tape, const std::vector<float>& x) {
  std::vector<T> out(x.size());
  const void* in[] = {x.data()};
  void* to[] = {out.data()};
  const int64_t stride[] = {1};
  run_row(tape, in, stride, to, static_cast<int64_t>(x.size()));
  return out;
}

TEST(Pointwise, HalfRoundsToNearestEven) {
  std::vector<float> x = {0.0f,      -0.0f, 65504.0f,       65519.9f,       65520.0f, -70000.0f, INFINITY,
                          -INFINITY, NAN,   5.96e-8f,       2.98e-8f,       2.9e-8f,  8.9e-8f,   6.1e-5f,
                          6.09e-5f,  1.0f,  1.00048828125f, 1.00146484375f, 1.0005f};
  std::mt19937 rng(9);
  while (x.size() < 5000) x.push_back(std::bit_cast<float>(0x32000000u + static_cast<uint32_t>(rng() % 0x16000000u)));
  for_each_target([&](const char* target) {
    Tape tape;
    tape.add_output(tape.cast(tape.add_input(DType::kFloat32), DType::kFloat16), DType::kFloat32);
    tape.finish();
    Tape stored;
    stored.add_output(stored.add_input(DType::kFloat32), DType::kFloat16);
    stored.finish();
    const auto cast = run_floats<float>(tape, x);
    const auto halves = run_floats<uint16_t>(stored, x);
    for (size_t i = 0; i < x.size(); ++i) {
      // The nearest of this half, the one above and the one below, ties to an even last bit.
      if (std::isnan(x[i])) {
        EXPECT_TRUE(std::isnan(cast[i]) && (halves[i] & 0x7c00) == 0x7c00 && (halves[i] & 0x3ff)) << target;
        continue;
      }
      const double magnitude = std::fabs(double(x[i]));
      const auto distance = [&](uint32_t h) {
        return std::fabs((h == 0x7c00 ? 65536.0 : half_to_double(uint16_t(h))) - magnitude);
      };
      uint32_t best = 0, lo = 0, hi = 0x7c00;
      while (lo < hi) {
        const uint32_t mid = (lo + hi) / 2;
        if ((mid == 0x7c00 ? 65536.0 : half_to_double(uint16_t(mid))) < magnitude)
          lo = mid + 1;
        else
          hi = mid;
      }
      best = lo;
      if (lo > 0 && (distance(lo - 1) < distance(lo) || (distance(lo - 1) == distance(lo) && lo % 2 == 1)))
        best = lo - 1;
      EXPECT_EQ(halves[i] & 0x7fffu, best) << x[i] << " on " << target;
      EXPECT_EQ(cast[i], static_cast<float>(half_to_double(halves[i]))) << x[i] << " on " << target;
    }
  });
}

TEST(Pointwise, BFloat16RoundsToNearestEvenAndKeepsNaN) {
  const float all_ones = std::bit_cast<float>(0x7fffffffu), tie_even = std::bit_cast<float>(0x3f808000u);
  const float tie_odd = std::bit_cast<float>(0x3f818000u), above = std::bit_cast<float>(0x3f808001u);
  const std::vector<float> x = {all_ones, tie_even, tie_odd, above, 3.4e38f, -1.0f, -INFINITY};
  for_each_target([&](const char* target) {
    Tape tape;
    tape.add_output(tape.add_input(DType::kFloat32), DType::kBFloat16);
    tape.finish();
    const auto got = run_floats<uint16_t>(tape, x);
    EXPECT_EQ(got[0] & 0x7fc0, 0x7fc0) << target;
    EXPECT_THAT(std::vector<uint16_t>(got.begin() + 1, got.end()),
                testing::ElementsAre(0x3f80, 0x3f82, 0x3f81, 0x7f80, 0xbf80, 0xff80))
        << target;
  });
}

TEST(Pointwise, QuantizesAsOnnxDoes) {
  // int32 accumulator -> scale, bias, relu -> uint8, per channel in channels-last: what an int8 convolution ends with.
  const std::vector<int64_t> dims = {31, 19};
  Tape tape;
  const auto acc = tape.add_input(DType::kInt32), scale = tape.add_input(DType::kFloat32),
             bias = tape.add_input(DType::kFloat32);
  const auto real = tape.emit(EwOp::kRelu, {tape.emit(EwOp::kMulAdd, {acc, scale, bias})});
  tape.add_output(tape.quantize(real, tape.add_const(0.25f), tape.add_const(3), DType::kUInt8), DType::kUInt8);
  tape.finish();
  check_region(
      tape, dims,
      {make_operand(DType::kInt32, {19, 1}, dims, 10), make_operand(DType::kFloat32, {0, 1}, dims, 11),
       make_operand(DType::kFloat32, {0, 1}, dims, 12)},
      make_operand(DType::kUInt8, {19, 1}, dims, 13),
      [](const auto& v) {
        const float real = std::fma(float(v[0]), float(v[1]), float(v[2]));
        return std::clamp(ew::ref_Round(double(std::max(real, 0.0f) / 0.25f)) + 3, 0.0, 255.0);
      },
      0, "int8 epilogue");
  const std::vector<float> x = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 300.0f, -300.0f, 127.5f, 1e20f, -1e20f};
  for_each_target([&](const char* target) {
    Tape signed_tape;
    signed_tape.add_output(signed_tape.quantize(signed_tape.add_input(DType::kFloat32), signed_tape.add_const(1),
                                                signed_tape.add_const(0), DType::kInt8),
                           DType::kInt8);
    signed_tape.finish();
    EXPECT_THAT(run_floats<int8_t>(signed_tape, x), testing::ElementsAre(0, 2, 2, 0, -2, 127, -128, 127, 127, -128))
        << target;
  });
}

TEST(Pointwise, DivisionByAConstantIsADivision) {
  for_each_target([](const char* target) {
    for (float d : {3.0f, 2.828427f, -0.7f, 1e-20f, 3e25f, 0.25f}) {
      std::vector<float> x{0.0f, 1.0f, -1.0f, 1e38f, -3e38f, 1e-20f, INFINITY, -INFINITY, NAN};
      std::mt19937 rng(5);
      for (int i = 0; i < 5000; ++i) x.push_back((static_cast<float>(rng() % 2000001) - 1e6f) * 1.7e-3f);
      Tape tape;
      const auto in = tape.add_input(DType::kFloat32);
      tape.add_output(tape.emit(EwOp::kDiv, {in, tape.add_const(d)}), DType::kFloat32);
      tape.finish();
      std::vector<float> y(x.size());
      const void* from = x.data();
      void* to = y.data();
      const int64_t one = 1;
      run_row(tape, &from, &one, &to, static_cast<int64_t>(x.size()));
      for (size_t i = 0; i < x.size(); ++i) {
        const float want = x[i] / d;
        ASSERT_TRUE(y[i] == want || (y[i] != y[i] && want != want)) << target << ": " << x[i] << " / " << d;
      }
    }
  });
}

TEST(Pointwise, SeveralOutputsInPlaceAndDeadCode) {
  for_each_target([&](const char* target) {
    Tape tape;
    const auto a = tape.add_input(DType::kFloat32), unused = tape.add_input(DType::kFloat32);
    tape.emit(EwOp::kPow, {unused, a});
    const auto s = tape.emit(EwOp::kSigmoid, {a});
    const auto m = tape.emit(EwOp::kMul, {a, s});
    tape.add_output(m, DType::kFloat32);
    tape.add_output(tape.emit(EwOp::kGreater, {a, m}), DType::kBool);
    tape.add_output(a, DType::kFloat32);
    tape.finish();
    EXPECT_EQ(tape.code().size(), 3u);
    EXPECT_EQ(tape.code()[0].op, Opcode::kSilu);
    const auto x = interesting(1201, 3);
    std::vector<float> in_place = x, copy(x.size());
    std::vector<uint8_t> truth(x.size());
    const void* in[] = {in_place.data(), nullptr};
    void* out[] = {in_place.data(), truth.data(), copy.data()};
    const int64_t stride[] = {1, 1};
    run_row(tape, in, stride, out, static_cast<int64_t>(x.size()));
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_TRUE(copy[i] == x[i] || std::isnan(x[i])) << i << " on " << target;
      EXPECT_EQ(truth[i], x[i] > in_place[i]) << x[i] << " on " << target;
      if (std::isfinite(x[i])) {
        EXPECT_NEAR(in_place[i], ew::ref_Silu(double(x[i])), 1e-6 * std::max(1.0f, std::fabs(x[i])));
      }
    }
  });
}

TEST(Pointwise, BinaryOpsMatchDouble) {
  struct Case {
    EwOp op;
    double (*reference)(double, double);
    double limit;
  };
#define REF2(Name, limit) \
  { \
    EwOp::k##Name, [](double a, double b) -> double { return ew::ref_##Name(a, b); }, limit \
  }
  const Case cases[] = {REF2(Add, 0.5001), REF2(Sub, 0.5001),    REF2(Mul, 0.5001), REF2(Div, 0.5001),
                        REF2(Pow, 1),      REF2(Mod, 1.5),       REF2(Fmod, 0),     REF2(Max, 0),
                        REF2(Min, 0),      REF2(PRelu, 0.5001),  REF2(Equal, 0),    REF2(NotEqual, 0),
                        REF2(Less, 0),     REF2(LessOrEqual, 0), REF2(Greater, 0),  REF2(GreaterOrEqual, 0),
                        REF2(And, 0),      REF2(Or, 0),          REF2(Xor, 0)};
  auto a = interesting(3001, 5), b = interesting(3001, 6);
  std::shuffle(b.begin(), b.end(), std::mt19937(7));
  std::copy(a.begin(), a.begin() + 300, b.begin());
  std::vector<float> y(a.size());
  for_each_target([&](const char* target) {
    for (const auto& c : cases) {
      Tape tape;
      const auto va = tape.add_input(DType::kFloat32), vb = tape.add_input(DType::kFloat32);
      tape.add_output(tape.emit(c.op, {va, vb}), DType::kFloat32);
      tape.finish();
      const void* in[] = {a.data(), b.data()};
      void* out[] = {y.data()};
      const int64_t stride[] = {1, 1};
      run_row(tape, in, stride, out, static_cast<int64_t>(a.size()));
      for (size_t i = 0; i < a.size(); ++i) {
        const double want = c.reference(a[i], b[i]);
        ASSERT_LE(ulps(y[i], want), c.limit) << info(c.op).name << " of " << a[i] << ", " << b[i] << " on " << target;
      }
    }
  });
}

TEST(Pointwise, RowsShareACall) {
  for (const int64_t n : {1, 7, 16, 20, 64, 300, 900}) {
    const int64_t rows = 11, pitch = n + 5;
    Tape tape;
    const auto acc = tape.add_input(DType::kInt32), bias = tape.add_input(DType::kFloat32),
               gate = tape.add_input(DType::kFloat32);
    const auto sum = tape.emit(EwOp::kAdd, {acc, bias});
    tape.add_output(tape.emit(EwOp::kMul, {sum, gate}), DType::kFloat32);
    tape.finish();
    std::vector<int32_t> a(rows * n);
    std::vector<float> b(n), g(rows);
    for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<int32_t>(i * 7 % 1000) - 500;
    for (int64_t i = 0; i < n; ++i) b[i] = static_cast<float>(i) * 0.5f;
    for (int64_t r = 0; r < rows; ++r) g[r] = static_cast<float>(r) - 3;
    for_each_target([&](const char* target) {
      std::vector<float> y(rows * pitch, -5.0f);
      const void* in[] = {a.data(), b.data(), g.data()};
      void* out[] = {y.data()};
      const int64_t steps[] = {1, 1, 0}, row_steps[] = {n, 0, 1}, out_steps[] = {pitch};
      run_rows(tape, in, steps, row_steps, out, out_steps, rows, n);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t i = 0; i < pitch; ++i) {
          const float want = i < n ? (static_cast<float>(a[r * n + i]) + b[i]) * g[r] : -5.0f;
          ASSERT_EQ(y[r * pitch + i], want) << n << " row " << r << " column " << i << " on " << target;
        }
      }
    });
  }
}

TEST(Pointwise, TapesSayWhatTheyCannotDo) {
  Tape tape;
  EXPECT_THROW(tape.add_input(DType::kString), Error);
  const auto x = tape.add_input(DType::kFloat32);
  EXPECT_THROW(tape.emit(EwOp::kBitwiseAnd, {x, x}), Error);
  EXPECT_THROW(tape.quantize(x, x, x, DType::kInt32), Error);
  EXPECT_THROW(tape.finish(), Error);  // no output
  auto y = x;
  for (int i = 0; i < 40; ++i) y = tape.emit(EwOp::kExp, {y});
  tape.add_output(y, DType::kFloat32);
  EXPECT_THROW(tape.finish(), Error);  // too long
}

TEST(Pointwise, PlainIntegersWrapAndDivideAsStated) {
  const std::vector<int64_t> dims = {2, 3}, rows = {3, 1}, column = {1, 0};
  const int64_t a[] = {INT64_MIN, 7, -7, INT64_MAX, 5, 0}, b[] = {-1, 0};
  int64_t out[6];
  const PlainOperand in[] = {{a, rows}, {b, column}};
  run_plain(EwOp::kDiv, DType::kInt64, dims, in, out, rows);
  EXPECT_THAT(out, testing::ElementsAre(INT64_MIN, -7, 7, 0, 0, 0));
  run_plain(EwOp::kAdd, DType::kInt64, dims, in, out, rows);
  EXPECT_THAT(out, testing::ElementsAre(INT64_MAX, 6, -8, INT64_MAX, 5, 0));
  bool less[6];
  run_plain(EwOp::kLess, DType::kInt64, dims, in, less, rows);
  EXPECT_THAT(less, testing::ElementsAre(true, false, true, false, false, false));
  const bool condition[] = {true, false, true, false, true, false};
  const PlainOperand where[] = {{condition, rows}, {a, rows}, {b, column}};
  run_plain(EwOp::kWhere, DType::kInt64, dims, where, out, rows);
  EXPECT_THAT(out, testing::ElementsAre(INT64_MIN, -1, -7, 0, 5, 0));
  const uint8_t u[] = {200, 100, 3}, one[] = {100};
  uint8_t sum[3];
  const std::vector<int64_t> three = {3}, unit = {1}, zero = {0};
  const PlainOperand bytes[] = {{u, unit}, {one, zero}};
  run_plain(EwOp::kAdd, DType::kUInt8, three, bytes, sum, unit);
  EXPECT_THAT(sum, testing::ElementsAre(44, 200, 103));
  EXPECT_FALSE(has_plain(EwOp::kExp, DType::kInt32));
  EXPECT_FALSE(has_plain(EwOp::kShiftLeft, DType::kFloat32));
  EXPECT_TRUE(has_plain(EwOp::kXor, DType::kBool));
  EXPECT_THROW(run_plain(EwOp::kExp, DType::kInt32, three, bytes, sum, unit), Error);
}

}  // namespace
}  // namespace tenon::cpu
