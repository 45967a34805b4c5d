// Sequences and optionals.
#include "graph/interpret.hpp"
#include "ops/support.hpp"

namespace tenon {
namespace {

constexpr auto kSequence = Type::Kind::kSequence;
constexpr auto kOptional = Type::Kind::kOptional;

// --- types -----------------------------------------------------------------------------------------------------

// A tensor type that holds for both: dims that differ are the node's unknowns.
Type widest(const InferContext& ctx, const Type& a, const Type& b) {
  if (a == b) return a;
  if (!a.is_tensor() || !b.is_tensor() || a.dtype != b.dtype) return {};
  if (!a.shape || !b.shape || a.shape->size() != b.shape->size()) return Type::tensor(a.dtype);
  Shape shape = *a.shape;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (!(shape[i] == (*b.shape)[i])) shape[i] = ctx.unknown(0, i);
  }
  return Type::tensor(a.dtype, shape);
}

Type element_type(const InferContext& ctx, size_t i) {
  const Type& type = ctx.type(i);
  bool fits = type.kind == kSequence || type.kind == kOptional || type.kind == Type::Kind::kUnknown;
  ctx.require(fits, "input {} must be a sequence, not {}", i, type.text());
  return type.element ? *type.element : Type{};
}

void output_sequence(InferContext& ctx, Type element) { ctx.output(0, Type::container(kSequence, std::move(element))); }

const Datum& container(const RefContext& ctx, size_t i, Type::Kind kind = kSequence) {
  ctx.require(ctx.has(i) && ctx.inputs[i]->kind == kind, "input {} must be {}", i,
              kind == kSequence ? "a sequence" : "an optional");
  return *ctx.inputs[i];
}

// A position in a sequence of `size`; `end` allows the place behind the last.
size_t position(const RefContext& ctx, size_t input, size_t size, bool end) {
  auto n = static_cast<int64_t>(size), at = ctx.in(input).int_at(0);
  ctx.require(ctx.in(input).size() == 1 && at >= -n && at < n + (end ? 1 : 0),
              "position {} is outside a sequence of {}", at, n);
  return static_cast<size_t>(at < 0 ? at + n : at);
}

// --- building and taking apart -------------------------------------------------------------------------------------

void infer_construct(InferContext& ctx) {
  Type type = ctx.type(0);
  for (size_t i = 1; i < ctx.input_count(); ++i) type = widest(ctx, type, ctx.type(i));
  output_sequence(ctx, type);
}

void construct(RefContext& ctx) {
  std::vector<Datum> items;
  for (size_t i = 0; i < ctx.inputs.size(); ++i) items.emplace_back(ctx.in(i));
  DType dtype = items[0].tensor.dtype();
  for (const Datum& d : items) {
    ctx.require(d.tensor.dtype() == dtype, "a sequence cannot hold both {} and {}", name(dtype),
                name(d.tensor.dtype()));
  }
  ctx.set(0, Datum::sequence(std::move(items), dtype));
}

void infer_empty(InferContext& ctx) {
  output_sequence(ctx, Type::tensor(dtype_attribute(ctx.node(), "dtype", DType::kFloat32)));
}

void empty(RefContext& ctx) { ctx.set(0, Datum::sequence({}, dtype_attribute(ctx.node, "dtype", DType::kFloat32))); }

void infer_at(InferContext& ctx) { ctx.output(0, element_type(ctx, 0)); }

void at(RefContext& ctx) {
  const Datum& s = container(ctx, 0);
  ctx.set(0, s.items[position(ctx, 1, s.items.size(), false)]);
}

void infer_insert(InferContext& ctx) {
  Type element = element_type(ctx, 0);
  output_sequence(ctx, element.kind == Type::Kind::kUnknown ? element : widest(ctx, element, ctx.type(1)));
}

void insert(RefContext& ctx) {
  Datum s = container(ctx, 0);
  size_t place = ctx.has(2) ? position(ctx, 2, s.items.size(), true) : s.items.size();
  ctx.require(s.element == DType::kUndefined || s.element == ctx.in(1).dtype(), "a sequence of {} cannot take a {}",
              name(s.element), name(ctx.in(1).dtype()));
  s.items.insert(s.items.begin() + static_cast<int64_t>(place), Datum(ctx.in(1)));
  s.element = ctx.in(1).dtype();
  ctx.set(0, std::move(s));
}

void erase(RefContext& ctx) {
  Datum s = container(ctx, 0);
  ctx.require(!s.items.empty(), "nothing can be erased from an empty sequence");
  size_t place = ctx.has(1) ? position(ctx, 1, s.items.size(), false) : s.items.size() - 1;
  s.items.erase(s.items.begin() + static_cast<int64_t>(place));
  ctx.set(0, std::move(s));
}

void infer_length(InferContext& ctx) { ctx.output(0, DType::kInt64, Shape{}); }

void length(RefContext& ctx) {
  ctx.set(0, Tensor::scalar<int64_t>(static_cast<int64_t>(container(ctx, 0).items.size())));
}

// --- SplitToSequence, ConcatFromSequence ---------------------------------------------------------------------------

void infer_split(InferContext& ctx) {
  if (!ctx.shape(0)) return output_sequence(ctx, Type::tensor(ctx.dtype(0)));
  Shape shape = *ctx.shape(0);
  int64_t axis = ctx.axis(ctx.attrs().integer("axis", 0), ctx.rank(0));
  if (!ctx.has(1) && ctx.attrs().integer("keepdims", 1) == 0) {
    shape.erase(shape.begin() + axis);
  } else {
    shape[static_cast<size_t>(axis)] = ctx.has(1) ? ctx.unknown(0, static_cast<size_t>(axis)) : Dim(1);
  }
  output_sequence(ctx, Type::tensor(ctx.dtype(0), shape));
}

void split(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  auto axis = static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", 0), x.rank()));
  int64_t extent = x.dims()[axis];
  Ints lengths;
  if (!ctx.has(1)) {
    lengths.assign(static_cast<size_t>(extent), 1);
  } else if (ctx.in(1).rank() == 0) {
    int64_t each = ctx.in(1).int_at(0);
    ctx.require(each >= 1, "pieces of length {} cannot be cut", each);
    for (int64_t rest = extent; rest > 0; rest -= each) lengths.push_back(std::min(each, rest));
  } else {
    lengths = ctx.in(1).to_ints();
  }
  bool drop = !ctx.has(1) && ctx.attrs().integer("keepdims", 1) == 0;
  Ints strides = strides_of(x.dims());
  std::vector<Datum> items;
  int64_t begin = 0;
  for (int64_t n : lengths) {
    ctx.require(n >= 0 && n <= extent - begin, "the pieces do not fit an axis of {}", extent);
    Dims dims = x.dims();
    dims[axis] = n;
    Tensor piece = Tensor::allocate(x.dtype(), dims);
    strided_copy(piece, x, begin * strides[axis], strides);
    if (drop) dims.erase(dims.begin() + static_cast<int64_t>(axis));
    items.emplace_back(piece.reshaped(dims));
    begin += n;
  }
  ctx.require(begin == extent, "the pieces have {} elements in all, the axis has {}", begin, extent);
  ctx.set(0, Datum::sequence(std::move(items), x.dtype()));
}

void infer_concat(InferContext& ctx) {
  Type element = element_type(ctx, 0);
  if (!element.shape) return ctx.output(0, element.dtype);
  Shape shape = *element.shape;
  bool stacks = ctx.attrs().integer("new_axis", 0) != 0;
  int64_t axis = ctx.axis(ctx.attrs().integer("axis", 0), element.rank() + (stacks ? 1 : 0));
  if (stacks) shape.insert(shape.begin() + axis, Dim(0));
  shape[static_cast<size_t>(axis)] = ctx.unknown(0, static_cast<size_t>(axis));
  ctx.output(0, element.dtype, shape);
}

void concat(RefContext& ctx) {
  const Datum& s = container(ctx, 0);
  ctx.require(!s.items.empty(), "an empty sequence cannot be joined");
  bool stacks = ctx.attrs().integer("new_axis", 0) != 0;
  const Tensor& first = s.items[0].tensor;
  auto axis = static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", 0), first.rank() + (stacks ? 1 : 0)));
  auto dims_of = [&](const Tensor& t) {
    Dims d = t.dims();
    if (stacks && axis <= d.size()) d.insert(d.begin() + static_cast<int64_t>(axis), 1);
    return d;
  };
  Dims dims = dims_of(first);
  dims[axis] = 0;
  for (const Datum& item : s.items) {
    Dims d = dims_of(item.tensor);
    ctx.require(d.size() == dims.size() && item.tensor.dtype() == first.dtype(),
                "elements of different ranks or types cannot be joined");
    dims[axis] += d[axis];
    d[axis] = dims[axis];
    ctx.require(d == dims, "elements of shapes {} and {} cannot be joined", dims_text(first.dims()),
                dims_text(item.tensor.dims()));
  }
  Tensor& out = make_output(ctx, 0, first.dtype(), dims);
  int64_t outer = product(dims, 0, axis), stride = product(dims, axis, dims.size()), begin = 0;
  for (const Datum& item : s.items) {
    Dims d = dims_of(item.tensor);
    int64_t run = product(d, axis, d.size());
    with_mover(out, item.tensor, [&](auto move) {
      for (int64_t o = 0; o < outer; ++o) {
        for (int64_t k = 0; k < run; ++k) move(o * stride + begin + k, o * run + k);
      }
    });
    begin += run;
  }
}

// --- SequenceMap: a body run for each element; further inputs are sequences of the same length or whole tensors ------

void infer_map(InferContext& ctx) {
  GraphPtr body = ctx.attrs().graph("body");
  ctx.require(body != nullptr && body->inputs.size() == ctx.input_count() && body->outputs.size() >= ctx.output_count(),
              "attribute body must be a graph of {} inputs and {} outputs", ctx.input_count(), ctx.output_count());
  auto captures = static_cast<size_t>(std::max<int64_t>(0, ctx.attrs().integer("captures", 0)));
  std::vector<Type> types;
  for (size_t i = 0; i < ctx.input_count(); ++i) {
    bool own = i + captures < ctx.input_count() && ctx.type(i).kind == kSequence;
    types.push_back(own ? element_type(ctx, i) : ctx.type(i));
  }
  std::vector<Type> out = infer_body(*body, types, ctx.ops());
  for (size_t i = 0; i < ctx.output_count(); ++i) ctx.output(i, Type::container(kSequence, out[i]));
}

void map(RefContext& ctx) {
  GraphPtr body = ctx.attrs().graph("body");
  ctx.require(body != nullptr && body->inputs.size() == ctx.inputs.size(),
              "attribute body must be a graph of {} inputs", ctx.inputs.size());
  auto captures = static_cast<size_t>(std::max<int64_t>(0, ctx.attrs().integer("captures", 0)));
  size_t rounds = container(ctx, 0).items.size();
  std::vector<std::vector<Datum>> results(body->outputs.size());
  for (size_t r = 0; r < rounds; ++r) {
    std::vector<Datum> inputs;
    for (size_t i = 0; i < ctx.inputs.size(); ++i) {
      ctx.require(ctx.has(i), "input {} is missing", i);
      bool each = i + captures < ctx.inputs.size() && ctx.inputs[i]->kind == kSequence;
      ctx.require(!each || ctx.inputs[i]->items.size() == rounds, "sequences of {} and {} elements are given", rounds,
                  ctx.inputs[i]->items.size());
      inputs.push_back(each ? ctx.inputs[i]->items[r] : *ctx.inputs[i]);
    }
    std::vector<Datum> out = interpret(*body, ctx.ops, inputs);
    for (size_t i = 0; i < out.size(); ++i) results[i].push_back(std::move(out[i]));
  }
  for (size_t i = 0; i < results.size(); ++i) {
    ctx.set(i, Datum::sequence(std::move(results[i]), body->value(body->outputs[i]).type.dtype));
  }
}

// --- optionals -------------------------------------------------------------------------------------------------

void infer_optional(InferContext& ctx) { ctx.output(0, Type::container(kOptional, ctx.type(0))); }

void optional(RefContext& ctx) {
  Datum out;
  out.kind = kOptional;
  if (ctx.has(0)) out.items.push_back(*ctx.inputs[0]);
  ctx.set(0, std::move(out));
}

void infer_get_element(InferContext& ctx) {
  ctx.output(0, ctx.type(0).kind == kOptional ? element_type(ctx, 0) : ctx.type(0));
}

void get_element(RefContext& ctx) {
  ctx.require(ctx.has(0), "input 0 is missing");
  const Datum& x = *ctx.inputs[0];
  if (x.kind != kOptional) return ctx.set(0, x);
  ctx.require(!x.items.empty(), "the optional is empty");
  ctx.set(0, x.items[0]);
}

void infer_has_element(InferContext& ctx) { ctx.output(0, DType::kBool, Shape{}); }

void has_element(RefContext& ctx) {
  bool has = ctx.has(0) && (ctx.inputs[0]->kind != kOptional || !ctx.inputs[0]->items.empty());
  ctx.set(0, Tensor::scalar<bool>(has));
}

}  // namespace

void define_sequence_ops(OpTable& table) {
  auto add = [&](const char* name, std::string_view doc, int least, int most, auto infer, auto reference,
                 Strings attrs = {}, int outputs = 1) {
    table.add({.name = name,
               .doc = doc,
               .min_inputs = least,
               .max_inputs = most,
               .max_outputs = outputs,
               .infer = infer,
               .reference = reference,
               .data_shapes = true,
               .attrs = std::move(attrs)});
  };
  add("SequenceConstruct", "A sequence of tensors.", 1, -1, infer_construct, construct);
  add("SequenceEmpty", "An empty sequence.", 0, 0, infer_empty, empty, {"dtype"});
  add("SequenceAt", "The tensor at a position.", 2, 2, infer_at, at);
  add("SequenceInsert", "The sequence with a tensor put in at a position, or at the end.", 2, 3, infer_insert, insert);
  add("SequenceErase", "The sequence without one element, the last by default.", 1, 2, infer_same, erase);
  add("SequenceLength", "How many elements a sequence has.", 1, 1, infer_length, length);
  add("SplitToSequence", "A tensor cut into pieces along an axis.", 1, 2, infer_split, split, {"axis", "keepdims"});
  add("ConcatFromSequence", "The elements joined along an axis, or stacked on a new one.", 1, 1, infer_concat, concat,
      {"axis", "new_axis"});
  add("SequenceMap", "A body run for each element.", 1, -1, infer_map, map, {"body", "captures"}, -1);
  add("Optional", "An optional with or without an element.", 0, 1, infer_optional, optional, {"type"});
  add("OptionalGetElement", "What an optional holds.", 1, 1, infer_get_element, get_element);
  add("OptionalHasElement", "Whether an optional holds something.", 0, 1, infer_has_element, has_element);
}

}  // namespace tenon
