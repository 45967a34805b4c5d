#include <charconv>
#include <cmath>
#include <limits>
#include <map>

#include "base/checked.hpp"
#include "base/error.hpp"
#include "graph/text.hpp"

namespace tenon {
namespace {

constexpr int kMaxDepth = 100;
constexpr int64_t kMaxRandom = int64_t{1} << 26;

bool word_char(char c) {
  return c == '_' || c == '.' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// Deterministic values for `random(seed)`: a 64-bit mix (splitmix64's constants) mapped to [-1, 1).
double random_value(uint64_t seed, uint64_t i) {
  uint64_t z = seed * 0x9e3779b97f4a7c15ull + i * 0xd1b54a32d192ed03ull + 0x632be59bd9b4e019ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1p-52 - 1.0;
}

class Parser {
 public:
  Parser(std::string_view text, const std::vector<Tensor>* blobs) : text_(text), blobs_(blobs) {}

  GraphPtr whole() {
    GraphPtr g = graph(0);
    skip();
    if (at_ != text_.size()) error("text after the graph's end");
    return g;
  }

 private:
  using Scope = std::map<std::string, ValueId, std::less<>>;

  [[noreturn]] void error(const std::string& what) const {
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at_ && i < text_.size(); ++i) {
      ++column;
      if (text_[i] == '\n') {
        ++line;
        column = 1;
      }
    }
    fail(Code::kInvalidArgument, "graph text, line {}, column {}: {}", line, column, what);
  }

  void skip() {
    for (;;) {
      while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
      if (at_ < text_.size() && text_[at_] == '#') {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      } else {
        return;
      }
    }
  }
  char peek() {
    skip();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  void need(char c) {
    if (!take(c)) error(fmt::format("'{}' expected", c));
  }
  std::string_view raw_word() {
    skip();
    size_t begin = at_;
    while (at_ < text_.size() && word_char(text_[at_])) ++at_;
    return text_.substr(begin, at_ - begin);
  }
  bool take_word(std::string_view word) {
    size_t save = at_;
    if (raw_word() == word) return true;
    at_ = save;
    return false;
  }

  std::string string() {
    need('"');
    std::string out;
    for (;;) {
      if (at_ >= text_.size()) error("a string is not closed");
      char c = text_[at_++];
      if (c == '"') return out;
      if (c == '\\') {
        if (at_ >= text_.size()) error("a string is not closed");
        char e = text_[at_++];
        if (e == 'x') {
          unsigned v = 0;
          auto r = std::from_chars(text_.data() + at_, text_.data() + std::min(at_ + 2, text_.size()), v, 16);
          if (r.ec != std::errc() || r.ptr != text_.data() + at_ + 2) error("a bad \\x in a string");
          at_ += 2;
          c = static_cast<char>(v);
        } else {
          c = e == 'n' ? '\n' : e;
        }
      }
      out += c;
    }
  }

  std::string name() {
    if (take('%')) return string();
    auto w = raw_word();
    if (w.empty()) error("a name is expected");
    return std::string(w);
  }

  // --- numbers and literals ---

  bool at_number() {
    char c = peek();
    if ((c >= '0' && c <= '9') || c == '-' || c == '+') return true;
    size_t save = at_;
    auto w = raw_word();
    at_ = save;
    return w == "inf" || w == "nan";
  }

  /// Reads a number; `is_float` tells which kind its spelling is.
  double number(bool& is_float, int64_t& integer) {
    skip();
    size_t begin = at_;
    if (at_ < text_.size() && (text_[at_] == '-' || text_[at_] == '+')) ++at_;
    while (at_ < text_.size() &&
           (word_char(text_[at_]) || ((text_[at_] == '-' || text_[at_] == '+') && (text_[at_ - 1] | 32) == 'e'))) {
      ++at_;
    }
    std::string_view s = text_.substr(begin, at_ - begin);
    if (!s.empty() && s[0] == '+') s.remove_prefix(1);
    is_float = s.find_first_of(".eEnf") != std::string_view::npos;
    if (!is_float) {
      auto r = std::from_chars(s.data(), s.data() + s.size(), integer);
      if (r.ec == std::errc() && r.ptr == s.data() + s.size()) return static_cast<double>(integer);
      uint64_t u = 0;
      r = std::from_chars(s.data(), s.data() + s.size(), u);
      if (r.ec != std::errc() || r.ptr != s.data() + s.size()) error(fmt::format("'{}' is not a number", s));
      integer = static_cast<int64_t>(u);
      return static_cast<double>(u);
    }
    double v = 0;
    auto r = std::from_chars(s.data(), s.data() + s.size(), v);
    if (r.ec == std::errc::result_out_of_range) return s[0] == '-' ? -0.0 : 0.0;
    if (r.ec != std::errc() || r.ptr != s.data() + s.size()) error(fmt::format("'{}' is not a number", s));
    return v;
  }

  Shape dims() {
    need('[');
    Shape out;
    while (!take(']')) {
      if (!out.empty()) need(',');
      skip();
      size_t begin = at_;
      int depth = 0;
      while (at_ < text_.size()) {
        char c = text_[at_];
        if (c == '(') ++depth;
        if (c == ')') --depth;
        if (depth == 0 && (c == ',' || c == ']')) break;
        if (c == '\n') error("a dimension is not closed");
        ++at_;
      }
      std::string_view piece = text_.substr(begin, at_ - begin);
      while (!piece.empty() && piece.back() == ' ') piece.remove_suffix(1);
      out.push_back(Dim::parse(piece));
      if (out.size() > 4096) error("a shape has too many dimensions");
    }
    return out;
  }

  std::optional<Type> type_at(int depth) {
    size_t save = at_;
    if (depth > 8) error("types are nested too deeply");
    auto w = raw_word();
    auto container = [&](Type::Kind kind) -> std::optional<Type> {
      if (!take('(')) {
        at_ = save;
        return std::nullopt;
      }
      DType key = DType::kUndefined;
      if (kind == Type::Kind::kMap) {
        auto k = parse_dtype(raw_word());
        if (!k) error("a map's key type is expected");
        key = *k;
        need(',');
      }
      auto element = type_at(depth + 1);
      if (!element) error("a type is expected");
      need(')');
      return Type::container(kind, std::move(*element), key);
    };
    if (w == "seq") return container(Type::Kind::kSequence);
    if (w == "opt") return container(Type::Kind::kOptional);
    if (w == "map") return container(Type::Kind::kMap);
    auto dtype = w == "undefined" ? std::optional(DType::kUndefined) : parse_dtype(w);
    if (!dtype || at_ >= text_.size() || text_[at_] != '[') {
      at_ = save;
      return std::nullopt;
    }
    if (text_.substr(at_).starts_with("[...]")) {
      at_ += 5;
      return Type::tensor(*dtype);
    }
    return Type::tensor(*dtype, dims());
  }

  Tensor literal(const Type& type) {
    if (!type.is_static()) error("a constant needs a shape of numbers");
    Dims shape = const_dims(*type.shape);
    if (take('@')) {
      bool is_float;
      int64_t index = -1;
      number(is_float, index);
      if (blobs_ == nullptr || index < 0 || index >= static_cast<int64_t>(blobs_->size()))
        error("there is no such blob");
      const Tensor& blob = (*blobs_)[static_cast<size_t>(index)];
      if (blob.dtype() != type.dtype || blob.dims() != shape) error("the blob has another type or shape");
      return blob;
    }
    if (element_count(shape) > kMaxRandom) error("a constant is too large for text");
    if (take_word("zeros")) return Tensor::allocate(type.dtype, std::move(shape));
    if (take_word("random")) {
      need('(');
      bool is_float;
      int64_t seed = 0;
      number(is_float, seed);
      need(')');
      Tensor t = Tensor::allocate(type.dtype, std::move(shape));
      double scale = is_floating(t.dtype()) ? 1.0 : is_signed(t.dtype()) ? 100.0 : 0.0;
      for (int64_t i = 0; i < t.size(); ++i) {
        double r = random_value(static_cast<uint64_t>(seed), static_cast<uint64_t>(i));
        t.set(i, scale > 0 ? r * scale : (r + 1) * 100);
      }
      return t;
    }
    return elements(type.dtype, std::move(shape));
  }

  Tensor elements(DType dtype, Dims shape) {
    int64_t count = element_count(shape);
    // Each element takes at least two characters, so a huge count is refused before it is allocated.
    if (count > static_cast<int64_t>(text_.size() - at_)) error("a constant has fewer elements than its shape says");
    Tensor t = Tensor::allocate(dtype, std::move(shape));
    need('{');
    for (int64_t i = 0; i < count; ++i) {
      if (i) need(',');
      if (dtype == DType::kString) {
        t.mutable_data<std::string>()[i] = string();
        continue;
      }
      bool is_float;
      int64_t integer = 0;
      double v = number(is_float, integer);
      if (dtype == DType::kComplex64 || dtype == DType::kComplex128) {
        double imaginary = number(is_float, integer);
        if (dtype == DType::kComplex64) {
          reinterpret_cast<float*>(t.mutable_raw())[2 * i] = static_cast<float>(v);
          reinterpret_cast<float*>(t.mutable_raw())[2 * i + 1] = static_cast<float>(imaginary);
        } else {
          reinterpret_cast<double*>(t.mutable_raw())[2 * i] = v;
          reinterpret_cast<double*>(t.mutable_raw())[2 * i + 1] = imaginary;
        }
      } else if (!is_float && !is_floating(dtype)) {
        t.set_int(i, integer);
      } else {
        t.set(i, v);
      }
    }
    need('}');
    return t;
  }

  // --- attributes ---

  Attr attribute(int depth) {
    char c = peek();
    if (c == '"') return string();
    if (c == '$') {
      ++at_;
      return "$" + std::string(raw_word());
    }
    if (c == '[') return list();
    if (at_number()) {
      bool is_float;
      int64_t integer = 0;
      double v = number(is_float, integer);
      return is_float ? Attr(v) : Attr(integer);
    }
    size_t save = at_;
    if (take_word("graph")) {
      at_ = save;
      return graph(depth + 1);
    }
    auto type = type_at(0);
    if (!type) error("an attribute's value is expected");
    return literal(*type);
  }

  Attr list() {
    need('[');
    if (take(']')) return Ints{};
    if (peek() == '"') {
      Strings out;
      do out.push_back(string());
      while (take(','));
      need(']');
      return out;
    }
    Ints ints;
    Floats floats;
    bool any_float = false;
    do {
      bool is_float;
      int64_t integer = 0;
      double v = number(is_float, integer);
      any_float |= is_float;
      ints.push_back(integer);
      floats.push_back(v);
    } while (take(','));
    need(']');
    return any_float ? Attr(std::move(floats)) : Attr(std::move(ints));
  }

  Attrs attributes(int depth) {
    Attrs out;
    if (!take('<') || take('>')) return out;
    do {
      std::string key = name();
      need('=');
      if (out.has(key)) error(fmt::format("attribute '{}' is given twice", key));
      out.set(key, attribute(depth));
    } while (take(','));
    need('>');
    return out;
  }

  // --- graphs ---

  struct Declared {
    std::string name;
    Type type;
    bool absent = false;
  };

  Declared declared() {
    Declared d;
    if (auto type = type_at(0)) d.type = std::move(*type);
    if (take('?')) error("a value of unknown type is written without a type");
    d.name = name();
    d.absent = d.name == "_";
    return d;
  }

  ValueId use(Graph& g, Scope& scope) {
    if (at_number()) {
      bool is_float;
      int64_t integer = 0;
      double v = number(is_float, integer);
      return is_float ? g.add_constant(Tensor::scalar(static_cast<float>(v))) : g.add_constant(Tensor::scalar(integer));
    }
    bool quoted = peek() == '%';
    std::string n = name();
    if (n == "_" && !quoted) return kNone;
    auto found = scope.find(n);
    if (found == scope.end()) error(fmt::format("value '{}' is not defined before its use", n));
    return found->second;
  }

  void define(Scope& scope, const std::string& n, ValueId v) {
    if (!scope.emplace(n, v).second) error(fmt::format("value '{}' is defined twice", n));
  }

  void statement(Graph& g, Scope& scope, int depth) {
    std::vector<Declared> outs;
    do outs.push_back(declared());
    while (take(','));
    need('=');
    if (outs.size() == 1) {
      if (auto type = type_at(0)) {
        define(scope, outs[0].name, g.add_constant(literal(*type), outs[0].name));
        return;
      }
    }
    std::string op = name();
    Attrs attrs = attributes(depth);
    need('(');
    std::vector<ValueId> ins;
    if (!take(')')) {
      do ins.push_back(use(g, scope));
      while (take(','));
      need(')');
    }
    std::string node_name;
    if (take('@')) node_name = string();
    std::vector<std::string> names;
    for (const Declared& d : outs) names.push_back(d.absent ? "" : d.name);
    NodeId id = g.add_node(std::move(op), std::move(ins), std::move(names), std::move(attrs), std::move(node_name));
    for (size_t i = 0; i < outs.size(); ++i) {
      ValueId v = g.node(id).outputs[i];
      g.value(v).type = outs[i].type;
      if (!outs[i].absent) define(scope, outs[i].name, v);
    }
  }

  GraphPtr graph(int depth) {
    if (depth > kMaxDepth) error("graphs are nested too deeply");
    auto g = std::make_shared<Graph>();
    Scope scope;
    if (take_word("graph") && peek() != '(') g->name = name();
    need('(');
    if (!take(')')) {
      do {
        Declared d = declared();
        ValueId v = take('=') ? g->add_constant(literal(d.type), d.name) : g->add_input(d.name, d.type);
        define(scope, d.name, v);
      } while (take(','));
      need(')');
    }
    need('=');
    need('>');
    need('(');
    std::vector<Declared> results;
    if (!take(')')) {
      do results.push_back(declared());
      while (take(','));
      need(')');
    }
    need('{');
    while (!take('}')) {
      if (at_ >= text_.size()) error("'}' expected");
      statement(*g, scope, depth);
    }
    for (const Declared& d : results) {
      auto found = scope.find(d.name);
      if (found == scope.end()) error(fmt::format("output '{}' is not defined", d.name));
      g->outputs.push_back(found->second);
    }
    return g;
  }

  std::string_view text_;
  const std::vector<Tensor>* blobs_;
  size_t at_ = 0;
};

}  // namespace

GraphPtr parse_graph(std::string_view text, const std::vector<Tensor>* blobs) { return Parser(text, blobs).whole(); }

}  // namespace tenon
