// Tables of 256 values against plain indexing, at sizes around the vector lengths.
#include "cpu/lookup.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "cpu/isa.hpp"

namespace tenon::cpu {
namespace {

struct Tables {
  std::vector<uint8_t> bytes = std::vector<uint8_t>(256);
  std::vector<float> floats = std::vector<float>(256);
  std::mt19937 rng{7};
  Tables() {
    for (auto& b : bytes) b = static_cast<uint8_t>(rng());
    for (auto& f : floats) f = static_cast<float>(rng() % 1000) - 500.0f;
  }
};

void check_all_sizes() {
  Tables t;
  for (int64_t cols : {1, 3, 15, 16, 17, 63, 64, 65, 130, 256}) {
    for (int64_t rows : {1, 5}) {
      const int64_t from_ld = cols + 3, to_ld = cols + 5;
      std::vector<uint8_t> from(static_cast<size_t>(rows * from_ld - 3));
      for (auto& b : from) b = static_cast<uint8_t>(t.rng());
      std::vector<uint8_t> bytes(static_cast<size_t>(rows * to_ld), uint8_t{77});
      std::vector<float> floats(static_cast<size_t>(rows * to_ld), 77.0f);
      const LookupRows shape{from.data(), from_ld, to_ld, rows, cols};
      lookup_bytes(t.bytes.data(), shape, bytes.data());
      lookup_floats(t.floats.data(), shape, floats.data());
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < to_ld; ++c) {
          const auto at = static_cast<size_t>(r * to_ld + c);
          const uint8_t index = c < cols ? from[static_cast<size_t>(r * from_ld + c)] : 0;
          ASSERT_EQ(bytes[at], c < cols ? t.bytes[index] : 77) << rows << "x" << cols << " at " << r << "," << c;
          ASSERT_EQ(floats[at], c < cols ? t.floats[index] : 77.0f) << rows << "x" << cols << " at " << r << "," << c;
        }
      }
    }
  }
}

TEST(Lookup, OddSizesOnEveryTier) {
  for (const std::string& tier : isa_tiers()) {
    set_isa_cap(tier);
    check_all_sizes();
  }
  set_isa_cap("");
}

TEST(Lookup, BytesInPlace) {
  Tables t;
  std::vector<uint8_t> data(256);
  for (size_t i = 0; i < 256; ++i) data[i] = static_cast<uint8_t>(255 - i);
  lookup_bytes(t.bytes.data(), {data.data(), 256, 256, 1, 256}, data.data());
  for (size_t i = 0; i < 256; ++i) ASSERT_EQ(data[i], t.bytes[255 - i]);
}

}  // namespace
}  // namespace tenon::cpu
