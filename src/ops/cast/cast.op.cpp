// Cast, CastLike, BitCast: the same values, or the same bits, as another element type.
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "ops/support.hpp"

namespace tenon {
namespace {

std::string number_text(const Tensor& x, int64_t i) {
  if (!is_floating(x.dtype())) {
    if (x.dtype() == DType::kBool) return x.int_at(i) ? "True" : "False";
    if (x.dtype() == DType::kUInt64) return std::to_string(static_cast<uint64_t>(x.int_at(i)));
    return std::to_string(x.int_at(i));
  }
  double v = x.at(i);
  if (std::isnan(v)) return "NaN";
  if (std::isinf(v)) return v > 0 ? "INF" : "-INF";
  return x.dtype() == DType::kFloat64 ? fmt::format("{}", v) : fmt::format("{}", static_cast<float>(v));
}

// A number written as C++ and Python write it; "NaN" and "INF" in any case.
double parse_number(const std::string& text) {
  size_t begin = text.find_first_not_of(" \t\r\n"), end = text.find_last_not_of(" \t\r\n");
  expect(begin != std::string::npos, "Cast: an empty string is no number");
  std::string_view body(text.data() + begin, end - begin + 1);
  if (body.front() == '+') body.remove_prefix(1);
  double value = 0;
  auto [stop, error] = std::from_chars(body.data(), body.data() + body.size(), value);
  if (error == std::errc::result_out_of_range) {
    bool tiny = body.find("e-") != std::string_view::npos || body.find("E-") != std::string_view::npos;
    double size = tiny ? 0 : std::numeric_limits<double>::infinity();
    return body.front() == '-' ? -size : size;
  }
  expect(error == std::errc() && stop == body.data() + body.size(), "Cast: '{}' is no number", text.substr(0, 40));
  return value;
}

int64_t parse_integer(const std::string& text) {
  size_t begin = text.find_first_not_of(" \t\r\n+"), end = text.find_last_not_of(" \t\r\n");
  if (begin != std::string::npos) {
    int64_t value = 0;
    auto [stop, error] = std::from_chars(text.data() + begin, text.data() + end + 1, value);
    if (error == std::errc() && stop == text.data() + end + 1) return value;
  }
  Tensor number = Tensor::allocate(DType::kInt64, {});
  number.set(0, parse_number(text));
  return number.int_at(0);
}

// float8e8m0 holds powers of two: the next one up or down, or the nearest (ties up).
double power_of_two(double v, std::string_view round_mode) {
  if (!(v > 0) || std::isinf(v)) return v;
  int exponent = 0;
  double mantissa = std::frexp(v, &exponent) * 2;  // within [1, 2)
  bool up = round_mode == "up" ? mantissa > 1 : round_mode == "nearest" && mantissa >= 1.5;
  return std::ldexp(1.0, exponent - 1 + (up ? 1 : 0));
}

bool is_float8(DType d) { return is_floating(d) && bits(d) == 8; }

Tensor cast_tensor(const RefContext& ctx, const Tensor& x, DType to) {
  bool saturate = ctx.attrs().integer("saturate", 1) != 0;
  std::string round_mode = ctx.attrs().string("round_mode", "up");
  ctx.require(round_mode == "up" || round_mode == "down" || round_mode == "nearest",
              "round_mode '{}' is not known (up, down and nearest are)", round_mode);
  if (x.dtype() == to) return x;
  Tensor out = Tensor::allocate(to, x.dims());
  for (int64_t i = 0; i < x.size(); ++i) {
    if (to == DType::kString) {
      out.mutable_data<std::string>()[i] = number_text(x, i);
    } else if (x.dtype() == DType::kString) {
      const std::string& text = x.data<std::string>()[i];
      if (is_floating(to)) {
        out.set(i, parse_number(text));
      } else {
        out.set_int(i, parse_integer(text));
      }
    } else if (is_float8(to) && to != DType::kFloat8E8M0) {
      out.mutable_raw()[i] = static_cast<std::byte>(float_to_minifloat(to, static_cast<float>(x.at(i)), saturate));
    } else if (to == DType::kFloat8E8M0) {
      out.set(i, power_of_two(x.at(i), round_mode));
    } else if (to == DType::kFloat4E2M1 && std::isnan(x.at(i))) {
      out.set(i, -0.0);  // there is no NaN; this is what ONNX's tests have
    } else if (to == DType::kBool) {
      out.set_int(i, x.at(i) != 0);
    } else if (is_floating(x.dtype()) || is_floating(to)) {
      out.set(i, x.at(i));
    } else {
      out.set_int(i, x.int_at(i));
    }
  }
  return out;
}

void infer_cast(InferContext& ctx) {
  DType to = dtype_attribute(ctx.node(), "to", DType::kUndefined);
  ctx.require(to != DType::kUndefined, "attribute to is missing");
  ctx.output(0, to, ctx.shape(0));
  auto content = ctx.content(0);
  if (content && (to == DType::kInt64 || (to == DType::kInt32 && !all_const(*content)))) {
    ctx.output_content(0, *content);
  } else if (content && to == DType::kInt32) {
    for (Dim& d : *content) d = static_cast<int32_t>(d.value());
    ctx.output_content(0, *content);
  } else if (content && to == DType::kBool && all_const(*content)) {
    for (Dim& d : *content) d = d == Dim(0) ? 0 : 1;
    ctx.output_content(0, *content);
  }
}

void cast(RefContext& ctx) {
  DType to = dtype_attribute(ctx.node, "to", DType::kUndefined);
  ctx.require(to != DType::kUndefined, "attribute to is missing");
  ctx.set(0, cast_tensor(ctx, ctx.in(0), to));
}

void infer_cast_like(InferContext& ctx) { ctx.output(0, ctx.dtype(1), ctx.shape(0)); }

void cast_like(RefContext& ctx) { ctx.set(0, cast_tensor(ctx, ctx.in(0), ctx.in(1).dtype())); }

void infer_bit_cast(InferContext& ctx) {
  DType to = dtype_attribute(ctx.node(), "to", DType::kUndefined);
  DType from = ctx.dtype(0);
  ctx.require(from == DType::kUndefined || bits(from) == bits(to), "{} and {} differ in width", name(from), name(to));
  ctx.output(0, to, ctx.shape(0));
}

void bit_cast(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  DType to = dtype_attribute(ctx.node, "to", DType::kUndefined);
  ctx.require(bits(x.dtype()) == bits(to) && x.dtype() != DType::kString && to != DType::kString,
              "{} and {} differ in width", name(x.dtype()), name(to));
  Tensor& out = ctx.make(0, to, x.dims());
  if (x.bytes() > 0) std::memcpy(out.mutable_raw(), x.raw(), static_cast<size_t>(x.bytes()));
}

}  // namespace

void define_cast_ops(OpTable& table) {
  table.add({.name = "Cast",
             .doc = "The same values as another element type: floats are truncated to integers, integers wrap.",
             .infer = infer_cast,
             .reference = cast,
             .elementwise = true,
             .attrs = {"round_mode", "saturate", "to"}});
  table.add({.name = "CastLike",
             .doc = "As Cast, to the type of the second input.",
             .min_inputs = 2,
             .max_inputs = 2,
             .infer = infer_cast_like,
             .reference = cast_like,
             .attrs = {"round_mode", "saturate"}});
  table.add({.name = "BitCast",
             .doc = "The same bits as another element type of the same width.",
             .infer = infer_bit_cast,
             .reference = bit_cast,
             .attrs = {"to"}});
}

}  // namespace tenon
