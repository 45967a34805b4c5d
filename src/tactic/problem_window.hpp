// The sliding window of a Conv or pool problem, read and checked as the op's reference does.
#pragma once

#include "ops/window.hpp"
#include "tactic/tactic.hpp"

namespace tenon {

namespace problem_window_detail {
struct Context {
  const Problem& p;
  const Attrs& attrs() const { return p.attrs(); }
  template <class... Args>
  void require(bool ok, fmt::format_string<Args...> format, Args&&... args) const {
    expect(ok, format, std::forward<Args>(args)...);
  }
};
}  // namespace problem_window_detail

/// Kernel, strides, dilations and resolved padding for the problem's first input.
inline Window problem_window(const Problem& problem, Ints kernel) {
  problem_window_detail::Context context{problem};
  Window w = read_window(context, std::move(kernel));
  window_outputs(context, w, problem.in[0].dims);
  return w;
}

/// The kernel's extents from the weights [M, C / group, spatial...].
inline Ints weight_window(const Operand& weights) { return {weights.dims.begin() + 2, weights.dims.end()}; }

}  // namespace tenon
