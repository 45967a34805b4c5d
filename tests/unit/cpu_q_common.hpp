// Shared by the tests of the 8-bit kernels.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <new>
#include <random>
#include <vector>

#include "cpu/qgemm.hpp"

namespace tenon::cpu::qtest {

/// 64-byte aligned memory of exactly `bytes`, so that a sanitizer sees any access beyond it.
struct Aligned {
  explicit Aligned(size_t bytes)
      : size(bytes), data(static_cast<uint8_t*>(::operator new (bytes, std::align_val_t{64}))) {
    std::fill(data, data + bytes, uint8_t{0xA5});
  }
  ~Aligned() { ::operator delete (data, std::align_val_t{64}); }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  size_t size;
  uint8_t* data;
};

enum class Fill { kRandom, kExtreme };

inline std::vector<uint8_t> bytes(std::mt19937& rng, int64_t n, QType type, Fill fill) {
  std::vector<uint8_t> v(static_cast<size_t>(n));
  for (auto& x : v) {
    x = static_cast<uint8_t>(rng());
    if (fill == Fill::kExtreme) x = type == QType::kU8 ? 255 : 128;  // 255 or -128
  }
  return v;
}

inline int32_t value(uint8_t byte, QType type) { return type == QType::kU8 ? byte : static_cast<int8_t>(byte); }

template <class T>
void expect_requantised(const std::vector<T>& out, const std::vector<int32_t>& acc, float scale, int32_t zp) {
  const auto least = static_cast<float>(std::numeric_limits<T>::min());
  const auto most = static_cast<float>(std::numeric_limits<T>::max());
  for (size_t i = 0; i < out.size(); ++i) {
    const float rounded = std::nearbyint(static_cast<float>(acc[i]) * scale) + static_cast<float>(zp);
    ASSERT_EQ(out[i], static_cast<T>(std::clamp(rounded, least, most))) << i << ": " << acc[i];
  }
}

}  // namespace tenon::cpu::qtest
