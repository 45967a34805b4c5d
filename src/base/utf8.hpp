// UTF-8, both ways. Stateless.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tenon {

/// The code points of valid UTF-8; none for anything else (overlong forms and surrogates included).
std::optional<std::vector<char32_t>> decode_utf8(std::string_view text);

/// Appends one code point; what is none (surrogates, above U+10FFFF) becomes U+FFFD.
void append_utf8(std::string& out, char32_t c);

}  // namespace tenon
