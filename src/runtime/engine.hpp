// EngineCore: a plan loaded on the CPU. Weights are resident once and shared by all sessions; programs are made for the
// shapes of the plan's specializations and, on demand, for others inside the profile, and are cached. Thread-safe.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "passes/pass.hpp"
#include "plan/plan.hpp"
#include "plan/select.hpp"
#include "runtime/session.hpp"

namespace tenon {

struct EngineOptions {
  int threads = 0;  ///< 0: one for each physical core
  int level = 2;    ///< as SelectOptions::level
  double budget_seconds = 20;
  bool libraries = true;     ///< also tactics of libraries that are found (oneDNN)
  bool rebuild = true;       ///< a plan of another machine or version is planned again from its graph; false: refused
  size_t max_programs = 16;  ///< cached programs for shapes beyond the plan's own
  std::string timing_cache;  ///< file; empty: none
  OptimizeOptions optimize;
  std::map<std::string, std::string, std::less<>> barred;
  const TacticTable* tactics = nullptr;  ///< null: those of the CPU; others are for tests
  std::function<void(std::string_view phase, int done, int total)> progress;
  std::function<bool()> cancelled;
};

class EngineCore {
 public:
  /// Optimises an imported graph and plans it. `shapes`: dims by input name for what to plan now; inputs whose
  /// dimensions are all numbers need none. When an input stays symbolic nothing is planned until the first run.
  static std::shared_ptr<EngineCore> build(GraphPtr imported, const std::map<std::string, Dims>& shapes,
                                           std::map<std::string, ProfileRange> profile, EngineOptions options);
  /// Makes an engine of a plan.
  static std::shared_ptr<EngineCore> load(Plan plan, EngineOptions options);

  const Graph& graph() const noexcept { return *graph_; }
  const OpTable& ops() const noexcept { return ops_; }
  const std::shared_ptr<ThreadPool>& pool() const noexcept { return pool_; }
  const std::map<std::string, ProfileRange>& profile() const noexcept { return profile_; }
  const std::vector<PassReport>& pass_reports() const noexcept { return reports_; }
  /// What was noticed on the way: a plan that was rebuilt, half precision computed in float32.
  const std::vector<std::string>& notes() const noexcept { return notes_; }

  /// The program for these input shapes: planned before, cached, or made now.
  std::shared_ptr<const Program> program(const std::vector<Dims>& input_dims);
  /// The program for given data; also checks names' count, types and the profile.
  std::shared_ptr<const Program> program_for(std::span<const Datum> inputs);
  /// What was considered for the last program made (empty after load without planning).
  const Selection& selection() const noexcept { return selection_; }

  /// The input shapes that the build or the loaded plan was made for, the first of them; nothing when all stayed open.
  std::optional<std::vector<Dims>> planned_dims() const;
  Plan plan() const;  ///< what save_plan writes
  int64_t weight_bytes() const { return weights_->bytes(); }

 private:
  EngineCore(EngineOptions options);
  std::shared_ptr<const Program> make(const std::vector<Dims>& input_dims);
  std::shared_ptr<const Program> make_like_opt(const GraphPtr& g);
  GraphPtr specialize(const std::vector<Dims>& input_dims) const;
  void check_profile(const std::vector<Dims>& input_dims) const;
  void adopt(Plan& plan);

  EngineOptions options_;
  const OpTable& ops_;
  const TacticTable& tactics_;
  std::shared_ptr<ThreadPool> pool_;
  GraphPtr graph_;
  std::map<std::string, ProfileRange> profile_;
  std::map<std::string, std::string> info_;
  std::shared_ptr<PlanWeights> weights_;
  std::vector<PassReport> reports_;
  std::vector<std::string> notes_;
  Selection selection_;
  TimingCache timings_;

  mutable std::mutex mutex_;
  struct Cached {
    std::vector<Dims> dims;
    std::shared_ptr<const Program> program;
    bool pinned;
  };
  std::list<Cached> programs_;  // most recently used first
};

/// The dims of each graph input from names, checked: every named input exists, ranks fit, numbers agree with the graph.
/// Nothing when a dimension stays unknown.
std::optional<std::vector<Dims>> input_dims(const Graph& graph, const std::map<std::string, Dims>& shapes);

}  // namespace tenon
