#include "base/hash.hpp"

#include <fmt/core.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace tenon {

uint64_t hash_bytes(std::span<const std::byte> bytes, uint64_t seed) noexcept {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

std::string hex(uint64_t hash) { return fmt::format("{:016x}", hash); }

}  // namespace tenon
