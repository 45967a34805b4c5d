// Activations that exporters spell out: the rules are in fuse_activation.rules.
#include <cmath>
#include <cstdlib>

#include "passes/rules.hpp"

namespace tenon {
namespace {

// near(attribute, number): the attribute is there and is about that.
bool near(Match& m, std::span<const std::string> a) {
  const Attr* attr = m.attr(a[0]);
  const auto* v = attr == nullptr ? nullptr : std::get_if<double>(attr);
  double want = std::strtod(a[1].c_str(), nullptr);
  return v != nullptr && std::abs(*v - want) <= 2e-5 * std::abs(want);
}

constexpr Guard kGuards[] = {{"near", near}};

}  // namespace

bool fuse_activation(Graph& g, PassContext& context) {
  static const RuleSet rules(rule_file("fuse_activation"), kGuards, context.ops);
  return rules.apply(g, context.ops);
}

}  // namespace tenon
