// Attention: softmax(Q K' * scale + bias) V with grouped heads, causal masks, windows and a key/value cache.
// Computed in double whatever softmax_precision says.
#include <cmath>
#include <limits>

#include "base/checked.hpp"
#include "ops/support.hpp"

namespace tenon {
namespace {

// --- shapes ----------------------------------------------------------------------------------------------------

// (batch, heads, length, size) of Q, K or V: given so, or as (batch, length, heads * size).
template <class Context, class D>
std::vector<D> head_shape(const Context& ctx, const std::vector<D>& in, const char* attribute) {
  if (in.size() == 4) return in;
  ctx.require(in.size() == 3, "Q, K and V must have 3 or 4 axes, one has {}", in.size());
  int64_t heads = ctx.attrs().integer(attribute, 0);
  ctx.require(heads >= 1, "attribute {} is needed for inputs of 3 axes", attribute);
  D size = in[2];
  if constexpr (std::is_same_v<D, Dim>) {
    size = Dim::floor_div(in[2], heads);
  } else {
    ctx.require(in[2] % heads == 0, "{} channels do not divide into {} heads", in[2], heads);
    size = in[2] / heads;
  }
  return {in[0], D(heads), in[1], size};
}

void infer_attention(InferContext& ctx) {
  DType type = ctx.dtype(0);
  if (!ctx.shape(0) || !ctx.shape(1) || !ctx.shape(2)) {
    for (size_t i = 0; i < 4; ++i) ctx.output(i, type);
    return;
  }
  Shape q = head_shape(ctx, *ctx.shape(0), "q_num_heads"), k = head_shape(ctx, *ctx.shape(1), "kv_num_heads"),
        v = head_shape(ctx, *ctx.shape(2), "kv_num_heads");
  Shape out{q[0], q[1], q[2], v[3]};
  if (ctx.rank(0) == 3) out = {q[0], q[2], q[1] * v[3]};
  ctx.output(0, type, out);
  Dim past = ctx.has(4) ? (ctx.rank(4) == 4 ? (*ctx.shape(4))[2] : ctx.unknown(1, 2)) : Dim(0);
  Dim total = past + k[2];
  ctx.output(1, ctx.dtype(1), Shape{k[0], k[1], total, k[3]});
  ctx.output(2, ctx.dtype(2), Shape{v[0], v[1], total, v[3]});
  ctx.output(3, type, Shape{q[0], q[1], q[2], total});
}

// --- values ----------------------------------------------------------------------------------------------------

// Elements of Q, K or V in the order (batch, heads, length, size).
struct Heads {
  Dims dims;
  std::vector<double> values;
  const double* row(int64_t b, int64_t h, int64_t s) const {
    return values.data() + ((b * dims[1] + h) * dims[2] + s) * dims[3];
  }
};

Heads read_heads(const RefContext& ctx, size_t input, const char* attribute) {
  const Tensor& x = ctx.in(input);
  Heads out{head_shape(ctx, x.dims(), attribute), {}};
  std::vector<double> values = to_doubles(x);
  if (x.rank() == 4) {
    out.values = std::move(values);
    return out;
  }
  const Dims& d = out.dims;
  walk<1>(d, {Ints{d[2] * d[1] * d[3], d[3], d[1] * d[3], 1}},
          [&](const std::array<int64_t, 1>& i) { out.values.push_back(values[static_cast<size_t>(i[0])]); });
  return out;
}

// The cache and what is new, joined along the length.
Heads with_past(const RefContext& ctx, const Heads& now, size_t input) {
  if (!ctx.has(input)) return now;
  Heads past{ctx.in(input).dims(), to_doubles(ctx.in(input))};
  ctx.require(past.dims.size() == 4 && past.dims[0] == now.dims[0] && past.dims[1] == now.dims[1] &&
                  past.dims[3] == now.dims[3],
              "a cache of shape {} does not fit {}", dims_text(past.dims), dims_text(now.dims));
  Heads out{now.dims, {}};
  out.dims[2] += past.dims[2];
  int64_t old_run = past.dims[2] * past.dims[3], new_run = now.dims[2] * now.dims[3];
  for (int64_t i = 0; i < now.dims[0] * now.dims[1]; ++i) {
    out.values.insert(out.values.end(), past.values.begin() + i * old_run, past.values.begin() + (i + 1) * old_run);
    out.values.insert(out.values.end(), now.values.begin() + i * new_run, now.values.begin() + (i + 1) * new_run);
  }
  return out;
}

constexpr double kMasked = -std::numeric_limits<double>::infinity();

// What is added to the score of (batch, head, query, key).
class Bias {
 public:
  Bias(const RefContext& ctx, const Dims& scores, int64_t past) {
    causal_ = ctx.attrs().integer("is_causal", 0) != 0;
    left_ = ctx.attrs().integer("left_window_size", -1);
    right_ = ctx.attrs().integer("right_window_size", -1);
    offsets_.assign(static_cast<size_t>(scores[0]), past);
    if (ctx.has(6)) {
      lengths_ = ctx.in(6).to_ints();
      ctx.require(static_cast<int64_t>(lengths_.size()) == scores[0], "{} lengths are given for a batch of {}",
                  lengths_.size(), scores[0]);
      for (size_t b = 0; b < lengths_.size() && !ctx.has(4); ++b) offsets_[b] = lengths_[b] - scores[2];
    }
    if (!ctx.has(3)) return;
    mask_ = &ctx.in(3);
    ctx.require(mask_->rank() >= 1, "the mask is a scalar");
    width_ = mask_->dims().back();
    ctx.require(width_ <= scores[3], "a mask of {} keys is given for {}", width_, scores[3]);
    Dims seen = scores;
    seen[3] = width_;
    ctx.require(broadcast_dims(mask_->dims(), seen, "the mask") == seen, "a mask of shape {} does not broadcast to {}",
                dims_text(mask_->dims()), dims_text(scores));
    strides_ = broadcast_strides(mask_->dims(), seen);
  }

  double at(int64_t b, int64_t h, int64_t q, int64_t k) const {
    double bias = 0;
    if (mask_ != nullptr) {
      // A mask shorter than the keys masks the rest.
      if (k >= width_) return kMasked;
      int64_t i = b * strides_[0] + h * strides_[1] + q * strides_[2] + k * strides_[3];
      bias = mask_->dtype() == DType::kBool ? (mask_->int_at(i) ? 0 : kMasked) : mask_->at(i);
    }
    int64_t position = q + offsets_[static_cast<size_t>(b)];
    bool hidden = (causal_ && k > position) || (left_ >= 0 && position - k > left_) ||
                  (right_ >= 0 && k - position > right_) ||
                  (!lengths_.empty() && k >= lengths_[static_cast<size_t>(b)]);
    return hidden ? kMasked : bias;
  }

 private:
  bool causal_ = false;
  int64_t left_ = -1, right_ = -1, width_ = 0;
  Ints offsets_, lengths_, strides_;
  const Tensor* mask_ = nullptr;
};

// Softmax of scores + bias in place; a row with every key masked gives zeros.
void softmax(std::vector<double>& row, bool nothing) {
  double top = kMasked, sum = 0;
  for (double v : row) top = std::max(top, v);
  for (double& v : row) sum += v = nothing ? 0 : std::exp(v - top);
  for (double& v : row) v = sum > 0 ? v / sum : v;
}

void store_heads(RefContext& ctx, size_t output, DType type, const Heads& h) {
  store_doubles(make_output(ctx, output, type, h.dims), h.values);
}

void attention(RefContext& ctx) {
  Heads q = read_heads(ctx, 0, "q_num_heads");
  Heads k = with_past(ctx, read_heads(ctx, 1, "kv_num_heads"), 4);
  Heads v = with_past(ctx, read_heads(ctx, 2, "kv_num_heads"), 5);
  ctx.require(k.dims[0] == q.dims[0] && v.dims[0] == q.dims[0] && k.dims[1] == v.dims[1] && k.dims[2] == v.dims[2] &&
                  k.dims[3] == q.dims[3] && k.dims[1] > 0 && q.dims[1] % k.dims[1] == 0,
              "queries {}, keys {} and values {} do not fit", dims_text(q.dims), dims_text(k.dims), dims_text(v.dims));
  int64_t mode = ctx.attrs().integer("qk_matmul_output_mode", 0), length = q.dims[2], keys = k.dims[2];
  ctx.require(mode >= 0 && mode <= 3, "qk_matmul_output_mode is {}", mode);
  double scale = ctx.attrs().number("scale", 1 / std::sqrt(static_cast<double>(q.dims[3])));
  double cap = ctx.attrs().number("softcap", 0);
  Heads scores{{q.dims[0], q.dims[1], length, keys}, {}}, out{{q.dims[0], q.dims[1], length, v.dims[3]}, {}};
  check_output_size(ctx, scores.dims);
  Bias bias(ctx, scores.dims, ctx.has(4) ? ctx.in(4).dims()[2] : 0);
  int64_t group = q.dims[1] / k.dims[1];
  std::vector<double> row(static_cast<size_t>(keys)), shown(row);
  walk<1>({q.dims[0], q.dims[1], length}, {Ints{q.dims[1] * length, length, 1}}, [&](const std::array<int64_t, 1>& at) {
    int64_t b = at[0] / (q.dims[1] * length), h = at[0] / length % q.dims[1], s = at[0] % length;
    bool nothing = true;
    for (int64_t j = 0; j < keys; ++j) {
      const double *x = q.row(b, h, s), *y = k.row(b, h / group, j);
      double sum = 0;
      for (int64_t d = 0; d < q.dims[3]; ++d) sum += x[d] * y[d];
      double raw = sum * scale, capped = cap > 0 ? cap * std::tanh(raw / cap) : raw, extra = bias.at(b, h, s, j);
      nothing = nothing && extra == kMasked;
      row[static_cast<size_t>(j)] = capped + extra;
      shown[static_cast<size_t>(j)] = mode == 0 ? raw : mode == 1 ? capped : capped + extra;
    }
    softmax(row, nothing);
    const std::vector<double>& kept = mode == 3 ? row : shown;
    scores.values.insert(scores.values.end(), kept.begin(), kept.end());
    for (int64_t d = 0; d < v.dims[3]; ++d) {
      double sum = 0;
      for (int64_t j = 0; j < keys; ++j) sum += row[static_cast<size_t>(j)] * v.row(b, h / group, j)[d];
      out.values.push_back(sum);
    }
  });
  DType type = ctx.in(0).dtype();
  store_heads(ctx, 1, ctx.in(1).dtype(), k);
  store_heads(ctx, 2, ctx.in(2).dtype(), v);
  store_heads(ctx, 3, type, scores);
  if (ctx.in(0).rank() == 4) return store_heads(ctx, 0, type, out);
  Heads flat{{q.dims[0], length, q.dims[1], v.dims[3]}, {}};
  walk<1>(flat.dims, {Ints{q.dims[1] * length * v.dims[3], v.dims[3], length * v.dims[3], 1}},
          [&](const std::array<int64_t, 1>& i) { flat.values.push_back(out.values[static_cast<size_t>(i[0])]); });
  flat.dims = {q.dims[0], length, checked_mul(q.dims[1], v.dims[3])};
  store_heads(ctx, 0, type, flat);
}

// The plain forms, by heads; the rest of the attributes is the reference's alone.
constexpr std::string_view kBody = R"(
(undefined[B,H,S,D] q, undefined[B,H,T,D] k, undefined[B,H,T,E] v) => (y) {
  size = Shape<start=3>(q)  number = CastLike(size, q)  root = Sqrt(number)
  kt = Transpose<perm=[0, 1, 3, 2]>(k)  p = MatMul(q, kt)  s = Div(p, root)  w = Softmax<axis=-1>(s)  y = MatMul(w, v)
}
or
(undefined[B,H,S,D] q, undefined[B,H,T,D] k, undefined[B,H,T,E] v) => (y) {
  f = Attr<value=$scale, otherwise=1.0>()
  kt = Transpose<perm=[0, 1, 3, 2]>(k)  p = MatMul(q, kt)  s = Mul(p, f)  w = Softmax<axis=-1>(s)  y = MatMul(w, v)
}
or
(undefined[B,H,S,D] q, undefined[B,H,T,D] k, undefined[B,H,T,E] v, float32[X,Y,Z,T] mask) => (y) {
  size = Shape<start=3>(q)  number = CastLike(size, q)  root = Sqrt(number)
  kt = Transpose<perm=[0, 1, 3, 2]>(k)  p = MatMul(q, kt)  s = Div(p, root)  m = Add(s, mask)
  w = Softmax<axis=-1>(m)  y = MatMul(w, v)
}
or
(undefined[B,H,S,D] q, undefined[B,H,T,D] k, undefined[B,H,T,E] v, float32[X,Y,Z,T] mask) => (y) {
  f = Attr<value=$scale, otherwise=1.0>()
  kt = Transpose<perm=[0, 1, 3, 2]>(k)  p = MatMul(q, kt)  s = Mul(p, f)  m = Add(s, mask)
  w = Softmax<axis=-1>(m)  y = MatMul(w, v)
}
)";

}  // namespace

void define_attention_ops(OpTable& table) {
  table.add({.name = "Attention",
             .doc = "softmax(Q K' * scale + bias) V; outputs the result, the grown caches and the scores.",
             .min_inputs = 3,
             .max_inputs = 7,
             .max_outputs = 4,
             .infer = infer_attention,
             .reference = attention,
             .body = kBody,
             .attrs = {"is_causal", "kv_num_heads", "left_window_size", "q_num_heads", "qk_matmul_output_mode",
                       "right_window_size", "scale", "softcap", "softmax_precision"}});
}

}  // namespace tenon
