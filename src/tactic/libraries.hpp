// Tactics that come from libraries found at run time. Their names begin with the library's: "onednn_nhwc". Everything
// works without them.
#pragma once

#include <string>
#include <string_view>

#include "tactic/tactic.hpp"

namespace tenon {

/// The tactics of the CPU less those of libraries.
const TacticTable& own_cpu_tactics();

/// The table for what runs on the host beside a program of this one: control flow's bodies. A CPU's own is its own.
const TacticTable& host_tactics(const TacticTable& table);

/// Whether a tactic is a library's.
inline bool needs_library(std::string_view tactic) { return tactic.starts_with("onednn_"); }

/// The version of the library behind a tactic: part of what its timings and packed weights depend on. Empty for our own
/// tactics, and for a library that is not here. Loads it.
std::string library_behind(std::string_view tactic);

}  // namespace tenon
