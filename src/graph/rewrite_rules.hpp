// Inside of the rewrite engine: rules as parsed. Not for other layers; see rewrite.hpp.
#pragma once

#include "graph/rewrite.hpp"

namespace tenon {

struct RuleSet::Pattern {
  const Rule* rule = nullptr;
  GraphPtr graph;
  NodeId root = kNone;
};

struct GuardCall {
  bool (*holds)(Match&, std::span<const std::string>);
  std::vector<std::string> arguments;
};

struct RuleSet::Rule {
  std::string name;
  std::vector<Pattern> patterns;
  GraphPtr replacement;
  std::vector<GuardCall> guards;
};

/// A block of a rule file, as text.
struct RuleText {
  bool form = false;
  std::string name;
  std::vector<std::string> patterns;
  std::string becomes, where;
};

/// Cuts a rule file into its blocks.
std::vector<RuleText> read_rules(std::string_view text);

using Forms = std::map<std::string, std::vector<GraphPtr>, std::less<>>;

/// A pattern in every spelling that its forms allow.
std::vector<GraphPtr> expand_forms(const GraphPtr& pattern, const Forms& forms);

std::vector<GuardCall> read_guards(std::string_view where, std::span<const Guard> guards);

}  // namespace tenon
