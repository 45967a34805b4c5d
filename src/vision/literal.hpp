// Reads the Python literals that Ultralytics stores in metadata_props: str() of a list, tuple or dict of
// numbers, strings, True, False and None. Untrusted text: depth and size are limited, errors say where.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tenon::vision {

struct Literal {
  enum class Kind { kNone, kBool, kNumber, kText, kList, kDict };
  Kind kind = Kind::kNone;
  double number = 0;  // also 0 or 1 for a bool
  std::string text;
  std::vector<Literal> items;                        // kList
  std::vector<std::pair<Literal, Literal>> entries;  // kDict
};

Literal parse_literal(std::string_view text);

/// Names by class id, from "{0: 'person', 1: 'bicycle'}" or "['person', 'bicycle']". Throws when it is
/// neither or an id lies outside 0..99999.
std::vector<std::string> parse_names(std::string_view text);

}  // namespace tenon::vision
