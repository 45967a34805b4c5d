// Random numbers: RandomUniform, RandomNormal, their Like forms, Bernoulli and Multinomial. With a seed the same node
// gives the same numbers in every run and on every machine; without one, others each time.
#include <atomic>
#include <bit>
#include <cmath>
#include <numbers>
#include <random>

#include "ops/support.hpp"

namespace tenon {
namespace {

// SplitMix64: a counter through a mixing function. Small, and good enough for anything but cryptography.
class Generator {
 public:
  explicit Generator(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }  ///< [0, 1)
  double normal() {
    double radius = std::sqrt(-2 * std::log(1 - uniform()));
    return radius * std::cos(2 * std::numbers::pi * uniform());
  }

 private:
  uint64_t state_;
};

Generator generator_of(const RefContext& ctx) {
  if (ctx.attrs().has("seed"))
    return Generator(std::bit_cast<uint64_t>(ctx.attrs().number("seed", 0)) * 0x9E3779B97F4A7C15u);
  static std::atomic<uint64_t> calls{(static_cast<uint64_t>(std::random_device()()) << 32) ^ std::random_device()()};
  return Generator(calls.fetch_add(0xD1342543DE82EF95u));
}

template <class Context>
const Node& node_of(const Context& ctx) {
  if constexpr (std::is_same_v<Context, RefContext>) {
    return ctx.node;
  } else {
    return ctx.node();
  }
}

template <class Context>
DType type_of(const Context& ctx, DType otherwise) {
  DType type = dtype_attribute(node_of(ctx), "dtype", otherwise);
  return type;
}

void require_floating(const RefContext& ctx, DType type) {
  ctx.require(is_floating(type), "random numbers of type {} are not defined", name(type));
}

void fill(RefContext& ctx, DType type, Dims dims, bool normal) {
  require_floating(ctx, type);
  Generator random = generator_of(ctx);
  const Attrs& a = ctx.attrs();
  double low = a.number("low", 0), high = a.number("high", 1), mean = a.number("mean", 0), scale = a.number("scale", 1);
  Tensor& out = make_output(ctx, 0, type, std::move(dims));
  for (int64_t i = 0; i < out.size(); ++i)
    out.set(i, normal ? mean + scale * random.normal() : low + (high - low) * random.uniform());
}

template <class Context>
Ints shape_of(const Context& ctx) {
  Ints shape = ctx.attrs().ints("shape");
  ctx.require(ctx.attrs().has("shape"), "attribute shape is missing");
  for (int64_t d : shape) ctx.require(d >= 0, "the shape has an extent of {}", d);
  return shape;
}

void infer_shaped(InferContext& ctx) {
  Ints shape = shape_of(ctx);
  ctx.output(0, type_of(ctx, DType::kFloat32), Shape(shape.begin(), shape.end()));
}

void infer_like(InferContext& ctx) { ctx.output(0, type_of(ctx, ctx.dtype(0)), ctx.shape(0)); }

template <bool kNormal>
void shaped(RefContext& ctx) {
  fill(ctx, type_of(ctx, DType::kFloat32), shape_of(ctx), kNormal);
}

template <bool kNormal>
void like(RefContext& ctx) {
  fill(ctx, type_of(ctx, ctx.in(0).dtype()), ctx.in(0).dims(), kNormal);
}

void bernoulli(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  Generator random = generator_of(ctx);
  Tensor& out = make_output(ctx, 0, type_of(ctx, x.dtype()), x.dims());
  for (int64_t i = 0; i < x.size(); ++i) out.set(i, random.uniform() < x.at(i) ? 1 : 0);
}

void infer_multinomial(InferContext& ctx) {
  Dim rows = ctx.rank(0) >= 1 ? (*ctx.shape(0))[0] : ctx.unknown(0, 0);
  int64_t samples = ctx.attrs().integer("sample_size", 1);
  ctx.require(samples >= 1, "sample_size is {}", samples);
  ctx.output(0, type_of(ctx, DType::kInt32), Shape{rows, Dim(samples)});
}

// Classes drawn by their unnormalised log probabilities.
void multinomial(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  int64_t samples = ctx.attrs().integer("sample_size", 1);
  ctx.require(samples >= 1, "sample_size is {}", samples);
  ctx.require(x.rank() == 2 && x.dims()[1] >= 1, "log probabilities of shape {} are not (batch, classes)",
              dims_text(x.dims()));
  int64_t classes = x.dims()[1];
  DType type = type_of(ctx, DType::kInt32);
  ctx.require(is_integer(type), "classes of type {} are not defined", name(type));
  Tensor& out = make_output(ctx, 0, type, {x.dims()[0], samples});
  Generator random = generator_of(ctx);
  std::vector<double> sums(static_cast<size_t>(classes));
  for (int64_t r = 0; r < x.dims()[0]; ++r) {
    double top = -INFINITY, sum = 0;
    for (int64_t c = 0; c < classes; ++c) top = std::max(top, x.at(r * classes + c));
    for (int64_t c = 0; c < classes; ++c) sums[static_cast<size_t>(c)] = sum += std::exp(x.at(r * classes + c) - top);
    for (int64_t s = 0; s < samples; ++s) {
      double at = random.uniform() * sum;
      int64_t c = 0;
      while (c + 1 < classes && !(at < sums[static_cast<size_t>(c)])) ++c;
      out.set_int(r * samples + s, c);
    }
  }
}

}  // namespace

void define_random_ops(OpTable& table) {
  auto add = [&](const char* name, std::string_view doc, int inputs, auto infer, auto reference, Strings attrs) {
    table.add({.name = name,
               .doc = doc,
               .min_inputs = inputs,
               .max_inputs = inputs,
               .infer = infer,
               .reference = reference,
               .pure = false,
               .attrs = std::move(attrs)});
  };
  add("RandomUniform", "Numbers evenly between low and high.", 0, infer_shaped, shaped<false>,
      {"dtype", "high", "low", "seed", "shape"});
  add("RandomNormal", "Normally distributed numbers.", 0, infer_shaped, shaped<true>,
      {"dtype", "mean", "scale", "seed", "shape"});
  add("RandomUniformLike", "RandomUniform in the shape of the input.", 1, infer_like, like<false>,
      {"dtype", "high", "low", "seed"});
  add("RandomNormalLike", "RandomNormal in the shape of the input.", 1, infer_like, like<true>,
      {"dtype", "mean", "scale", "seed"});
  add("Bernoulli", "1 with the probability that each element gives, else 0.", 1, infer_like, bernoulli,
      {"dtype", "seed"});
  add("Multinomial", "Classes drawn by their log probabilities.", 1, infer_multinomial, multinomial,
      {"dtype", "sample_size", "seed"});
}

}  // namespace tenon
