// Runs a check on every instruction set that this machine has.
#pragma once

#include <cstdint>

#include "hwy/targets.h"

namespace tenon::cpu {

/// Calls body(name) once for each supported target, best first, by disabling the better ones.
template <class F>
void for_each_target(F&& body) {
  const int64_t all = hwy::SupportedTargets();
  int64_t disabled = 0;
  for (int64_t left = all; left != 0; left &= left - 1) {
    const int64_t target = left & -left;
    hwy::DisableTargets(disabled);
    if (target != HWY_SSSE3) body(hwy::TargetName(target));  // not compiled: the same as the last one
    disabled |= target;
  }
  hwy::DisableTargets(0);
}

}  // namespace tenon::cpu
