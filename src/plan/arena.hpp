// Arena offsets by liveness: every buffer gets an offset such that buffers alive at the same time do not overlap.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tenon {

struct BufferLife {
  int64_t bytes = 0;
  int first = 0, last = 0;  ///< steps, inclusive
};

struct ArenaLayout {
  std::vector<int64_t> offsets;  ///< by buffer, multiples of 64
  int64_t bytes = 0;
};

/// Greedy by size: the largest buffer first, each at the lowest offset free during its life. Deterministic.
ArenaLayout assign_arena(std::span<const BufferLife> buffers);

}  // namespace tenon
