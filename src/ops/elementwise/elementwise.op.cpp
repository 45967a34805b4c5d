// The elementwise ops: every line of elementwise.def, and the ONNX ops that are a fold or a variant of one.
#include "ops/elementwise.hpp"

#include <algorithm>
#include <limits>

#include "ops/elementwise_call.hpp"
#include "ops/support.hpp"

namespace tenon {
namespace {

// --- the expressions as functions ------------------------------------------------------------------------------

// One expression for the three number kinds that a reference computes in: doubles, and 64-bit integers of both kinds
// (narrower ones are truncated afterwards, which is exact since they wrap). Unary ones get (x, p, q).
struct Functions {
  double (*real)(double, double, double) = nullptr;
  int64_t (*integer)(int64_t, int64_t, int64_t) = nullptr;
  uint64_t (*natural)(uint64_t, uint64_t, uint64_t) = nullptr;
};

template <EwTypes kTypes, class F>
constexpr Functions functions(F) {
  Functions out;
  if constexpr (kTypes == EwTypes::kFloat || kTypes == EwTypes::kNum) {
    out.real = [](double a, double b, double c) { return static_cast<double>(F()(a, b, c)); };
  }
  if constexpr (kTypes != EwTypes::kFloat) {
    out.integer = [](int64_t a, int64_t b, int64_t c) { return static_cast<int64_t>(F()(a, b, c)); };
    out.natural = [](uint64_t a, uint64_t b, uint64_t c) { return static_cast<uint64_t>(F()(a, b, c)); };
  }
  return out;
}

const Functions& functions_of(EwOp op) {
  static const Functions table[] = {
#define TENON_EW_UNARY(Name, Types, expr) \
  functions<EwTypes::k##Types>([](auto x, auto p, auto q) { return ew::ref_##Name(x, p, q); }),
#define TENON_EW_UNARY_BOOL TENON_EW_UNARY
#define TENON_EW_BINARY(Name, Types, expr) \
  functions<EwTypes::k##Types>([](auto a, auto b, auto) { return ew::ref_##Name(a, b); }),
#define TENON_EW_BINARY_BOOL TENON_EW_BINARY
#define TENON_EW_TERNARY(Name, Types, expr) \
  functions<EwTypes::k##Types>([](auto a, auto b, auto c) { return ew::ref_##Name(a, b, c); }),
#include "ops/elementwise.def"
  };
  return table[static_cast<int>(op)];
}

// --- evaluation ------------------------------------------------------------------------------------------------

template <class T>
std::vector<T> numbers(const Tensor& t) {
  if constexpr (std::is_same_v<T, double>) {
    return to_doubles(t);
  } else {
    std::vector<T> out(static_cast<size_t>(t.size()));
    for (int64_t i = 0; i < t.size(); ++i) out[static_cast<size_t>(i)] = static_cast<T>(t.int_at(i));
    return out;
  }
}

void store(Tensor& out, const std::vector<double>& values) { store_doubles(out, values); }
template <class T>
void store(Tensor& out, const std::vector<T>& values) {
  for (int64_t i = 0; i < out.size(); ++i) out.set_int(i, static_cast<int64_t>(values[static_cast<size_t>(i)]));
}

// Applies f to the broadcast operands; absent ones have one element, the default.
template <class T, class F>
void apply(Tensor& out, const std::array<const Tensor*, 3>& operands, const std::array<T, 3>& defaults, F f) {
  std::array<std::vector<T>, 3> in;
  std::array<Ints, 3> strides;
  for (size_t k = 0; k < 3; ++k) {
    in[k] = operands[k] ? numbers<T>(*operands[k]) : std::vector<T>{defaults[k]};
    strides[k] = operands[k] ? broadcast_strides(operands[k]->dims(), out.dims()) : Ints(out.dims().size(), 0);
  }
  std::vector<T> result(static_cast<size_t>(out.size()));
  size_t at = 0;
  walk<3>(out.dims(), strides, [&](const std::array<int64_t, 3>& i) {
    result[at++] =
        f(in[0][static_cast<size_t>(i[0])], in[1][static_cast<size_t>(i[1])], in[2][static_cast<size_t>(i[2])]);
  });
  store(out, result);
}

template <class T>
T parameter(double value) {
  if constexpr (std::is_same_v<T, double>) return value;
  if (value <= static_cast<double>(std::numeric_limits<T>::lowest())) return std::numeric_limits<T>::lowest();
  if (value >= static_cast<double>(std::numeric_limits<T>::max())) return std::numeric_limits<T>::max();
  return static_cast<T>(value);
}

void evaluate(RefContext& ctx, EwCall call, std::array<const Tensor*, 3> operands, Tensor& out) {
  const Functions& f = functions_of(call.op);
  int arity = info(call.op).arity;
  bool real = false, natural = false;
  for (int k = 0; k < arity; ++k) {
    DType d = operands[static_cast<size_t>(k)]->dtype();
    real = real || is_floating(d);
    natural = natural || d == DType::kUInt64;
  }
  auto parameters = [&](auto zero) {
    using T = decltype(zero);
    return std::array<T, 3>{zero, arity == 1 ? parameter<T>(call.p) : zero, arity == 1 ? parameter<T>(call.q) : zero};
  };
  ctx.require(real ? f.real != nullptr : f.integer != nullptr, "{} is not defined for {}", ctx.node.op,
              name(operands[0]->dtype()));
  if (real) return apply<double>(out, operands, parameters(0.0), f.real);
  if (natural) return apply<uint64_t>(out, operands, parameters(uint64_t{0}), f.natural);
  apply<int64_t>(out, operands, parameters(int64_t{0}), f.integer);
}

// Equal of strings.
void compare_strings(const Tensor& a, const Tensor& b, Tensor& out) {
  auto *x = a.data<std::string>(), *y = b.data<std::string>();
  bool* to = out.mutable_data<bool>();
  walk<2>(out.dims(), {broadcast_strides(a.dims(), out.dims()), broadcast_strides(b.dims(), out.dims())},
          [&](const std::array<int64_t, 2>& i) { *to++ = x[i[0]] == y[i[1]]; });
}

void run_call(RefContext& ctx, EwCall call) {
  const EwInfo& about = info(call.op);
  std::array<const Tensor*, 3> operands{};
  Dims dims = ctx.in(0).dims();
  for (int k = 0; k < about.arity; ++k) {
    auto i = static_cast<size_t>(k);
    operands[i] = &ctx.in(i);
    dims = broadcast_dims(dims, operands[i]->dims(), ctx.node.op);
    bool mixed = operands[i]->dtype() != operands[0]->dtype() && call.op != EwOp::kPow;
    ctx.require(!mixed, "the inputs are {} and {}", name(operands[0]->dtype()), name(operands[i]->dtype()));
  }
  ctx.require(call.op != EwOp::kPRelu || dims == operands[0]->dims(), "a slope of shape {} does not broadcast to {}",
              dims_text(ctx.in(1 < ctx.inputs.size() ? 1 : 0).dims()), dims_text(operands[0]->dims()));
  Tensor& out = make_output(ctx, 0, about.gives_bool ? DType::kBool : operands[0]->dtype(), dims);
  if (operands[0]->dtype() == DType::kString) {
    ctx.require(call.op == EwOp::kEqual, "{} is not defined for strings", ctx.node.op);
    return compare_strings(*operands[0], *operands[1], out);
  }
  evaluate(ctx, call, operands, out);
}

void reference(RefContext& ctx) {
  auto call = elementwise_call(ctx.node);
  ctx.require(call.has_value(), "{} with {} inputs is no elementwise expression", ctx.node.op, ctx.inputs.size());
  run_call(ctx, *call);
}

void clip(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  Tensor& out = ctx.make(0, x.dtype(), x.dims());
  std::array<const Tensor*, 3> operands{&x, nullptr, nullptr};
  for (size_t i : {1, 2}) {
    if (!ctx.has(i)) continue;
    operands[i] = &ctx.in(i);
    ctx.require(operands[i]->size() == 1 && operands[i]->dtype() == x.dtype(), "bound {} must be one {}", i,
                name(x.dtype()));
  }
  // min first, then max: so a max below min wins.
  auto run = [&](auto low, auto high) {
    using T = decltype(low);
    std::array<Tensor, 3> flat;
    for (size_t i : {1, 2}) {
      if (operands[i] == nullptr) continue;
      flat[i] = operands[i]->reshaped({});
      operands[i] = &flat[i];
    }
    apply<T>(out, operands, {T(), low, high}, [](T v, T a, T b) { return ew::min(ew::max(v, a), b); });
  };
  using Real = std::numeric_limits<double>;
  using Integer = std::numeric_limits<int64_t>;
  using Natural = std::numeric_limits<uint64_t>;
  if (is_floating(x.dtype())) return run(-Real::infinity(), Real::infinity());
  if (x.dtype() == DType::kUInt64) return run(Natural::min(), Natural::max());
  run(Integer::min(), Integer::max());
}

// Max, Min, Sum and Mean of any number of inputs.
void fold(RefContext& ctx) {
  const std::string& op = ctx.node.op;
  EwOp step = op == "Max" ? EwOp::kMax : op == "Min" ? EwOp::kMin : EwOp::kAdd;
  const Tensor& first = ctx.in(0);
  Dims dims = first.dims();
  for (size_t i = 1; i < ctx.inputs.size(); ++i) {
    ctx.require(ctx.in(i).dtype() == first.dtype(), "the inputs are {} and {}", name(first.dtype()),
                name(ctx.in(i).dtype()));
    dims = broadcast_dims(dims, ctx.in(i).dims(), op);
  }
  Tensor& out = make_output(ctx, 0, first.dtype(), dims);
  DType exact = is_floating(first.dtype()) ? DType::kFloat64 : first.dtype();
  Tensor sum = Tensor::allocate(exact, dims);
  strided_copy(out, first, 0, broadcast_strides(first.dims(), dims));
  if (is_floating(first.dtype())) {
    store_doubles(sum, to_doubles(out));
  } else {
    sum = out.clone();
  }
  for (size_t i = 1; i < ctx.inputs.size(); ++i) {
    Tensor next = Tensor::allocate(exact, dims);
    evaluate(ctx, {step}, {&sum, &ctx.in(i), nullptr}, next);
    sum = next;
  }
  std::vector<double> values = to_doubles(sum);
  if (op == "Mean") {
    for (double& v : values) v /= static_cast<double>(ctx.inputs.size());
  }
  if (is_floating(first.dtype())) return store_doubles(out, values);
  ctx.set(0, sum);
}

// --- types and shapes ------------------------------------------------------------------------------------------

std::optional<Shape> broadcast_inputs(InferContext& ctx) {
  std::optional<Shape> out = Shape{};
  for (size_t i = 0; i < ctx.input_count(); ++i) {
    if (!ctx.has(i)) continue;
    if (!ctx.shape(i)) return std::nullopt;
    auto next = broadcast_shapes(*out, *ctx.shape(i));
    ctx.require(next.has_value(), "shapes {} and {} do not broadcast", shape_text(*out), shape_text(*ctx.shape(i)));
    out = next;
  }
  return out;
}

// Truncating division. Symbols stand for extents, so the sign of an expression is that for large ones.
Dim divide(const Dim& a, const Dim& b) {
  auto sign = a.evaluate([](std::string_view) { return std::optional<int64_t>(1000003); });
  if (sign && *sign < 0) return Dim(0) - Dim::floor_div(Dim(0) - a, b);
  return Dim::floor_div(a, b);
}

// One element of shape arithmetic; nothing when it has no formula.
std::optional<Dim> arithmetic(EwCall call, const Dim& a, const Dim& b) {
  if (a.is_const() && b.is_const() && functions_of(call.op).integer != nullptr) {
    bool unary = info(call.op).arity == 1;
    if (unary)
      return Dim(functions_of(call.op).integer(a.value(), parameter<int64_t>(call.p), parameter<int64_t>(call.q)));
    return Dim(functions_of(call.op).integer(a.value(), b.value(), 0));
  }
  bool positive = b.is_const() && b.value() > 0;
  switch (call.op) {
    case EwOp::kAdd: return a + b;
    case EwOp::kSub: return a - b;
    case EwOp::kMul: return a * b;
    case EwOp::kNeg: return Dim(0) - a;
    case EwOp::kMax: return Dim::max(a, b);
    case EwOp::kMin: return Dim::min(a, b);
    case EwOp::kAbs:
    case EwOp::kRelu: return a;  // of an extent
    case EwOp::kDiv: return positive || a == b ? std::optional(divide(a, b)) : std::nullopt;
    case EwOp::kMod: return positive ? std::optional(a - Dim::floor_div(a, b) * b) : std::nullopt;
    // A symbolic extent is never -1, which is what exporters ask.
    case EwOp::kEqual: {
      Dim difference = a - b;
      if (difference.is_const()) return Dim(difference.value() == 0 ? 1 : 0);
      const Dim& number = a.is_const() ? a : b;
      return number.is_const() && number.value() < 0 ? std::optional(Dim(0)) : std::nullopt;
    }
    default: return std::nullopt;
  }
}

void infer_content(InferContext& ctx, const std::optional<Shape>& shape) {
  auto call = elementwise_call(ctx.node());
  if (!call || !shape || shape->size() > 1 || info(call->op).arity > 2) return;
  if (!is_integer(ctx.dtype(0)) && ctx.dtype(0) != DType::kBool) return;
  auto a = ctx.content(0), b = info(call->op).arity == 2 ? ctx.content(1) : std::vector<Dim>{Dim(0)};
  if (!a || !b || a->empty() || b->empty()) return;
  size_t count = std::max(a->size(), b->size());
  if ((a->size() != count && a->size() != 1) || (b->size() != count && b->size() != 1)) return;
  std::vector<Dim> out;
  for (size_t i = 0; i < count; ++i) {
    auto value = arithmetic(*call, (*a)[a->size() == 1 ? 0 : i], (*b)[b->size() == 1 ? 0 : i]);
    if (!value) return;
    out.push_back(*value);
  }
  ctx.output_content(0, out);
}

void infer(InferContext& ctx) {
  const std::string& op = ctx.node().op;
  auto known = find_elementwise(op);
  EwTypes types = op == "BitShift" ? EwTypes::kInt : known ? info(*known).types : EwTypes::kNum;
  DType first = ctx.dtype(0);
  if (first != DType::kUndefined) {
    bool bools = first == DType::kBool && (types == EwTypes::kLogic || op == "Equal" || op == "NotEqual");
    bool fits = bools || (types == EwTypes::kFloat && is_floating(first)) ||
                (types == EwTypes::kNum && (is_floating(first) || is_integer(first))) ||
                (types == EwTypes::kInt && is_integer(first)) || (op == "Equal" && first == DType::kString);
    ctx.require(fits, "{} is not defined for {}", op, name(first));
  }
  for (size_t i = 1; i < ctx.input_count(); ++i) {
    bool differs = ctx.has(i) && ctx.dtype(i) != first && ctx.dtype(i) != DType::kUndefined &&
                   first != DType::kUndefined && op != "Pow";
    ctx.require(!differs, "the inputs are {} and {}", name(first), name(ctx.dtype(i)));
  }
  if (op == "PRelu" && ctx.shape(0) && ctx.shape(1)) {
    const Shape &x = *ctx.shape(0), &slope = *ctx.shape(1);
    bool fits = slope.size() <= x.size();
    for (size_t i = 0; fits && i < slope.size(); ++i) {
      const Dim &a = x[x.size() - 1 - i], &b = slope[slope.size() - 1 - i];
      fits = !a.is_const() || !b.is_const() || b == a || b == Dim(1);
    }
    ctx.require(fits, "a slope of shape {} does not broadcast to {}", shape_text(slope), shape_text(x));
  }
  if (op == "BitShift") {
    std::string direction = ctx.attrs().string("direction", "");
    ctx.require(direction == "LEFT" || direction == "RIGHT", "direction is '{}', not LEFT or RIGHT", direction);
  }
  auto shape = op == "PRelu" || op == "Clip" ? ctx.shape(0) : broadcast_inputs(ctx);
  ctx.output(0, known && info(*known).gives_bool ? DType::kBool : first, shape);
  infer_content(ctx, shape);
}

Strings attributes(EwOp op) {
  switch (op) {
    case EwOp::kLeakyRelu:
    case EwOp::kElu:
    case EwOp::kCelu:
    case EwOp::kThresholdedRelu:
    case EwOp::kSwish: return {"alpha"};
    case EwOp::kSelu: return {"alpha", "gamma"};
    case EwOp::kHardSigmoid: return {"alpha", "beta"};
    case EwOp::kShrink: return {"bias", "lambd"};
    case EwOp::kIsInf: return {"detect_negative", "detect_positive"};
    case EwOp::kMod: return {"fmod"};
    case EwOp::kGelu: return {"approximate"};
    case EwOp::kAddConst:
    case EwOp::kMulConst: return {"p"};
    case EwOp::kAffine: return {"p", "q"};
    default: return {};
  }
}

// What an activation means in simpler ops (graph/body.hpp).
std::string_view body_of(EwOp op) {
  switch (op) {
    case EwOp::kGelu:
      return "(x) => (y) { r = Mul(x, 0.7071067811865476)  e = Erf(r)  a = Add(e, 1.0)  m = Mul(x, a)  y = Mul(m, 0.5) "
             "}";
    case EwOp::kHardSwish:
      return "(x) => (y) { s = HardSigmoid<alpha=0.16666666666666667, beta=0.5>(x)  y = Mul(x, s) }";
    case EwOp::kMish: return "(x) => (y) { s = Softplus(x)  t = Tanh(s)  y = Mul(x, t) }";
    case EwOp::kSoftplus: return "(x) => (y) { e = Exp(x)  a = Add(e, 1.0)  y = Log(a) }";
    default: return {};
  }
}

}  // namespace

void define_elementwise_ops(OpTable& table) {
  for (int i = 0; i < static_cast<int>(EwOp::kCount); ++i) {
    auto op = static_cast<EwOp>(i);
    const EwInfo& about = info(op);
    bool folds = op == EwOp::kMax || op == EwOp::kMin;
    if (op == EwOp::kWhere || op == EwOp::kClip || folds) continue;
    bool commutative = op == EwOp::kAdd || op == EwOp::kMul || op == EwOp::kEqual || op == EwOp::kNotEqual ||
                       op == EwOp::kAnd || op == EwOp::kOr || op == EwOp::kXor || op == EwOp::kBitwiseAnd ||
                       op == EwOp::kBitwiseOr || op == EwOp::kBitwiseXor;
    table.add({.name = about.name,
               .doc = about.text,
               .min_inputs = about.arity,
               .max_inputs = about.arity,
               .infer = infer,
               .reference = reference,
               .body = body_of(op),
               .elementwise = true,
               .commutative = commutative,
               .attrs = attributes(op)});
  }
  auto add_fold = [&](const char* name, std::string_view doc) {
    table.add({.name = name,
               .doc = doc,
               .max_inputs = -1,
               .infer = infer,
               .reference = fold,
               .elementwise = true,
               .commutative = true});
  };
  add_fold("Max", "max(a, b, ...)");
  add_fold("Min", "min(a, b, ...)");
  add_fold("Sum", "a + b + ...");
  add_fold("Mean", "(a + b + ...) / how many");
  table.add({.name = "Clip",
             .doc = "min(max(x, low), high), each bound optional",
             .max_inputs = 3,
             .infer = infer,
             .reference = clip,
             .elementwise = true});
  table.add({.name = "BitShift",
             .doc = "a << b or a >> b by `direction`",
             .min_inputs = 2,
             .max_inputs = 2,
             .infer = infer,
             .reference = reference,
             .elementwise = true,
             .attrs = {"direction"}});
}

}  // namespace tenon
