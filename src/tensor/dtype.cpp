#include "tensor/dtype.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <limits>

#include "base/checked.hpp"

namespace tenon {
namespace {

struct Info {
  DType dtype;
  std::string_view name;
  int bits;
  char kind;  // f float, i signed, u unsigned, b bool, s string, c complex
};

constexpr Info kInfos[] = {
    {DType::kUndefined, "undefined", 0, '?'},
    {DType::kFloat32, "float32", 32, 'f'},
    {DType::kUInt8, "uint8", 8, 'u'},
    {DType::kInt8, "int8", 8, 'i'},
    {DType::kUInt16, "uint16", 16, 'u'},
    {DType::kInt16, "int16", 16, 'i'},
    {DType::kInt32, "int32", 32, 'i'},
    {DType::kInt64, "int64", 64, 'i'},
    {DType::kString, "string", 8 * static_cast<int>(sizeof(std::string)), 's'},
    {DType::kBool, "bool", 8, 'b'},
    {DType::kFloat16, "float16", 16, 'f'},
    {DType::kFloat64, "float64", 64, 'f'},
    {DType::kUInt32, "uint32", 32, 'u'},
    {DType::kUInt64, "uint64", 64, 'u'},
    {DType::kComplex64, "complex64", 64, 'c'},
    {DType::kComplex128, "complex128", 128, 'c'},
    {DType::kBFloat16, "bfloat16", 16, 'f'},
    {DType::kFloat8E4M3FN, "float8e4m3fn", 8, 'f'},
    {DType::kFloat8E4M3FNUZ, "float8e4m3fnuz", 8, 'f'},
    {DType::kFloat8E5M2, "float8e5m2", 8, 'f'},
    {DType::kFloat8E5M2FNUZ, "float8e5m2fnuz", 8, 'f'},
    {DType::kUInt4, "uint4", 4, 'u'},
    {DType::kInt4, "int4", 4, 'i'},
    {DType::kFloat4E2M1, "float4e2m1", 4, 'f'},
    {DType::kFloat8E8M0, "float8e8m0", 8, 'f'},
    {DType::kUInt2, "uint2", 2, 'u'},
    {DType::kInt2, "int2", 2, 'i'},
};
constexpr int kCount = static_cast<int>(std::size(kInfos));

const Info& info(DType dtype) noexcept {
  int i = static_cast<int>(dtype);
  return kInfos[i < kCount ? i : 0];
}

// exponent bits, mantissa bits, bias, and how the top codes are used
struct Mini {
  int exponent, mantissa, bias;
  bool infinity;  // IEEE-like infinities and NaNs in the top exponent
  bool uz;        // no negative zero; 0x80 is the only NaN
  float max;
};

Mini mini(DType dtype) noexcept {
  switch (dtype) {
    case DType::kFloat8E4M3FN: return {4, 3, 7, false, false, 448.0f};
    case DType::kFloat8E4M3FNUZ: return {4, 3, 8, false, true, 240.0f};
    case DType::kFloat8E5M2: return {5, 2, 15, true, false, 57344.0f};
    case DType::kFloat8E5M2FNUZ: return {5, 2, 16, false, true, 57344.0f};
    default: return {2, 1, 1, false, false, 6.0f};  // float4e2m1
  }
}

uint8_t float_to_e8m0(float value, bool saturate) noexcept {
  if (std::isnan(value) || value < 0) return 255;
  if (value == 0) return 0;
  if (std::isinf(value)) return saturate ? 254 : 255;
  int exponent;
  float fraction = std::frexp(value, &exponent);  // value = fraction * 2^exponent, fraction in [0.5, 1)
  int e = exponent - 1 + 127 + (fraction >= 0.75f ? 1 : 0);
  if (e > 254) return saturate ? 254 : 255;
  return static_cast<uint8_t>(std::max(e, 0));
}

}  // namespace

std::string_view name(DType dtype) noexcept { return info(dtype).name; }
int bits(DType dtype) noexcept { return info(dtype).bits; }
bool is_floating(DType dtype) noexcept { return info(dtype).kind == 'f'; }
bool is_integer(DType dtype) noexcept { return info(dtype).kind == 'i' || info(dtype).kind == 'u'; }
bool is_signed(DType dtype) noexcept { return info(dtype).kind == 'i' || info(dtype).kind == 'f'; }
bool is_known(int64_t number) noexcept { return number > 0 && number < kCount; }

std::optional<DType> parse_dtype(std::string_view text) noexcept {
  for (const Info& i : kInfos) {
    if (i.name == text && i.bits > 0) return i.dtype;
  }
  struct Alias {
    std::string_view text;
    DType dtype;
  };
  static constexpr Alias kAliases[] = {
      {"float", DType::kFloat32}, {"fp32", DType::kFloat32}, {"f4", DType::kFloat32},   {"double", DType::kFloat64},
      {"f8", DType::kFloat64},    {"half", DType::kFloat16}, {"fp16", DType::kFloat16}, {"f2", DType::kFloat16},
      {"bf16", DType::kBFloat16}, {"i1", DType::kInt8},      {"u1", DType::kUInt8},     {"i2", DType::kInt16},
      {"u2", DType::kUInt16},     {"i4", DType::kInt32},     {"u4", DType::kUInt32},    {"i8", DType::kInt64},
      {"u8", DType::kUInt64},     {"b1", DType::kBool},      {"str", DType::kString},
  };
  for (const Alias& a : kAliases) {
    if (a.text == text) return a.dtype;
  }
  return std::nullopt;
}

int64_t byte_size(DType dtype, int64_t count) {
  int b = bits(dtype);
  if (b >= 8) return checked_mul<int64_t>(count, b / 8);
  return (checked_mul<int64_t>(count, b) + 7) / 8;
}

float half_to_float(uint16_t h) noexcept {
  uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  uint32_t exponent = (h >> 10) & 0x1f;
  uint32_t mantissa = h & 0x3ff;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  float value = static_cast<float>(mantissa) * 0x1p-24f;
  return sign ? -value : value;
}

uint16_t float_to_half(float value) noexcept {
  uint32_t x = std::bit_cast<uint32_t>(value);
  uint32_t sign = (x >> 16) & 0x8000u;
  x &= 0x7fffffffu;
  if (x > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (x >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // rounds to at least 65520
  if (x < 0x38800000u) {  // subnormal or zero: adding 0.5 aligns the mantissa and rounds to even
    float shifted = std::bit_cast<float>(x) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
  }
  uint32_t rounded = x + 0xfffu + ((x >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

uint16_t float_to_bfloat16(float value) noexcept {
  uint32_t x = std::bit_cast<uint32_t>(value);
  if ((x & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((x >> 16) | 0x40u);
  return static_cast<uint16_t>((x + 0x7fffu + ((x >> 16) & 1u)) >> 16);
}

float minifloat_to_float(DType dtype, uint8_t b) noexcept {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  if (dtype == DType::kFloat8E8M0) return b == 255 ? kNan : std::ldexp(1.0f, static_cast<int>(b) - 127);
  Mini m = mini(dtype);
  int width = 1 + m.exponent + m.mantissa;
  int code = b & ((1 << (width - 1)) - 1);
  bool negative = (b >> (width - 1)) & 1;
  if (m.uz && negative && code == 0) return kNan;
  int exponent = code >> m.mantissa, mantissa = code & ((1 << m.mantissa) - 1);
  if (m.infinity && exponent == (1 << m.exponent) - 1) {
    if (mantissa != 0) return kNan;
    return negative ? -std::numeric_limits<float>::infinity() : std::numeric_limits<float>::infinity();
  }
  if (dtype == DType::kFloat8E4M3FN && code == 0x7f) return kNan;
  int units = exponent == 0 ? mantissa : (1 << m.mantissa) + mantissa;
  float value = std::ldexp(static_cast<float>(units), std::max(exponent, 1) - m.bias - m.mantissa);
  return negative ? -value : value;
}

uint8_t float_to_minifloat(DType dtype, float value, bool saturate) noexcept {
  if (dtype == DType::kFloat8E8M0) return float_to_e8m0(value, saturate);
  Mini m = mini(dtype);
  int width = 1 + m.exponent + m.mantissa;
  int sign = std::signbit(value) ? 1 << (width - 1) : 0;
  int top = (1 << (width - 1)) - 1;
  // float4 has no NaN: its largest value stands for one, as ONNX's Cast has it.
  auto nan = static_cast<uint8_t>(dtype == DType::kFloat4E2M1 ? top : m.uz ? 0x80 : (sign | top));
  if (std::isnan(value)) return nan;
  float magnitude = std::fabs(value);
  int exponent = 0;
  if (!std::isinf(magnitude)) std::frexp(magnitude, &exponent);
  int shift = std::max(exponent - 1, 1 - m.bias) - m.mantissa;  // the unit in the last place is 2^shift
  float rounded = std::isinf(magnitude) ? magnitude : std::ldexp(std::nearbyint(std::ldexp(magnitude, -shift)), shift);
  if (rounded > m.max) {
    if (!saturate && dtype != DType::kFloat4E2M1) {
      return m.infinity ? static_cast<uint8_t>(sign | (((1 << m.exponent) - 1) << m.mantissa)) : nan;
    }
    rounded = m.max;
  }
  if (rounded == 0) return m.uz ? 0 : static_cast<uint8_t>(sign);
  std::frexp(rounded, &exponent);
  exponent = std::max(exponent - 1, 1 - m.bias);
  int units = static_cast<int>(std::ldexp(rounded, m.mantissa - exponent));
  bool normal = units >= (1 << m.mantissa);
  int code = normal ? ((exponent + m.bias) << m.mantissa) + units - (1 << m.mantissa) : units;
  return static_cast<uint8_t>(sign | code);
}

}  // namespace tenon
