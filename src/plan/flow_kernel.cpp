#include <algorithm>
#include <cstring>

#include "base/checked.hpp"
#include "base/error.hpp"
#include "graph/interpret.hpp"
#include "ops/op_table.hpp"
#include "plan/body_runner.hpp"
#include "plan/flow.hpp"
#include "tactic/copy.hpp"

namespace tenon {
namespace {

using Kind = FlowSpec::Kind;

// As the reference: a loop of more rounds is refused.
constexpr int64_t kMaxRounds = int64_t{1} << 20;

size_t bytes_of(const Type& t) { return static_cast<size_t>(byte_size(t.dtype, element_count(const_dims(*t.shape)))); }

// Hands out regions of the workspace.
class Carver {
 public:
  int64_t take(int64_t bytes) {
    int64_t at = at_;
    at_ = checked_add(at_, round_up(std::max<int64_t>(bytes, 1), 64));
    return at;
  }
  int64_t total() const noexcept { return at_; }

 private:
  int64_t at_ = 0;
};

template <class T>
T* at(void* workspace, int64_t offset) {
  return reinterpret_cast<T*>(static_cast<std::byte*>(workspace) + offset);
}

class IfKernel final : public Kernel {
 public:
  IfKernel(FlowSpec spec, const std::vector<std::shared_ptr<const Program>>& programs, const Problem& p)
      : spec_(std::move(spec)) {
    lay_out(programs, p);
  }

  int64_t workspace() const override { return total_; }
  std::string detail() const override { return "branches as programs"; }

  void run(const RunArgs& a) const override {
    size_t k = *static_cast<const uint8_t*>(a.in[0]) != 0 ? 0 : 1;
    if (runners_[k] == nullptr) {
      interpret_branch(*spec_.interpreted[k], a);
      return;
    }
    const BodyRunner& runner = *runners_[k];
    FlowTrace trace = flow_trace();
    // Times of the first branch's steps stand before those of the second.
    if (trace.seconds != nullptr && k == 1) flow_trace().seconds += first_steps_;
    auto* out = at<void*>(a.workspace, out_);
    for (size_t i = 0; i < runner.program().outputs.size(); ++i) {
      out[i] = spare_[i] < 0 ? a.out[i] : at<void>(a.workspace, spare_[i]);
    }
    auto* memory = at<std::byte>(a.workspace, memory_);
    runner.open(memory);
    runner.run(memory, a.in + 1, out, a.pool);
    flow_trace() = trace;
  }

 private:
  void lay_out(const std::vector<std::shared_ptr<const Program>>& programs, const Problem& p) {
    for (const Operand& o : p.out) out_types_.push_back(Type::tensor(o.dtype, to_shape(o.dims)));
    for (size_t i = 1; i < p.in.size(); ++i) in_types_.push_back(Type::tensor(p.in[i].dtype, to_shape(p.in[i].dims)));
    int64_t largest = 0;
    size_t outputs = p.out.size();
    for (const auto& program : programs) {
      runners_.push_back(program ? std::make_unique<BodyRunner>(program) : nullptr);
      if (!program) continue;
      largest = std::max(largest, runners_.back()->workspace());
      outputs = std::max(outputs, program->outputs.size());
    }
    Carver carve;
    memory_ = carve.take(largest);
    out_ = carve.take(static_cast<int64_t>(outputs * sizeof(void*)));
    // Where a result that the node does not hand on goes: one place each, as later steps of the branch may read it.
    for (size_t i = 0; i < outputs; ++i) {
      bool wanted = i < p.out.size() && p.out[i].present();
      size_t bytes = 0;
      for (const auto& program : programs) {
        if (program && !wanted && i < program->outputs.size()) bytes = std::max(bytes, bytes_of(program->outputs[i]));
      }
      spare_.push_back(wanted ? -1 : carve.take(static_cast<int64_t>(bytes)));
    }
    total_ = carve.total();
    if (programs[0]) first_steps_ = all_steps(*programs[0]).size();
  }

  // A branch that cannot run with these shapes: what it says when it does is the answer.
  void interpret_branch(const Graph& branch, const RunArgs& a) const {
    std::vector<Datum> inputs;
    for (size_t i = 0; i < in_types_.size(); ++i) {
      const Type& t = in_types_[i];
      inputs.emplace_back(Tensor::view(t.dtype, const_dims(*t.shape),
                                       {static_cast<const std::byte*>(a.in[1 + i]), bytes_of(t)}, nullptr));
    }
    std::vector<Datum> made = interpret(branch, all_ops(), inputs);
    for (size_t i = 0; i < out_types_.size(); ++i) {
      if (a.out[i] == nullptr) continue;
      const Tensor& t = made[i].tensor;
      bool fits = made[i].is_tensor() && t.defined() && Type::tensor(t) == out_types_[i];
      expect(fits, "a branch makes something else than the planned {}", out_types_[i].text());
      if (t.bytes() > 0) std::memcpy(a.out[i], t.raw(), static_cast<size_t>(t.bytes()));
    }
  }

  FlowSpec spec_;
  std::vector<std::unique_ptr<BodyRunner>> runners_;
  std::vector<Type> in_types_, out_types_;
  std::vector<int64_t> spare_;
  size_t first_steps_ = 0;  // inside the first branch
  int64_t memory_ = 0, out_ = 0, total_ = 0;
};

// Element `index` along one axis of a larger tensor: read or written where it is when it is in one piece there.
struct Slice {
  int64_t step = 0;              // bytes from one index to the next
  std::unique_ptr<Kernel> copy;  // null: in one piece
  int64_t buffer = 0;            // of the workspace, for copies
  bool reversed = false;
};

class LoopKernel final : public Kernel {
 public:
  LoopKernel(FlowSpec spec, std::shared_ptr<const Program> program, const Problem& p)
      : spec_(std::move(spec)), runner_(std::move(program)), loop_(spec_.kind == Kind::kLoop) {
    lay_out(p);
  }

  int64_t workspace() const override { return total_; }
  std::string detail() const override {
    return spec_.rounds >= 0 ? fmt::format("body as a program, {} rounds", spec_.rounds) : "body as a program";
  }

  void run(const RunArgs& a) const override {
    auto* memory = at<std::byte>(a.workspace, memory_);
    const void** in = at<const void*>(a.workspace, in_);
    runner_.open(memory);
    size_t given = spec_.first + spec_.carried + spec_.scans;
    for (size_t k = 0; k < spec_.captures; ++k) in[input_count() - spec_.captures + k] = a.in[given + k];
    for (size_t i = 0; i < spec_.carried; ++i) in[first_in() + i] = a.in[spec_.first + i];
    int64_t rounds = loop_ ? run_loop(a, memory) : run_scan(a, memory);
    for (size_t i = 0; i < spec_.carried; ++i) {
      if (states_[i].other >= 0) continue;  // nobody wants it
      void* target = a.out[i];
      const void* last = in[first_in() + i];
      if (last != target && states_[i].bytes > 0) std::memcpy(target, last, states_[i].bytes);
    }
    if (spec_.rounds >= 0 && rounds != spec_.rounds) {
      fail(Code::kInternal, "a loop ran {} rounds where {} were planned", rounds, spec_.rounds);
    }
  }

 private:
  void lay_out(const Problem& p) {
    const Program& body = runner_.program();
    Carver carve;
    memory_ = carve.take(runner_.workspace());
    in_ = carve.take(static_cast<int64_t>(body.inputs.size() * sizeof(void*)));
    out_ = carve.take(static_cast<int64_t>(body.outputs.size() * sizeof(void*)));
    scalars_ = carve.take(64);
    for (size_t i = 0; i < spec_.carried; ++i) {
      auto bytes = static_cast<int64_t>(bytes_of(body.outputs[first_out() + i]));
      bool wanted = i < p.out.size() && p.out[i].present();
      states_.push_back({static_cast<size_t>(bytes), carve.take(bytes), wanted ? -1 : carve.take(bytes),
                         runner_.passed_on(first_out() + i) == static_cast<int>(first_in() + i)});
    }
    for (size_t i = 0; i < spec_.scans; ++i) {
      const Operand& o = p.in[spec_.carried + i];
      ins_.push_back(slice(o, spec_.in_axes[i], spec_.in_reversed[i] != 0, false, carve));
    }
    for (size_t i = 0; i < spec_.collected; ++i) {
      size_t at_node = spec_.carried + i;
      bool wanted = at_node < p.out.size() && p.out[at_node].present();
      if (wanted) {
        outs_.push_back(slice(p.out[at_node], spec_.out_axes[i], spec_.out_reversed[i] != 0, true, carve));
      } else {
        outs_.emplace_back();
        outs_.back().buffer = carve.take(static_cast<int64_t>(bytes_of(body.outputs[first_out() + spec_.carried + i])));
      }
      unwanted_.push_back(!wanted);
    }
    total_ = carve.total();
  }

  struct State {
    size_t bytes;
    int64_t buffer;  // one of the two that rounds write in turn
    int64_t other;   // the second, when the node's output is not wanted; else -1: that output is it
    bool kept;       // the body hands it on unchanged
  };

  size_t input_count() const { return runner_.program().inputs.size(); }
  size_t first_in() const { return loop_ ? 2 : 0; }
  size_t first_out() const { return loop_ ? 1 : 0; }

  static Slice slice(const Operand& o, int64_t axis, bool reversed, bool output, Carver& carve) {
    Slice s;
    auto element = static_cast<int64_t>(bits(o.dtype) / 8);
    Dims dims = o.dims;
    Ints strides = strides_of(dims);
    s.step = strides[static_cast<size_t>(axis)] * element;
    s.reversed = reversed;
    bool whole = true;
    for (int64_t i = 0; i < axis; ++i) whole = whole && dims[static_cast<size_t>(i)] == 1;
    dims.erase(dims.begin() + axis);
    strides.erase(strides.begin() + axis);
    if (whole || element_count(dims) == 0) return s;
    Ints dense = strides_of(dims);
    s.copy = output ? make_copy(o.dtype, dims, dense, strides) : make_copy(o.dtype, dims, strides, dense);
    s.buffer = carve.take(element_count(dims) * element);
    return s;
  }

  // One round; `left`: rounds that follow, or what is known of them. The last one then writes the node's outputs.
  void round(const RunArgs& a, std::byte* memory, int64_t index, int64_t left) const {
    const void** in = at<const void*>(a.workspace, in_);
    void** out = at<void*>(a.workspace, out_);
    for (size_t i = 0; i < ins_.size(); ++i) {
      const Slice& s = ins_[i];
      int64_t t = s.reversed ? spec_.rounds - 1 - index : index;
      const void* from = static_cast<const std::byte*>(a.in[spec_.carried + i]) + t * s.step;
      if (s.copy != nullptr) {
        void* buffer = at<void>(a.workspace, s.buffer);
        s.copy->run({&from, &buffer, nullptr, a.pool});
        from = buffer;
      }
      in[spec_.carried + i] = from;
    }
    for (size_t i = 0; i < spec_.carried; ++i) {
      const State& s = states_[i];
      void* second = s.other < 0 ? a.out[i] : at<void>(a.workspace, s.other);
      out[first_out() + i] = s.kept ? nullptr : left % 2 == 0 ? second : at<void>(a.workspace, s.buffer);
    }
    size_t collected = first_out() + spec_.carried;
    for (size_t i = 0; i < outs_.size(); ++i) out[collected + i] = slot_of(a, i, index);
    runner_.run(memory, in, out, a.pool);
    for (size_t i = 0; i < outs_.size(); ++i) {
      if (outs_[i].copy == nullptr) continue;
      const void* from = out[collected + i];
      void* to = place_of(a, i, index);
      outs_[i].copy->run({&from, &to, nullptr, a.pool});
    }
    for (size_t i = 0; i < spec_.carried; ++i) {
      if (!states_[i].kept) in[first_in() + i] = out[first_out() + i];
    }
  }

  std::byte* place_of(const RunArgs& a, size_t i, int64_t index) const {
    int64_t t = outs_[i].reversed ? spec_.rounds - 1 - index : index;
    return static_cast<std::byte*>(a.out[spec_.carried + i]) + t * outs_[i].step;
  }
  void* slot_of(const RunArgs& a, size_t i, int64_t index) const {
    bool direct = !unwanted_[i] && outs_[i].copy == nullptr;
    return direct ? place_of(a, i, index) : at<std::byte>(a.workspace, outs_[i].buffer);
  }

  int64_t run_scan(const RunArgs& a, std::byte* memory) const {
    for (int64_t t = 0; t < spec_.rounds; ++t) round(a, memory, t, spec_.rounds - 1 - t);
    return spec_.rounds;
  }

  int64_t run_loop(const RunArgs& a, std::byte* memory) const {
    auto* index = at<int64_t>(a.workspace, scalars_);
    auto* going = at<uint8_t>(a.workspace, scalars_ + 8);
    auto* next = at<uint8_t>(a.workspace, scalars_ + 16);
    const void** in = at<const void*>(a.workspace, in_);
    void** out = at<void*>(a.workspace, out_);
    in[0] = index;
    in[1] = going;
    int64_t trips = a.in[0] != nullptr ? *static_cast<const int64_t*>(a.in[0]) : kMaxRounds + 1;
    *going = a.in[1] == nullptr || *static_cast<const uint8_t*>(a.in[1]) != 0 ? 1 : 0;
    const Location& condition = runner_.program().output_locations[0];
    bool passed = runner_.passed_on(0) == 1;
    bool endless = passed || condition.kind == Location::Kind::kConstant;
    expect(*going == 0 || !endless || trips <= kMaxRounds, "the loop would run {} rounds, more than the limit of {}",
           trips, kMaxRounds);
    int64_t done = 0;
    for (; *going != 0 && done < trips; ++done) {
      expect(done < kMaxRounds, "the loop has not ended after {} rounds", kMaxRounds);
      if (spec_.rounds >= 0 && done >= spec_.rounds) return done + 1;
      *index = done;
      out[0] = passed ? nullptr : next;
      round(a, memory, done, trips - 1 - done);
      if (!passed) *going = *next;
    }
    return done;
  }

  FlowSpec spec_;
  BodyRunner runner_;
  bool loop_;
  std::vector<State> states_;
  std::vector<Slice> ins_, outs_;
  std::vector<bool> unwanted_;
  int64_t memory_ = 0, in_ = 0, out_ = 0, scalars_ = 0, total_ = 0;
};

}  // namespace

FlowTrace& flow_trace() noexcept {
  thread_local FlowTrace trace;
  return trace;
}

std::unique_ptr<Kernel> make_flow_kernel(FlowSpec spec, std::vector<std::shared_ptr<const Program>> programs,
                                         const Problem& problem) {
  if (spec.kind == Kind::kIf) return std::make_unique<IfKernel>(std::move(spec), programs, problem);
  return std::make_unique<LoopKernel>(std::move(spec), programs.at(0), problem);
}

}  // namespace tenon
