// Normalisations that exporters spell out: the rules are in fuse_normalization.rules.
#include <algorithm>

#include "passes/rules.hpp"

namespace tenon {
namespace {

// The dims from $axis on, when they are numbers.
std::optional<Dims> row_of(const Match& m, const std::string& x) {
  const Attr* attr = m.attr("axis");
  const Type& t = m.type(x);
  int64_t axis = attr == nullptr ? -1 : std::get<int64_t>(*attr), rank = t.rank();
  if (axis < 0) axis += rank;
  if (!t.is_tensor() || !t.shape || axis < 0 || axis >= rank) return std::nullopt;
  Shape row(t.shape->begin() + axis, t.shape->end());
  if (!all_const(row)) return std::nullopt;
  return const_dims(row);
}

bool all_are(const Match& m, const std::string& name, double want) {
  const Tensor* t = m.constant(name);
  if (t == nullptr) return false;
  for (int64_t i = 0; i < t->size(); ++i) {
    if (t->at(i) != want) return false;
  }
  return true;
}

ValueId filled(Graph& g, DType type, Dims dims, double value) {
  Tensor t = Tensor::allocate(type, std::move(dims));
  for (int64_t i = 0; i < t.size(); ++i) t.set(i, value);
  return g.add_constant(std::move(t));
}

// trailing(x, axes): the axes are the last ones of x; sets $axis to the first of them, counted from the end.
bool trailing(Match& m, std::span<const std::string> a) {
  const Tensor* axes = m.constant(a[1]);
  int64_t rank = m.type(a[0]).rank();
  if (axes == nullptr || rank < 1 || axes->size() < 1 || axes->size() > rank) return false;
  Ints list = axes->to_ints();
  for (int64_t& k : list) k = k < 0 ? k : k - rank;
  std::sort(list.begin(), list.end());
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i] != static_cast<int64_t>(i) - static_cast<int64_t>(list.size())) return false;
  }
  const Attr* known = m.attr("axis");
  if (known != nullptr) return std::get<int64_t>(*known) == list[0];
  m.set("axis", list[0]);
  return true;
}

// ones(name, x): a constant of ones for the axes of x from $axis on.
bool ones(Match& m, std::span<const std::string> a) {
  auto row = row_of(m, a[1]);
  if (!row) return false;
  m.bind(a[0], filled(m.graph, m.type(a[1]).dtype, *row, 1));
  return true;
}

bool all_ones(Match& m, std::span<const std::string> a) { return all_are(m, a[0], 1); }
bool all_zeros(Match& m, std::span<const std::string> a) { return all_are(m, a[0], 0); }

// parameter(s, x): one value for each element of a row of x.
bool parameter(Match& m, std::span<const std::string> a) {
  const Type &s = m.type(a[0]), &x = m.type(a[1]);
  auto row = row_of(m, a[1]);
  if (!row || !s.is_tensor() || !s.is_static() || s.dtype != x.dtype || s.rank() > x.rank()) return false;
  Dims dims = const_dims(*s.shape);
  while (dims.size() > row->size() && dims.front() == 1) dims.erase(dims.begin());
  return dims == *row;
}

bool half(Match& m, std::span<const std::string> a) {
  return m.type(a[0]).dtype == DType::kFloat16 || m.type(a[0]).dtype == DType::kBFloat16;
}

// by_channel(x, one, zero): constants of ones and zeros, one element for each channel of x.
bool by_channel(Match& m, std::span<const std::string> a) {
  const Dim channels = (*m.type(a[0]).shape)[1];
  // One channel alone is what LayerNorm says as well, and that takes a scale by element.
  if (!channels.is_const() || channels.value() < 2) return false;
  DType type = m.type(a[0]).dtype;
  m.bind(a[1], filled(m.graph, type, {channels.value()}, 1));
  m.bind(a[2], filled(m.graph, type, {channels.value()}, 0));
  return true;
}

// groups(G): the symbol stands for a number, kept as $groups.
bool groups(Match& m, std::span<const std::string> a) {
  const Dim* d = m.dim(a[0]);
  if (d == nullptr || !d->is_const()) return false;
  m.set("groups", d->value());
  return true;
}

// flat_channels(flat, k, x): k is a constant by channel of x ([C,1,1], [1,C,1,1]); flat is the same as [C].
bool flat_channels(Match& m, std::span<const std::string> a) {
  const Tensor* k = m.constant(a[1]);
  const Type& x = m.type(a[2]);
  if (k == nullptr || !x.shape || x.rank() < 3 || k->dtype() != x.dtype) return false;
  const Dim& channels = (*x.shape)[1];
  int64_t axis = k->rank() - (x.rank() - 1);
  bool fits = channels.is_const() && axis >= 0 && axis <= 1 && k->size() == channels.value() &&
              k->dims()[static_cast<size_t>(axis)] == channels.value();
  if (!fits) return false;
  Tensor flat = Tensor::allocate(k->dtype(), {k->size()});
  for (int64_t i = 0; i < k->size(); ++i) flat.set(i, k->at(i));
  m.bind(a[0], m.graph.add_constant(std::move(flat)));
  return true;
}

constexpr Guard kGuards[] = {
    {"trailing", trailing},     {"ones", ones},           {"all_ones", all_ones},
    {"all_zeros", all_zeros},   {"parameter", parameter}, {"half", half},
    {"by_channel", by_channel}, {"groups", groups},       {"flat_channels", flat_channels},
};

}  // namespace

bool fuse_normalization(Graph& g, PassContext& context) {
  static const RuleSet rules(rule_file("fuse_normalization"), kGuards, context.ops);
  return rules.apply(g, context.ops);
}

}  // namespace tenon
