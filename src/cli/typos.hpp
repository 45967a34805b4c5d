// Mistyped verbs and options: what was probably meant, and what became of trtexec's flags that Tenon does not have.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace tenon::cli {

/// A sentence about the first verb or option that does not exist; empty when all do.
std::string find_typo(const CLI::App& app, int argc, const char* const* argv);

}  // namespace tenon::cli
