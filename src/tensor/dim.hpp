// Dim: one dimension of a shape, an integer or a symbolic expression. Expressions are kept in one canonical
// form, a linear combination of atoms (symbols, and the non-linear things: products, floor divisions, minima,
// maxima), so that equal expressions compare equal: N*2+N == 3*N. Values; cheap when they are integers.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tenon {

class Dim {
 public:
  Dim() = default;
  Dim(int64_t value) : constant_(value) {}  // NOLINT(google-explicit-constructor): a number is a dimension
  Dim(int value) : constant_(value) {}      // NOLINT(google-explicit-constructor)
  static Dim symbol(std::string name);

  /// Reads what text() prints: "3", "N", "2*N+1", "floor(H/2)", "max(A,B)".
  static Dim parse(std::string_view text);

  bool is_const() const noexcept { return terms_.empty(); }
  int64_t value() const;  ///< of a constant; an error names the expression otherwise
  std::optional<int64_t> maybe() const noexcept { return is_const() ? std::optional(constant_) : std::nullopt; }
  bool is_symbol() const noexcept;  ///< a lone symbol
  std::string text() const;

  /// Evaluates with symbols looked up by `lookup`; nothing where a symbol is unknown.
  std::optional<int64_t> evaluate(const std::function<std::optional<int64_t>(std::string_view)>& lookup) const;
  /// Replaces symbols for which `lookup` has a Dim.
  Dim substitute(const std::function<std::optional<Dim>(std::string_view)>& lookup) const;
  void collect_symbols(std::vector<std::string>& out) const;

  friend Dim operator+(const Dim& a, const Dim& b);
  friend Dim operator-(const Dim& a, const Dim& b);
  friend Dim operator*(const Dim& a, const Dim& b);
  friend bool operator==(const Dim& a, const Dim& b);

  static Dim floor_div(const Dim& a, const Dim& b);  ///< rounds towards minus infinity; b != 0
  static Dim ceil_div(const Dim& a, const Dim& b);
  static Dim min(const Dim& a, const Dim& b);
  static Dim max(const Dim& a, const Dim& b);

 private:
  struct Atom;
  struct Term {
    std::shared_ptr<const Atom> atom;
    int64_t factor;
  };
  static Dim from_atom(std::shared_ptr<const Atom> atom);
  static Dim combine(const Dim& a, const Dim& b, int64_t factor_of_b);
  static Dim function(int kind, const Dim& a, const Dim& b);
  friend class DimParser;

  int64_t constant_ = 0;
  std::vector<Term> terms_;  // sorted by the atoms' text, no zero factors
};

using Shape = std::vector<Dim>;

std::string shape_text(const Shape& shape);  ///< "[N,3,224,224]"
bool all_const(const Shape& shape) noexcept;
/// The concrete dimensions of a shape that has only constants.
std::vector<int64_t> const_dims(const Shape& shape);
Shape to_shape(const std::vector<int64_t>& dims);

}  // namespace tenon
