#include "base/utf8.hpp"

namespace tenon {
namespace {

bool is_code_point(char32_t c) { return c <= 0x10FFFF && !(c >= 0xD800 && c < 0xE000); }

}  // namespace

std::optional<std::vector<char32_t>> decode_utf8(std::string_view text) {
  constexpr char32_t kLeast[] = {0, 0x80, 0x800, 0x10000};
  std::vector<char32_t> out;
  for (size_t i = 0; i < text.size();) {
    auto lead = static_cast<unsigned char>(text[i++]);
    int more = lead < 0x80 ? 0 : (lead >> 5) == 6 ? 1 : (lead >> 4) == 14 ? 2 : (lead >> 3) == 30 ? 3 : -1;
    if (more < 0 || i + static_cast<size_t>(more) > text.size()) return std::nullopt;
    char32_t c = more == 0 ? lead : lead & (0x3Fu >> more);
    for (int k = 0; k < more; ++k) {
      auto next = static_cast<unsigned char>(text[i++]);
      if ((next >> 6) != 2) return std::nullopt;
      c = (c << 6) | (next & 63u);
    }
    if (c < kLeast[more] || !is_code_point(c)) return std::nullopt;
    out.push_back(c);
  }
  return out;
}

void append_utf8(std::string& out, char32_t c) {
  if (!is_code_point(c)) c = 0xFFFD;
  if (c < 0x80) {
    out += static_cast<char>(c);
    return;
  }
  int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  constexpr char32_t kLead[] = {0, 0xC0, 0xE0, 0xF0};
  out += static_cast<char>(kLead[more] | (c >> (6 * more)));
  for (int i = more - 1; i >= 0; --i) out += static_cast<char>(0x80 | ((c >> (6 * i)) & 63));
}

}  // namespace tenon
