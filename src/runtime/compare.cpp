#include "runtime/compare.hpp"

#include <algorithm>
#include <cmath>

namespace tenon {
namespace {

constexpr double kInfinity = HUGE_VAL;

Difference apart() { return {kInfinity, 0, kInfinity}; }

}  // namespace

Difference difference(const Tensor& wanted, const Tensor& got) {
  if (!wanted.defined() && !got.defined()) return {};
  if (wanted.dtype() != got.dtype() || wanted.dims() != got.dims()) return apart();
  if (wanted.dtype() == DType::kString) return identical(wanted, got) ? Difference{} : apart();
  Difference d;
  for (int64_t i = 0; i < wanted.size(); ++i) {
    double a = wanted.at(i), b = got.at(i);
    if (std::isfinite(a)) d.scale = std::max(d.scale, std::fabs(a));
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    double gap = std::fabs(a - b);
    d.max_abs = std::isnan(gap) ? kInfinity : std::max(d.max_abs, gap);
  }
  d.relative = d.scale > 0 ? d.max_abs / d.scale : d.max_abs;
  return d;
}

Difference difference(const Datum& wanted, const Datum& got) {
  if (wanted.kind != got.kind || wanted.items.size() != got.items.size()) return apart();
  Difference worst = difference(wanted.tensor, got.tensor);
  auto take = [&](const Difference& d) {
    if (d.relative > worst.relative) worst = d;
  };
  if (wanted.kind == Type::Kind::kMap) take(difference(wanted.keys, got.keys));
  for (size_t i = 0; i < wanted.items.size(); ++i) take(difference(wanted.items[i], got.items[i]));
  return worst;
}

}  // namespace tenon
