// CPU tactic of LSTM, GRU and RNN in float32 with constant weights: one product gives the input's share of all gates at
// all times, then each step adds its small product with the state and runs the cell.
#include <cstring>

#include "base/error.hpp"
#include "cpu/gemm.hpp"
#include "cpu/isa.hpp"
#include "cpu/rnn.hpp"
#include "tactic/tactic.hpp"

namespace tenon {
namespace {

enum class Cell { kRnn, kGru, kLstm };

Cell cell_of(const Problem& p) {
  return p.node->op == "RNN" ? Cell::kRnn : p.node->op == "GRU" ? Cell::kGru : Cell::kLstm;
}
int64_t gates_of(Cell cell) { return cell == Cell::kRnn ? 1 : cell == Cell::kGru ? 3 : 4; }

bool plain(const Operand& o) { return o.dense() && (o.format == Format::kPlain || formats_agree(o.dims)); }

bool usual_activations(const Problem& p, Cell cell) {
  Strings usual = cell == Cell::kRnn   ? Strings{"tanh"}
                  : cell == Cell::kGru ? Strings{"sigmoid", "tanh"}
                                       : Strings{"sigmoid", "tanh", "tanh"};
  Strings names = p.attrs().strings("activations");
  for (size_t i = 0; i < names.size(); ++i) {
    for (char& c : names[i]) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    if (names[i] != usual[i % usual.size()]) return false;
  }
  return true;
}

struct Extents {
  int64_t length, batch, inputs, hidden, both, gates;
  bool batch_first;
};

Extents extents_of(const Problem& p) {
  const Dims &x = p.in[0].dims, &w = p.in[1].dims, &r = p.in[2].dims;
  bool first = p.attrs().integer("layout", 0) != 0;
  return {x[first ? 1 : 0], x[first ? 0 : 1], x[2], r[2], w[0], gates_of(cell_of(p)), first};
}

Verdict judge_shapes(const Problem& p) {
  for (size_t i : {0, 1, 2}) {
    if (p.in[i].rank() != 3) return Verdict::no("an operand of rank {}", p.in[i].rank());
  }
  Extents e = extents_of(p);
  Dims w{e.both, e.gates * e.hidden, e.inputs}, r{e.both, e.gates * e.hidden, e.hidden};
  bool bidirectional = p.attrs().string("direction", "forward") == "bidirectional";
  if (p.in[1].dims != w || p.in[2].dims != r || e.both != (bidirectional ? 2 : 1)) return Verdict::no("the weights");
  if (p.has(3) && p.in[3].size() != 2 * e.both * e.gates * e.hidden) return Verdict::no("the bias");
  for (size_t i : {5, 6}) {
    if (p.has(i) && p.in[i].size() != e.both * e.batch * e.hidden) return Verdict::no("an initial state");
  }
  for (const Operand& o : p.out) {
    if (o.present() && o.size() == 0) return Verdict::no("an empty result");
  }
  return e.length > 0 && e.inputs > 0 ? Verdict::yes() : Verdict::no("an empty input");
}

Verdict judge(const Problem& p) {
  Cell cell = cell_of(p);
  if (p.in[0].dtype != DType::kFloat32) return Verdict::no("not for {}", name(p.in[0].dtype));
  for (size_t i : {1, 2, 3}) {
    if (p.has(i) && p.in[i].constant == nullptr) return Verdict::no("weights that are not constant");
  }
  if (p.has(4)) return Verdict::no("sequence lengths");
  if (p.has(7)) return Verdict::no("peepholes");
  if (p.attrs().number("clip", 0) != 0) return Verdict::no("clipping");
  if (p.attrs().integer("input_forget", 0) != 0) return Verdict::no("coupled input and forget gates");
  if (!usual_activations(p, cell)) return Verdict::no("activations other than the default");
  for (const Operand& o : p.in) {
    if (o.present() && (!plain(o) || o.dtype != DType::kFloat32)) return Verdict::no("not plain float32");
  }
  for (const Operand& o : p.out) {
    if (o.present() && !plain(o)) return Verdict::no("not in the plain format");
  }
  return judge_shapes(p);
}

// One direction's packed weights. A GRU without linear_before_reset has its candidate's recurrent weights apart.
struct Direction {
  const float *w, *r, *candidate = nullptr;
  std::vector<float> bias, recurrent_bias;
  bool backward = false;
};

class Recurrent final : public Kernel {
 public:
  Recurrent(const Problem& p, WeightStore& store)
      : cell_(cell_of(p)), e_(extents_of(p)), linear_(p.attrs().integer("linear_before_reset", 0) != 0) {
    for (int64_t d = 0; d < e_.both; ++d) directions_.push_back(pack(p, store, d));
    for (size_t i = 0; i < 3; ++i) out_[i] = i < p.out.size() && p.out[i].present();
    for (size_t i = 0; i < 2; ++i) initial_[i] = p.has(5 + i);
  }

  int64_t workspace() const override {
    int64_t state = e_.batch * e_.hidden;
    return 4 * (padded(e_.length * e_.batch * e_.gates * e_.hidden) + 3 * padded(state) + padded(state * e_.gates));
  }
  std::string detail() const override { return cpu::isa_name(); }

  void run(const RunArgs& a) const override {
    for (int64_t d = 0; d < e_.both; ++d) run_direction(a, d);
  }

 private:
  static int64_t padded(int64_t floats) { return (floats + 15) / 16 * 16; }

  struct State {
    float *gates, *h, *c, *gated, *recurrent;
  };

  Direction pack(const Problem& p, WeightStore& store, int64_t d) const {
    int64_t rows = e_.gates * e_.hidden;
    auto packed = [&](size_t input, int64_t k, int64_t first, int64_t n) {
      const Tensor& t = *p.in[input].constant;
      const float* from = t.data<float>() + (d * rows + first) * k;
      std::string key = fmt::format("rnn {} {} {} {}", d, first, n, cpu::layout_id());
      const std::byte* to =
          store.pack(t, key, static_cast<int64_t>(cpu::packed_b_floats(k, n) * 4),
                     [&](std::byte* at) { cpu::pack_b(from, 1, k, k, n, reinterpret_cast<float*>(at)); });
      return reinterpret_cast<const float*>(to);
    };
    Direction out;
    bool split = cell_ == Cell::kGru && !linear_;
    out.w = packed(1, e_.inputs, 0, rows);
    out.r = packed(2, e_.hidden, 0, split ? 2 * e_.hidden : rows);
    if (split) out.candidate = packed(2, e_.hidden, 2 * e_.hidden, e_.hidden);
    out.backward = d == 1 || p.attrs().string("direction", "forward") == "reverse";
    out.bias.assign(static_cast<size_t>(rows), 0.0f);
    out.recurrent_bias.assign(static_cast<size_t>(rows), 0.0f);
    if (!p.has(3)) return out;
    const float* b = p.in[3].constant->data<float>() + d * 2 * rows;
    // The candidate's recurrent bias is scaled by the reset gate where that comes after the product.
    bool apart = cell_ == Cell::kGru && linear_;
    for (int64_t i = 0; i < rows; ++i) {
      auto k = static_cast<size_t>(i);
      bool later = apart && i >= 2 * e_.hidden;
      out.bias[k] = b[i] + (later ? 0.0f : b[rows + i]);
      out.recurrent_bias[k] = later ? b[rows + i] : 0.0f;
    }
    return out;
  }

  // Rows of the state: item n of direction d.
  int64_t state_at(int64_t n, int64_t d) const {
    return (e_.batch_first ? n * e_.both + d : d * e_.batch + n) * e_.hidden;
  }
  int64_t row_of(int64_t t, int64_t n) const { return e_.batch_first ? n * e_.length + t : t * e_.batch + n; }

  void run_direction(const RunArgs& a, int64_t d) const {
    const Direction& w = directions_[static_cast<size_t>(d)];
    int64_t wide = e_.gates * e_.hidden, state = padded(e_.batch * e_.hidden);
    State s;
    s.gates = static_cast<float*>(a.workspace);
    s.h = s.gates + padded(e_.length * e_.batch * wide);
    s.c = s.h + state;
    s.gated = s.c + state;
    s.recurrent = s.gated + state;
    cpu::GemmArgs all;
    all.m = e_.length * e_.batch;
    all.n = wide;
    all.k = all.lda = e_.inputs;
    all.a = static_cast<const float*>(a.in[0]);
    all.b = w.w;
    all.c = s.gates;
    all.ldc = wide;
    all.epilogue.bias = w.bias.data();
    cpu::gemm(a.pool, all);
    begin(a, d, s);
    auto* y = out_[0] ? static_cast<float*>(a.out[0]) : nullptr;
    auto bytes = static_cast<size_t>(e_.hidden) * 4;
    for (int64_t i = 0; i < e_.length; ++i) {
      int64_t t = w.backward ? e_.length - 1 - i : i;
      step(a.pool, w, s, t);
      for (int64_t n = 0; n < e_.batch && y != nullptr; ++n) {
        int64_t at = e_.batch_first ? (n * e_.length + t) * e_.both + d : (t * e_.both + d) * e_.batch + n;
        std::memcpy(y + at * e_.hidden, s.h + n * e_.hidden, bytes);
      }
    }
    for (int64_t n = 0; n < e_.batch; ++n) {
      if (out_[1]) std::memcpy(static_cast<float*>(a.out[1]) + state_at(n, d), s.h + n * e_.hidden, bytes);
      if (out_[2]) std::memcpy(static_cast<float*>(a.out[2]) + state_at(n, d), s.c + n * e_.hidden, bytes);
    }
  }

  void begin(const RunArgs& a, int64_t d, const State& s) const {
    float* const to[] = {s.h, s.c};
    auto bytes = static_cast<size_t>(e_.hidden) * 4;
    for (size_t i = 0; i < 2; ++i) {
      for (int64_t n = 0; n < e_.batch; ++n) {
        float* row = to[i] + n * e_.hidden;
        if (initial_[i]) {
          std::memcpy(row, static_cast<const float*>(a.in[5 + i]) + state_at(n, d), bytes);
        } else {
          std::memset(row, 0, bytes);
        }
      }
    }
  }

  // C (+)= state * weights, one row a batch item.
  void product(ThreadPool& pool, const float* state, const float* weights, int64_t n, float* c, int64_t ldc,
               const float* bias) const {
    cpu::GemmArgs args;
    args.m = e_.batch;
    args.n = n;
    args.k = args.lda = e_.hidden;
    args.a = state;
    args.b = weights;
    args.c = c;
    args.ldc = ldc;
    args.accumulate = bias == nullptr;
    args.epilogue.bias = bias;
    cpu::gemm(pool, args);
  }

  void step(ThreadPool& pool, const Direction& w, const State& s, int64_t t) const {
    int64_t wide = e_.gates * e_.hidden, row = wide * (e_.batch_first ? e_.length : 1);
    float* gates = s.gates + row_of(t, 0) * wide;
    bool gru = cell_ == Cell::kGru;
    if (gru && linear_) {
      product(pool, s.h, w.r, wide, s.recurrent, wide, w.recurrent_bias.data());
    } else {
      product(pool, s.h, w.r, gru ? 2 * e_.hidden : wide, gates, row, nullptr);
    }
    for (int64_t n = 0; n < e_.batch; ++n) {
      float *g = gates + n * row, *h = s.h + n * e_.hidden, *c = s.c + n * e_.hidden;
      if (cell_ == Cell::kLstm) cpu::lstm_cell(g, c, h, e_.hidden);
      if (cell_ == Cell::kRnn) cpu::rnn_cell(g, h, e_.hidden);
      if (gru && linear_) cpu::gru_cell_linear(g, s.recurrent + n * wide, h, e_.hidden);
      if (gru && !linear_) cpu::gru_reset(g, h, s.gated + n * e_.hidden, e_.hidden);
    }
    if (!gru || linear_) return;
    product(pool, s.gated, w.candidate, e_.hidden, gates + 2 * e_.hidden, row, nullptr);
    for (int64_t n = 0; n < e_.batch; ++n) {
      float* g = gates + n * row;
      cpu::gru_update(g, g + 2 * e_.hidden, s.h + n * e_.hidden, e_.hidden);
    }
  }

  Cell cell_;
  Extents e_;
  bool linear_;
  bool out_[3] = {}, initial_[2] = {};
  std::vector<Direction> directions_;
};

std::unique_ptr<Kernel> prepare(const Problem& p, WeightStore& store) { return std::make_unique<Recurrent>(p, store); }

}  // namespace

void define_rnn_cpu(TacticTable& table) {
  for (const char* op : {"LSTM", "GRU", "RNN"}) table.add(op, {{"packed_steps", judge, prepare}});
}

}  // namespace tenon
