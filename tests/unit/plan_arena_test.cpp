#include <gtest/gtest.h>

#include <algorithm>

#include "graph_testing.hpp"
#include "plan/arena.hpp"

namespace tenon {
namespace {

int64_t rounded(int64_t bytes) { return (std::max<int64_t>(bytes, 1) + 63) / 64 * 64; }

// The most bytes that are alive at one step: no arena can be smaller.
int64_t lower_bound(const std::vector<BufferLife>& buffers, int steps) {
  int64_t most = 0;
  for (int step = 0; step < steps; ++step) {
    int64_t alive = 0;
    for (const BufferLife& b : buffers) alive += b.first <= step && step <= b.last ? rounded(b.bytes) : 0;
    most = std::max(most, alive);
  }
  return most;
}

TEST(Arena, BuffersThatLiveTogetherNeverOverlap) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    testing::Random random(seed);
    int steps = static_cast<int>(random.in(1, 30));
    std::vector<BufferLife> buffers(static_cast<size_t>(random.in(0, 60)));
    int64_t sum = 0;
    for (BufferLife& b : buffers) {
      b.bytes = random.chance(10) ? 0 : random.in(1, random.chance(20) ? 100000 : 700);
      b.first = static_cast<int>(random.in(0, steps - 1));
      b.last = static_cast<int>(random.in(b.first, steps - 1));
      sum += rounded(b.bytes);
    }
    ArenaLayout layout = assign_arena(buffers);
    ASSERT_EQ(layout.offsets.size(), buffers.size());
    EXPECT_GE(layout.bytes, lower_bound(buffers, steps));
    EXPECT_LE(layout.bytes, sum);
    for (size_t i = 0; i < buffers.size(); ++i) {
      EXPECT_EQ(layout.offsets[i] % 64, 0);
      EXPECT_GE(layout.offsets[i], 0);
      EXPECT_LE(layout.offsets[i] + buffers[i].bytes, layout.bytes);
      for (size_t j = 0; j < i; ++j) {
        if (buffers[i].last < buffers[j].first || buffers[j].last < buffers[i].first) continue;
        bool apart = layout.offsets[i] + buffers[i].bytes <= layout.offsets[j] ||
                     layout.offsets[j] + buffers[j].bytes <= layout.offsets[i];
        EXPECT_TRUE(apart) << "seed " << seed << ": " << i << " and " << j;
      }
    }
    EXPECT_EQ(layout.offsets, assign_arena(buffers).offsets) << "not deterministic";
  }
}

TEST(Arena, ReusesWhatIsDead) {
  std::vector<BufferLife> chain;
  for (int i = 0; i < 10; ++i) chain.push_back({6400, i, i + 1});
  EXPECT_EQ(assign_arena(chain).bytes, 2 * 6400);
}

TEST(Arena, RefusesToOverflow) {
  std::vector<BufferLife> huge(3, {int64_t{1} << 62, 0, 1});
  EXPECT_THROW(assign_arena(huge), Error);
}

}  // namespace
}  // namespace tenon
