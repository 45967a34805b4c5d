// Control flow: If, Loop, Scan. Bodies are closed graphs: what they capture from outside are further inputs of the
// node, after its own, and further inputs at the end of each body; attribute "captures" says how many.
#include <algorithm>
#include <exception>

#include "base/checked.hpp"
#include "graph/interpret.hpp"
#include "ops/support.hpp"

namespace tenon {
namespace {

// A loop of more rounds than this is refused: interpreted, it would not end within a sensible time.
constexpr int64_t kMaxRounds = int64_t{1} << 20;

template <class Context>
GraphPtr body_of(const Context& ctx, std::string_view name) {
  GraphPtr body = ctx.attrs().graph(name);
  ctx.require(body != nullptr, "attribute {} (a graph) is missing", name);
  return body;
}

template <class Context>
int64_t captures_of(const Context& ctx, size_t inputs, int64_t own) {
  int64_t captures = ctx.attrs().integer("captures", 0);
  ctx.require(captures >= 0 && captures + own <= static_cast<int64_t>(inputs), "{} captures do not fit {} inputs",
              captures, inputs);
  return captures;
}

void require_dtype(const InferContext& ctx, size_t i, DType wanted, const char* what) {
  DType given = ctx.dtype(i);
  ctx.require(given == DType::kUndefined || given == wanted, "{} is {}, not {}", what, name(given), name(wanted));
}

// Inference of bodies nests as the bodies do.
thread_local int nesting = 0;
struct Nesting {
  explicit Nesting(const InferContext& ctx) {
    ctx.require(nesting < 100, "control flow is nested more than 100 deep");
    ++nesting;
  }
  ~Nesting() { --nesting; }
};

// What holds for both types. Dims that differ become the node's unknowns.
Type join(const InferContext& ctx, const Type& a, const Type& b, size_t output) {
  if (a == b) return a;
  if (a.kind != b.kind) return {};
  if (!a.is_tensor()) {
    if (!a.element || !b.element || a.dtype != b.dtype) return {};
    // An empty optional does not say of what.
    if (a.element->kind == Type::Kind::kUnknown) return b;
    if (b.element->kind == Type::Kind::kUnknown) return a;
    return Type::container(a.kind, join(ctx, *a.element, *b.element, output), a.dtype);
  }
  if (a.dtype != b.dtype) return {};
  if (!a.shape || !b.shape || a.shape->size() != b.shape->size()) return Type::tensor(a.dtype);
  Shape shape = *a.shape;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (!(shape[i] == (*b.shape)[i])) shape[i] = ctx.unknown(output, i);
  }
  return Type::tensor(a.dtype, shape);
}

std::vector<Datum> run(const RefContext& ctx, const Graph& body, const std::vector<Datum>& inputs) {
  ctx.require(body.inputs.size() == inputs.size(), "the body '{}' has {} inputs where {} are needed", body.name,
              body.inputs.size(), inputs.size());
  std::vector<Datum> outputs;
  if (body_runtime() != nullptr && body_runtime()->run(body, inputs, outputs)) return outputs;
  return interpret(body, ctx.ops, inputs);
}

const Datum& datum(const RefContext& ctx, size_t i) {
  ctx.require(ctx.has(i), "input {} is missing", i);
  return *ctx.inputs[i];
}

bool truth(const RefContext& ctx, const Datum& value) {
  ctx.require(value.is_tensor() && value.tensor.size() == 1, "the condition must be one truth value");
  return value.tensor.int_at(0) != 0;
}

// --- If --------------------------------------------------------------------------------------------------------

void infer_if(InferContext& ctx) {
  Nesting guard(ctx);
  GraphPtr bodies[] = {body_of(ctx, "then_branch"), body_of(ctx, "else_branch")};
  captures_of(ctx, ctx.input_count(), 1);
  require_dtype(ctx, 0, DType::kBool, "the condition");
  auto condition = ctx.ints(0);
  std::vector<Type> types, out;
  std::exception_ptr impossible;
  for (size_t i = 1; i < ctx.input_count(); ++i) types.push_back(ctx.type(i));
  for (int k : {0, 1}) {
    ctx.require(bodies[k]->inputs.size() == types.size() && bodies[k]->outputs.size() >= ctx.output_count(),
                "a branch has {} inputs and {} outputs for {} captures and {} outputs", bodies[k]->inputs.size(),
                bodies[k]->outputs.size(), types.size(), ctx.output_count());
    if (condition && condition->size() == 1 && ((*condition)[0] != 0) != (k == 0)) continue;
    std::vector<Type> branch;
    try {
      branch = infer_body(*bodies[k], types, ctx.ops());
    } catch (const Error&) {
      // With these inputs this branch cannot run, so the other one is what will: it decides the types.
      if (k == 1 && out.empty()) throw;
      if (k == 0) impossible = std::current_exception();
      continue;
    }
    for (size_t i = 0; i < ctx.output_count(); ++i) {
      if (i >= out.size()) {
        out.push_back(branch[i]);
      } else {
        out[i] = join(ctx, out[i], branch[i], i);
      }
    }
  }
  if (impossible && out.empty()) std::rethrow_exception(impossible);
  for (size_t i = 0; i < out.size(); ++i) ctx.output(i, out[i]);
}

void run_if(RefContext& ctx) {
  std::vector<Datum> captured;
  for (size_t i = 1; i < ctx.inputs.size(); ++i) captured.push_back(datum(ctx, i));
  bool yes = truth(ctx, datum(ctx, 0));
  std::vector<Datum> out = run(ctx, *body_of(ctx, yes ? "then_branch" : "else_branch"), captured);
  for (size_t i = 0; i < out.size(); ++i) ctx.set(i, std::move(out[i]));
}

// --- Loop ------------------------------------------------------------------------------------------------------

// Carried types that hold in every round: widened until the body keeps them.
std::vector<Type> settle(InferContext& ctx, Graph& body, std::vector<Type>& inputs, size_t first, size_t carried,
                         size_t first_output) {
  for (int round = 0;; ++round) {
    std::vector<Type> out = infer_body(body, inputs, ctx.ops());
    bool stable = true;
    for (size_t i = 0; i < carried; ++i) {
      Type& type = inputs[first + i];
      Type both = join(ctx, type, out[first_output + i], i);
      if (both == type) continue;
      stable = false;
      // Nested loops would try this in each other's every round: give up on shapes early there.
      bool give_up = (round > 3 || nesting > 3) && both.is_tensor();
      type = give_up ? Type::tensor(both.dtype) : both;
    }
    if (stable || round > 8) return out;
  }
}

Type stacked(const Type& element, const Dim& count) {
  if (!element.is_tensor() || !element.shape) return element;
  Shape shape = *element.shape;
  shape.insert(shape.begin(), count);
  return Type::tensor(element.dtype, shape);
}

// The number of rounds, where only a number decides it: the condition holds at first and is handed on.
std::optional<int64_t> known_rounds(const InferContext& ctx, const Graph& body) {
  auto holds = [](const Tensor* t) {
    return t != nullptr && t->dtype() == DType::kBool && t->size() == 1 && t->int_at(0);
  };
  const Value& next = body.value(body.outputs[0]);
  bool stays = body.outputs[0] == body.inputs[1] || (next.is_constant() && holds(&next.constant));
  auto trips = ctx.has(0) ? ctx.ints(0) : std::nullopt;
  if (!stays || (ctx.has(1) && !holds(ctx.constant(1))) || !trips || trips->size() != 1) return std::nullopt;
  if ((*trips)[0] > kMaxRounds) return std::nullopt;
  return std::max<int64_t>((*trips)[0], 0);
}

void infer_loop(InferContext& ctx) {
  Nesting guard(ctx);
  GraphPtr body = body_of(ctx, "body");
  int64_t captures = captures_of(ctx, ctx.input_count(), 2);
  require_dtype(ctx, 0, DType::kInt64, "the number of rounds");
  require_dtype(ctx, 1, DType::kBool, "the condition");
  size_t carried = ctx.input_count() - 2 - static_cast<size_t>(captures);
  ctx.require(body->inputs.size() == ctx.input_count() && body->outputs.size() >= 1 + carried,
              "the body has {} inputs and {} outputs for {} carried values and {} captures", body->inputs.size(),
              body->outputs.size(), carried, captures);
  ctx.require(ctx.output_count() <= body->outputs.size() - 1, "the node has {} outputs, the body makes {}",
              ctx.output_count(), body->outputs.size() - 1);
  std::vector<Type> types{Type::tensor(DType::kInt64, Shape{}), Type::tensor(DType::kBool, Shape{})};
  for (size_t i = 2; i < ctx.input_count(); ++i) types.push_back(ctx.type(i));
  std::vector<Type> out = settle(ctx, *body, types, 2, carried, 1);
  std::optional<int64_t> rounds = known_rounds(ctx, *body);
  for (size_t i = 0; i < ctx.output_count(); ++i) {
    ctx.output(i, i < carried ? types[2 + i] : stacked(out[1 + i], rounds ? Dim(*rounds) : ctx.unknown(i, 0)));
  }
}

// Joins the rounds' values of one scan output along a new axis.
Tensor stack(const RefContext& ctx, const std::vector<Tensor>& rounds, const Type& element, size_t axis,
             bool reversed) {
  Dims dims;
  DType dtype = element.dtype;
  if (!rounds.empty()) {
    dims = rounds[0].dims();
    dtype = rounds[0].dtype();
  } else if (element.shape) {
    for (const Dim& d : *element.shape) dims.push_back(d.maybe().value_or(0));
  }
  ctx.require(axis <= dims.size(), "scan output axis {} is outside a value of rank {}", axis, dims.size());
  ctx.require(dtype != DType::kUndefined, "a scan output of no rounds has no known type");
  Dims out_dims = dims;
  auto count = static_cast<int64_t>(rounds.size());
  out_dims.insert(out_dims.begin() + static_cast<int64_t>(axis), count);
  check_output_size(ctx, out_dims);
  Tensor out = Tensor::allocate(dtype, out_dims);
  int64_t outer = product(dims, 0, axis), inner = product(dims, axis, dims.size());
  for (int64_t r = 0; r < count; ++r) {
    const Tensor& part = rounds[static_cast<size_t>(reversed ? count - 1 - r : r)];
    ctx.require(part.dims() == dims, "a scan output has shape {} in one round and {} in another", dims_text(dims),
                dims_text(part.dims()));
    with_mover(out, part, [&](auto move) {
      for (int64_t o = 0; o < outer; ++o) {
        for (int64_t i = 0; i < inner; ++i) move((o * count + r) * inner + i, o * inner + i);
      }
    });
  }
  return out;
}

void run_loop(RefContext& ctx) {
  GraphPtr body = body_of(ctx, "body");
  int64_t captures = captures_of(ctx, ctx.inputs.size(), 2);
  size_t carried = ctx.inputs.size() - 2 - static_cast<size_t>(captures);
  ctx.require(body->outputs.size() >= 1 + carried, "the body has {} outputs for {} carried values",
              body->outputs.size(), carried);
  bool limited = ctx.has(0) && ctx.in(0).size() == 1;
  int64_t trips = limited ? ctx.in(0).int_at(0) : kMaxRounds + 1;
  bool going = !ctx.has(1) || truth(ctx, datum(ctx, 1));
  // A body that hands its condition on unchanged never stops by itself: do not start what cannot end.
  bool endless = body->outputs[0] == body->inputs[1] || body->value(body->outputs[0]).is_constant();
  ctx.require(!going || !endless || trips <= kMaxRounds, "the loop would run {} rounds, more than the limit of {}",
              trips, kMaxRounds);
  std::vector<Datum> state(2);
  for (size_t i = 2; i < ctx.inputs.size(); ++i) state.push_back(datum(ctx, i));
  size_t scans = body->outputs.size() - 1 - carried;
  std::vector<std::vector<Tensor>> collected(scans);
  for (int64_t round = 0; going && round < trips; ++round) {
    ctx.require(round < kMaxRounds, "the loop has not ended after {} rounds", kMaxRounds);
    state[0] = Datum(Tensor::scalar<int64_t>(round));
    state[1] = Datum(Tensor::scalar<bool>(going));
    std::vector<Datum> out = run(ctx, *body, state);
    going = truth(ctx, out[0]);
    for (size_t i = 0; i < carried; ++i) state[2 + i] = std::move(out[1 + i]);
    for (size_t i = 0; i < scans; ++i) collected[i].push_back(out[1 + carried + i].tensor);
  }
  for (size_t i = 0; i < carried; ++i) ctx.set(i, state[2 + i]);
  for (size_t i = 0; i < scans; ++i) {
    ctx.set(carried + i, stack(ctx, collected[i], body->value(body->outputs[1 + carried + i]).type, 0, false));
  }
}

// --- Scan ------------------------------------------------------------------------------------------------------

struct ScanPlan {
  size_t states, scans, captures, outputs;  // outputs: scan outputs
  Ints in_axes, in_reversed, out_axes, out_reversed;
};

template <class Context>
ScanPlan scan_plan(const Context& ctx, size_t inputs, const Graph& body) {
  int64_t scans = ctx.attrs().integer("num_scan_inputs", 0);
  ctx.require(scans >= 1, "num_scan_inputs is {}", scans);
  int64_t captures = captures_of(ctx, inputs, scans);
  ScanPlan p;
  p.scans = static_cast<size_t>(scans);
  p.captures = static_cast<size_t>(captures);
  p.states = inputs - p.scans - p.captures;
  ctx.require(body.inputs.size() == inputs && body.outputs.size() >= p.states,
              "the body has {} inputs and {} outputs for {} states, {} scan inputs and {} captures", body.inputs.size(),
              body.outputs.size(), p.states, p.scans, p.captures);
  p.outputs = body.outputs.size() - p.states;
  auto list = [&](const char* name, size_t count) {
    Ints out = ctx.attrs().ints(name, Ints(count, 0));
    ctx.require(out.size() == count, "{} has {} entries where {} are needed", name, out.size(), count);
    return out;
  };
  p.in_axes = list("scan_input_axes", p.scans);
  p.in_reversed = list("scan_input_directions", p.scans);
  p.out_axes = list("scan_output_axes", p.outputs);
  p.out_reversed = list("scan_output_directions", p.outputs);
  return p;
}

void infer_scan(InferContext& ctx) {
  Nesting guard(ctx);
  GraphPtr body = body_of(ctx, "body");
  ScanPlan p = scan_plan(ctx, ctx.input_count(), *body);
  std::optional<Dim> length;
  std::vector<Type> types;
  for (size_t i = 0; i < ctx.input_count(); ++i) {
    Type type = ctx.type(i);
    if (i >= p.states && i < p.states + p.scans && type.shape) {
      int64_t axis = ctx.axis(p.in_axes[i - p.states], type.rank());
      if (!length || !length->is_const()) length = (*type.shape)[static_cast<size_t>(axis)];
      type.shape->erase(type.shape->begin() + axis);
    }
    types.push_back(type);
  }
  std::vector<Type> out = settle(ctx, *body, types, 0, p.states, 0);
  for (size_t i = 0; i < std::min(out.size(), ctx.output_count()); ++i) {
    if (i < p.states) {
      ctx.output(i, types[i]);
      continue;
    }
    Type type = out[i];
    if (type.is_tensor() && type.shape) {
      int64_t axis = ctx.axis(p.out_axes[i - p.states], type.rank() + 1);
      type.shape->insert(type.shape->begin() + axis, length ? *length : ctx.unknown(i, static_cast<size_t>(axis)));
    }
    ctx.output(i, type);
  }
}

// Element `index` of x along `axis`.
Tensor pick(const Tensor& x, size_t axis, int64_t index) {
  Dims dims = x.dims();
  Ints strides = strides_of(dims);
  int64_t offset = index * strides[axis];
  dims.erase(dims.begin() + static_cast<int64_t>(axis));
  strides.erase(strides.begin() + static_cast<int64_t>(axis));
  Tensor out = Tensor::allocate(x.dtype(), dims);
  strided_copy(out, x, offset, strides);
  return out;
}

void run_scan(RefContext& ctx) {
  GraphPtr body = body_of(ctx, "body");
  ScanPlan p = scan_plan(ctx, ctx.inputs.size(), *body);
  std::vector<Datum> state;
  for (size_t i = 0; i < ctx.inputs.size(); ++i) state.push_back(datum(ctx, i));
  int64_t length = -1;
  for (size_t i = 0; i < p.scans; ++i) {
    const Tensor& x = ctx.in(p.states + i);
    p.in_axes[i] = ctx.axis(p.in_axes[i], x.rank());
    int64_t extent = x.dims()[static_cast<size_t>(p.in_axes[i])];
    ctx.require(length < 0 || length == extent, "scan inputs of lengths {} and {} are given", length, extent);
    length = extent;
  }
  std::vector<std::vector<Tensor>> collected(p.outputs);
  for (int64_t t = 0; t < length; ++t) {
    for (size_t i = 0; i < p.scans; ++i) {
      state[p.states + i] =
          Datum(pick(ctx.in(p.states + i), static_cast<size_t>(p.in_axes[i]), p.in_reversed[i] ? length - 1 - t : t));
    }
    std::vector<Datum> out = run(ctx, *body, state);
    for (size_t i = 0; i < p.states; ++i) state[i] = std::move(out[i]);
    for (size_t i = 0; i < p.outputs; ++i) collected[i].push_back(out[p.states + i].tensor);
  }
  for (size_t i = 0; i < p.states; ++i) ctx.set(i, state[i]);
  for (size_t i = 0; i < p.outputs; ++i) {
    const Type& element = body->value(body->outputs[p.states + i]).type;
    int64_t rank = collected[i].empty() ? element.rank() : collected[i][0].rank();
    int64_t axis = ctx.axis(p.out_axes[i], rank + 1);
    ctx.set(p.states + i, stack(ctx, collected[i], element, static_cast<size_t>(axis), p.out_reversed[i] != 0));
  }
}

}  // namespace

void define_control_ops(OpTable& table) {
  table.add({.name = "If",
             .doc = "Runs one of two branches.",
             .min_inputs = 1,
             .max_inputs = -1,
             .max_outputs = -1,
             .infer = infer_if,
             .reference = run_if,
             .data_shapes = true,
             .attrs = {"captures", "else_branch", "then_branch"}});
  table.add({.name = "Loop",
             .doc = "Runs a body while a condition holds and at most M rounds; carries values and collects others.",
             .min_inputs = 0,
             .max_inputs = -1,
             .max_outputs = -1,
             .infer = infer_loop,
             .reference = run_loop,
             .data_shapes = true,
             .attrs = {"body", "captures"}});
  table.add({.name = "Scan",
             .doc = "Runs a body for each element of its scan inputs; carries states and collects scan outputs.",
             .min_inputs = 1,
             .max_inputs = -1,
             .max_outputs = -1,
             .infer = infer_scan,
             .reference = run_scan,
             .attrs = {"body", "captures", "num_scan_inputs", "scan_input_axes", "scan_input_directions",
                       "scan_output_axes", "scan_output_directions"}});
}

}  // namespace tenon
