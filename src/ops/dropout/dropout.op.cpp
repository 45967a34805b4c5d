// Dropout: for inference its input, and a mask of ones.
#include <random>

#include "ops/support.hpp"

namespace tenon {
namespace {

void infer_dropout(InferContext& ctx) {
  ctx.output(0, ctx.type(0));
  ctx.output(1, DType::kBool, ctx.shape(0));
}

// In training mode elements are dropped by the generator that ONNX's own tests use, numpy's of the same seed.
void dropout(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  bool training = ctx.has(2) && ctx.in(2).size() == 1 && ctx.in(2).int_at(0) != 0;
  double ratio = ctx.has(1) ? ctx.in(1).at(0) : 0.5;
  ctx.require(!training || (ratio >= 0 && ratio < 1), "the ratio is {}, not within 0 and 1", ratio);
  Tensor mask = Tensor::allocate(DType::kBool, x.dims());
  std::fill_n(mask.mutable_data<bool>(), mask.size(), true);
  if (!training || ratio == 0) {
    ctx.set(0, x);
    return ctx.set(1, mask);
  }
  std::mt19937 generator(static_cast<uint32_t>(ctx.attrs().integer("seed", 0)));
  Tensor& out = ctx.make(0, x.dtype(), x.dims());
  for (int64_t i = 0; i < x.size(); ++i) {
    uint32_t high = generator() >> 5, low = generator() >> 6;
    double uniform = (high * 67108864.0 + low) / 9007199254740992.0;
    mask.set_int(i, uniform >= ratio);
    out.set(i, uniform >= ratio ? x.at(i) / (1 - ratio) : 0);
  }
  ctx.set(1, mask);
}

}  // namespace

void define_dropout_ops(OpTable& table) {
  table.add({.name = "Dropout",
             .doc = "The input; in training mode with elements dropped at random.",
             .max_inputs = 3,
             .max_outputs = 2,
             .infer = infer_dropout,
             .reference = dropout,
             .attrs = {"seed"}});
}

}  // namespace tenon
