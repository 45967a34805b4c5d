// Fast, stable hashing (XXH3): the same bytes give the same number on every machine and version.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace tenon {

uint64_t hash_bytes(std::span<const std::byte> bytes, uint64_t seed = 0) noexcept;
inline uint64_t hash_text(std::string_view text, uint64_t seed = 0) noexcept {
  return hash_bytes(std::as_bytes(std::span(text.data(), text.size())), seed);
}
/// 16 hexadecimal digits.
std::string hex(uint64_t hash);

}  // namespace tenon
