#include "vision/literal.hpp"

#include <charconv>
#include <cmath>

#include "base/error.hpp"
#include "base/utf8.hpp"

namespace tenon::vision {
namespace {

constexpr int kMaxDepth = 16;
constexpr int kMaxClasses = 100'000;

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Literal whole() {
    Literal out = value(0);
    skip_space();
    if (at_ != text_.size()) wrong("the end");
    return out;
  }

 private:
  [[noreturn]] void wrong(const char* wanted) const {
    fail(Code::kInvalidArgument, "metadata is not a Python literal: at character {} of '{}' {} was expected", at_,
         text_.substr(0, 60), wanted);
  }
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r'))
      ++at_;
  }
  char peek() {
    skip_space();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(std::string_view word) {
    skip_space();
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  Literal value(int depth) {
    if (depth > kMaxDepth) wrong("less nesting");
    const char c = peek();
    if (c == '{') return dict(depth);
    if (c == '[' || c == '(') return list(depth);
    if (c == '\'' || c == '"') return string();
    Literal out;
    if (take("None")) return out;
    if (take("True")) return out.kind = Literal::Kind::kBool, out.number = 1, out;
    if (take("False")) return out.kind = Literal::Kind::kBool, out;
    return number();
  }

  Literal number() {
    Literal out;
    out.kind = Literal::Kind::kNumber;
    if (peek() == '+') ++at_;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), out.number);
    if (error != std::errc{}) wrong("a value");
    at_ = static_cast<size_t>(end - text_.data());
    return out;
  }

  /// The usual escapes; \x, \u and \U become UTF-8.
  void escape(std::string& out) {
    if (at_ >= text_.size()) wrong("a character after the backslash");
    const char c = text_[at_++];
    const int digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits == 0) {
      out += c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
      return;
    }
    uint32_t code = 0;
    const size_t stop = at_ + static_cast<size_t>(digits);
    if (stop > text_.size()) wrong("more hexadecimal digits");
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + stop, code, 16);
    if (error != std::errc{} || end != text_.data() + stop || code > 0x10ffff) wrong("a character code");
    at_ = stop;
    append_utf8(out, code);
  }

  Literal string() {
    Literal out;
    out.kind = Literal::Kind::kText;
    const char quote = text_[at_++];
    for (;;) {
      if (at_ >= text_.size()) wrong("the closing quote");
      const char c = text_[at_++];
      if (c == quote) return out;
      if (c == '\\')
        escape(out.text);
      else
        out.text += c;
    }
  }

  Literal list(int depth) {
    Literal out;
    out.kind = Literal::Kind::kList;
    const char close = text_[at_++] == '[' ? ']' : ')';
    while (peek() != close) {
      out.items.push_back(value(depth + 1));
      if (!take(",") && peek() != close) wrong("a comma or the closing bracket");
    }
    ++at_;
    return out;
  }

  Literal dict(int depth) {
    Literal out;
    out.kind = Literal::Kind::kDict;
    ++at_;
    while (peek() != '}') {
      Literal key = value(depth + 1);
      if (!take(":")) wrong("a colon");
      Literal item = value(depth + 1);
      out.entries.emplace_back(std::move(key), std::move(item));
      if (!take(",") && peek() != '}') wrong("a comma or the closing brace");
    }
    ++at_;
    return out;
  }

  std::string_view text_;
  size_t at_ = 0;
};

void set_name(std::vector<std::string>& names, double id, const Literal& value) {
  expect(std::isfinite(id) && id >= 0 && id < kMaxClasses && id == std::floor(id),
         "metadata 'names' has the class id {}, outside 0..{}", id, kMaxClasses - 1);
  const auto index = static_cast<size_t>(id);
  if (names.size() <= index) names.resize(index + 1);
  names[index] = value.kind == Literal::Kind::kText     ? value.text
                 : value.kind == Literal::Kind::kNumber ? fmt::format("{}", value.number)
                                                        : std::string();
}

}  // namespace

Literal parse_literal(std::string_view text) { return Parser(text).whole(); }

std::vector<std::string> parse_names(std::string_view text) {
  const Literal literal = parse_literal(text);
  std::vector<std::string> names;
  if (literal.kind == Literal::Kind::kList) {
    for (size_t i = 0; i < literal.items.size(); ++i) set_name(names, static_cast<double>(i), literal.items[i]);
  } else if (literal.kind == Literal::Kind::kDict) {
    for (const auto& [key, value] : literal.entries) {
      expect(key.kind == Literal::Kind::kNumber, "metadata 'names' has a key that is not a class id");
      set_name(names, key.number, value);
    }
  } else {
    fail(Code::kInvalidArgument, "metadata 'names' is neither a list nor a dict: '{}'", text.substr(0, 60));
  }
  return names;
}

}  // namespace tenon::vision
