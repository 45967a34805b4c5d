// The version of Tenon, as in plan files and `tenon --version`.
#pragma once

namespace tenon {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace tenon
