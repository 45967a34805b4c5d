#include "graph/op.hpp"

#include <algorithm>

#include "base/checked.hpp"
#include "base/error.hpp"
#include "graph/limits.hpp"

namespace tenon {
namespace {

const Type kUnknownType{};

// Contents are tracked for shape arithmetic only: tensors of rank 0 or 1 with at most this many elements.
constexpr int64_t kMaxContent = 64;

std::string describe(const Node& n) {
  return n.name.empty() ? fmt::format("node {}", n.op) : fmt::format("node '{}' ({})", n.name, n.op);
}

int64_t checked_axis(int64_t axis, int64_t rank, const Node& node) {
  if (axis < -rank || axis >= rank) {
    fail(Code::kInvalidArgument, "{}: axis {} is outside the {} axes of its input", describe(node), axis, rank);
  }
  return axis < 0 ? axis + rank : axis;
}

// What both say about one value. Known dimensions win over symbols; contradicting numbers are an error.
Type merge(const Type& known, const Type& inferred, const Value& value, const Node& node) {
  if (inferred.kind == Type::Kind::kUnknown) return known;
  if (known.kind == Type::Kind::kUnknown) return inferred;
  auto contradiction = [&] {
    fail(Code::kInvalidArgument, "{}: output '{}' is declared as {} but is {}", describe(node), value.name,
         known.text(), inferred.text());
  };
  if (known.kind != inferred.kind) contradiction();
  if (!known.is_tensor()) return inferred;
  if (known.dtype != inferred.dtype && known.dtype != DType::kUndefined && inferred.dtype != DType::kUndefined)
    contradiction();
  Type out = inferred;
  if (out.dtype == DType::kUndefined) out.dtype = known.dtype;
  if (!out.shape) out.shape = known.shape;
  if (!known.shape || !inferred.shape || known.shape->size() != inferred.shape->size()) return out;
  for (size_t i = 0; i < out.shape->size(); ++i) {
    const Dim& declared = (*known.shape)[i];
    // Exporters declare wrong extents often enough; what follows from the inputs is right. A declared number
    // only replaces a data-dependent unknown ("?...").
    if (declared.is_const() && !(*out.shape)[i].is_const() && (*out.shape)[i].text().starts_with("?")) {
      (*out.shape)[i] = declared;
    }
  }
  return out;
}

bool is_huge(const Shape& shape) {
  int64_t count = 1;
  bool huge = false;
  for (const Dim& d : shape) {
    if (!d.is_const() || d.value() == 0) return false;
    if (huge) continue;
    auto next = try_mul(count, d.value());
    huge = !next || *next > kMaxTensorElements;
    if (next) count = *next;
  }
  return huge;
}

}  // namespace

const Type& InferContext::type(size_t i) const {
  return node_.has(i) ? graph_.value(node_.inputs[i]).type : kUnknownType;
}

const Tensor* InferContext::constant(size_t i) const {
  if (!node_.has(i)) return nullptr;
  const Value& v = graph_.value(node_.inputs[i]);
  return v.is_constant() ? &v.constant : nullptr;
}

std::optional<std::vector<Dim>> InferContext::content(size_t i) const {
  if (!node_.has(i)) return std::nullopt;
  const Value& v = graph_.value(node_.inputs[i]);
  if (v.is_constant()) {
    bool integers = is_integer(v.constant.dtype()) || v.constant.dtype() == DType::kBool;
    if (!integers || v.constant.rank() > 1 || v.constant.size() > (1 << 16)) return std::nullopt;
    std::vector<Dim> out;
    for (int64_t k : v.constant.to_ints()) out.emplace_back(k);
    return out;
  }
  return v.content;
}

std::optional<Ints> InferContext::ints(size_t i) const {
  auto dims = content(i);
  if (!dims || !all_const(*dims)) return std::nullopt;
  return const_dims(*dims);
}

void InferContext::output(size_t i, Type type) {
  if (fused_ && i == 0) {
    anchor_ = std::move(type);
    return;
  }
  if (i >= node_.outputs.size() || node_.outputs[i] == kNone) return;
  Value& v = graph_.value(node_.outputs[i]);
  v.type = merge(v.type, type, v, node_);
}

void InferContext::output_content(size_t i, std::vector<Dim> content) {
  if (i >= node_.outputs.size() || node_.outputs[i] == kNone) return;
  if (static_cast<int64_t>(content.size()) <= kMaxContent) graph_.value(node_.outputs[i]).content = std::move(content);
}

Dim InferContext::unknown(size_t output, size_t axis) const {
  // Long names share their beginnings; two values must never share a symbol.
  const std::string& name = graph_.value(node_.outputs.at(output)).name;
  if (name.size() <= 40) return Dim::symbol(fmt::format("?{}.{}", name, axis));
  return Dim::symbol(fmt::format("?{}_{:x}.{}", name.substr(0, 32), std::hash<std::string>()(name), axis));
}

void InferContext::reject(const std::string& why) const {
  fail(Code::kInvalidArgument, "{}: {}", describe(node_), why);
}
int64_t InferContext::axis(int64_t axis, int64_t rank) const { return checked_axis(axis, rank, node_); }

const Tensor& RefContext::in(size_t i) const {
  require(has(i), "input {} is missing", i);
  require(inputs[i]->is_tensor(), "input {} must be a tensor", i);
  return inputs[i]->tensor;
}

Tensor& RefContext::make(size_t i, DType dtype, Dims dims) {
  if (i >= outputs.size()) {
    scratch = Tensor::allocate(dtype, std::move(dims));
    return scratch;
  }
  outputs[i] = Datum(Tensor::allocate(dtype, std::move(dims)));
  return outputs[i].tensor;
}

void RefContext::reject(const std::string& why) const { fail(Code::kInvalidArgument, "{}: {}", describe(node), why); }
int64_t RefContext::axis(int64_t axis, int64_t rank) const { return checked_axis(axis, rank, node); }

void OpTable::add(Op op) {
  std::string key = op.name;
  TENON_CHECK(ops_.emplace(std::move(key), std::move(op)).second);
}

const Op* OpTable::find(std::string_view name) const noexcept {
  auto at = ops_.find(name);
  return at == ops_.end() ? nullptr : &at->second;
}

const Op& OpTable::at(std::string_view name) const {
  const Op* op = find(name);
  if (op == nullptr) fail(Code::kUnsupported, "operator {} is not known", name);
  return *op;
}

void check_limits(const Type& type, std::string_view what) {
  if (!type.is_tensor() || !type.shape) return;
  expect(type.rank() <= kMaxTensorRank, "{} has {} axes, more than the limit of {}", what, type.rank(), kMaxTensorRank);
  expect(!is_huge(*type.shape), "{} has shape {}, which is more than the limit of {} elements for one tensor", what,
         shape_text(*type.shape), kMaxTensorElements);
}

namespace {

void infer_epilogue(Graph& graph, const Node& node, const InferContext& context, const OpTable& ops) {
  GraphPtr epilogue = node.attrs.graph("epilogue");
  expect(epilogue != nullptr && !epilogue->inputs.empty() && epilogue->outputs.size() == 1 &&
             epilogue->inputs.size() - 1 <= node.inputs.size(),
         "{}: its epilogue does not fit", describe(node));
  std::vector<Type> types{context.anchor()};
  size_t extras = epilogue->inputs.size() - 1;
  for (size_t i = node.inputs.size() - extras; i < node.inputs.size(); ++i) types.push_back(context.type(i));
  Type result = infer_body(*epilogue, std::move(types), ops)[0];
  Value& v = graph.value(node.outputs[0]);
  v.type = merge(v.type, result, v, node);
}

}  // namespace

void infer_node(Graph& graph, NodeId id, const OpTable& ops) {
  const Op* op = ops.find(graph.node(id).op);
  if (op == nullptr || op->infer == nullptr) return;
  InferContext context(graph, id, ops);
  op->infer(context);
  const Node& node = graph.node(id);
  if (context.fused_) infer_epilogue(graph, node, context, ops);
  for (ValueId out : node.outputs) {
    if (out == kNone) continue;
    const Value& v = graph.value(out);
    // The text of the sentence is made only where it is needed.
    bool checked = v.type.is_tensor() && v.type.shape && (v.type.rank() > kMaxTensorRank || is_huge(*v.type.shape));
    if (checked) check_limits(v.type, fmt::format("{}: output '{}'", describe(node), v.name));
  }
}

std::vector<Type> infer_body(Graph& body, std::vector<Type> inputs, const OpTable& ops) {
  TENON_CHECK(inputs.size() == body.inputs.size());
  for (int v = 0; v < body.value_count(); ++v) {
    Value& value = body.value(v);
    if (!value.is_constant()) value.type = {};
    value.content.reset();
  }
  for (size_t i = 0; i < inputs.size(); ++i) body.value(body.inputs[i]).type = std::move(inputs[i]);
  infer_types(body, ops);
  std::vector<Type> out;
  for (ValueId v : body.outputs) out.push_back(body.value(v).type);
  return out;
}

void infer_types(Graph& graph, const OpTable& ops) {
  for (NodeId id : graph.order()) infer_node(graph, id, ops);
}

std::optional<Shape> broadcast_shapes(const Shape& a, const Shape& b) {
  const Shape &longer = a.size() >= b.size() ? a : b, &shorter = a.size() >= b.size() ? b : a;
  Shape out = longer;
  size_t offset = longer.size() - shorter.size();
  for (size_t i = 0; i < shorter.size(); ++i) {
    Dim& x = out[offset + i];
    const Dim& y = shorter[i];
    if (x == y || y == Dim(1)) continue;
    if (x == Dim(1)) {
      x = y;
    } else if (x.is_const() && y.is_const()) {
      return std::nullopt;
    } else if (y.is_const()) {
      x = y;
    } else if (!x.is_const()) {
      x = Dim::max(x, y);
    }
  }
  return out;
}

Dims broadcast_dims(const Dims& a, const Dims& b, std::string_view what) {
  Dims out(std::max(a.size(), b.size()), 1);
  for (size_t i = 0; i < out.size(); ++i) {
    int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1, y = i < b.size() ? b[b.size() - 1 - i] : 1;
    expect(x == y || x == 1 || y == 1, "{}: shapes {} and {} do not broadcast", what, dims_text(a), dims_text(b));
    out[out.size() - 1 - i] = x == 1 ? y : x;
  }
  return out;
}

Ints strides_of(std::span<const int64_t> dims) {
  Ints out(dims.size(), 1);
  // Shapes that no memory can hold are refused where memory is taken; here their strides merely wrap.
  for (size_t i = dims.size(); i-- > 1;) {
    out[i - 1] = static_cast<int64_t>(static_cast<uint64_t>(out[i]) * static_cast<uint64_t>(dims[i]));
  }
  return out;
}

Ints broadcast_strides(const Dims& dims, const Dims& target) {
  Ints own = strides_of(dims), out(target.size(), 0);
  size_t offset = target.size() - dims.size();
  for (size_t i = 0; i < dims.size(); ++i) out[offset + i] = dims[i] == 1 ? 0 : own[i];
  return out;
}

}  // namespace tenon
