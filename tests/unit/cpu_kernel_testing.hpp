// Helpers of the CPU kernel tests: values, buffers with guard zones, every ISA tier in turn.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cpu/isa.hpp"

namespace tenon::cpu {

/// A 64-byte aligned array of floats with guard values around it; starts as NaN.
class Floats {
 public:
  explicit Floats(size_t count) : count_(count), memory_(count + 2 * kGuard + 16) {
    auto address = reinterpret_cast<uintptr_t>(memory_.data());
    begin_ = (64 - address % 64) % 64 / sizeof(float);
    for (float& v : memory_) v = kMark;
    for (size_t i = 0; i < count; ++i) data()[i] = std::numeric_limits<float>::quiet_NaN();
  }
  Floats(Floats&&) = default;  // moving a vector keeps its memory, and so the alignment
  Floats(const Floats&) = delete;
  float* data() { return memory_.data() + begin_ + kGuard; }
  const float* data() const { return memory_.data() + begin_ + kGuard; }
  float& operator[](size_t i) { return data()[i]; }
  float operator[](size_t i) const { return data()[i]; }
  size_t size() const { return count_; }

  /// Whether nothing was written before or behind the array.
  bool intact() const {
    for (size_t i = 0; i < begin_ + kGuard; ++i) {
      if (memory_[i] != kMark) return false;
    }
    for (size_t i = begin_ + kGuard + count_; i < memory_.size(); ++i) {
      if (memory_[i] != kMark) return false;
    }
    return true;
  }

 private:
  static constexpr size_t kGuard = 64;
  static constexpr float kMark = 12345.5f;
  size_t count_;
  std::vector<float> memory_;
  size_t begin_ = 0;
};

inline void fill_random(Floats& to, uint32_t seed) {
  std::mt19937 random(seed);
  for (size_t i = 0; i < to.size(); ++i) to[i] = static_cast<float>(random() % 2001) / 1000.0f - 1.0f;
}

/// Rounding allowed for a sum of `terms` products of values in [-1, 1].
inline double tolerance(int64_t terms) { return 1e-6 * (4 + std::sqrt(static_cast<double>(terms))); }

/// Runs body(name) with the kernels capped at each tier that this machine has.
template <class F>
void for_each_isa(F&& body) {
  for (const std::string& name : isa_tiers()) {
    set_isa_cap(name);
    SCOPED_TRACE(name);
    body(name);
  }
  set_isa_cap("");
}

}  // namespace tenon::cpu
