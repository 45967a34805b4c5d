#include "ops/regex.hpp"

#include <algorithm>
#include <optional>

#include "base/error.hpp"

namespace tenon {
namespace {

using State = Regex::State;
using Range = Regex::Range;
using Ranges = std::vector<Range>;
constexpr char32_t kLast = 0x10FFFF;
constexpr size_t kMaxStates = 20000;
constexpr int kMaxDepth = 200, kMaxRepeat = 1000;

void complement(Ranges& r) {
  std::sort(r.begin(), r.end());
  Ranges out;
  char32_t from = 0;
  for (auto [a, b] : r) {
    if (a > from) out.emplace_back(from, a - 1);
    from = std::max<char32_t>(from, b + 1);
  }
  if (from <= kLast) out.emplace_back(from, kLast);
  r = std::move(out);
}

void fold_case(Ranges& r) {
  Ranges more;
  // Letters of ASCII differ by one bit.
  auto other_case = [&](Range range, char32_t low, char32_t high) {
    char32_t from = std::max(range.first, low), to = std::min(range.second, high);
    if (from <= to) more.emplace_back(from ^ 32, to ^ 32);
  };
  for (Range range : r) {
    other_case(range, 'a', 'z');
    other_case(range, 'A', 'Z');
  }
  r.insert(r.end(), more.begin(), more.end());
}

// \d \s \w and their opposites, and [:name:] classes.
std::optional<Ranges> named(char32_t letter) {
  Ranges out;
  switch (letter) {
    case 'd':
    case 'D': out = {{'0', '9'}}; break;
    case 's':
    case 'S': out = {{'\t', '\n'}, {'\f', '\r'}, {' ', ' '}}; break;
    case 'w':
    case 'W': out = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}; break;
    default: return std::nullopt;
  }
  if (letter < 'a') complement(out);
  return out;
}

std::optional<Ranges> posix(const std::string& name) {
  if (name == "alpha") return Ranges{{'A', 'Z'}, {'a', 'z'}};
  if (name == "digit") return Ranges{{'0', '9'}};
  if (name == "alnum") return Ranges{{'0', '9'}, {'A', 'Z'}, {'a', 'z'}};
  if (name == "upper") return Ranges{{'A', 'Z'}};
  if (name == "lower") return Ranges{{'a', 'z'}};
  if (name == "space") return Ranges{{'\t', '\r'}, {' ', ' '}};
  if (name == "blank") return Ranges{{'\t', '\t'}, {' ', ' '}};
  if (name == "word") return named('w');
  if (name == "punct") return Ranges{{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}};
  if (name == "xdigit") return Ranges{{'0', '9'}, {'A', 'F'}, {'a', 'f'}};
  if (name == "cntrl") return Ranges{{0, 31}, {127, 127}};
  if (name == "print") return Ranges{{' ', '~'}};
  if (name == "graph") return Ranges{{'!', '~'}};
  if (name == "ascii") return Ranges{{0, 127}};
  return std::nullopt;
}

// Part of an automaton: entered at `first`, left from `last`, whose next is open.
struct Piece {
  int first, last;
};

class Compiler {
 public:
  Compiler(std::string_view pattern, std::vector<State>& states) : text_(code_points(pattern)), states_(states) {}

  int compile() {
    Piece all = alternatives(0);
    if (at_ < text_.size()) reject("')' closes nothing");
    states_[idx(all.last)].next = add({State::kMatch});
    return all.first;
  }

 private:
  struct Flags {
    bool fold = false, dot_all = false, lines = false, swapped = false;
  };
  static size_t idx(int i) { return static_cast<size_t>(i); }
  [[noreturn]] void reject(std::string_view why) const {
    fail(Code::kInvalidArgument, "the regular expression is not valid at character {}: {}", at_ + 1, why);
  }
  bool more() const { return at_ < text_.size(); }
  bool eat(char32_t c) {
    if (!more() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  char32_t take() {
    if (!more()) reject("it ends too early");
    return text_[at_++];
  }
  int add(State s) {
    if (states_.size() >= kMaxStates) reject("it needs too many states");
    states_.push_back(std::move(s));
    return static_cast<int>(states_.size()) - 1;
  }
  Piece single(State s) {
    int i = add(std::move(s));
    return {i, i};
  }
  Piece one_of(Ranges r) {
    if (flags_.fold) fold_case(r);
    return single({State::kClass, std::move(r)});
  }
  Piece then(Piece a, Piece b) {
    states_[idx(a.last)].next = b.first;
    return {a.first, b.last};
  }

  Piece alternatives(int depth) {
    if (depth > kMaxDepth) reject("groups are nested too deeply");
    Flags outer = flags_;
    Piece out = sequence(depth);
    while (eat('|')) {
      Piece other = sequence(depth);
      int fork = add({State::kSplit, {}, out.first, other.first}), join = add({State::kEmpty});
      states_[idx(out.last)].next = join;
      states_[idx(other.last)].next = join;
      out = {fork, join};
    }
    flags_ = outer;
    return out;
  }

  Piece sequence(int depth) {
    Piece out = single({State::kEmpty});
    while (more() && text_[at_] != '|' && text_[at_] != ')') out = then(out, repeated(depth));
    return out;
  }

  Piece repeated(int depth) {
    size_t begin = at_;
    Flags flags = flags_;
    Piece out = atom(depth);
    for (int times = 0;; ++times) {
      int least = 0, most = -1;
      if (eat('*')) {
      } else if (eat('+')) {
        least = 1;
      } else if (eat('?')) {
        most = 1;
      } else if (!counts(least, most)) {
        return out;
      }
      if (times > 0) reject("a repetition cannot be repeated");
      eat('?');  // lazy or greedy makes no difference to whether the whole matches
      out = repeat(begin, flags, depth, out, least, most);
    }
  }

  // {n}, {n,} or {n,m}; anything else in braces is text.
  bool counts(int& least, int& most) {
    size_t back = at_;
    auto number = [&]() -> std::optional<int> {
      int n = 0;
      size_t from = at_;
      while (more() && text_[at_] >= '0' && text_[at_] <= '9' && n <= kMaxRepeat)
        n = n * 10 + static_cast<int>(text_[at_++] - '0');
      return at_ > from ? std::optional(n) : std::nullopt;
    };
    if (eat('{')) {
      auto low = number();
      bool comma = low && eat(',');
      auto high = comma ? number() : low;
      if (low && eat('}')) {
        least = *low;
        most = high ? *high : -1;
        if (least > kMaxRepeat || most > kMaxRepeat) reject("a count is larger than 1000");
        if (most >= 0 && most < least) reject("the counts are the wrong way around");
        return true;
      }
    }
    at_ = back;
    return false;
  }

  // Copies are made by reading the atom's text again.
  Piece repeat(size_t begin, Flags flags, int depth, Piece first, int least, int most) {
    size_t end = at_;
    bool used = false;
    auto copy = [&] {
      if (!used) {
        used = true;
        return first;
      }
      std::swap(at_, begin);
      std::swap(flags_, flags);
      size_t from = at_;
      Piece p = atom(depth);
      at_ = from;
      std::swap(at_, begin);
      std::swap(flags_, flags);
      return p;
    };
    Piece out = single({State::kEmpty});
    for (int i = 0; i < least; ++i) out = then(out, copy());
    if (most < 0) {
      Piece body = copy();
      int leave = add({State::kEmpty}), fork = add({State::kSplit, {}, body.first, leave});
      states_[idx(body.last)].next = fork;
      out = then(out, {fork, leave});
    }
    for (int i = least; i < most; ++i) {
      Piece body = copy();
      int leave = add({State::kEmpty}), fork = add({State::kSplit, {}, body.first, leave});
      states_[idx(body.last)].next = leave;
      out = then(out, {fork, leave});
    }
    at_ = end;
    return out;
  }

  Piece atom(int depth) {
    char32_t c = take();
    switch (c) {
      case '.': {
        Ranges r{{'\n', '\n'}};
        complement(r);
        return flags_.dot_all ? single({State::kClass, {{0, kLast}}}) : single({State::kClass, r});
      }
      case '^': return single({State::kBegin});
      case '$': return single({State::kEnd});
      case '(': return group(depth);
      case '[': return one_of(bracket());
      case '\\': return escaped();
      case '*':
      case '+':
      case '?': reject("there is nothing to repeat");
      default: return one_of({{c, c}});
    }
  }

  Piece group(int depth) {
    Flags outer = flags_;
    if (eat('?')) {
      if (eat('P') || (more() && text_[at_] == '<')) {
        if (!eat('<')) reject("a group's name is written (?P<name>...)");
        while (take() != '>') {
        }
      } else if (!options()) {
        return single({State::kEmpty});  // (?i): for the rest of the enclosing group
      }
    }
    Piece out = alternatives(depth + 1);
    if (!eat(')')) reject("a group is not closed");
    flags_ = outer;
    return out;
  }

  // The letters of (?i) or (?i:; true when a group follows.
  bool options() {
    bool on = true;
    for (;;) {
      char32_t c = take();
      if (c == ':') return true;
      if (c == ')') return false;
      if (c == '-')
        on = false;
      else if (c == 'i')
        flags_.fold = on;
      else if (c == 's')
        flags_.dot_all = on;
      else if (c != 'U' && c != 'm')
        reject("this kind of group is not known");
      else if (c == 'm')
        reject("(?m) is not supported: the whole text is matched");
    }
  }

  char32_t hex() {
    char32_t out = 0;
    bool braces = eat('{');
    int digits = 0;
    for (; digits < (braces ? 8 : 2) && more() && text_[at_] != '}'; ++digits) {
      char32_t c = take(), lower = c | 32;
      if (c >= '0' && c <= '9')
        out = out * 16 + (c - '0');
      else if (lower >= 'a' && lower <= 'f')
        out = out * 16 + (lower - 'a' + 10);
      else
        reject("a hexadecimal digit is wanted");
    }
    if (digits == 0 || (braces && !eat('}')) || out > kLast) reject("this is no code point");
    return out;
  }

  // The one character that an escape stands for.
  char32_t escape_char(char32_t c) {
    switch (c) {
      case 'n': return '\n';
      case 't': return '\t';
      case 'r': return '\r';
      case 'f': return '\f';
      case 'v': return '\v';
      case 'a': return '\a';
      case 'x': return hex();
      default: break;
    }
    bool letter = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (letter) reject("this escape is not known");
    return c;
  }

  Piece escaped() {
    char32_t c = take();
    if (auto r = named(c)) return single({State::kClass, *r});
    if (c == 'A') return single({State::kBegin});
    if (c == 'z') return single({State::kEnd});
    if (c == 'b') return single({State::kWord});
    if (c == 'B') return single({State::kNotWord});
    char32_t one = escape_char(c);
    return one_of({{one, one}});
  }

  Ranges bracket() {
    bool negated = eat('^');
    Ranges out;
    for (bool first = true; first || !more() || text_[at_] != ']'; first = false) {
      char32_t c = take();
      if (c == '[' && eat(':')) {
        std::string name;
        bool opposite = eat('^');
        for (char32_t n; (n = take()) != ':';) name += static_cast<char>(n);
        auto r = posix(name);
        if (!eat(']') || !r) reject("this class is not known");
        if (opposite) complement(*r);
        out.insert(out.end(), r->begin(), r->end());
        continue;
      }
      if (c == '\\') {
        char32_t e = take();
        if (auto r = named(e)) {
          out.insert(out.end(), r->begin(), r->end());
          continue;
        }
        c = escape_char(e);
      }
      char32_t to = c;
      bool range = at_ + 1 < text_.size() && text_[at_] == '-' && text_[at_ + 1] != ']';
      if (range) {
        ++at_;
        to = take();
        if (to == '\\') to = escape_char(take());
        if (to < c) reject("a range runs backwards");
      }
      out.emplace_back(c, to);
    }
    ++at_;
    if (flags_.fold) fold_case(out);
    if (negated) complement(out);
    return out;
  }

  std::vector<char32_t> text_;
  std::vector<State>& states_;
  size_t at_ = 0;
  Flags flags_;
};

bool is_word(char32_t c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || c == '_' || (c >= 'a' && c <= 'z');
}

}  // namespace

Regex::Regex(std::string_view pattern) { start_ = Compiler(pattern, states_).compile(); }

bool Regex::full_match(std::string_view bytes) const {
  std::vector<char32_t> text = code_points(bytes);
  std::vector<int> now, next, stack;
  std::vector<size_t> seen(states_.size(), SIZE_MAX);
  // Everything that is reached from `from` at `at` without reading a character.
  auto follow = [&](int from, size_t at, std::vector<int>& into) {
    stack.push_back(from);
    while (!stack.empty()) {
      int i = stack.back();
      stack.pop_back();
      if (i < 0 || seen[static_cast<size_t>(i)] == at) continue;
      seen[static_cast<size_t>(i)] = at;
      const State& s = states_[static_cast<size_t>(i)];
      bool before = at > 0 && is_word(text[at - 1]), after = at < text.size() && is_word(text[at]);
      switch (s.kind) {
        case State::kClass:
        case State::kMatch: into.push_back(i); break;
        case State::kSplit: stack.push_back(s.other); [[fallthrough]];
        case State::kEmpty: stack.push_back(s.next); break;
        case State::kBegin:
          if (at == 0) stack.push_back(s.next);
          break;
        case State::kEnd:
          if (at == text.size()) stack.push_back(s.next);
          break;
        case State::kWord:
          if (before != after) stack.push_back(s.next);
          break;
        case State::kNotWord:
          if (before == after) stack.push_back(s.next);
          break;
      }
    }
  };
  follow(start_, 0, now);
  for (size_t at = 0; at < text.size() && !now.empty(); ++at) {
    next.clear();
    for (int i : now) {
      const State& s = states_[static_cast<size_t>(i)];
      bool in = s.kind == State::kClass && std::any_of(s.ranges.begin(), s.ranges.end(), [&](const Range& r) {
                  return text[at] >= r.first && text[at] <= r.second;
                });
      if (in) follow(s.next, at + 1, next);
    }
    now.swap(next);
  }
  return std::any_of(now.begin(), now.end(),
                     [&](int i) { return states_[static_cast<size_t>(i)].kind == State::kMatch; });
}

std::vector<char32_t> code_points(std::string_view text) {
  std::vector<char32_t> out;
  for (size_t i = 0; i < text.size();) {
    auto byte = [&](size_t k) { return static_cast<unsigned char>(text[k]); };
    unsigned char lead = byte(i);
    size_t length = lead < 0x80                   ? 1
                    : lead >= 0xF0 && lead < 0xF5 ? 4
                    : lead >= 0xE0 && lead < 0xF0 ? 3
                    : lead >= 0xC2 && lead < 0xE0 ? 2
                                                  : 0;
    char32_t c = length <= 1 ? lead : lead & (0xFFu >> (length + 1));
    bool whole = length > 0 && i + length <= text.size();
    for (size_t k = 1; whole && k < length; ++k) {
      whole = (byte(i + k) & 0xC0) == 0x80;
      c = c << 6 | (byte(i + k) & 0x3Fu);
    }
    out.push_back(whole ? c : lead);
    i += whole ? length : 1;
  }
  return out;
}

void append_utf8(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
    return;
  }
  int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  constexpr unsigned kLead[] = {0, 0xC0, 0xE0, 0xF0};
  out += static_cast<char>(kLead[more] | (c >> (6 * more)));
  for (int i = more - 1; i >= 0; --i) out += static_cast<char>(0x80 | ((c >> (6 * i)) & 0x3F));
}

}  // namespace tenon
