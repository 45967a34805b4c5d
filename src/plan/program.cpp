#include "plan/program.hpp"

#include <algorithm>
#include <map>

#include "base/checked.hpp"
#include "base/error.hpp"
#include "graph/text.hpp"
#include "plan/arena.hpp"
#include "plan/flow.hpp"
#include "plan/layout.hpp"
#include "tactic/copy.hpp"
#include "tactic/libraries.hpp"

namespace tenon {
namespace {

bool arena_type(const Type& t) {
  return t.is_tensor() && t.is_static() && t.dtype != DType::kString && t.dtype != DType::kUndefined;
}

Operand operand_of(const Graph& g, ValueId v, Format format) {
  Operand o;
  if (v == kNone) return o;
  const Value& value = g.value(v);
  o.dtype = value.type.dtype;
  o.dims = const_dims(*value.type.shape);
  bool formatted = o.dims.size() >= 3 && o.dims.size() <= 5 && !value.is_constant();
  o.format = formatted ? format : Format::kPlain;
  o.strides = format_strides(o.dims, o.format);
  if (value.is_constant()) o.constant = &value.constant;
  return o;
}

class Builder {
 public:
  Builder(Program& program, const TacticTable& tactics, WeightStore& weights, const BuildOptions& options)
      : p_(program), g_(*program.graph), tactics_(tactics), weights_(weights), options_(options) {}

  void build() {
    order_ = g_.order();
    expect(p_.choices.size() == order_.size(), "there are {} choices for {} nodes", p_.choices.size(), order_.size());
    find_tactics();
    layout_ = std::make_unique<Layout>(g_, order_, p_.choices, verdicts_, options_);
    datum_.assign(static_cast<size_t>(g_.value_count()), -1);
    input_index_.assign(datum_.size(), -1);
    output_index_.assign(datum_.size(), -1);
    for (size_t i = 0; i < g_.inputs.size(); ++i) input_index_[slot(g_.inputs[i])] = static_cast<int>(i);
    for (size_t i = g_.outputs.size(); i-- > 0;) {
      ValueId v = g_.outputs[i];
      const Place& place = layout_->of(v);
      bool direct = place.in_arena && g_.value(v).producer != kNone && place.parent == kNone &&
                    (place.format == Format::kPlain || formats_agree(const_dims(*g_.value(v).type.shape)));
      if (direct) output_index_[slot(v)] = static_cast<int>(i);
    }
    for (size_t i = 0; i < order_.size(); ++i) emit(g_.node(order_[i]), i);
    finish_outputs();
    place_buffers();
  }

 private:
  static size_t slot(ValueId v) { return static_cast<size_t>(v); }

  void find_tactics() {
    verdicts_.resize(order_.size());
    chosen_.assign(order_.size(), nullptr);
    for (size_t i = 0; i < order_.size(); ++i) {
      Choice& c = p_.choices[i];
      const Node& n = g_.node(order_[i]);
      if (c.tactic == "view") {
        expect(is_view_op(g_, n), "{} cannot be run as a view", n.op);
        continue;
      }
      if (c.tactic.empty() || c.tactic == kFlowTactic) {
        c.in = c.out = Format::kPlain;
        continue;
      }
      expect(is_static_node(g_, n), "{} has no concrete shapes for tactic {}", n.op, c.tactic);
      for (const Tactic& t : tactics_.of(n.op)) {
        if (t.name == c.tactic) chosen_[i] = &t;
      }
      expect(chosen_[i] != nullptr, "there is no tactic '{}' for {}", c.tactic, n.op);
      verdicts_[i] = chosen_[i]->judge(make_problem(g_, n, c.in, c.out, options_.threads));
      expect(verdicts_[i].ok, "tactic {} does not take {}: {}", c.tactic, n.op, verdicts_[i].why);
    }
  }

  // --- locations ---

  // Arena locations carry the root value in `index` until place_buffers() knows the offsets.
  Location locate(ValueId v) {
    Location l;
    if (v == kNone) return l;
    const Value& value = g_.value(v);
    if (value.is_constant()) {
      l.kind = Location::Kind::kConstant;
      auto [at, fresh] = constant_index_.try_emplace(v, static_cast<int>(p_.constants.size()));
      if (fresh) p_.constants.push_back(value.constant);
      l.index = at->second;
      return l;
    }
    if (!layout_->of(v).in_arena) {
      if (input_index_[slot(v)] >= 0) {
        l.kind = Location::Kind::kInput;
        l.index = input_index_[slot(v)];
        return l;
      }
      l.kind = Location::Kind::kDatum;
      if (datum_[slot(v)] < 0) datum_[slot(v)] = p_.datum_count++;
      l.index = datum_[slot(v)];
      return l;
    }
    auto [owner, elements] = layout_->root(v);
    l.offset = byte_size(value.type.dtype, elements);
    if (input_index_[slot(owner)] >= 0) {
      l.kind = Location::Kind::kInput;
      l.index = input_index_[slot(owner)];
    } else if (output_index_[slot(owner)] >= 0) {
      l.kind = Location::Kind::kOutput;
      l.index = output_index_[slot(owner)];
    } else {
      l.kind = Location::Kind::kArena;
      l.index = buffer_of_value(owner);
    }
    return l;
  }

  int buffer_of_value(ValueId owner) {
    auto [at, fresh] = buffer_of_.try_emplace(owner, static_cast<int>(buffers_.size()));
    if (fresh) {
      const Type& t = g_.value(owner).type;
      buffers_.push_back({byte_size(t.dtype, element_count(const_dims(*t.shape))), INT32_MAX, -1});
    }
    return at->second;
  }

  void touch(const Location& l, int step) {
    if (l.kind != Location::Kind::kArena) return;
    BufferLife& life = buffers_[static_cast<size_t>(l.index)];
    life.first = std::min(life.first, step);
    life.last = std::max(life.last, step);
  }

  Step& push(Step step) {
    int index = static_cast<int>(p_.steps.size());
    for (const Location& l : step.in) touch(l, index);
    for (const Location& l : step.out) touch(l, index);
    p_.steps.push_back(std::move(step));
    return p_.steps.back();
  }

  // --- copies ---

  void copy(const Dims& dims, DType dtype, const Ints& from_strides, Location source, Location target,
            const Ints& to_strides, std::string name) {
    Step s;
    s.name = std::move(name);
    s.op = "Copy";
    s.tactic = "copy";
    s.kernel = make_copy(dtype, dims, from_strides, to_strides);
    s.in = {source};
    s.out = {target};
    s.bytes = 2 * byte_size(dtype, element_count(dims));
    push(std::move(s));
  }

  /// The value in the wanted dense format, as a buffer of its own; made once for each format.
  Location converted(ValueId v, Format format) {
    auto key = std::make_pair(v, format);
    auto found = converted_.find(key);
    if (found != converted_.end()) return found->second;
    const Type& t = g_.value(v).type;
    Dims dims = const_dims(*t.shape);
    Location target;
    target.kind = Location::Kind::kArena;
    target.index = static_cast<int>(buffers_.size());
    buffers_.push_back({byte_size(t.dtype, element_count(dims)), INT32_MAX, -1});
    copy(dims, t.dtype, layout_->of(v).strides, locate(v), target, format_strides(dims, format),
         fmt::format("reorder {} to {}", g_.value(v).name, name(format)));
    converted_.emplace(key, target);
    return target;
  }

  // --- steps ---

  void emit(const Node& n, size_t position) {
    const Choice& c = p_.choices[position];
    try {
      if (c.tactic == "view") {
        emit_view(n);
      } else if (c.tactic.empty()) {
        emit_reference(n);
      } else if (c.tactic == kFlowTactic) {
        emit_flow(n, c);
      } else {
        emit_kernel(n, c, *chosen_[position]);
      }
    } catch (Error& e) {
      throw e.note(fmt::format("while planning {}", print_node(g_, n)));
    }
  }

  void emit_view(const Node& n) {
    if (n.op == "Concat") {
      ValueId out = n.outputs[0];
      auto axis = static_cast<size_t>(axis_of(g_, n, 0));
      int64_t at = 0;
      for (ValueId v : n.inputs) {
        Dims dims = const_dims(*g_.value(v).type.shape);
        if (layout_->of(v).parent != out && element_count(dims) > 0) {
          Location target = locate(out);
          target.offset += byte_size(g_.value(out).type.dtype, at * layout_->of(out).strides[axis]);
          copy(dims, g_.value(v).type.dtype, strides_of_value(v), locate(v), target, layout_->of(out).strides,
               "concat " + n.name);
        }
        at += dims[axis];
      }
      return;
    }
    ValueId in = n.inputs[0];
    std::optional<Ints> begins = n.op == "Slice" ? slice_begins(g_, n) : std::nullopt;
    for (size_t i = 0; i < n.outputs.size(); ++i) {
      ValueId out = n.outputs[i];
      if (out == kNone || layout_->of(out).parent == in) continue;
      Ints from = strides_of_value(in);
      Location source = locate(in);
      int64_t offset = 0;
      Dims dims = const_dims(*g_.value(out).type.shape);
      Ints to = layout_->of(out).strides;
      if (n.op == "Split") {
        offset = split_begin(g_, n, i) * from[static_cast<size_t>(axis_of(g_, n, 0))];
      } else if (begins) {
        for (size_t a = 0; a < from.size(); ++a) offset += (*begins)[a] * from[a];
      } else {  // Reshape and its kin: the elements in logical order
        dims = const_dims(*g_.value(in).type.shape);
        to = format_strides(dims, Format::kPlain);
      }
      source.offset += byte_size(g_.value(in).type.dtype, offset);
      if (element_count(dims) > 0) {
        copy(dims, g_.value(in).type.dtype, from, source, locate(out), to, n.op + " " + n.name);
      }
    }
  }

  Ints strides_of_value(ValueId v) {
    return g_.value(v).is_constant() ? strides_of(g_.value(v).constant.dims()) : layout_->of(v).strides;
  }

  void emit_reference(const Node& n) {
    Step s;
    s.name = n.name;
    s.op = n.op;
    s.tactic = "reference";
    s.node = n.id;
    for (size_t i = 0; i < n.inputs.size(); ++i) {
      ValueId v = n.inputs[i];
      bool reorder = v != kNone && layout_->needs_reorder(n.id, i);
      s.in.push_back(reorder ? converted(v, Format::kPlain) : locate(v));
      s.in_types.push_back(v == kNone ? Type() : g_.value(v).type);
    }
    for (ValueId v : n.outputs) {
      s.out.push_back(locate(v));
      s.out_types.push_back(v == kNone ? Type() : g_.value(v).type);
      s.out_strides.push_back(v != kNone && layout_->of(v).in_arena ? layout_->of(v).strides : Ints());
    }
    s.flops = node_flops(g_, n);
    push(std::move(s));
  }

  void emit_kernel(const Node& n, const Choice& c, const Tactic& tactic) {
    Problem problem = make_problem(g_, n, c.in, c.out, options_.threads);
    Step s = step_of(n, c, problem);
    s.kernel = tactic.prepare(problem, weights_);
    finish_kernel(std::move(s));
  }

  // The bodies become programs of their own; what they need to run is workspace of the step.
  void emit_flow(const Node& n, const Choice& c) {
    std::string why;
    std::optional<FlowSpec> spec = flow_spec(g_, n, why);
    expect(spec.has_value(), "{} cannot be planned: {}", n.op, why);
    expect(c.bodies.size() == spec->bodies.size(), "{} has {} bodies, there are choices for {}", n.op,
           spec->bodies.size(), c.bodies.size());
    Problem problem = make_problem(g_, n, c.in, c.out, options_.threads);
    Step s = step_of(n, c, problem);
    for (size_t i = 0; i < c.bodies.size(); ++i) {
      if (spec->bodies[i] == nullptr) {
        s.bodies.emplace_back();
        continue;
      }
      s.bodies.push_back(build_program(spec->bodies[i], c.bodies[i], host_tactics(tactics_), weights_, options_));
      TENON_CHECK(s.bodies.back()->datum_count == 0);
    }
    s.kernel = make_flow_kernel(std::move(*spec), s.bodies, problem);
    finish_kernel(std::move(s));
  }

  void finish_kernel(Step s) {
    TENON_CHECK(s.kernel != nullptr);
    workspace_ = std::max(workspace_, s.kernel->workspace());
    push(std::move(s));
  }

  // A step for a kernel; `problem` gets the strides that its operands really have.
  Step step_of(const Node& n, const Choice& c, Problem& problem) {
    Step s;
    s.name = n.name;
    s.op = n.op;
    s.tactic = c.tactic;
    s.node = n.id;
    for (size_t i = 0; i < n.inputs.size(); ++i) {
      ValueId v = n.inputs[i];
      if (v != kNone && layout_->needs_reorder(n.id, i)) {
        s.in.push_back(converted(v, c.in));
      } else {
        s.in.push_back(locate(v));
        // Where both formats agree the strides of the wanted one stay; else those of the place, slices included.
        if (v != kNone && layout_->of(v).in_arena && layout_->of(v).format == problem.in[i].format) {
          problem.in[i].strides = layout_->of(v).strides;
        }
      }
      s.in_types.push_back(v == kNone ? Type() : g_.value(v).type);
      s.in_strides.push_back(problem.in[i].strides);
    }
    for (size_t i = 0; i < n.outputs.size(); ++i) {
      ValueId v = n.outputs[i];
      s.out.push_back(locate(v));
      s.out_types.push_back(v == kNone ? Type() : g_.value(v).type);
      s.out_strides.push_back(v == kNone ? Ints() : layout_->of(v).strides);
      if (v == kNone) continue;
      // A slice's strides hold whatever its format is called; where both formats agree on a dense buffer the strides
      // of the chosen one stay.
      if (layout_->of(v).format == problem.out[i].format || !layout_->dense(v)) {
        problem.out[i].strides = layout_->of(v).strides;
      }
      s.bytes += byte_size(problem.out[i].dtype, problem.out[i].size());
    }
    for (const Operand& o : problem.in) s.bytes += o.present() ? byte_size(o.dtype, o.size()) : 0;
    s.flops = node_flops(g_, n);
    return s;
  }

  void finish_outputs() {
    for (size_t i = 0; i < g_.outputs.size(); ++i) {
      ValueId v = g_.outputs[i];
      Location l = locate(v);
      const Place& place = layout_->of(v);
      bool plain = !place.in_arena || (place.format == Format::kPlain && layout_->dense(v)) ||
                   (formats_agree(const_dims(*g_.value(v).type.shape)) && layout_->dense(v));
      if (!plain) {
        Location target;
        target.kind = Location::Kind::kOutput;
        target.index = static_cast<int>(i);
        Dims dims = const_dims(*g_.value(v).type.shape);
        copy(dims, g_.value(v).type.dtype, place.strides, l, target, format_strides(dims, Format::kPlain),
             "output " + g_.value(v).name);
        l = target;
      }
      touch(l, static_cast<int>(p_.steps.size()));
      p_.output_locations.push_back(l);
      p_.outputs.push_back(g_.value(v).type);
    }
    for (ValueId v : g_.inputs) p_.inputs.push_back(g_.value(v).type);
  }

  void place_buffers() {
    for (BufferLife& b : buffers_) {
      if (b.last < 0) b.first = b.last = 0;
    }
    ArenaLayout arena = assign_arena(buffers_);
    auto resolve = [&](Location& l) {
      if (l.kind != Location::Kind::kArena) return;
      l.offset += arena.offsets[static_cast<size_t>(l.index)];
      l.index = 0;
    };
    for (Step& s : p_.steps) {
      for (Location& l : s.in) resolve(l);
      for (Location& l : s.out) resolve(l);
    }
    for (Location& l : p_.output_locations) resolve(l);
    p_.workspace_offset = arena.bytes;
    p_.arena_bytes = checked_add(arena.bytes, round_up(workspace_, 64));
  }

  Program& p_;
  Graph& g_;
  const TacticTable& tactics_;
  WeightStore& weights_;
  const BuildOptions& options_;
  std::vector<NodeId> order_;
  std::vector<Verdict> verdicts_;
  std::vector<const Tactic*> chosen_;
  std::unique_ptr<Layout> layout_;
  std::vector<int> datum_, input_index_, output_index_;
  std::map<ValueId, int> constant_index_, buffer_of_;
  std::map<std::pair<ValueId, Format>, Location> converted_;
  std::vector<BufferLife> buffers_;
  int64_t workspace_ = 0;
};

}  // namespace

bool Program::allocation_free() const {
  if (datum_count > 0) return false;
  return std::all_of(steps.begin(), steps.end(), [](const Step& s) {
    return s.kernel != nullptr && std::all_of(s.bodies.begin(), s.bodies.end(),
                                              [](const auto& b) { return b == nullptr || b->allocation_free(); });
  });
}

std::vector<const Step*> all_steps(const Program& program) {
  std::vector<const Step*> out;
  for (const Step& s : program.steps) {
    out.push_back(&s);
    for (const auto& body : s.bodies) {
      if (body == nullptr) continue;
      std::vector<const Step*> inner = all_steps(*body);
      out.insert(out.end(), inner.begin(), inner.end());
    }
  }
  return out;
}

size_t inner_steps(const Step& step) {
  size_t count = 0;
  for (const auto& body : step.bodies) {
    if (body == nullptr) continue;
    for (const Step& s : body->steps) count += 1 + inner_steps(s);
  }
  return count;
}

Problem make_problem(const Graph& g, const Node& n, Format in, Format out, int threads) {
  Problem p;
  p.node = &n;
  p.threads = threads;
  for (ValueId v : n.inputs) p.in.push_back(operand_of(g, v, in));
  for (ValueId v : n.outputs) p.out.push_back(operand_of(g, v, out));
  return p;
}

bool is_static_node(const Graph& g, const Node& n) {
  auto fits = [&](ValueId v) { return v == kNone || arena_type(g.value(v).type); };
  return std::all_of(n.inputs.begin(), n.inputs.end(), fits) && std::all_of(n.outputs.begin(), n.outputs.end(), fits);
}

bool is_view_op(const Graph& g, const Node& n) {
  if (n.attrs.has("epilogue") || !is_static_node(g, n) || n.outputs.empty()) return false;
  // Packed sub-byte elements have no address of their own.
  if (bits(g.value(n.outputs[0]).type.dtype) % 8 != 0) return false;
  if (n.op == "Reshape" || n.op == "Squeeze" || n.op == "Unsqueeze" || n.op == "Flatten" || n.op == "Identity" ||
      n.op == "Split") {
    return n.has(0) && !g.value(n.inputs[0]).is_constant();
  }
  if (n.op == "Concat") return true;
  return n.op == "Slice" && !g.value(n.inputs[0]).is_constant() && slice_begins(g, n).has_value();
}

double node_flops(const Graph& g, const Node& n) {
  auto dims = [&](ValueId v) {
    return v != kNone && g.value(v).type.is_static() ? const_dims(*g.value(v).type.shape) : Dims();
  };
  auto product = [](const Dims& d) {
    double out = 1;
    for (int64_t x : d) out *= static_cast<double>(x);
    return out;
  };
  if (n.outputs.empty() || n.inputs.empty()) return 0;
  Dims out = dims(n.outputs[0]);
  bool quantized = n.op == "QLinearConv" || n.op == "QLinearMatMul";
  Dims weights = dims(n.in(quantized ? 3 : 1));
  if (n.op == "Conv" || n.op == "ConvInteger" || n.op == "QLinearConv") {
    if (weights.size() < 3) return 0;
    return 2 * product(out) * product(weights) / static_cast<double>(std::max<int64_t>(weights[0], 1));
  }
  if (n.op == "ConvTranspose") {
    Dims in = dims(n.inputs[0]);
    return weights.size() < 3
               ? 0
               : 2 * product(in) * product(weights) / static_cast<double>(std::max<int64_t>(weights[0], 1));
  }
  if (n.op == "MatMul" || n.op == "Gemm" || n.op == "MatMulInteger" || n.op == "QLinearMatMul") {
    Dims in = dims(n.inputs[0]);
    if (in.empty()) return 0;
    return 2 * product(out) * static_cast<double>(n.attrs.integer("transA", 0) ? in.front() : in.back());
  }
  return 0;
}

std::unique_ptr<Program> build_program(GraphPtr graph, std::vector<Choice> choices, const TacticTable& tactics,
                                       WeightStore& weights, const BuildOptions& options) {
  auto program = std::make_unique<Program>();
  program->graph = std::move(graph);
  program->choices = std::move(choices);
  program->threads = options.threads;
  Builder(*program, tactics, weights, options).build();
  return program;
}

}  // namespace tenon
