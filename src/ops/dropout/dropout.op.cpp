// Dropout: for inference its input, and a mask of ones.
#include "ops/support.hpp"

namespace tenon {
namespace {

void infer_dropout(InferContext& ctx) {
  ctx.output(0, ctx.type(0));
  ctx.output(1, DType::kBool, ctx.shape(0));
}

void dropout(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  bool training = ctx.has(2) && ctx.in(2).size() == 1 && ctx.in(2).int_at(0) != 0;
  double ratio = ctx.has(1) ? ctx.in(1).at(0) : 0.5;
  ctx.require(!training || ratio == 0, "training mode drops elements at random, which an inference engine does not do");
  ctx.set(0, x);
  Tensor& mask = ctx.make(1, DType::kBool, x.dims());
  std::fill_n(mask.mutable_data<bool>(), mask.size(), true);
}

}  // namespace

void define_dropout_ops(OpTable& table) {
  table.add({.name = "Dropout",
             .doc = "The input (dropping is for training, which is not done here).",
             .max_inputs = 3,
             .max_outputs = 2,
             .infer = infer_dropout,
             .reference = dropout,
             .attrs = {"seed"}});
}

}  // namespace tenon
