// RNN, GRU, LSTM: recurrent layers over a sequence, forward, backward or both.
#include <algorithm>
#include <cmath>

#include "ops/support.hpp"

namespace tenon {
namespace {

enum class Cell { kRnn, kGru, kLstm };

int gates_of(Cell cell) { return cell == Cell::kRnn ? 1 : cell == Cell::kGru ? 3 : 4; }
Cell cell_of(const std::string& op) { return op == "RNN" ? Cell::kRnn : op == "GRU" ? Cell::kGru : Cell::kLstm; }

template <class Context>
int64_t directions(const Context& ctx) {
  std::string d = ctx.attrs().string("direction", "forward");
  ctx.require(d == "forward" || d == "reverse" || d == "bidirectional",
              "direction '{}' is not known (forward, reverse and bidirectional are)", d);
  return d == "bidirectional" ? 2 : 1;
}

// What is known of the shapes must fit before any tactic packs weights by them.
void require_shape(const InferContext& ctx, size_t i, const char* what, const Shape& wanted) {
  const auto& shape = ctx.shape(i);
  if (!ctx.has(i) || !shape) return;
  bool fits = shape->size() == wanted.size();
  for (size_t k = 0; fits && k < wanted.size(); ++k) {
    fits = !(*shape)[k].is_const() || !wanted[k].is_const() || (*shape)[k] == wanted[k];
  }
  ctx.require(fits, "{} has shape {} where {} is needed", what, shape_text(*shape), shape_text(wanted));
}

void require_weights(const InferContext& ctx, int64_t both, const Dim& hidden) {
  int64_t gates = gates_of(cell_of(ctx.node().op));
  ctx.require(!hidden.is_const() || (hidden.value() > 0 && hidden.value() < kMaxElements / 8), "hidden_size is {}",
              hidden.text());
  Dim inputs = ctx.rank(0) == 3 ? (*ctx.shape(0))[2] : Dim::symbol("inputs");
  require_shape(ctx, 1, "W", {both, hidden * gates, inputs});
  require_shape(ctx, 2, "R", {both, hidden * gates, hidden});
  require_shape(ctx, 3, "B", {both, hidden * (2 * gates)});
  require_shape(ctx, 7, "P", {both, hidden * 3});
}

void infer_rnn(InferContext& ctx) {
  int64_t both = directions(ctx);
  bool batch_first = ctx.attrs().integer("layout", 0) != 0;
  Dim hidden = ctx.attrs().has("hidden_size") ? Dim(ctx.attrs().integer("hidden_size", 0))
               : ctx.rank(2) == 3             ? (*ctx.shape(2))[2]
                                              : ctx.unknown(0, 3);
  ctx.require(ctx.rank(0) < 0 || ctx.rank(0) == 3, "the input must have 3 axes, it has {}", ctx.rank(0));
  require_weights(ctx, both, hidden);
  Dim length = ctx.unknown(0, 0), batch = ctx.unknown(0, 2);
  if (ctx.shape(0)) {
    length = (*ctx.shape(0))[batch_first ? 1 : 0];
    batch = (*ctx.shape(0))[batch_first ? 0 : 1];
  }
  Shape last = batch_first ? Shape{batch, both, hidden} : Shape{both, batch, hidden};
  ctx.output(0, ctx.dtype(0), batch_first ? Shape{batch, length, both, hidden} : Shape{length, both, batch, hidden});
  ctx.output(1, ctx.dtype(0), last);
  ctx.output(2, ctx.dtype(0), last);
}

// --- activations -----------------------------------------------------------------------------------------------

struct Activation {
  std::string kind;
  double alpha = 0, beta = 0;

  double operator()(double x) const {
    if (kind == "sigmoid") return 1 / (1 + std::exp(-x));
    if (kind == "tanh") return std::tanh(x);
    if (kind == "relu") return x > 0 ? x : 0;
    if (kind == "affine") return alpha * x + beta;
    if (kind == "leakyrelu") return x < 0 ? alpha * x : x;
    if (kind == "thresholdedrelu") return x > alpha ? x : 0;
    if (kind == "scaledtanh") return alpha * std::tanh(beta * x);
    if (kind == "hardsigmoid") return std::clamp(alpha * x + beta, 0.0, 1.0);
    if (kind == "elu") return x < 0 ? alpha * std::expm1(x) : x;
    if (kind == "softsign") return x / (1 + std::fabs(x));
    return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x)));  // softplus
  }
};

struct KnownActivation {
  const char* kind;
  int parameters;
  double alpha, beta;
};
constexpr KnownActivation kKnown[] = {{"sigmoid", 0, 0, 0},      {"tanh", 0, 0, 0},
                                      {"relu", 0, 0, 0},         {"affine", 2, 1, 0},
                                      {"leakyrelu", 1, 0.01, 0}, {"thresholdedrelu", 1, 1, 0},
                                      {"scaledtanh", 2, 1, 1},   {"hardsigmoid", 2, 0.2, 0.5},
                                      {"elu", 1, 1, 0},          {"softsign", 0, 0, 0},
                                      {"softplus", 0, 0, 0}};

// The activations of all directions in order; alphas and betas are taken up by those that have them.
std::vector<Activation> read_activations(const RefContext& ctx, Cell cell, int64_t both) {
  Strings names = ctx.attrs().strings("activations");
  if (names.empty()) {
    Strings usual = cell == Cell::kRnn   ? Strings{"Tanh"}
                    : cell == Cell::kGru ? Strings{"Sigmoid", "Tanh"}
                                         : Strings{"Sigmoid", "Tanh", "Tanh"};
    for (int64_t d = 0; d < both; ++d) names.insert(names.end(), usual.begin(), usual.end());
  }
  size_t wanted = static_cast<size_t>(both) * (cell == Cell::kRnn ? 1 : cell == Cell::kGru ? 2 : 3);
  ctx.require(names.size() == wanted, "{} activations are given where {} are needed", names.size(), wanted);
  Floats alphas = ctx.attrs().numbers("activation_alpha"), betas = ctx.attrs().numbers("activation_beta");
  size_t next_alpha = 0, next_beta = 0;
  std::vector<Activation> out;
  for (std::string name : names) {
    for (char& c : name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    auto known = std::find_if(std::begin(kKnown), std::end(kKnown), [&](const auto& k) { return name == k.kind; });
    ctx.require(known != std::end(kKnown), "activation '{}' is not known", name);
    Activation a{name, known->alpha, known->beta};
    if (known->parameters > 0 && next_alpha < alphas.size()) a.alpha = alphas[next_alpha++];
    if (known->parameters > 1 && next_beta < betas.size()) a.beta = betas[next_beta++];
    out.push_back(a);
  }
  return out;
}

// --- one direction ---------------------------------------------------------------------------------------------

struct Layer {
  Cell cell;
  int64_t inputs, hidden;
  bool linear_before_reset, input_forget;
  double clip;
  const double *w, *r, *bw, *br, *p;  // weights, recurrent weights, biases of both, peepholes (may be null)
  const Activation* f;

  double clipped(double x) const { return clip > 0 ? std::clamp(x, -clip, clip) : x; }

  // Rows [gate * hidden, ...) of a matrix times a vector, plus the bias.
  double dot(const double* m, const double* bias, int64_t gate, int64_t i, const double* v, int64_t n) const {
    int64_t row = gate * hidden + i;
    double sum = bias ? bias[row] : 0;
    for (int64_t k = 0; k < n; ++k) sum += m[row * n + k] * v[k];
    return sum;
  }
  double input(int64_t gate, int64_t i, const double* x) const { return dot(w, bw, gate, i, x, inputs); }
  double recurrent(int64_t gate, int64_t i, const double* h) const { return dot(r, br, gate, i, h, hidden); }
  double peephole(int64_t which, int64_t i, double c) const { return p ? p[which * hidden + i] * c : 0; }

  void step(const double* x, std::vector<double>& h, std::vector<double>& c) const {
    if (cell == Cell::kRnn) return step_rnn(x, h);
    if (cell == Cell::kGru) return step_gru(x, h);
    step_lstm(x, h, c);
  }

  void step_rnn(const double* x, std::vector<double>& h) const {
    std::vector<double> next(h.size());
    for (int64_t i = 0; i < hidden; ++i) {
      next[static_cast<size_t>(i)] = f[0](clipped(input(0, i, x) + recurrent(0, i, h.data())));
    }
    h = next;
  }

  // Gates in the order update (z), reset (r), hidden.
  void step_gru(const double* x, std::vector<double>& h) const {
    std::vector<double> z(h.size()), reset(h.size()), next(h.size());
    for (size_t k = 0; k < h.size(); ++k) {
      auto i = static_cast<int64_t>(k);
      z[k] = f[0](clipped(input(0, i, x) + recurrent(0, i, h.data())));
      reset[k] = f[0](clipped(input(1, i, x) + recurrent(1, i, h.data())));
    }
    std::vector<double> gated = h;
    if (!linear_before_reset) {
      for (size_t k = 0; k < h.size(); ++k) gated[k] *= reset[k];
    }
    for (size_t k = 0; k < h.size(); ++k) {
      double back = recurrent(2, static_cast<int64_t>(k), gated.data());
      if (linear_before_reset) back *= reset[k];
      double candidate = f[1](clipped(input(2, static_cast<int64_t>(k), x) + back));
      next[k] = (1 - z[k]) * candidate + z[k] * h[k];
    }
    h = next;
  }

  // Gates in the order input, output, forget, cell; peepholes input, output, forget.
  void step_lstm(const double* x, std::vector<double>& h, std::vector<double>& c) const {
    std::vector<double> next(h.size());
    for (size_t k = 0; k < h.size(); ++k) {
      auto i = static_cast<int64_t>(k);
      auto gate = [&](int64_t g) { return input(g, i, x) + recurrent(g, i, h.data()); };
      double in = f[0](clipped(gate(0) + peephole(0, i, c[k])));
      double forget = input_forget ? 1 - in : f[0](clipped(gate(2) + peephole(2, i, c[k])));
      c[k] = forget * c[k] + in * f[1](clipped(gate(3)));
      double out = f[0](clipped(gate(1) + peephole(1, i, c[k])));
      next[k] = out * f[2](c[k]);
    }
    h = next;
  }
};

// --- the whole op ----------------------------------------------------------------------------------------------

struct Extents {
  int64_t length, batch, inputs, hidden, both;
};

Extents check_shapes(const RefContext& ctx, int64_t gates, bool batch_first, bool lstm) {
  const Dims &x = ctx.in(0).dims(), &w = ctx.in(1).dims(), &r = ctx.in(2).dims();
  int64_t both = directions(ctx);
  ctx.require(x.size() == 3 && w.size() == 3 && r.size() == 3, "X, W and R must have 3 axes");
  Extents e{x[batch_first ? 1 : 0], x[batch_first ? 0 : 1], x[2], r[2], both};
  ctx.require(ctx.attrs().integer("hidden_size", e.hidden) == e.hidden, "hidden_size is not the {} of R", e.hidden);
  ctx.require(w == Dims({both, gates * e.hidden, e.inputs}) && r == Dims({both, gates * e.hidden, e.hidden}),
              "W of shape {} and R of shape {} do not fit an input of shape {}", dims_text(w), dims_text(r),
              dims_text(x));
  auto size = [&](size_t i, int64_t wanted, const char* what) {
    ctx.require(!ctx.has(i) || ctx.in(i).size() == wanted, "{} has {} elements where {} are needed", what,
                ctx.has(i) ? ctx.in(i).size() : 0, wanted);
  };
  size(3, both * 2 * gates * e.hidden, "B");
  size(4, e.batch, "sequence_lens");
  size(5, both * e.batch * e.hidden, "initial_h");
  if (lstm) size(6, both * e.batch * e.hidden, "initial_c");
  if (lstm) size(7, both * 3 * e.hidden, "P");
  return e;
}

void rnn(RefContext& ctx) {
  Cell cell = cell_of(ctx.node.op);
  int64_t gates = gates_of(cell);
  bool batch_first = ctx.attrs().integer("layout", 0) != 0, lstm = cell == Cell::kLstm;
  Extents e = check_shapes(ctx, gates, batch_first, lstm);
  std::vector<Activation> activations = read_activations(ctx, cell, e.both);
  auto read = [&](size_t i) { return ctx.has(i) ? to_doubles(ctx.in(i)) : std::vector<double>(); };
  std::vector<double> x = read(0), w = read(1), r = read(2), b = read(3), h0 = read(5);
  std::vector<double> c0 = lstm ? read(6) : h0, p = lstm ? read(7) : std::vector<double>();
  DType dtype = ctx.in(0).dtype();
  auto shaped = [&](Dims time_major, Dims batch_major) { return batch_first ? batch_major : time_major; };
  Tensor y =
      Tensor::allocate(dtype, shaped({e.length, e.both, e.batch, e.hidden}, {e.batch, e.length, e.both, e.hidden}));
  Dims last = shaped({e.both, e.batch, e.hidden}, {e.batch, e.both, e.hidden});
  Tensor y_h = Tensor::allocate(dtype, last), y_c = Tensor::allocate(dtype, last);
  std::string direction = ctx.attrs().string("direction", "forward");
  for (int64_t d = 0; d < e.both; ++d) {
    const double* bias = b.empty() ? nullptr : b.data() + d * 2 * gates * e.hidden;
    Layer layer{cell,
                e.inputs,
                e.hidden,
                ctx.attrs().integer("linear_before_reset", 0) != 0,
                ctx.attrs().integer("input_forget", 0) != 0,
                ctx.attrs().number("clip", 0),
                w.data() + d * gates * e.hidden * e.inputs,
                r.data() + d * gates * e.hidden * e.hidden,
                bias,
                bias ? bias + gates * e.hidden : nullptr,
                p.empty() ? nullptr : p.data() + d * 3 * e.hidden,
                activations.data() + d * static_cast<int64_t>(activations.size()) / e.both};
    bool backward = d == 1 || direction == "reverse";
    for (int64_t n = 0; n < e.batch; ++n) {
      int64_t steps = ctx.has(4) ? ctx.in(4).int_at(n) : e.length;
      ctx.require(steps >= 0 && steps <= e.length, "sequence {} has length {} of {}", n, steps, e.length);
      int64_t state = (batch_first ? n * e.both + d : d * e.batch + n) * e.hidden;
      auto begin = [&](const std::vector<double>& from) {
        if (from.empty()) return std::vector<double>(static_cast<size_t>(e.hidden), 0.0);
        return std::vector<double>(from.begin() + state, from.begin() + state + e.hidden);
      };
      std::vector<double> h = begin(h0), c = begin(c0);
      for (int64_t s = 0; s < steps; ++s) {
        int64_t t = backward ? steps - 1 - s : s;
        layer.step(x.data() + (batch_first ? n * e.length + t : t * e.batch + n) * e.inputs, h, c);
        int64_t at = (batch_first ? (n * e.length + t) * e.both + d : (t * e.both + d) * e.batch + n) * e.hidden;
        for (int64_t i = 0; i < e.hidden; ++i) y.set(at + i, h[static_cast<size_t>(i)]);
      }
      for (int64_t i = 0; i < e.hidden; ++i) {
        y_h.set(state + i, h[static_cast<size_t>(i)]);
        y_c.set(state + i, c[static_cast<size_t>(i)]);
      }
    }
  }
  ctx.set(0, y);
  ctx.set(1, y_h);
  ctx.set(2, y_c);
}

}  // namespace

void define_rnn_ops(OpTable& table) {
  Strings common{"activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "layout"};
  auto add = [&](const char* name, std::string_view doc, int inputs, int outputs, const char* extra) {
    Strings attrs = common;
    if (*extra) attrs.emplace_back(extra);
    table.add({.name = name,
               .doc = doc,
               .min_inputs = 3,
               .max_inputs = inputs,
               .min_outputs = 0,
               .max_outputs = outputs,
               .infer = infer_rnn,
               .reference = rnn,
               .attrs = attrs});
  };
  add("RNN", "A plain recurrent layer: h = f(W x + R h + b).", 6, 2, "");
  add("GRU", "A gated recurrent layer; gates in the order z, r, h.", 6, 2, "linear_before_reset");
  add("LSTM", "A long short-term memory layer; gates in the order i, o, f, c.", 8, 3, "input_forget");
}

}  // namespace tenon
