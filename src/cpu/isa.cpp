#include "cpu/isa.hpp"

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/error.hpp"
#include "base/thread_pool.hpp"
#include "cpu/gemm_tile.hpp"
#include "hwy/targets.h"

namespace tenon::cpu {
namespace {

struct Tier {
  const char* name;
  int64_t bit;    // the target of the fp32 kernels
  int64_t above;  // targets that a cap at this tier takes away
};

constexpr int64_t kAboveAvx2 = HWY_AVX3 | HWY_AVX3_DL;
constexpr int64_t kAboveSse4 = kAboveAvx2 | HWY_AVX2;
constexpr Tier kTiers[] = {{"sse4", HWY_SSE4, kAboveSse4}, {"avx2", HWY_AVX2, kAboveAvx2}, {"avx512", HWY_AVX3, 0}};

// Not hwy::DisableTargets: in Highway 1.0 a later SupportedTargets() would quietly choose the disabled targets again.
void restrict_to(int64_t targets) {
  hwy::SetSupportedTargetsForTest(targets);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

int64_t machine_targets() {
  hwy::SetSupportedTargetsForTest(0);
  return hwy::SupportedTargets();
}

}  // namespace

const char* isa_name() {
  const int64_t have = hwy::SupportedTargets();
  const char* found = "portable";
  for (const Tier& tier : kTiers) {
    if ((have & tier.bit) != 0) found = tier.name;
  }
  return found;
}

int vector_lanes() { return tile_kernels().lanes; }

uint32_t layout_id() {
  const TileKernels& k = tile_kernels();
  constexpr uint32_t kVersion = 1;
  return kVersion << 16 | static_cast<uint32_t>(k.lanes) << 8 | static_cast<uint32_t>(k.max_vectors);
}

std::vector<std::string> isa_tiers() {
  const std::string before = isa_name();
  const int64_t have = machine_targets();
  std::vector<std::string> names;
  for (const Tier& tier : kTiers) {
    if ((have & tier.bit) != 0) names.emplace_back(tier.name);
  }
  set_isa_cap(before == "portable" ? "" : before);
  return names;
}

void set_isa_cap(std::string_view name) {
  int64_t disabled = 0;
  if (!name.empty()) {
    const auto* tier =
        std::find_if(std::begin(kTiers), std::end(kTiers), [&](const Tier& t) { return name == t.name; });
    expect(tier != std::end(kTiers), "there is no CPU instruction set called '{}'; use sse4, avx2 or avx512", name);
    disabled = tier->above;
  }
  restrict_to(machine_targets() & ~disabled);
}

double measure_peak_gflops(ThreadPool& pool) {
  const TileKernels& kernels = tile_kernels();
  const int64_t rounds = 400000;
  double best = 0;
  for (int attempt = 0; attempt < 12; ++attempt) {
    std::vector<double> work(static_cast<size_t>(pool.threads()));
    auto start = std::chrono::steady_clock::now();
    pool.run(pool.threads(), [&](int64_t part) { work[static_cast<size_t>(part)] = kernels.fma_burst(rounds); });
    std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - start;
    double total = 0;
    for (double w : work) total += w;
    best = std::max(best, total / time.count());
  }
  return best;
}

}  // namespace tenon::cpu
