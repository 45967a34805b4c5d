#include "cuda/expression.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/error.hpp"

namespace tenon::cuda {
namespace {

std::string literal(float x) {
  // By its bits: every float (infinities and NaN too) survives.
  if (std::isfinite(x) && x == std::floor(x) && std::fabs(x) < 1e6f && !(x == 0 && std::signbit(x)))
    return fmt::format("{:.1f}f", x);
  return fmt::format("__uint_as_float({}u)", std::bit_cast<uint32_t>(x));
}

}  // namespace

const char* type_name(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return "float";
    case DType::kFloat16: return "half_t";
    case DType::kBFloat16: return "bf16_t";
    case DType::kFloat64: return "double";
    case DType::kBool: return "bool";
    case DType::kInt8: return "signed char";
    case DType::kUInt8: return "u8";
    case DType::kInt16: return "short";
    case DType::kUInt16: return "u16";
    case DType::kInt32: return "int";
    case DType::kUInt32: return "u32";
    case DType::kInt64: return "i64";
    case DType::kUInt64: return "u64";
    default: fail(Code::kUnsupported, "A CUDA kernel cannot load elements of type number {}.", int(dtype));
  }
}

Expression::Value Expression::add(std::string text) {
  values_.push_back(std::move(text));
  return static_cast<Value>(values_.size()) - 1;
}

Expression::Value Expression::input() { return add(fmt::format("@{}", inputs_++)); }

Expression::Value Expression::constant(float value) { return add(literal(value)); }

Expression::Value Expression::emit(EwOp op, std::initializer_list<Value> args, float p, float q) {
  const EwInfo& facts = info(op);
  TENON_CHECK(static_cast<int>(args.size()) == facts.arity);
  if (facts.types == EwTypes::kInt)
    fail(Code::kUnsupported, "{} works on integers only; generated kernels compute in float32.", facts.name);
  if (std::find(used_.begin(), used_.end(), op) == used_.end()) used_.push_back(op);
  std::string text = fmt::format("ew::op_{}(", facts.name);
  for (Value v : args) text += fmt::format("v{}, ", v);
  return add(text + (facts.arity == 1 ? literal(p) + ", " + literal(q) + ")" : "0.0f, 0.0f)"));
}

Expression::Value Expression::round_to(Value x, DType dtype) {
  TENON_CHECK(dtype == DType::kFloat16 || dtype == DType::kBFloat16);
  return add(fmt::format("ew::{}(v{})", dtype == DType::kFloat16 ? "round_half" : "round_bf16", x));
}

Expression::Value Expression::truncate(Value x, float lo, float hi) {
  return add(fmt::format("ew::clamp_trunc(v{}, {}, {})", x, literal(lo), literal(hi)));
}

Expression::Value Expression::quantize(Value x, Value scale, Value zero, float lo, float hi) {
  return add(fmt::format("ew::quantize(v{}, v{}, v{}, {}, {})", x, scale, zero, literal(lo), literal(hi)));
}

Expression::Value Expression::dequantize(Value x, Value scale, Value zero) {
  return add(fmt::format("ew::dequantize(v{}, v{}, v{})", x, scale, zero));
}

void Expression::output(Value x) {
  TENON_CHECK(x >= 0 && x < static_cast<Value>(values_.size()));
  outputs_.push_back(x);
}

void Expression::add_to_first() {
  TENON_CHECK(inputs_ > 0 && added_ < 0);
  added_ = inputs_++;
}

bool Expression::identity() const noexcept {
  return added_ < 0 && outputs_.size() == 1 && values_[outputs_[0]] == "@0";
}

std::string Expression::functions() const {
  std::string text = "namespace ew {\n";
  for (EwOp op : used_) {
    const EwInfo& facts = info(op);
    const char* parameters = facts.arity == 1   ? "float x"
                             : facts.arity == 2 ? "float a, float b"
                                                : "float a, float b, float c";
    text += fmt::format("TENON_INLINE float op_{}({}, float p, float q) {{ typedef float T; return float({}); }}\n",
                        facts.name, parameters, facts.text);
  }
  return text + "}\n";
}

std::string Expression::body(const std::vector<std::string>& inputs, const std::vector<std::string>& stores) const {
  TENON_CHECK(static_cast<int>(inputs.size()) == inputs_ && stores.size() == outputs_.size());
  std::string text;
  for (size_t i = 0; i < values_.size(); ++i) {
    const std::string& v = values_[i];
    std::string value = v[0] == '@' ? inputs[std::stoul(v.substr(1))] : v;
    if (v == "@0" && added_ >= 0) value += " + " + inputs[static_cast<size_t>(added_)];
    text += fmt::format("    float v{} = {};\n", i, value);
  }
  for (size_t j = 0; j < stores.size(); ++j) text += fmt::format("    {} = v{};\n", stores[j], outputs_[j]);
  return text;
}

// ---- Epilogues

namespace {

int aligned_vector(const Access& access, int limit) {
  if (access.col_stride == 0) return limit;
  int v = limit;
  while (v > 1 && (access.row_stride % v != 0 || access.batch_stride % v != 0 || access.alignment % v != 0)) v /= 2;
  return v;
}

std::string address(const Access& access, const char* side, int index, bool constant) {
  std::string row = access.row_stride == 0 ? ""
                    : access.row_div == 1  ? fmt::format(" + row * {}ll", access.row_stride)
                                           : fmt::format(" + row / {}ll * {}ll", access.row_div, access.row_stride);
  return fmt::format("static_cast<{}{}*>(o.{}[{}]){}{}", constant ? "const " : "", type_name(access.dtype), side, index,
                     row, access.col_stride == 0 ? "" : " + col");
}

}  // namespace

std::string load_text(const Access& access, int index, const std::string& to) {
  return fmt::format("  {}<V>({}, {});\n", access.col_stride == 0 ? "load_one" : "load", to,
                     address(access, "in", index, true));
}

TileEpilogue TileEpilogue::store(DType dtype, int64_t row_stride) {
  TileEpilogue e;
  e.expression.output(e.expression.input());
  Access out;
  out.dtype = dtype;
  out.row_stride = row_stride;
  e.out.push_back(out);
  return e;
}

int TileEpilogue::vector(int limit) const {
  int v = limit;
  for (const Access& a : in) v = std::min(v, aligned_vector(a, limit));
  for (const Access& a : out) v = std::min(v, aligned_vector(a, limit));
  return v;
}

std::string TileEpilogue::text() const {
  TENON_CHECK(static_cast<int>(in.size()) == expression.inputs() - 1 &&
              static_cast<int>(out.size()) == expression.outputs());
  std::string text = "#include \"prelude.cuh\"\n" + expression.functions();
  text += "template <int V>\nTENON_INLINE void epilogue(const Operands& o, i64 row, int col, const float (&x)[V]) {\n";
  std::vector<std::string> inputs = {"x[i]"}, stores;
  for (size_t i = 0; i < in.size(); ++i) {
    text +=
        fmt::format("  float in{}[V];\n", i) + load_text(in[i], first_in + static_cast<int>(i), fmt::format("in{}", i));
    inputs.push_back(fmt::format("in{}[i]", i));
  }
  for (size_t i = 0; i < out.size(); ++i) {
    text += fmt::format("  float out{}[V];\n", i);
    stores.push_back(fmt::format("out{}[i]", i));
  }
  text += "  UNROLL for (int i = 0; i < V; ++i) {\n" + expression.body(inputs, stores) + "  }\n";
  for (size_t i = 0; i < out.size(); ++i) {
    text += fmt::format("  store<V>({}, out{});\n", address(out[i], "out", static_cast<int>(i), false), i);
  }
  text += "}\nTENON_INLINE Operands batch_operands(Operands o, i64 batch) {\n";
  auto move = [&](const Access& a, const char* side, size_t i, const char* constant) {
    if (a.batch_stride == 0) return;
    text += fmt::format("  o.{0}[{1}] = static_cast<{2}{3}*>(o.{0}[{1}]) + batch * {4}ll;\n", side, i, constant,
                        type_name(a.dtype), a.batch_stride);
  };
  for (size_t i = 0; i < in.size(); ++i) move(in[i], "in", static_cast<size_t>(first_in) + i, "const ");
  for (size_t i = 0; i < out.size(); ++i) move(out[i], "out", i, "");
  return text + "  return o;\n}\n";
}

// ---- Regions

int64_t Region::count() const {
  int64_t n = 1;
  for (int64_t d : dims) n *= d;
  return n;
}

int Region::vector() const {
  if (dims.empty()) return 1;
  auto fits = [&](int v) {
    if (dims.back() % v != 0 || alignment % v != 0) return false;
    auto even = [&](const std::vector<int64_t>& strides, bool output) {
      if (strides.back() == 0 && !output) return true;
      if (strides.back() != 1) return false;
      return std::all_of(strides.begin(), strides.end() - 1, [&](int64_t s) { return s % v == 0; });
    };
    return std::all_of(in_strides.begin(), in_strides.end(), [&](const auto& s) { return even(s, false); }) &&
           std::all_of(out_strides.begin(), out_strides.end(), [&](const auto& s) { return even(s, true); });
  };
  for (int v : {8, 4, 2}) {
    if (fits(v)) return v;
  }
  return 1;
}

std::string Region::text() const {
  TENON_CHECK(static_cast<int>(in_types.size()) == expression.inputs() && in_strides.size() == in_types.size());
  TENON_CHECK(static_cast<int>(out_types.size()) == expression.outputs() && out_strides.size() == out_types.size());
  std::string text = "#include \"prelude.cuh\"\n" + expression.functions() +
                     "TENON_INLINE void region(const Operands& o, i64 index) {\n  constexpr int V = OUT_VEC;\n";
  bool small = count() < (int64_t{1} << 31);
  const char* type = small ? "u32" : "i64";
  text += fmt::format("  {} rest = {}(index);\n", type, type);
  for (size_t d = dims.size(); d-- > 0;) {
    text += d == 0 ? fmt::format("  const i64 i0 = rest;\n")
                   : fmt::format("  const i64 i{0} = rest % {1}; rest /= {1};\n", d, dims[d]);
  }
  auto offset = [&](const std::vector<int64_t>& strides) {
    std::string sum = "0";
    for (size_t d = 0; d < strides.size(); ++d) {
      if (strides[d] != 0) sum += fmt::format(" + i{} * {}ll", d, strides[d]);
    }
    return sum;
  };
  std::vector<std::string> inputs, stores;
  for (size_t i = 0; i < in_types.size(); ++i) {
    bool one = in_strides[i].empty() || in_strides[i].back() == 0;
    text += fmt::format("  float in{0}[V];\n  {1}<V>(in{0}, static_cast<const {2}*>(o.in[{0}]) + {3});\n", i,
                        one ? "load_one" : "load", type_name(in_types[i]), offset(in_strides[i]));
    inputs.push_back(fmt::format("in{}[i]", i));
  }
  for (size_t i = 0; i < out_types.size(); ++i) {
    text += fmt::format("  float out{}[V];\n", i);
    stores.push_back(fmt::format("out{}[i]", i));
  }
  text += "  UNROLL for (int i = 0; i < V; ++i) {\n" + expression.body(inputs, stores) + "  }\n";
  for (size_t i = 0; i < out_types.size(); ++i) {
    text += fmt::format("  store<V>(static_cast<{}*>(o.out[{}]) + {}, out{});\n", type_name(out_types[i]), i,
                        offset(out_strides[i]), i);
  }
  return text + "}\n";
}

}  // namespace tenon::cuda
