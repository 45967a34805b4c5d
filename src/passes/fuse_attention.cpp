// Attention that exporters spell out: the rules are in fuse_attention.rules.
#include <cmath>

#include "passes/rules.hpp"

namespace tenon {
namespace {

bool bound(const Match& m, std::string_view name) { return m.values.contains(name); }

std::optional<double> number_of(const Match& m, std::string_view name) {
  const Tensor* t = m.constant(name);
  if (t == nullptr || t->size() != 1 || t->rank() > 1 || t->dtype() == DType::kString) return std::nullopt;
  return t->at(0);
}

// last_of(axis, rank): the attribute names the last axis (ONNX's default).
bool last_of(Match& m, std::span<const std::string> a) {
  const Attr* attr = m.attr(a[0]);
  const auto* axis = attr == nullptr ? nullptr : std::get_if<int64_t>(attr);
  return attr == nullptr || (axis != nullptr && (*axis == -1 || std::to_string(*axis + 1) == a[1]));
}

// scale(): what the scores are multiplied with, as $scale.
bool scale(Match& m, std::span<const std::string>) {
  double value = 1;
  if (bound(m, "s.divisor")) {
    auto d = number_of(m, "s.divisor");
    if (!d || *d == 0) return false;
    value = 1 / *d;
  } else if (bound(m, "s.factor")) {
    auto f = number_of(m, "s.factor");
    if (!f) return false;
    value = *f;
  }
  m.set("scale", value);
  return std::isfinite(value);
}

// Whether a mask broadcasts to the scores without naming one key only. `rank` of the scores: 4, or 3 for one head.
bool fits_scores(const Match& m, const Type& mask, const std::string& rank) {
  if (!mask.is_tensor() || !mask.shape || mask.rank() < 1 || mask.rank() > (rank == "4" ? 4 : 2)) return false;
  const Dim* full[] = {m.dim("T"), m.dim("S"), m.dim("H"), m.dim("B")};
  const Shape& shape = *mask.shape;
  for (size_t i = 0; i < shape.size(); ++i) {
    const Dim& d = shape[shape.size() - 1 - i];
    if (!(d == *full[i]) && (i == 0 || !(d == Dim(1)))) return false;
  }
  return true;
}

// A constant of truth values with something true in each row: no row is masked in full, where finite fillings and true
// masks differ.
bool every_row_sees(const Tensor& kept, bool inverted) {
  int64_t width = kept.dims().empty() ? 1 : kept.dims().back();
  for (int64_t row = 0; width > 0 && row < kept.size(); row += width) {
    bool sees = false;
    for (int64_t i = row; i < row + width && !sees; ++i) sees = (kept.int_at(i) != 0) != inverted;
    if (!sees) return false;
  }
  return true;
}

bool bind_kept(Match& m, const std::string& name, bool inverted, const std::string& rank) {
  auto fill = number_of(m, "m.fill");
  if (!fill || *fill > -1e4 || !fits_scores(m, m.type(name), rank)) return false;
  const Tensor* kept = m.constant(name);
  bool safe = std::isinf(*fill) || (kept != nullptr && every_row_sees(*kept, inverted));
  if (!safe || (inverted && kept == nullptr)) return false;
  if (!inverted) {
    m.bind("mask", m.value(name));
    return true;
  }
  Tensor turned = Tensor::allocate(DType::kBool, kept->dims());
  for (int64_t i = 0; i < turned.size(); ++i) turned.set_int(i, kept->int_at(i) == 0);
  m.bind("mask", m.graph.add_constant(std::move(turned)));
  return true;
}

// mask(rank): binds `mask` to what Attention takes, or to nothing.
bool mask(Match& m, std::span<const std::string> a) {
  if (bound(m, "m.bias")) {
    m.bind("mask", m.value("m.bias"));
    return m.type("mask").dtype == m.type("q").dtype && fits_scores(m, m.type("mask"), a[0]);
  }
  if (bound(m, "m.kept")) return bind_kept(m, "m.kept", false, a[0]);
  if (bound(m, "m.hidden")) return bind_kept(m, "m.hidden", true, a[0]);
  m.bind("mask", kNone);
  return true;
}

// heads(H): the symbol stands for a number, kept as $heads.
bool heads(Match& m, std::span<const std::string> a) {
  const Dim* d = m.dim(a[0]);
  if (d == nullptr || !d->is_const() || d->value() < 1) return false;
  m.set("heads", d->value());
  return true;
}

// maybe(name): an input that some of the patterns have.
bool maybe(Match& m, std::span<const std::string> a) {
  if (!bound(m, a[0])) m.bind(a[0], kNone);
  return true;
}

constexpr Guard kGuards[] = {
    {"last_of", last_of}, {"scale", scale}, {"mask", mask}, {"heads", heads}, {"maybe", maybe}};

}  // namespace

bool fuse_attention(Graph& g, PassContext& context) {
  static const RuleSet rules(rule_file("fuse_attention"), kGuards, context.ops);
  return rules.apply(g, context.ops);
}

}  // namespace tenon
