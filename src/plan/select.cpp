#include "plan/select.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/error.hpp"
#include "graph/text.hpp"
#include "passes/region.hpp"
#include "plan/flow.hpp"
#include "plan/timing.hpp"
#include "tactic/libraries.hpp"

namespace tenon {
namespace {

// Estimates, in seconds: what a reorder or an unmeasured memory-bound kernel costs. They only rank alternatives; where
// it matters, measurements replace them.
constexpr double kBytesPerSecond = 8e9;
constexpr double kStepOverhead = 1e-6;
constexpr double kReferencePenalty = 40;
constexpr int kSweeps = 12;
// Larger problems are not run only to be timed: filling their inputs takes seconds, and memory that may not be there.
constexpr double kMaxMeasuredBytes = 2e9;
// What a library's kernel must be better by: a run among others finds its code and tables less at hand than a
// measurement in a row does.
constexpr double kLibraryFactor = 1.05, kLibraryOverhead = 2e-6;

struct Option {
  std::string tactic;
  Format in, out;
  double seconds;
  bool measured;
  double copies = 0;  // of operands that would be slices of other buffers if the tactic took any
};

double bytes_of(const Problem& p) {
  double total = 0;
  for (const Operand& o : p.in)
    total += o.present() && o.constant == nullptr ? static_cast<double>(byte_size(o.dtype, o.size())) : 0;
  for (const Operand& o : p.out) total += o.present() ? static_cast<double>(byte_size(o.dtype, o.size())) : 0;
  return total;
}

class Selector {
 public:
  Selector(const Graph& graph, const TacticTable& tactics, ThreadPool& pool, const SelectOptions& options)
      : g_(graph), tactics_(tactics), pool_(pool), options_(options), timer_(pool), order_(graph.order()) {}

  Selection run() {
    out_.candidates.resize(order_.size());
    options_of_.resize(order_.size());
    position_.assign(static_cast<size_t>(g_.node_slots()), 0);
    for (size_t i = 0; i < order_.size(); ++i) position_[static_cast<size_t>(order_[i])] = i;
    deadline_ = std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                                                       std::chrono::duration<double>(options_.budget_seconds));
    for (size_t i = 0; i < order_.size(); ++i) {
      if (options_.cancelled && options_.cancelled()) fail(Code::kCancelled, "the build was cancelled");
      collect(i);
      if (options_.progress) options_.progress(static_cast<int>(i + 1), static_cast<int>(order_.size()));
    }
    label();
    for (size_t i = 0; i < order_.size(); ++i) {
      const Option& o = options_of_[i][static_cast<size_t>(best_[i])];
      out_.choices.push_back({o.tactic, o.in, o.out, o.seconds, o.measured, {}});
      if (o.tactic != kFlowTactic) continue;
      for (const Selection& body : out_.inside[i]) out_.choices.back().bodies.push_back(body.choices);
    }
    return std::move(out_);
  }

 private:
  // --- candidates ---

  bool has_formats(const Node& n) const {
    auto formatted = [&](ValueId v) {
      if (v == kNone || g_.value(v).is_constant() || !g_.value(v).type.is_static()) return false;
      Dims dims = const_dims(*g_.value(v).type.shape);
      return dims.size() >= 3 && dims.size() <= 5 && !formats_agree(dims);
    };
    return std::any_of(n.inputs.begin(), n.inputs.end(), formatted) ||
           std::any_of(n.outputs.begin(), n.outputs.end(), formatted);
  }

  void collect(size_t i) {
    const Node& n = g_.node(order_[i]);
    auto& list = options_of_[i];
    if (is_view_op(g_, n)) {
      double bytes = bytes_of(make_problem(g_, n, Format::kPlain, Format::kPlain, options_.threads));
      bool keeps = n.op == "Concat" || n.op == "Split" || n.op == "Slice";
      list.push_back({"view", Format::kPlain, Format::kPlain, 0.2 * bytes / kBytesPerSecond, false});
      if (keeps && has_formats(n)) {
        list.push_back({"view", Format::kChannelsLast, Format::kChannelsLast, 0.2 * bytes / kBytesPerSecond, false});
      }
      out_.candidates[i].push_back({"view", Format::kPlain, Format::kPlain, true, "", 0, false});
      return;
    }
    if (is_flow_op(n)) {
      plan_bodies(i, n);
    } else if (is_static_node(g_, n)) {
      willing(i, n);
      if (options_.level >= 2) measure(i, n);
    }
    if (list.empty()) {
      double bytes = is_static_node(g_, n) ? bytes_of(make_problem(g_, n, Format::kPlain, Format::kPlain, 1)) : 0;
      double seconds = kReferencePenalty * bytes / kBytesPerSecond + node_flops(g_, n) * 1e-9 + kStepOverhead;
      list.push_back({"", Format::kPlain, Format::kPlain, seconds, false});
      out_.candidates[i].push_back({"reference", Format::kPlain, Format::kPlain, true, "", seconds, false});
    }
  }

  // Control flow: its bodies are chosen for by themselves.
  void plan_bodies(size_t i, const Node& n) {
    Candidate c{std::string(kFlowTactic), Format::kPlain, Format::kPlain, false, "", 0, false};
    auto barred = options_.barred.find(n.name);
    std::optional<FlowSpec> spec;
    if (barred != options_.barred.end() && barred->second == kFlowTactic) {
      c.why = "barred for this node: it failed verification";
    } else {
      spec = flow_spec(g_, n, c.why);
      if (!spec) c.why += "; its bodies are planned when it runs, for the shapes they meet";
    }
    if (spec) {
      for (const GraphPtr& body : spec->bodies) {
        std::chrono::duration<double> left = deadline_ - std::chrono::steady_clock::now();
        SelectOptions options = options_;
        options.budget_seconds = std::max(0.0, left.count());
        options.progress = nullptr;
        out_.inside[i].push_back(body ? Selector(*body, host_tactics(tactics_), pool_, options).run() : Selection{});
        double seconds = 0;
        for (const Choice& choice : out_.inside[i].back().choices) seconds += choice.seconds;
        c.seconds = std::max(c.seconds, seconds);
      }
      constexpr double kUnknownRounds = 8;
      if (n.op != "If") c.seconds *= spec->rounds >= 0 ? static_cast<double>(spec->rounds) : kUnknownRounds;
      c.seconds += kStepOverhead;
      c.willing = true;
      options_of_[i].push_back({c.tactic, c.in, c.out, c.seconds, false});
    }
    out_.candidates[i].push_back(std::move(c));
  }

  void willing(size_t i, const Node& n) {
    constexpr Format kBoth[] = {Format::kPlain, Format::kChannelsLast};
    bool formats = has_formats(n);
    auto barred = options_.barred.find(n.name);
    for (Format in : kBoth) {
      for (Format out : kBoth) {
        if (!formats && (in == Format::kChannelsLast || out == Format::kChannelsLast)) continue;
        Problem problem = make_problem(g_, n, in, out, options_.threads);
        for (const Tactic& t : tactics_.of(n.op)) {
          bool no = barred != options_.barred.end() && barred->second == t.name;
          Verdict v = no ? Verdict::no("barred for this node: it failed verification") : t.judge(problem);
          Candidate c{std::string(t.name), in, out, v.ok, v.why, 0, false};
          if (v.ok) {
            c.seconds = v.cost > 0 ? v.cost : node_flops(g_, n) / 60e9 + bytes_of(problem) / kBytesPerSecond;
            c.seconds += kStepOverhead;
            options_of_[i].push_back({c.tactic, in, out, c.seconds, false, copies_around(n, v)});
          }
          out_.candidates[i].push_back(std::move(c));
          if (v.ok && options_.level == 0) break;
        }
      }
    }
  }

  // A Concat or Split beside the node costs nothing only where the tactic writes or reads slices.
  double copies_around(const Node& n, const Verdict& v) const {
    double bytes = 0;
    auto add = [&](ValueId value) {
      const Type& t = g_.value(value).type;
      bytes += static_cast<double>(byte_size(t.dtype, element_count(const_dims(*t.shape))));
    };
    for (ValueId value : n.outputs) {
      if (value == kNone || v.strided_out) continue;
      const auto& uses = g_.value(value).uses;
      bool joined = std::any_of(uses.begin(), uses.end(), [&](const Use& u) { return g_.node(u.node).op == "Concat"; });
      if (joined) add(value);
    }
    for (ValueId value : n.inputs) {
      const Node* maker = value == kNone || v.strided_in ? nullptr : g_.producer(value);
      if (maker != nullptr && (maker->op == "Split" || maker->op == "Slice")) add(value);
    }
    return bytes == 0 ? 0 : kStepOverhead + 2 * bytes / kBytesPerSecond;
  }

  // Measuring pays where several tactics (or formats) compete and the node is not trivial.
  void measure(size_t i, const Node& n) {
    auto& list = options_of_[i];
    if (list.size() < 2) return;
    for (Format in : {Format::kPlain, Format::kChannelsLast}) {
      for (Format out : {Format::kPlain, Format::kChannelsLast}) {
        std::vector<Option*> same;
        for (Option& o : list) {
          if (o.in == in && o.out == out) same.push_back(&o);
        }
        bool rivals = same.size() > 1 || (options_.level >= 3 && !same.empty());
        if (!rivals) continue;
        double cheapest = same[0]->seconds;
        for (const Option* o : same) cheapest = std::min(cheapest, o->seconds);
        if (cheapest < 3e-6) continue;
        Problem problem = make_problem(g_, n, in, out, options_.threads);
        if (bytes_of(problem) > kMaxMeasuredBytes) continue;
        for (Option* o : same) time_one(i, n, problem, *o);
      }
    }
    // A measured option beside an unmeasured one of the other format: trust the measurement's scale for both.
    double measured = 0, estimated = 0;
    for (const Option& o : list) {
      if (!o.measured) continue;
      measured += o.seconds;
      for (const Candidate& c : out_.candidates[i]) {
        if (c.willing && c.tactic == o.tactic && c.in == o.in && c.out == o.out) estimated += c.seconds;
      }
    }
    if (measured > 0 && estimated > 0) {
      for (Option& o : list) {
        if (!o.measured) o.seconds *= measured / estimated;
      }
    }
    for (const Option& o : list) {
      for (Candidate& c : out_.candidates[i]) {
        if (c.willing && c.tactic == o.tactic && c.in == o.in && c.out == o.out) {
          c.seconds = o.seconds;
          c.measured = o.measured;
        }
      }
    }
  }

  void time_one(size_t, const Node& n, const Problem& problem, Option& o) {
    std::string key = timing_key(g_, n, problem, o.tactic);
    if (options_.cache != nullptr) {
      if (auto known = options_.cache->find(key)) {
        o.seconds = *known;
        o.measured = true;
        return;
      }
    }
    if (std::chrono::steady_clock::now() > deadline_) return;
    for (const Tactic& t : tactics_.of(n.op)) {
      if (t.name != o.tactic) continue;
      o.seconds = timer_.seconds(t, problem, options_.level >= 3 ? 9 + 8 * (options_.level - 3) : 5);
      o.measured = true;
      if (options_.cache != nullptr) options_.cache->put(key, o.seconds);
    }
  }

  // --- labelling: iterated conditional modes from two starts ---

  double reorder_seconds(ValueId v) const {
    const Type& t = g_.value(v).type;
    if (!t.is_static() || t.dtype == DType::kString) return 0;
    Dims dims = const_dims(*t.shape);
    if (dims.size() < 3 || dims.size() > 5 || formats_agree(dims)) return 0;
    return kStepOverhead + 2.0 * static_cast<double>(byte_size(t.dtype, element_count(dims))) / kBytesPerSecond;
  }

  double local_cost(size_t i, const Option& o) const {
    const Node& n = g_.node(order_[i]);
    double cost = o.seconds + o.copies;
    if (needs_library(o.tactic)) cost = cost * kLibraryFactor + kLibraryOverhead;
    for (ValueId v : n.inputs) {
      if (v == kNone || g_.value(v).is_constant()) continue;
      const Node* maker = g_.producer(v);
      Format stored = maker == nullptr ? Format::kPlain : current(maker->id).out;
      if (stored != o.in) cost += reorder_seconds(v);
    }
    for (ValueId v : n.outputs) {
      if (v == kNone) continue;
      bool other = false;
      for (const Use& u : g_.value(v).uses) other |= current(u.node).in != o.out;
      if (g_.is_output(v) && o.out != Format::kPlain) other = true;
      if (other) cost += reorder_seconds(v);
    }
    return cost;
  }

  const Option& current(NodeId id) const {
    size_t at = position_[static_cast<size_t>(id)];
    return options_of_[at][static_cast<size_t>(best_[at])];
  }

  double settle() {
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
      bool changed = false;
      for (size_t k = 0; k < order_.size(); ++k) {
        size_t i = sweep % 2 == 0 ? k : order_.size() - 1 - k;
        int winner = best_[i];
        double cost = local_cost(i, options_of_[i][static_cast<size_t>(winner)]);
        for (size_t o = 0; o < options_of_[i].size(); ++o) {
          double other = local_cost(i, options_of_[i][o]);
          if (other < cost * 0.999) {
            cost = other;
            winner = static_cast<int>(o);
          }
        }
        changed |= winner != best_[i];
        best_[i] = winner;
      }
      if (!changed) break;
    }
    double total = 0;
    for (size_t i = 0; i < order_.size(); ++i) total += local_cost(i, options_of_[i][static_cast<size_t>(best_[i])]);
    return total;
  }

  void start_with(Format preferred) {
    best_.assign(order_.size(), 0);
    for (size_t i = 0; i < order_.size(); ++i) {
      double cheapest = INFINITY;
      for (size_t o = 0; o < options_of_[i].size(); ++o) {
        const Option& x = options_of_[i][o];
        double seconds = x.seconds + (x.in == preferred ? 0 : 1) + (x.out == preferred ? 0 : 1);
        if (seconds < cheapest) {
          cheapest = seconds;
          best_[i] = static_cast<int>(o);
        }
      }
    }
  }

  void label() {
    start_with(Format::kPlain);
    double plain = settle();
    std::vector<int> kept = best_;
    start_with(Format::kChannelsLast);
    if (settle() > plain) best_ = kept;
  }

  const Graph& g_;
  const TacticTable& tactics_;
  ThreadPool& pool_;
  const SelectOptions& options_;
  TacticTimer timer_;
  std::vector<NodeId> order_;
  std::vector<size_t> position_;
  std::vector<std::vector<Option>> options_of_;
  std::vector<int> best_;
  Selection out_;
  std::chrono::steady_clock::time_point deadline_;
};

}  // namespace

Selection select_tactics(const Graph& graph, const TacticTable& tactics, ThreadPool& pool,
                         const SelectOptions& options) {
  return Selector(graph, tactics, pool, options).run();
}

namespace {

// No types are inferred here: the body of a branch that cannot be taken has none that fit.
bool take_apart(Graph& g, const TacticTable& tactics, int threads) {
  constexpr Format kBoth[] = {Format::kPlain, Format::kChannelsLast};
  bool changed = false;
  for (NodeId id : g.order()) {
    const Node& n = g.node(id);
    if (is_flow_op(n)) {
      for (const auto& [name, attr] : n.attrs.items()) {
        const auto* body = std::get_if<GraphPtr>(&attr);
        if (body == nullptr || *body == nullptr) continue;
        changed |= take_apart(**body, tactics, threads);
        (*body)->compact();
      }
      continue;
    }
    bool fused = n.op == "tenon.Pointwise" || n.attrs.has("epilogue");
    if (!fused) continue;
    bool willing = false;
    for (Format in : kBoth) {
      for (Format out : kBoth) {
        if (willing || !is_static_node(g, n)) continue;
        Problem problem = make_problem(g, n, in, out, threads);
        for (const Tactic& t : tactics.of(n.op)) willing = willing || t.judge(problem).ok;
      }
    }
    if (willing) continue;
    inline_region(g, id);
    changed = true;
  }
  return changed;
}

}  // namespace

bool inline_refused(Graph& g, const TacticTable& tactics, const OpTable& ops, int threads) {
  bool changed = take_apart(g, tactics, threads);
  if (changed) infer_types(g, ops);
  return changed;
}

std::string timing_key(const Graph&, const Node& node, const Problem& problem, std::string_view tactic) {
  std::string library = library_behind(tactic);
  return problem_key(node, problem) + " | " + std::string(tactic) + (library.empty() ? "" : " of " + library);
}

}  // namespace tenon
