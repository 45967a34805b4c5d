// Regular expressions in RE2's syntax (the part without look-around, which RE2 has not either), matched against whole
// texts in time proportional to pattern times text: a hostile pattern can be refused but not make a match slow.
// Immutable once made; matching is safe from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tenon {

class Regex {
 public:
  /// Throws invalid-argument, with the place and the reason, for what is no pattern or needs too many states.
  explicit Regex(std::string_view pattern);

  /// Whether the pattern matches all of `text` (UTF-8; bytes that are none count as themselves).
  bool full_match(std::string_view text) const;

  using Range = std::pair<char32_t, char32_t>;
  struct State {
    enum Kind : uint8_t { kClass, kSplit, kEmpty, kBegin, kEnd, kWord, kNotWord, kMatch } kind = kEmpty;
    std::vector<Range> ranges{};  ///< of kClass
    int next = -1, other = -1;    ///< other: of kSplit
  };

 private:
  std::vector<State> states_;
  int start_ = 0;
};

/// The code points of UTF-8 text; bytes that are not UTF-8 stand for themselves.
std::vector<char32_t> code_points(std::string_view text);
void append_utf8(std::string& out, char32_t c);

}  // namespace tenon
