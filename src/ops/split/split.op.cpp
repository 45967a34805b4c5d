// Split: cuts a tensor into pieces along one axis.
#include "ops/support.hpp"

namespace tenon {
namespace {

// Piece lengths for an axis of `extent`: as given, or as equal as num_outputs (or the node's outputs) allows.
template <class Context>
Ints piece_lengths(const Context& ctx, const std::optional<Ints>& given, int64_t extent, size_t outputs) {
  if (given) {
    int64_t total = 0;
    for (int64_t k : *given) {
      ctx.require(k >= 0 && k <= extent, "a piece of length {} cannot be cut from {}", k, extent);
      total += k;
    }
    ctx.require(total == extent, "the pieces have {} elements in all, the axis has {}", total, extent);
    ctx.require(given->size() == outputs, "{} pieces are asked for and {} outputs are there", given->size(), outputs);
    return *given;
  }
  auto pieces = static_cast<int64_t>(outputs);
  int64_t asked = ctx.attrs().integer("num_outputs", pieces);
  ctx.require(asked == pieces, "num_outputs is {} but the node has {} outputs", asked, pieces);
  int64_t length = (extent + pieces - 1) / pieces;
  Ints out(outputs, length);
  for (int64_t& k : out) {
    k = std::min(length, extent);
    extent -= k;
  }
  return out;
}

void infer_split(InferContext& ctx) {
  if (!ctx.shape(0)) {
    for (size_t i = 0; i < ctx.output_count(); ++i) ctx.output(i, ctx.dtype(0));
    return;
  }
  Shape shape = *ctx.shape(0);
  auto axis = static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", 0), ctx.rank(0)));
  auto given = ctx.has(1) ? ctx.content(1) : std::nullopt;
  std::optional<Ints> lengths;
  bool known = !ctx.has(1) || (given && all_const(*given));
  if (shape[axis].is_const() && known) {
    lengths = piece_lengths(ctx, ctx.ints(1), shape[axis].value(), ctx.output_count());
  }
  auto content = ctx.content(0);
  int64_t at = 0;
  for (size_t i = 0; i < ctx.output_count(); ++i) {
    Dim whole = (*ctx.shape(0))[axis];
    if (lengths) {
      shape[axis] = (*lengths)[i];
    } else if (given && i < given->size()) {
      shape[axis] = (*given)[i];
    } else {
      auto pieces = static_cast<int64_t>(ctx.output_count());
      bool last = i + 1 == ctx.output_count();
      Dim each = Dim::ceil_div(whole, pieces);
      shape[axis] = ctx.has(1) ? ctx.unknown(i, axis) : last ? whole - each * (pieces - 1) : each;
    }
    ctx.output(i, ctx.dtype(0), shape);
    if (content && lengths) {
      ctx.output_content(i, {content->begin() + at, content->begin() + at + (*lengths)[i]});
      at += (*lengths)[i];
    }
  }
}

void split(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  auto axis = static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", 0), x.rank()));
  auto given = ctx.has(1) ? std::optional(ctx.in(1).to_ints()) : std::nullopt;
  Ints strides = strides_of(x.dims());
  Dims dims = x.dims();
  int64_t at = 0;
  Ints lengths = piece_lengths(ctx, given, dims[axis], ctx.outputs.size());
  for (size_t i = 0; i < lengths.size(); ++i) {
    dims[axis] = lengths[i];
    Tensor& out = ctx.make(i, x.dtype(), dims);
    strided_copy(out, x, at * strides[axis], strides);
    at += lengths[i];
  }
}

}  // namespace

void define_split_ops(OpTable& table) {
  table.add(
      {.name = "Split",
       .doc = "Cuts a tensor along `axis` into pieces of given lengths, or of equal ones (the last may be shorter).",
       .max_inputs = 2,
       .max_outputs = -1,
       .infer = infer_split,
       .reference = split,
       .attrs = {"axis", "num_outputs"}});
}

}  // namespace tenon
