#include "plan/arena.hpp"

#include <algorithm>
#include <numeric>

#include "base/checked.hpp"

namespace tenon {

ArenaLayout assign_arena(std::span<const BufferLife> buffers) {
  ArenaLayout out;
  out.offsets.assign(buffers.size(), 0);
  std::vector<size_t> by_size(buffers.size());
  std::iota(by_size.begin(), by_size.end(), size_t{0});
  std::stable_sort(by_size.begin(), by_size.end(),
                   [&](size_t a, size_t b) { return buffers[a].bytes > buffers[b].bytes; });
  std::vector<size_t> placed;  // sorted by offset
  for (size_t b : by_size) {
    const BufferLife& life = buffers[b];
    int64_t bytes = round_up(std::max<int64_t>(life.bytes, 1), 64);
    int64_t at = 0;
    for (size_t p : placed) {
      const BufferLife& other = buffers[p];
      if (other.last < life.first || life.last < other.first) continue;
      if (out.offsets[p] >= at + bytes) break;
      at = std::max(at, out.offsets[p] + round_up(std::max<int64_t>(other.bytes, 1), 64));
    }
    out.offsets[b] = at;
    out.bytes = std::max(out.bytes, checked_add(at, bytes));
    placed.insert(std::upper_bound(placed.begin(), placed.end(), b,
                                   [&](size_t x, size_t y) { return out.offsets[x] < out.offsets[y]; }),
                  b);
  }
  return out;
}

}  // namespace tenon
