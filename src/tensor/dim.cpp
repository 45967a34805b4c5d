#include "tensor/dim.hpp"

#include <algorithm>

#include "base/checked.hpp"

namespace tenon {
namespace {

enum Kind { kSymbol, kProduct, kFloorDiv, kMin, kMax };

int64_t floor_div_int(int64_t a, int64_t b) {
  expect(b != 0, "a dimension is divided by zero");
  if (b == -1) return checked_mul<int64_t>(a, -1);
  int64_t q = a / b;
  return (a % b != 0 && ((a < 0) != (b < 0))) ? q - 1 : q;
}

// Expressions deeper than this come only from hostile graphs; they get a fresh name instead of a formula.
constexpr size_t kMaxText = 400;

}  // namespace

struct Dim::Atom {
  int kind;
  std::string text;
  Dim a, b;
};

Dim Dim::from_atom(std::shared_ptr<const Atom> atom) {
  Dim d;
  d.terms_.push_back({std::move(atom), 1});
  return d;
}

namespace {

// What a symbol's name is made of in text.
bool is_word(char c) {
  return c == '_' || c == '.' || c == '?' || c == ':' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
         (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 128;
}

}  // namespace

Dim Dim::symbol(std::string name) {
  // Names of values become symbols ("?/model.0/conv.0"); text() must give what parse() takes, so other characters are
  // spelt out, differently for different names.
  std::string word;
  for (char c : name) word += is_word(c) ? std::string(1, c) : fmt::format(":{:02x}", static_cast<unsigned char>(c));
  if (word.empty() || (word[0] >= '0' && word[0] <= '9')) word = "_" + word;
  name = std::move(word);
  return from_atom(std::make_shared<Atom>(Atom{kSymbol, std::move(name), {}, {}}));
}

int64_t Dim::value() const {
  if (!is_const()) fail(Code::kInternal, "dimension {} is symbolic where a number is needed", text());
  return constant_;
}

bool Dim::is_symbol() const noexcept {
  return constant_ == 0 && terms_.size() == 1 && terms_[0].factor == 1 && terms_[0].atom->kind == kSymbol;
}

std::string Dim::text() const {
  if (terms_.empty()) return std::to_string(constant_);
  std::string out;
  for (const Term& t : terms_) {
    if (!out.empty() && t.factor > 0) out += '+';
    if (t.factor == -1) {
      out += '-';
    } else if (t.factor != 1) {
      out += std::to_string(t.factor) + "*";
    }
    out += t.atom->text;
  }
  if (constant_ > 0) out += '+';
  if (constant_ != 0) out += std::to_string(constant_);
  return out;
}

Dim Dim::combine(const Dim& a, const Dim& b, int64_t factor) {
  Dim out;
  out.constant_ = checked_add(a.constant_, checked_mul(b.constant_, factor));
  if (a.terms_.empty() && b.terms_.empty()) return out;
  size_t i = 0, j = 0;
  while (i < a.terms_.size() || j < b.terms_.size()) {
    int order = i == a.terms_.size()   ? 1
                : j == b.terms_.size() ? -1
                                       : a.terms_[i].atom->text.compare(b.terms_[j].atom->text);
    Term term = order <= 0 ? a.terms_[i] : Term{b.terms_[j].atom, checked_mul(b.terms_[j].factor, factor)};
    if (order == 0) term.factor = checked_add(term.factor, checked_mul(b.terms_[j].factor, factor));
    if (order <= 0) ++i;
    if (order >= 0) ++j;
    if (term.factor != 0) out.terms_.push_back(std::move(term));
  }
  return out;
}

Dim operator+(const Dim& a, const Dim& b) { return Dim::combine(a, b, 1); }
Dim operator-(const Dim& a, const Dim& b) { return Dim::combine(a, b, -1); }

Dim operator*(const Dim& a, const Dim& b) {
  if (a.is_const()) return Dim::combine(Dim(), b, a.constant_);
  if (b.is_const()) return Dim::combine(Dim(), a, b.constant_);
  return Dim::function(kProduct, a, b);
}

bool operator==(const Dim& a, const Dim& b) {
  if (a.constant_ != b.constant_ || a.terms_.size() != b.terms_.size()) return false;
  for (size_t i = 0; i < a.terms_.size(); ++i) {
    if (a.terms_[i].factor != b.terms_[i].factor) return false;
    if (a.terms_[i].atom != b.terms_[i].atom && a.terms_[i].atom->text != b.terms_[i].atom->text) return false;
  }
  return true;
}

// A minimum or maximum is kept on one level, without repeats and without what a difference decides: max(max(A,B),A) is
// max(A,B), so that broadcasting does not make expressions grow.
Dim Dim::function(int kind, const Dim& a, const Dim& b) {
  auto atom = [kind](const Dim& x, const Dim& y) {
    std::string p = x.text(), q = y.text();
    std::string text = kind == kProduct    ? "mul(" + p + "," + q + ")"
                       : kind == kFloorDiv ? "floor(" + p + "/" + q + ")"
                       : kind == kMin      ? "min(" + p + "," + q + ")"
                                           : "max(" + p + "," + q + ")";
    if (text.size() > kMaxText) return symbol("_e" + std::to_string(std::hash<std::string>()(text) & 0xffffffffu));
    return from_atom(std::make_shared<Atom>(Atom{kind, std::move(text), x, y}));
  };
  bool in_order = a.text() <= b.text();  // commutative: one order
  if (kind == kFloorDiv || (kind == kProduct && in_order)) return atom(a, b);
  if (kind == kProduct) return atom(b, a);
  std::vector<Dim> parts;
  std::vector<const Dim*> open{&b, &a};
  while (!open.empty()) {
    const Dim* d = open.back();
    open.pop_back();
    bool lone = d->constant_ == 0 && d->terms_.size() == 1 && d->terms_[0].factor == 1;
    if (lone && d->terms_[0].atom->kind == kind) {
      open.push_back(&d->terms_[0].atom->b);
      open.push_back(&d->terms_[0].atom->a);
      continue;
    }
    bool absorbed = false;
    for (Dim& known : parts) {
      Dim difference = known - *d;
      if (!difference.is_const()) continue;
      if (kind == kMax ? difference.constant_ < 0 : difference.constant_ > 0) known = *d;
      absorbed = true;
      break;
    }
    if (!absorbed) parts.push_back(*d);
  }
  std::sort(parts.begin(), parts.end(), [](const Dim& x, const Dim& y) { return x.text() < y.text(); });
  Dim out = parts.back();
  for (size_t i = parts.size() - 1; i-- > 0;) out = atom(parts[i], out);
  return out;
}

Dim Dim::floor_div(const Dim& a, const Dim& b) {
  if (a.is_const() && b.is_const()) return floor_div_int(a.constant_, b.constant_);
  if (a == b) return 1;
  if (b.is_const()) {
    int64_t d = b.constant_;
    expect(d != 0, "dimension {} is divided by zero", a.text());
    if (d == 1) return a;
    if (d > 1) {
      // Multiples of the divisor leave the floor: floor((4*N+3)/2) = 2*N + floor(3/2).
      Dim outside, inside;
      for (const Term& t : a.terms_) {
        Dim whole = from_atom(t.atom);
        if (t.factor % d == 0) {
          outside = combine(outside, whole, t.factor / d);
        } else {
          inside = combine(inside, whole, t.factor);
        }
      }
      int64_t shift = floor_div_int(a.constant_, d);
      inside.constant_ = a.constant_ - shift * d;
      outside.constant_ = shift;
      return inside.terms_.empty() ? outside : outside + function(kFloorDiv, inside, b);
    }
  }
  // (N*k)/N and mul(A,B)/A come from reshapes.
  if (a.terms_.size() == 1 && a.constant_ == 0) {
    const Term& t = a.terms_[0];
    if (b.terms_.size() == 1 && b.constant_ == 0 && b.terms_[0].atom->text == t.atom->text &&
        t.factor % b.terms_[0].factor == 0) {
      return t.factor / b.terms_[0].factor;
    }
    if (t.atom->kind == kProduct) {
      if (t.atom->a == b) return Dim(t.factor) * t.atom->b;
      if (t.atom->b == b) return Dim(t.factor) * t.atom->a;
    }
  }
  return function(kFloorDiv, a, b);
}

Dim Dim::ceil_div(const Dim& a, const Dim& b) { return Dim(0) - floor_div(Dim(0) - a, b); }

Dim Dim::min(const Dim& a, const Dim& b) {
  Dim difference = a - b;
  if (difference.is_const()) return difference.constant_ <= 0 ? a : b;
  return function(kMin, a, b);
}

Dim Dim::max(const Dim& a, const Dim& b) {
  Dim difference = a - b;
  if (difference.is_const()) return difference.constant_ >= 0 ? a : b;
  return function(kMax, a, b);
}

Dim Dim::substitute(const std::function<std::optional<Dim>(std::string_view)>& lookup) const {
  Dim out(constant_);
  for (const Term& t : terms_) {
    Dim value;
    if (t.atom->kind == kSymbol) {
      auto found = lookup(t.atom->text);
      value = found ? *found : from_atom(t.atom);
    } else {
      Dim a = t.atom->a.substitute(lookup), b = t.atom->b.substitute(lookup);
      value = t.atom->kind == kProduct    ? a * b
              : t.atom->kind == kFloorDiv ? floor_div(a, b)
              : t.atom->kind == kMin      ? min(a, b)
                                          : max(a, b);
    }
    out = combine(out, value, t.factor);
  }
  return out;
}

std::optional<int64_t> Dim::evaluate(const std::function<std::optional<int64_t>(std::string_view)>& lookup) const {
  Dim out = substitute([&](std::string_view name) -> std::optional<Dim> {
    auto value = lookup(name);
    return value ? std::optional<Dim>(*value) : std::nullopt;
  });
  return out.maybe();
}

void Dim::collect_symbols(std::vector<std::string>& out) const {
  for (const Term& t : terms_) {
    if (t.atom->kind == kSymbol) {
      if (std::find(out.begin(), out.end(), t.atom->text) == out.end()) out.push_back(t.atom->text);
    } else {
      t.atom->a.collect_symbols(out);
      t.atom->b.collect_symbols(out);
    }
  }
}

// Recursive descent over: sum := term (('+'|'-') term)*; term := [int '*'] factor; factor := int | name | f
// '(' ... ')'.
class DimParser {
 public:
  explicit DimParser(std::string_view text) : text_(text) {}

  Dim parse() {
    Dim out = sum(0);
    expect(at_ == text_.size(), "dimension '{}' is not understood at character {}", text_, at_);
    return out;
  }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  void need(char c) { expect(take(c), "dimension '{}': '{}' expected at character {}", text_, c, at_); }

  Dim sum(int depth) {
    expect(depth < 32, "dimension '{}' is nested too deeply", text_);
    Dim out;
    bool minus = take('-');
    for (;;) {
      Dim t = term(depth);
      out = minus ? out - t : out + t;
      if (take('+')) {
        minus = false;
      } else if (take('-')) {
        minus = true;
      } else {
        return out;
      }
    }
  }

  Dim term(int depth) {
    Dim out = factor(depth);
    while (take('*')) out = out * factor(depth);
    return out;
  }

  Dim factor(int depth) {
    if (peek() >= '0' && peek() <= '9') {
      int64_t n = 0;
      while (peek() >= '0' && peek() <= '9') n = checked_add<int64_t>(checked_mul<int64_t>(n, 10), text_[at_++] - '0');
      return n;
    }
    size_t begin = at_;
    while (is_word(peek())) ++at_;
    std::string name(text_.substr(begin, at_ - begin));
    expect(!name.empty(), "dimension '{}' is not understood at character {}", text_, at_);
    if (!take('(')) return Dim::symbol(std::move(name));
    Dim a = sum(depth + 1);
    need(name == "floor" ? '/' : ',');
    Dim b = sum(depth + 1);
    need(')');
    if (name == "floor") return Dim::floor_div(a, b);
    if (name == "mul") return a * b;
    if (name == "min") return Dim::min(a, b);
    expect(name == "max", "dimension '{}': function {} is not known (floor, mul, min, max are)", text_, name);
    return Dim::max(a, b);
  }

  std::string_view text_;
  size_t at_ = 0;
};

Dim Dim::parse(std::string_view text) { return DimParser(text).parse(); }

std::string shape_text(const Shape& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i) out += ',';
    out += shape[i].text();
  }
  return out + "]";
}

bool all_const(const Shape& shape) noexcept {
  return std::all_of(shape.begin(), shape.end(), [](const Dim& d) { return d.is_const(); });
}

std::vector<int64_t> const_dims(const Shape& shape) {
  std::vector<int64_t> out;
  out.reserve(shape.size());
  for (const Dim& d : shape) out.push_back(d.value());
  return out;
}

Shape to_shape(const std::vector<int64_t>& dims) { return {dims.begin(), dims.end()}; }

}  // namespace tenon
