// For passes that are rules: src/passes/<name>.rules, linked into the library as text. Shared by the pass files.
#pragma once

#include <string_view>

#include "graph/rewrite.hpp"
#include "passes/pass.hpp"

namespace tenon {

/// The text of src/passes/<name>.rules; internal error when there is none.
std::string_view rule_file(std::string_view name);

}  // namespace tenon
