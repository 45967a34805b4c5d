// Signal processing: DFT, STFT, window functions and the mel filter bank. Transforms are sums over all terms, as
// written.
#include <cmath>
#include <limits>
#include <numbers>

#include "base/checked.hpp"
#include "ops/support.hpp"

namespace tenon {
namespace {

constexpr double kTau = 2 * std::numbers::pi;

int64_t scalar_in(const RefContext& ctx, size_t i) {
  ctx.require(ctx.in(i).size() == 1, "input {} must be one number, its shape is {}", i, dims_text(ctx.in(i).dims()));
  return ctx.in(i).int_at(0);
}

// The number in an input, or nothing.
std::optional<Dim> scalar_content(const InferContext& ctx, size_t i) {
  auto c = ctx.content(i);
  return c && c->size() == 1 ? std::optional((*c)[0]) : std::nullopt;
}

// --- the transform -----------------------------------------------------------------------------------------------

// Cosines and sines of the n-th roots of unity.
struct Roots {
  explicit Roots(int64_t n) : cosine(static_cast<size_t>(n)), sine(static_cast<size_t>(n)) {
    for (size_t i = 0; i < cosine.size(); ++i) {
      double angle = kTau * static_cast<double>(i) / static_cast<double>(n);
      cosine[i] = std::cos(angle);
      sine[i] = std::sin(angle);
    }
  }
  std::vector<double> cosine, sine;
};

struct Complex {
  double re = 0, im = 0;
};

// sum over t of in[t] * exp(-+ i tau k t / n): term k of a transform of length n; shorter inputs count as padded.
Complex term(const std::vector<Complex>& in, const Roots& roots, int64_t k, bool inverse) {
  auto n = static_cast<int64_t>(roots.cosine.size());
  Complex sum;
  int64_t at = 0;  // k * t mod n
  for (const Complex& v : in) {
    auto i = static_cast<size_t>(at);
    double c = roots.cosine[i], s = inverse ? roots.sine[i] : -roots.sine[i];
    sum.re += v.re * c - v.im * s;
    sum.im += v.re * s + v.im * c;
    at = (at + k) % n;
  }
  return sum;
}

// --- DFT ---------------------------------------------------------------------------------------------------------

void infer_dft(InferContext& ctx) {
  if (!ctx.shape(0)) return ctx.output(0, ctx.dtype(0));
  Shape out = *ctx.shape(0);
  ctx.require(out.size() >= 2, "the input needs two axes at least");
  bool inverse = ctx.attrs().integer("inverse", 0) != 0, onesided = ctx.attrs().integer("onesided", 0) != 0;
  auto axis = ctx.has(2) ? ctx.ints(2) : std::optional<Ints>(Ints{-2});
  if (!axis || axis->size() != 1) {
    Shape unknown = unknown_shape(ctx, 0, out.size());
    return ctx.output(0, ctx.dtype(0), unknown);
  }
  auto a = static_cast<size_t>(ctx.axis((*axis)[0], ctx.rank(0)));
  ctx.require(a + 1 < out.size(), "the last axis holds real and imaginary parts, it cannot be transformed");
  Dim length = inverse && onesided ? (out[a] - 1) * 2 : out[a];
  if (ctx.has(1)) {
    auto given = scalar_content(ctx, 1);
    length = given ? *given : ctx.unknown(0, a);
  }
  out[a] = onesided && !inverse ? Dim::floor_div(length, 2) + 1 : length;
  out.back() = inverse && onesided ? Dim(1) : Dim(2);
  ctx.output(0, ctx.dtype(0), out);
}

void dft(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  ctx.require(x.rank() >= 2 && (x.dims().back() == 1 || x.dims().back() == 2),
              "the last axis must hold one or two numbers, the shape is {}", dims_text(x.dims()));
  auto axis = static_cast<size_t>(ctx.axis(ctx.has(2) ? scalar_in(ctx, 2) : -2, x.rank()));
  ctx.require(axis + 1 < x.dims().size(), "the last axis cannot be transformed");
  bool inverse = ctx.attrs().integer("inverse", 0) != 0, onesided = ctx.attrs().integer("onesided", 0) != 0;
  bool real_out = inverse && onesided;
  int64_t extent = x.dims()[axis], parts = x.dims().back();
  int64_t n = ctx.has(1) ? scalar_in(ctx, 1) : real_out ? checked_mul(extent - 1, int64_t{2}) : extent;
  ctx.require(n >= 1 && n <= (int64_t{1} << 24), "a transform of length {} cannot be made", n);
  ctx.require(!onesided || inverse || parts == 1, "onesided needs a real input, this one has {} parts", parts);
  Dims dims = x.dims();
  dims[axis] = onesided && !inverse ? n / 2 + 1 : n;
  dims.back() = real_out ? 1 : 2;
  Tensor& out = make_output(ctx, 0, x.dtype(), dims);
  Roots roots(n);
  int64_t inner = product(x.dims(), axis + 1, x.dims().size() - 1), outer = product(x.dims(), 0, axis);
  int64_t used = std::min(extent, real_out ? n / 2 + 1 : n);
  for (int64_t o = 0; o < outer * inner; ++o) {
    int64_t from = o / inner * extent * inner + o % inner, to = o / inner * dims[axis] * inner + o % inner;
    std::vector<Complex> in(static_cast<size_t>(real_out ? n : used));
    for (int64_t t = 0; t < used; ++t) {
      int64_t at = (from + t * inner) * parts;
      in[static_cast<size_t>(t)] = {x.at(at), parts == 2 ? x.at(at + 1) : 0};
    }
    // A real signal's other half mirrors the first.
    for (int64_t t = n / 2 + 1; real_out && t < n; ++t) {
      const Complex& v = in[static_cast<size_t>(n - t)];
      in[static_cast<size_t>(t)] = {v.re, -v.im};
    }
    for (int64_t k = 0; k < dims[axis]; ++k) {
      Complex v = term(in, roots, k, inverse);
      double scale = inverse ? 1 / static_cast<double>(n) : 1;
      out.set((to + k * inner) * dims.back(), v.re * scale);
      if (!real_out) out.set((to + k * inner) * 2 + 1, v.im * scale);
    }
  }
}

// --- STFT --------------------------------------------------------------------------------------------------------

void infer_stft(InferContext& ctx) {
  Shape out{ctx.unknown(0, 0), ctx.unknown(0, 1), ctx.unknown(0, 2), Dim(2)};
  std::optional<Dim> length = ctx.has(3) ? scalar_content(ctx, 3) : std::nullopt;
  if (!length && ctx.has(2) && ctx.rank(2) == 1) length = (*ctx.shape(2))[0];
  if (ctx.rank(0) >= 2) out[0] = (*ctx.shape(0))[0];
  if (length) {
    out[2] = ctx.attrs().integer("onesided", 1) != 0 ? Dim::floor_div(*length, 2) + 1 : *length;
    auto step = ctx.ints(1);
    bool known = step && step->size() == 1 && (*step)[0] > 0 && ctx.rank(0) >= 2;
    if (known) out[1] = Dim::floor_div((*ctx.shape(0))[1] - *length, (*step)[0]) + 1;
  }
  ctx.output(0, ctx.dtype(0), out);
}

void stft(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  ctx.require(x.rank() == 2 || (x.rank() == 3 && (x.dims()[2] == 1 || x.dims()[2] == 2)),
              "a signal of shape {} is not (batch, length, 1 or 2)", dims_text(x.dims()));
  int64_t parts = x.rank() == 3 ? x.dims()[2] : 1, extent = x.dims()[1], step = scalar_in(ctx, 1);
  ctx.require(ctx.has(2) || ctx.has(3), "a window or a frame length is needed");
  int64_t n = ctx.has(3) ? scalar_in(ctx, 3) : ctx.in(2).size();
  ctx.require(!ctx.has(2) || (ctx.in(2).rank() == 1 && ctx.in(2).size() == n),
              "a window of shape {} does not fit frames of {}", ctx.has(2) ? dims_text(ctx.in(2).dims()) : "", n);
  ctx.require(step >= 1 && n >= 1 && n <= extent, "frames of {} every {} cannot be cut from a signal of {}", n, step,
              extent);
  bool onesided = ctx.attrs().integer("onesided", 1) != 0;
  ctx.require(!onesided || parts == 1, "onesided needs a real signal");
  int64_t frames = (extent - n) / step + 1, bins = onesided ? n / 2 + 1 : n;
  Tensor& out = make_output(ctx, 0, x.dtype(), {x.dims()[0], frames, bins, 2});
  Roots roots(n);
  std::vector<Complex> in(static_cast<size_t>(n));
  int64_t to = 0;
  for (int64_t f = 0; f < x.dims()[0] * frames; ++f) {
    int64_t begin = f / frames * extent + f % frames * step;
    for (int64_t t = 0; t < n; ++t) {
      double weight = ctx.has(2) ? ctx.in(2).at(t) : 1;
      int64_t at = (begin + t) * parts;
      in[static_cast<size_t>(t)] = {weight * x.at(at), parts == 2 ? weight * x.at(at + 1) : 0};
    }
    for (int64_t k = 0; k < bins; ++k) {
      Complex v = term(in, roots, k, false);
      out.set(to++, v.re);
      out.set(to++, v.im);
    }
  }
}

// --- windows -----------------------------------------------------------------------------------------------------

void infer_window(InferContext& ctx) {
  auto size = scalar_content(ctx, 0);
  ctx.output(0, dtype_attribute(ctx.node(), "output_datatype", DType::kFloat32),
             Shape{size ? *size : ctx.unknown(0, 0)});
}

// a0 - a1 cos(tau n / N) + a2 cos(2 tau n / N), the coefficients in thousand-millionths.
template <int64_t kA0, int64_t kA1, int64_t kA2>
void window(RefContext& ctx) {
  int64_t size = scalar_in(ctx, 0);
  ctx.require(size >= 0, "a window of {} elements is asked for", size);
  Tensor& out = make_output(ctx, 0, dtype_attribute(ctx.node, "output_datatype", DType::kFloat32), {size});
  int64_t period = ctx.attrs().integer("periodic", 1) != 0 ? size : size - 1;
  for (int64_t i = 0; i < size; ++i) {
    double angle = period > 0 ? kTau * static_cast<double>(i) / static_cast<double>(period) : 0;
    double v = kA0 - kA1 * std::cos(angle) + kA2 * std::cos(2 * angle);
    out.set(i, period > 0 ? v * 1e-9 : 1);
  }
}

// --- MelWeightMatrix ---------------------------------------------------------------------------------------------

void infer_mel(InferContext& ctx) {
  auto bins = scalar_content(ctx, 0), length = scalar_content(ctx, 1);
  ctx.output(0, dtype_attribute(ctx.node(), "output_datatype", DType::kFloat32),
             Shape{length ? Dim::floor_div(*length, 2) + 1 : ctx.unknown(0, 0), bins ? *bins : ctx.unknown(0, 1)});
}

void mel_weight_matrix(RefContext& ctx) {
  int64_t bins = scalar_in(ctx, 0), length = scalar_in(ctx, 1), rate = scalar_in(ctx, 2);
  double low = ctx.in(3).size() == 1 ? ctx.in(3).at(0) : -1, high = ctx.in(4).size() == 1 ? ctx.in(4).at(0) : -1;
  ctx.require(bins >= 1 && bins <= (int64_t{1} << 30) && length >= 1 && length < (int64_t{1} << 40) && rate >= 1,
              "{} bins of a transform of {} at a rate of {} cannot be made", bins, length, rate);
  ctx.require(low >= 0 && high >= low && high <= static_cast<double>(rate),
              "the band from {} to {} Hz does not fit a rate of {}", low, high, rate);
  int64_t lines = length / 2 + 1;
  Tensor& out = make_output(ctx, 0, dtype_attribute(ctx.node, "output_datatype", DType::kFloat32), {lines, bins});
  auto mel = [](double hertz) { return 2595 * std::log10(1 + hertz / 700); };
  double step = (mel(high) - mel(low)) / static_cast<double>(bins + 2);
  auto edge = [&](int64_t i) {
    double hertz = 700 * (std::pow(10, (mel(low) + step * static_cast<double>(i)) / 2595) - 1);
    return static_cast<int64_t>(std::floor(static_cast<double>(length + 1) * hertz / static_cast<double>(rate)));
  };
  for (int64_t b = 0; b < bins; ++b) {
    int64_t from = edge(b), top = edge(b + 1), to = edge(b + 2);
    auto put = [&](int64_t line, double v) {
      if (line >= 0 && line < lines) out.set(line * bins + b, v);
    };
    if (top == from) put(top, 1);
    for (int64_t i = from; top > from && i <= top; ++i)
      put(i, static_cast<double>(i - from) / static_cast<double>(top - from));
    for (int64_t i = top; i < to; ++i) put(i, static_cast<double>(to - i) / static_cast<double>(to - top));
  }
}

}  // namespace

void define_signal_ops(OpTable& table) {
  auto add = [&](const char* name, std::string_view doc, int least, int most, auto infer, auto reference,
                 Strings attrs) {
    table.add({.name = name,
               .doc = doc,
               .min_inputs = least,
               .max_inputs = most,
               .infer = infer,
               .reference = reference,
               .attrs = std::move(attrs)});
  };
  add("DFT", "The discrete Fourier transform along an axis, or its inverse.", 1, 3, infer_dft, dft,
      {"inverse", "onesided"});
  add("STFT", "The Fourier transforms of overlapping frames.", 2, 4, infer_stft, stft, {"onesided"});
  Strings attrs{"output_datatype", "periodic"};
  add("HannWindow", "A window of raised cosines.", 1, 1, infer_window, window<500000000, 500000000, 0>, attrs);
  add("HammingWindow", "A window of raised cosines on a pedestal.", 1, 1, infer_window, window<543478261, 456521739, 0>,
      attrs);
  add("BlackmanWindow", "A window of two cosines.", 1, 1, infer_window, window<420000000, 500000000, 80000000>, attrs);
  add("MelWeightMatrix", "Triangular filters, evenly spaced on the mel scale.", 5, 5, infer_mel, mel_weight_matrix,
      {"output_datatype"});
}

}  // namespace tenon
