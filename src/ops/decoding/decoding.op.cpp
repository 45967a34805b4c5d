// What language models decode with: RotaryEmbedding, SwiGLU, TensorScatter, LinearAttention, CausalConvWithState.
#include <algorithm>
#include <cmath>

#include "base/checked.hpp"
#include "ops/support.hpp"

namespace tenon {
namespace {

// --- RotaryEmbedding -----------------------------------------------------------------------------------------------

// Where element (batch, position, head, 0) lies: input (batch, heads, length, size) or (batch, length, heads * size).
struct RotaryPlan {
  int64_t batch, heads, length, size, rotated;
  bool by_head;
  int64_t offset(int64_t b, int64_t s, int64_t h) const {
    return (by_head ? (b * heads + h) * length + s : (b * length + s) * heads + h) * size;
  }
};

RotaryPlan rotary_plan(const RefContext& ctx) {
  const Dims& d = ctx.in(0).dims();
  ctx.require(d.size() == 3 || d.size() == 4, "an input of shape {} needs 3 or 4 axes", dims_text(d));
  int64_t heads = d.size() == 4 ? d[1] : ctx.attrs().integer("num_heads", 0);
  ctx.require(heads >= 1, "attribute num_heads is needed for an input of 3 axes");
  ctx.require(d.size() == 4 || d[2] % heads == 0, "{} channels do not divide into {} heads", d.back(), heads);
  RotaryPlan p{d[0], heads, d.size() == 4 ? d[2] : d[1], d.size() == 4 ? d[3] : d[2] / heads, 0, d.size() == 4};
  p.rotated = ctx.attrs().integer("rotary_embedding_dim", 0);
  if (p.rotated == 0) p.rotated = p.size;
  ctx.require(p.rotated > 0 && p.rotated <= p.size && p.rotated % 2 == 0,
              "{} of {} elements of a head cannot be rotated", p.rotated, p.size);
  return p;
}

void rotary_embedding(RefContext& ctx) {
  RotaryPlan p = rotary_plan(ctx);
  const Tensor &x = ctx.in(0), &cosine = ctx.in(1), &sine = ctx.in(2);
  bool interleaved = ctx.attrs().integer("interleaved", 0) != 0;
  int64_t half = p.rotated / 2, rows = cosine.rank() > 0 && half > 0 ? cosine.size() / half : 0;
  ctx.require(cosine.dims() == sine.dims() && cosine.rank() == (ctx.has(3) ? 2 : 3) && cosine.dims().back() == half,
              "caches of shapes {} and {} do not fit a rotation of {} elements", dims_text(cosine.dims()),
              dims_text(sine.dims()), p.rotated);
  ctx.require(ctx.has(3) ? ctx.in(3).dims() == Dims{p.batch, p.length} : rows == p.batch * p.length,
              "a batch of {} with {} positions does not fit the caches or position_ids", p.batch, p.length);
  Tensor& out = make_output(ctx, 0, x.dtype(), x.dims());
  for (int64_t i = 0; i < p.batch * p.length; ++i) {
    int64_t row = ctx.has(3) ? ctx.in(3).int_at(i) : i;
    ctx.require(row >= 0 && row < rows, "position {} is outside caches of {}", row, rows);
    for (int64_t h = 0; h < p.heads; ++h) {
      int64_t at = p.offset(i / p.length, i % p.length, h);
      for (int64_t k = p.rotated; k < p.size; ++k) out.set(at + k, x.at(at + k));
      for (int64_t k = 0; k < half; ++k) {
        int64_t a = at + (interleaved ? 2 * k : k), b = at + (interleaved ? 2 * k + 1 : k + half);
        double c = cosine.at(row * half + k), s = sine.at(row * half + k);
        out.set(a, c * x.at(a) - s * x.at(b));
        out.set(b, s * x.at(a) + c * x.at(b));
      }
    }
  }
}

// --- SwiGLU --------------------------------------------------------------------------------------------------------

void swiglu(RefContext& ctx) {
  const Tensor &gate = ctx.in(0), &value = ctx.in(1);
  ctx.require(gate.dims() == value.dims(), "a gate of shape {} does not fit a value of shape {}",
              dims_text(gate.dims()), dims_text(value.dims()));
  double alpha = ctx.attrs().number("alpha", 1);
  Tensor& out = ctx.make(0, gate.dtype(), gate.dims());
  for (int64_t i = 0; i < gate.size(); ++i) {
    double a = gate.at(i);
    out.set(i, a / (1 + std::exp(-alpha * a)) * value.at(i));
  }
}

// --- TensorScatter -------------------------------------------------------------------------------------------------

void tensor_scatter(RefContext& ctx) {
  const Tensor &past = ctx.in(0), &update = ctx.in(1);
  std::string mode = ctx.attrs().string("mode", "linear");
  ctx.require(mode == "linear" || mode == "circular", "mode '{}' is not known (linear and circular are)", mode);
  auto axis = static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", -2), past.rank()));
  ctx.require(past.dtype() == update.dtype(), "a cache of {} cannot take an update of {}", name(past.dtype()),
              name(update.dtype()));
  ctx.require(axis > 0, "axis 0 is the batch, it cannot be written along");
  Dims fits = update.dims();
  ctx.require(fits.size() == past.dims().size() && fits[axis] <= past.dims()[axis],
              "an update of shape {} does not fit a cache of shape {}", dims_text(fits), dims_text(past.dims()));
  fits[axis] = past.dims()[axis];
  ctx.require(fits == past.dims(), "an update of shape {} does not fit a cache of shape {}", dims_text(update.dims()),
              dims_text(past.dims()));
  int64_t batch = fits[0], extent = fits[axis], length = update.dims()[axis];
  ctx.require(!ctx.has(2) || ctx.in(2).size() == batch, "{} write indices are given for a batch of {}",
              ctx.has(2) ? ctx.in(2).size() : 0, batch);
  Tensor out = past.clone();
  int64_t outer = product(fits, 0, axis), inner = product(fits, axis + 1, fits.size());
  with_mover(out, update, [&](auto move) {
    for (int64_t o = 0; o < outer; ++o) {
      int64_t begin = ctx.has(2) ? ctx.in(2).int_at(o / (outer / batch)) : 0;
      for (int64_t s = 0; s < length; ++s) {
        ctx.require(begin >= 0 && begin < (int64_t{1} << 40), "write index {} is out of range", begin);
        int64_t at = mode == "circular" ? (begin + s) % extent : begin + s;
        ctx.require(at < extent, "position {} is outside a cache of {}", at, extent);
        for (int64_t i = 0; i < inner; ++i) move((o * extent + at) * inner + i, (o * length + s) * inner + i);
      }
    }
  });
  ctx.set(0, std::move(out));
}

// --- LinearAttention -----------------------------------------------------------------------------------------------

void infer_linear_attention(InferContext& ctx) {
  DType type = ctx.dtype(0);
  int64_t heads = ctx.attrs().integer("q_num_heads", 0), kv = ctx.attrs().integer("kv_num_heads", 0);
  ctx.require(heads >= 1 && kv >= 1 && heads % kv == 0, "{} query heads do not divide over {} key heads", heads, kv);
  DType state = ctx.has(3) ? ctx.dtype(3) : type;
  if (ctx.rank(0) != 3 || ctx.rank(1) != 3 || ctx.rank(2) != 3) {
    ctx.output(0, type);
    return ctx.output(1, state);
  }
  const Shape &q = *ctx.shape(0), &k = *ctx.shape(1), &v = *ctx.shape(2);
  Dim d_v = Dim::floor_div(v[2], kv);
  ctx.output(0, type, Shape{q[0], q[1], d_v * heads});
  ctx.output(1, state, Shape{q[0], Dim(kv), Dim::floor_div(k[2], kv), d_v});
}

struct LinearPlan {
  int64_t batch, steps, heads, kv, d_k, d_v, decay, beta;  // the last two: numbers a key head
  bool gated, delta;
  double scale;
};

LinearPlan linear_plan(const RefContext& ctx) {
  const Dims &q = ctx.in(0).dims(), &k = ctx.in(1).dims(), &v = ctx.in(2).dims();
  std::string rule = ctx.attrs().string("update_rule", "gated_delta");
  LinearPlan p{};
  p.heads = ctx.attrs().integer("q_num_heads", 0);
  p.kv = ctx.attrs().integer("kv_num_heads", 0);
  p.gated = rule == "gated" || rule == "gated_delta";
  p.delta = rule == "delta" || rule == "gated_delta";
  ctx.require(p.gated || p.delta || rule == "linear",
              "update_rule '{}' is not known (linear, gated, delta and gated_delta are)", rule);
  ctx.require(p.heads >= 1 && p.kv >= 1 && p.heads % p.kv == 0, "{} query heads do not divide over {} key heads",
              p.heads, p.kv);
  bool ranks =
      q.size() == 3 && k.size() == 3 && v.size() == 3 && q[0] == k[0] && q[0] == v[0] && q[1] == k[1] && q[1] == v[1];
  ctx.require(ranks && q[2] % p.heads == 0 && k[2] % p.kv == 0 && v[2] % p.kv == 0 && q[2] / p.heads == k[2] / p.kv,
              "queries {}, keys {} and values {} do not fit", dims_text(q), dims_text(k), dims_text(v));
  p.batch = q[0], p.steps = q[1], p.d_k = k[2] / p.kv, p.d_v = v[2] / p.kv;
  ctx.require(p.gated == ctx.has(4) && p.delta == ctx.has(5), "update_rule '{}' does not fit the decay and beta given",
              rule);
  auto numbers = [&](size_t i, bool given) {
    if (!given) return int64_t{0};
    const Dims& d = ctx.in(i).dims();
    ctx.require(d.size() == 3 && d[0] == q[0] && d[1] == q[1], "input {} of shape {} does not fit {}", i, dims_text(d),
                dims_text(q));
    return d[2];
  };
  p.decay = numbers(4, p.gated), p.beta = numbers(5, p.delta);
  ctx.require(!p.gated || p.decay == p.kv || p.decay == p.kv * p.d_k,
              "a decay of {} numbers does not fit {} heads of {}", p.decay, p.kv, p.d_k);
  ctx.require(!p.delta || p.beta == p.kv || p.beta == 1, "{} rates do not fit {} heads", p.beta, p.kv);
  p.scale = ctx.attrs().number("scale", 0);
  if (p.scale == 0) p.scale = 1 / std::sqrt(static_cast<double>(p.d_k));
  return p;
}

// One step of one key head: decay, correction, and what is written. `state` is d_k by d_v.
void update_state(const RefContext& ctx, const LinearPlan& p, int64_t row, int64_t h, double* state) {
  if (p.gated) {
    bool each = p.decay != p.kv;
    for (int64_t d = 0; d < p.d_k; ++d) {
      double g = std::exp(ctx.in(4).at(row * p.decay + (each ? h * p.d_k + d : h)));
      for (int64_t m = 0; m < p.d_v; ++m) state[d * p.d_v + m] *= g;
    }
  }
  auto key = [&](int64_t d) { return ctx.in(1).at((row * p.kv + h) * p.d_k + d); };
  std::vector<double> value(static_cast<size_t>(p.d_v));
  for (int64_t m = 0; m < p.d_v; ++m) {
    double v = ctx.in(2).at((row * p.kv + h) * p.d_v + m), known = 0;
    for (int64_t d = 0; p.delta && d < p.d_k; ++d) known += state[d * p.d_v + m] * key(d);
    value[static_cast<size_t>(m)] = p.delta ? ctx.in(5).at(row * p.beta + (p.beta == 1 ? 0 : h)) * (v - known) : v;
  }
  for (int64_t d = 0; d < p.d_k; ++d) {
    for (int64_t m = 0; m < p.d_v; ++m) state[d * p.d_v + m] += key(d) * value[static_cast<size_t>(m)];
  }
}

void linear_attention(RefContext& ctx) {
  LinearPlan p = linear_plan(ctx);
  Dims dims{p.batch, p.kv, p.d_k, p.d_v};
  check_output_size(ctx, dims);
  DType state_type = ctx.has(3) ? ctx.in(3).dtype() : ctx.in(0).dtype();
  ctx.require(!ctx.has(3) || ctx.in(3).dims() == dims, "a state of shape {} does not fit {}",
              ctx.has(3) ? dims_text(ctx.in(3).dims()) : "", dims_text(dims));
  std::vector<double> state =
      ctx.has(3) ? to_doubles(ctx.in(3)) : std::vector<double>(static_cast<size_t>(element_count(dims)), 0.0);
  Tensor& out = make_output(ctx, 0, ctx.in(0).dtype(), {p.batch, p.steps, checked_mul(p.heads, p.d_v)});
  int64_t group = p.heads / p.kv;
  for (int64_t row = 0; row < p.batch * p.steps; ++row) {
    for (int64_t h = 0; h < p.heads; ++h) {
      double* s = state.data() + (row / p.steps * p.kv + h / group) * p.d_k * p.d_v;
      if (h % group == 0) update_state(ctx, p, row, h / group, s);
      for (int64_t m = 0; m < p.d_v; ++m) {
        double sum = 0;
        for (int64_t d = 0; d < p.d_k; ++d) sum += ctx.in(0).at((row * p.heads + h) * p.d_k + d) * s[d * p.d_v + m];
        out.set((row * p.heads + h) * p.d_v + m, sum * p.scale);
      }
    }
  }
  store_doubles(ctx.make(1, state_type, dims), state);
}

// --- CausalConvWithState -------------------------------------------------------------------------------------------

void infer_causal_conv(InferContext& ctx) {
  ctx.output(0, ctx.dtype(0), ctx.shape(0));
  if (ctx.rank(0) != 3 || ctx.rank(1) != 3) return ctx.output(1, ctx.dtype(0));
  ctx.output(1, ctx.dtype(0), Shape{(*ctx.shape(0))[0], (*ctx.shape(0))[1], (*ctx.shape(1))[2] - 1});
}

void causal_conv(RefContext& ctx) {
  const Tensor &x = ctx.in(0), &w = ctx.in(1);
  std::string activation = ctx.attrs().string("activation", "none");
  bool silu = activation == "silu" || activation == "swish";
  ctx.require(silu || activation == "none", "activation '{}' is not known (none, silu and swish are)", activation);
  ctx.require(x.rank() == 3 && w.rank() == 3 && w.dims()[0] == x.dims()[1] && w.dims()[1] == 1 && w.dims()[2] >= 1,
              "a kernel of shape {} does not fit an input of shape {}", dims_text(w.dims()), dims_text(x.dims()));
  int64_t batch = x.dims()[0], channels = x.dims()[1], length = x.dims()[2], k = w.dims()[2];
  ctx.require(!ctx.has(2) || ctx.in(2).dims() == Dims{channels}, "a bias of {} is given for {} channels",
              ctx.has(2) ? ctx.in(2).size() : 0, channels);
  ctx.require(!ctx.has(3) || ctx.in(3).dims() == Dims{batch, channels, k - 1}, "a state of shape {} does not fit",
              ctx.has(3) ? dims_text(ctx.in(3).dims()) : "");
  Tensor& out = ctx.make(0, x.dtype(), x.dims());
  Tensor state = Tensor::allocate(x.dtype(), {batch, channels, k - 1});
  for (int64_t r = 0; r < batch * channels; ++r) {
    // Position `i` of the row, with the k - 1 that came before.
    auto at = [&](int64_t i) {
      if (i >= k - 1) return x.at(r * length + i - (k - 1));
      return ctx.has(3) ? ctx.in(3).at(r * (k - 1) + i) : 0.0;
    };
    for (int64_t i = 0; i < length; ++i) {
      double sum = ctx.has(2) ? ctx.in(2).at(r % channels) : 0;
      for (int64_t j = 0; j < k; ++j) sum += at(i + j) * w.at(r % channels * k + j);
      out.set(r * length + i, silu ? sum / (1 + std::exp(-sum)) : sum);
    }
    for (int64_t j = 0; j < k - 1; ++j) state.set(r * (k - 1) + j, at(length + j));
  }
  ctx.set(1, std::move(state));
}

}  // namespace

void define_decoding_ops(OpTable& table) {
  auto add = [&](const char* name, std::string_view doc, int least, int most, int outputs, auto infer, auto reference,
                 Strings attrs) {
    table.add({.name = name,
               .doc = doc,
               .min_inputs = least,
               .max_inputs = most,
               .max_outputs = outputs,
               .infer = infer,
               .reference = reference,
               .attrs = std::move(attrs)});
  };
  add("RotaryEmbedding", "Pairs of elements turned by an angle that grows with the position.", 3, 4, 1, infer_same,
      rotary_embedding, {"interleaved", "num_heads", "rotary_embedding_dim"});
  add("SwiGLU", "a * sigmoid(alpha * a) * b.", 2, 2, 1, infer_same, swiglu, {"alpha"});
  add("TensorScatter", "A cache with an update written at each sample's position.", 2, 3, 1, infer_same, tensor_scatter,
      {"axis", "mode"});
  add("LinearAttention", "Attention by a state that each step decays, corrects and adds to.", 3, 6, 2,
      infer_linear_attention, linear_attention, {"chunk_size", "kv_num_heads", "q_num_heads", "scale", "update_rule"});
  add("CausalConvWithState", "A depthwise convolution over the past, whose last inputs are kept.", 2, 4, 2,
      infer_causal_conv, causal_conv, {"activation"});
}

}  // namespace tenon
