// Where: picks from two tensors by a condition.
#include "ops/support.hpp"

namespace tenon {
namespace {

void infer_where(InferContext& ctx) {
  DType dtype = ctx.dtype(1) != DType::kUndefined ? ctx.dtype(1) : ctx.dtype(2);
  bool same = ctx.dtype(1) == ctx.dtype(2) || ctx.dtype(1) == DType::kUndefined || ctx.dtype(2) == DType::kUndefined;
  ctx.require(same, "the choices are {} and {}", name(ctx.dtype(1)), name(ctx.dtype(2)));
  ctx.require(ctx.dtype(0) == DType::kBool || ctx.dtype(0) == DType::kUndefined, "the condition is {}, not bool",
              name(ctx.dtype(0)));
  std::optional<Shape> shape = Shape{};
  for (size_t i = 0; i < 3; ++i) {
    if (!ctx.shape(i)) return ctx.output(0, dtype);
    auto next = broadcast_shapes(*shape, *ctx.shape(i));
    ctx.require(next.has_value(), "shapes {} and {} do not broadcast", shape_text(*shape), shape_text(*ctx.shape(i)));
    shape = next;
  }
  ctx.output(0, dtype, shape);
  auto condition = ctx.ints(0);
  auto yes = ctx.content(1), no = ctx.content(2);
  if (!condition || !yes || !no || shape->size() > 1 || condition->empty() || yes->empty() || no->empty()) return;
  size_t count = std::max({condition->size(), yes->size(), no->size()});
  std::vector<Dim> out;
  for (size_t i = 0; i < count; ++i) {
    const auto& from = (*condition)[condition->size() == 1 ? 0 : i] ? *yes : *no;
    if (from.size() != 1 && from.size() != count) return;
    out.push_back(from[from.size() == 1 ? 0 : i]);
  }
  ctx.output_content(0, out);
}

void where(RefContext& ctx) {
  const Tensor &condition = ctx.in(0), &yes = ctx.in(1), &no = ctx.in(2);
  ctx.require(yes.dtype() == no.dtype(), "the choices are {} and {}", name(yes.dtype()), name(no.dtype()));
  ctx.require(condition.dtype() == DType::kBool, "the condition is {}, not bool", name(condition.dtype()));
  Dims dims = broadcast_dims(broadcast_dims(condition.dims(), yes.dims(), "Where"), no.dims(), "Where");
  Tensor& out = make_output(ctx, 0, yes.dtype(), dims);
  const bool* choose = condition.data<bool>();
  with_mover(out, yes, [&](auto take_yes) {
    with_mover(out, no, [&](auto take_no) {
      int64_t at = 0;
      std::array<Ints, 3> strides{broadcast_strides(condition.dims(), dims), broadcast_strides(yes.dims(), dims),
                                  broadcast_strides(no.dims(), dims)};
      walk<3>(dims, strides, [&](const std::array<int64_t, 3>& i) {
        choose[i[0]] ? take_yes(at, i[1]) : take_no(at, i[2]);
        ++at;
      });
    });
  });
}

}  // namespace

void define_where_ops(OpTable& table) {
  table.add({.name = "Where",
             .doc = "condition ? a : b",
             .min_inputs = 3,
             .max_inputs = 3,
             .infer = infer_where,
             .reference = where,
             .elementwise = true});
}

}  // namespace tenon
