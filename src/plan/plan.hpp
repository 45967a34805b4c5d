// Plan: pure data, what a build makes and a file holds. The optimised graph, and for each set of input shapes that was
// planned the fused graph with a choice for each node; the weights as they were and as the kernels want them; metadata.
// Nothing in a plan is code, an offset or an address: a program is derived from it and checked on the way.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/file.hpp"
#include "plan/program.hpp"

namespace tenon {

inline constexpr int kPlanVersion = 2;

struct Specialization {
  std::vector<Dims> input_dims;  ///< by input; of those that are tensors
  GraphPtr graph;                ///< static, fused
  std::vector<Choice> choices;   ///< by position in graph->order()
};

/// Range of shapes of one input: what an optimization profile says.
struct ProfileRange {
  Dims min, opt, max;
};

/// Content hashes of blobs by address and size, so that nobody has to read loaded weights for them. Keeps the memory,
/// as the addresses of what is gone would be given to others.
struct BlobHashes {
  std::map<std::pair<const std::byte*, int64_t>, uint64_t> of;
  std::shared_ptr<const void> owner;
};

struct Plan {
  GraphPtr graph;  ///< optimised, with symbolic dimensions; what other shapes are planned from
  std::vector<Specialization> specializations;
  std::map<std::string, ProfileRange> profile;  ///< by input name; empty: any shape
  std::map<std::string, std::string> info;      ///< "tenon", "isa", "layout", "threads", "precision", "source", ...
  std::map<std::string, Tensor, std::less<>> packed;  ///< prepared weights by key
  BlobHashes hashes;                                  ///< of what was loaded
};

/// Writes the plan atomically. The same plan gives the same bytes.
void save_plan(const Plan& plan, const std::string& path);

/// Maps a plan file and checks all of it: header, checksums, bounds, texts, types. Blobs stay in the mapping.
Plan load_plan(const std::string& path);
Plan load_plan(std::span<const std::byte> bytes, std::shared_ptr<const void> owner, const std::string& label);

/// Only the metadata: fast, for inspect. The text is JSON.
std::string read_plan_info(const std::string& path);
bool is_plan_file(const std::string& path);

/// The weights of an engine: those that came with the plan and those packed since. Thread-safe.
class PlanWeights final : public WeightStore {
 public:
  explicit PlanWeights(std::map<std::string, Tensor, std::less<>> packed = {}, BlobHashes hashes = {})
      : packed_(std::move(packed)), hashes_(std::move(hashes)) {}
  const std::byte* pack(const Tensor& constant, std::string_view key, int64_t bytes,
                        const std::function<void(std::byte*)>& fill) override;
  std::map<std::string, Tensor, std::less<>> packed() const;
  int64_t fresh() const;  ///< how many were packed here rather than found
  int64_t bytes() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, Tensor, std::less<>> packed_;
  const BlobHashes hashes_;
  int64_t fresh_ = 0;
};

}  // namespace tenon
