#include "runtime/bodies.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "passes/pass.hpp"
#include "plan/select.hpp"
#include "runtime/session.hpp"

namespace tenon {
namespace {

constexpr size_t kKept = 8;       // programs by body: an arena each
constexpr int kPatience = 24;     // misses before a body has to show that its shapes come back
constexpr int kHitsForAMiss = 4;  // planning takes as long as interpreting a few times

}  // namespace

BodyPrograms::BodyPrograms(std::shared_ptr<ThreadPool> pool, const OpTable& ops, int threads)
    : pool_(std::move(pool)), ops_(ops), threads_(threads) {}
BodyPrograms::~BodyPrograms() = default;

bool BodyPrograms::run(const Graph& body, std::span<const Datum> inputs, std::vector<Datum>& outputs) {
  std::vector<Type> types;
  for (const Datum& d : inputs) {
    if (!d.is_tensor() || !d.tensor.defined() || d.tensor.dtype() == DType::kString) return false;
    types.push_back(Type::tensor(d.tensor));
  }
  Body& b = bodies_[&body];
  auto at = std::find_if(b.made.begin(), b.made.end(), [&](const Made& m) { return m.types == types; });
  if (at == b.made.end()) {
    if (b.misses >= kPatience && b.hits < b.misses * kHitsForAMiss) return false;
    ++b.misses;
    if (b.made.size() == kKept) b.made.pop_back();
    b.made.push_front({types, plan(body, types)});
  } else {
    ++b.hits;
    b.made.splice(b.made.begin(), b.made, at);
  }
  ProgramSession* session = b.made.front().session.get();
  if (session == nullptr) return false;
  outputs.assign(body.outputs.size(), Datum());
  session->run(inputs, outputs);
  return true;
}

std::unique_ptr<ProgramSession> BodyPrograms::plan(const Graph& body, const std::vector<Type>& types) {
  try {
    GraphPtr g = body.clone();
    infer_body(*g, types, ops_);
    optimize(*g, ops_);
    inline_refused(*g, cpu_tactics(), ops_, threads_);
    g->compact();
    infer_types(*g, ops_);
    SelectOptions select;
    select.threads = threads_;
    select.level = 1;  // somebody waits: nothing is measured
    Selection selection = select_tactics(*g, cpu_tactics(), *pool_, select);
    BuildOptions build;
    build.threads = threads_;
    auto program = build_program(g, std::move(selection.choices), cpu_tactics(), weights_, build);
    ++planned_;
    return std::make_unique<ProgramSession>(std::shared_ptr<const Program>(std::move(program)), pool_, ops_);
  } catch (const Error&) {
    return nullptr;  // what is wrong with it is told by the interpreter, when it gets there
  }
}

}  // namespace tenon
