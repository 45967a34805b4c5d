// Bodies of control flow that cannot be planned before it runs (shapes that the data decide, or that change from round
// to round): each is planned for the shapes it meets, a few of which are kept. A body that meets new shapes all the
// time is left to the interpreter. Belongs to one session.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <vector>

#include "graph/interpret.hpp"
#include "plan/plan.hpp"

namespace tenon {

class ProgramSession;

class BodyPrograms final : public BodyRuntime {
 public:
  BodyPrograms(std::shared_ptr<ThreadPool> pool, const OpTable& ops, int threads);
  ~BodyPrograms() override;
  bool run(const Graph& body, std::span<const Datum> inputs, std::vector<Datum>& outputs) override;

  int planned() const noexcept { return planned_; }  ///< programs made so far

 private:
  struct Made {
    std::vector<Type> types;
    std::unique_ptr<ProgramSession> session;  // null: cannot be planned
  };
  struct Body {
    std::list<Made> made;  // most recently used first
    int hits = 0, misses = 0;
  };
  std::unique_ptr<ProgramSession> plan(const Graph& body, const std::vector<Type>& types);

  std::shared_ptr<ThreadPool> pool_;
  const OpTable& ops_;
  int threads_, planned_ = 0;
  PlanWeights weights_;
  std::map<const Graph*, Body> bodies_;  // of the session's program, which outlives this
};

}  // namespace tenon
