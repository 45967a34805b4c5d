// Element types: sizes, names, conversion of single elements, and dispatch from a run-time DType to a C++
// type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "tenon/types.hpp"

namespace tenon {

/// Text name as in dumps and on the command line: "float32", "int8", "bfloat16", "float8e4m3fn".
std::string_view name(DType dtype) noexcept;

/// The inverse of name(); also takes ONNX's and numpy's spellings ("float", "double", "f4", "half").
std::optional<DType> parse_dtype(std::string_view text) noexcept;

/// Bits of one element; sub-byte types are packed, low bits first. Strings count as sizeof(std::string).
int bits(DType dtype) noexcept;

/// Bytes of `count` elements, overflow-checked.
int64_t byte_size(DType dtype, int64_t count);

bool is_floating(DType dtype) noexcept;  ///< incl. half, bfloat16, fp8 and float4
bool is_integer(DType dtype) noexcept;   ///< signed and unsigned, not bool
bool is_signed(DType dtype) noexcept;
bool is_known(int64_t onnx_number) noexcept;

// --- 16-bit floats
// -----------------------------------------------------------------------------------------------

float half_to_float(uint16_t bits) noexcept;
uint16_t float_to_half(float value) noexcept;  ///< round to nearest even; overflow gives infinity
inline float bfloat16_to_float(uint16_t bits) noexcept {
  uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float out;
  __builtin_memcpy(&out, &wide, 4);
  return out;
}
uint16_t float_to_bfloat16(float value) noexcept;  ///< round to nearest even, NaN stays NaN

struct Half {
  uint16_t bits = 0;
  Half() = default;
  explicit Half(double v) noexcept : bits(float_to_half(static_cast<float>(v))) {}
  explicit operator double() const noexcept { return half_to_float(bits); }
  explicit operator float() const noexcept { return half_to_float(bits); }
};

struct BFloat16 {
  uint16_t bits = 0;
  BFloat16() = default;
  explicit BFloat16(double v) noexcept : bits(float_to_bfloat16(static_cast<float>(v))) {}
  explicit operator double() const noexcept { return bfloat16_to_float(bits); }
  explicit operator float() const noexcept { return bfloat16_to_float(bits); }
};

/// Decodes/encodes the minifloats (fp8 kinds, float4e2m1, float8e8m0). `saturate` clips to the largest finite
/// value, as ONNX Cast does by default; otherwise overflow becomes infinity or NaN as the format has it.
float minifloat_to_float(DType dtype, uint8_t bits) noexcept;
uint8_t float_to_minifloat(DType dtype, float value, bool saturate = true) noexcept;

// --- dispatch
// ----------------------------------------------------------------------------------------------------

template <class T>
struct TypeTag {
  using type = T;
};

/// Calls f(TypeTag<T>{}) for the byte-addressable numeric types and bool (float, double, Half, BFloat16,
/// integers). Other types are answered with an unsupported error that names `what`.
template <class F>
decltype(auto) visit_numeric(DType dtype, std::string_view what, F&& f) {
  switch (dtype) {
    case DType::kFloat32: return f(TypeTag<float>{});
    case DType::kFloat64: return f(TypeTag<double>{});
    case DType::kFloat16: return f(TypeTag<Half>{});
    case DType::kBFloat16: return f(TypeTag<BFloat16>{});
    case DType::kInt8: return f(TypeTag<int8_t>{});
    case DType::kUInt8: return f(TypeTag<uint8_t>{});
    case DType::kInt16: return f(TypeTag<int16_t>{});
    case DType::kUInt16: return f(TypeTag<uint16_t>{});
    case DType::kInt32: return f(TypeTag<int32_t>{});
    case DType::kUInt32: return f(TypeTag<uint32_t>{});
    case DType::kInt64: return f(TypeTag<int64_t>{});
    case DType::kUInt64: return f(TypeTag<uint64_t>{});
    case DType::kBool: return f(TypeTag<bool>{});
    default: break;
  }
  fail(Code::kUnsupported, "{} is not defined for element type {}", what, name(dtype));
}

template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>) return DType::kFloat32;
  if constexpr (std::is_same_v<T, double>) return DType::kFloat64;
  if constexpr (std::is_same_v<T, Half>) return DType::kFloat16;
  if constexpr (std::is_same_v<T, BFloat16>) return DType::kBFloat16;
  if constexpr (std::is_same_v<T, int8_t>) return DType::kInt8;
  if constexpr (std::is_same_v<T, uint8_t>) return DType::kUInt8;
  if constexpr (std::is_same_v<T, int16_t>) return DType::kInt16;
  if constexpr (std::is_same_v<T, uint16_t>) return DType::kUInt16;
  if constexpr (std::is_same_v<T, int32_t>) return DType::kInt32;
  if constexpr (std::is_same_v<T, uint32_t>) return DType::kUInt32;
  if constexpr (std::is_same_v<T, int64_t>) return DType::kInt64;
  if constexpr (std::is_same_v<T, uint64_t>) return DType::kUInt64;
  if constexpr (std::is_same_v<T, bool>) return DType::kBool;
  if constexpr (std::is_same_v<T, std::string>) return DType::kString;
  return DType::kUndefined;
}

}  // namespace tenon
