// Choosing a tactic and formats for every node. Tactics and formats are searched together: a node's cost depends on the
// formats at its sides, an edge whose two sides differ costs a reorder. Costs are measured where several tactics take a
// node and measuring pays, else estimated.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "plan/program.hpp"

namespace tenon {

/// Measured seconds by problem and tactic. Text on disk, one line an entry; merged when two builds write at once.
class TimingCache {
 public:
  std::optional<double> find(const std::string& key) const;
  void put(const std::string& key, double seconds);
  size_t size() const noexcept { return entries_.size(); }
  bool changed() const noexcept { return changed_; }
  /// Reads a cache file; one that is absent counts as empty, one that is damaged or of another version is an error.
  void load(const std::string& path);
  /// Writes atomically, keeping what another process added since.
  void save(const std::string& path) const;
  std::string text() const;
  void parse(std::string_view text, const std::string& label);

 private:
  std::map<std::string, double, std::less<>> entries_;
  bool changed_ = false;
};

struct SelectOptions {
  int threads = 1;
  int level = 2;  ///< 0: first willing tactic; 1: estimates; 2: measure where several tactics are willing; 3 and more:
                  ///< also measure both formats, with more repetitions
  double budget_seconds = 20;                              ///< for measuring, in all; estimates decide what is left
  std::map<std::string, std::string, std::less<>> barred;  ///< node name -> tactic that it must not use
  TimingCache* cache = nullptr;
  std::function<void(int done, int total)> progress;
  std::function<bool()> cancelled;
};

/// What was considered for one node, for --explain.
struct Candidate {
  std::string tactic;
  Format in = Format::kPlain, out = Format::kPlain;
  bool willing = false;
  std::string why;  ///< the refusal
  double seconds = 0;
  bool measured = false;
};

struct Selection {
  std::vector<Choice> choices;                     ///< by position in graph.order()
  std::vector<std::vector<Candidate>> candidates;  ///< the same
  /// Of control flow: what was chosen inside, by body, as Choice::bodies (those choices are in `choices` too).
  std::map<size_t, std::vector<Selection>> inside;
};

Selection select_tactics(const Graph& graph, const TacticTable& tactics, ThreadPool& pool,
                         const SelectOptions& options);

/// Takes fused nodes that no tactic is willing to run apart again, so that their parts find theirs. True when it
/// changed the graph or a body in it. Bodies of control flow are compacted.
bool inline_refused(Graph& graph, const TacticTable& tactics, const OpTable& ops, int threads);

/// Replaces composite ops (Op::body) that no tactic is willing to run by their bodies. True when it changed the graph.
bool expand_refused(Graph& graph, const TacticTable& tactics, const OpTable& ops, int threads);

/// What a timing depends on: op, attributes, epilogue, operand types, shapes and formats, tactic, ISA, threads.
std::string timing_key(const Graph& graph, const Node& node, const Problem& problem, std::string_view tactic);

}  // namespace tenon
