// Raising errors. `fail` and `expect` are for what users give us (models, plans, shapes, options): sentences that name
// the thing and the way out. `TENON_CHECK` is for our own mistakes.
#pragma once

#include <fmt/core.h>

#include <utility>

#include "tenon/types.hpp"

namespace tenon {

template <class... Args>
[[noreturn]] void fail(Code code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

/// Throws invalid-argument with the formatted sentence unless `ok`.
template <class... Args>
void expect(bool ok, fmt::format_string<Args...> format, Args&&... args) {
  if (!ok) [[unlikely]]
    throw Error(Code::kInvalidArgument, fmt::format(format, std::forward<Args>(args)...));
}

[[noreturn]] void check_failed(const char* condition, const char* file, int line);

/// The code's name as people read it: "invalid argument".
const char* name(Code code) noexcept;

#define TENON_CHECK(condition) \
  do { \
    if (!(condition)) [[unlikely]] \
      ::tenon::check_failed(#condition, __FILE__, __LINE__); \
  } while (false)

}  // namespace tenon
