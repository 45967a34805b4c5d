// One step of an optimiser: Adagrad, Adam and Momentum of ai.onnx.preview.training. Inputs are the learning rate, the
// count of updates, then for each of N tensors its value, its gradient and its running averages, kind by kind.
#include <cmath>

#include "ops/support.hpp"

namespace tenon {
namespace {

// How many tensors are optimised, with `kinds` inputs each.
template <class Context>
size_t tensors_of(const Context& ctx, size_t inputs, size_t kinds) {
  ctx.require(inputs > 2 && (inputs - 2) % kinds == 0, "{} tensors do not divide into {} for each that is optimised",
              inputs > 2 ? inputs - 2 : 0, kinds);
  return (inputs - 2) / kinds;
}

// Outputs are the new values, then the new averages: the inputs without the gradients.
template <size_t kKinds>
void infer(InferContext& ctx) {
  size_t n = tensors_of(ctx, ctx.input_count(), kKinds);
  for (size_t i = 0; i < n * (kKinds - 1); ++i) ctx.output(i, ctx.type(2 + (i < n ? i : i + n)));
}

double scalar_in(const RefContext& ctx, size_t i) {
  ctx.require(ctx.in(i).size() == 1, "input {} must be one number", i);
  return ctx.in(i).at(0);
}

// Calls step(values) for each element: values[0] is the tensor's, [1] the gradient's, then the averages; what step
// leaves in them, the gradient aside, is the output.
template <size_t kKinds, class F>
void for_each_element(RefContext& ctx, F&& step) {
  size_t n = tensors_of(ctx, ctx.inputs.size(), kKinds);
  for (size_t t = 0; t < n; ++t) {
    const Tensor* in[kKinds];
    Tensor out[kKinds];
    for (size_t k = 0; k < kKinds; ++k) {
      in[k] = &ctx.in(2 + k * n + t);
      ctx.require(in[k]->dims() == in[0]->dims(), "tensors of shapes {} and {} cannot be optimised together",
                  dims_text(in[k]->dims()), dims_text(in[0]->dims()));
      out[k] = Tensor::allocate(in[k]->dtype(), in[k]->dims());
    }
    for (int64_t i = 0; i < in[0]->size(); ++i) {
      double values[kKinds];
      for (size_t k = 0; k < kKinds; ++k) values[k] = in[k]->at(i);
      step(values);
      for (size_t k = 0; k < kKinds; ++k) out[k].set(i, values[k]);
    }
    for (size_t k = 0; k < kKinds; ++k) {
      if (k != 1) ctx.set((k > 0 ? k - 1 : 0) * n + t, std::move(out[k]));
    }
  }
}

void adagrad(RefContext& ctx) {
  const Attrs& a = ctx.attrs();
  double decay = a.number("decay_factor", 0), norm = a.number("norm_coefficient", 0),
         epsilon = a.number("epsilon", 1e-6f);
  double rate = scalar_in(ctx, 0) / (1 + scalar_in(ctx, 1) * decay);
  for_each_element<3>(ctx, [&](double* v) {
    double g = norm * v[0] + v[1];
    v[2] += g * g;
    v[0] -= rate * g / (std::sqrt(v[2]) + epsilon);
  });
}

void adam(RefContext& ctx) {
  const Attrs& a = ctx.attrs();
  double alpha = a.number("alpha", 0.9f), beta = a.number("beta", 0.999f), epsilon = a.number("epsilon", 1e-6f);
  double norm = a.number("norm_coefficient", 0), post = a.number("norm_coefficient_post", 0);
  double rate = scalar_in(ctx, 0), count = scalar_in(ctx, 1);
  if (count > 0) rate *= std::sqrt(1 - std::pow(beta, count)) / (1 - std::pow(alpha, count));
  for_each_element<4>(ctx, [&](double* v) {
    double g = norm * v[0] + v[1];
    v[2] = alpha * v[2] + (1 - alpha) * g;
    v[3] = beta * v[3] + (1 - beta) * g * g;
    v[0] = (1 - post) * (v[0] - rate * v[2] / (std::sqrt(v[3]) + epsilon));
  });
}

void momentum(RefContext& ctx) {
  const Attrs& a = ctx.attrs();
  std::string mode = a.string("mode", "");
  ctx.require(mode == "standard" || mode == "nesterov", "mode '{}' is not known (standard and nesterov are)", mode);
  for (const char* needed : {"alpha", "beta", "norm_coefficient"})
    ctx.require(a.has(needed), "attribute {} is missing", needed);
  double alpha = a.number("alpha", 0), beta = a.number("beta", 0), norm = a.number("norm_coefficient", 0);
  double rate = scalar_in(ctx, 0);
  if (scalar_in(ctx, 1) <= 0) beta = 1;
  for_each_element<3>(ctx, [&](double* v) {
    double g = norm * v[0] + v[1];
    v[2] = alpha * v[2] + beta * g;
    v[0] -= rate * (mode == "nesterov" ? g + alpha * v[2] : v[2]);
  });
}

}  // namespace

void define_training_ops(OpTable& table) {
  auto add = [&](const char* name, std::string_view doc, auto infer, auto reference, Strings attrs) {
    table.add({.name = std::string("ai.onnx.preview.training.") + name,
               .doc = doc,
               .min_inputs = 3,
               .max_inputs = -1,
               .max_outputs = -1,
               .infer = infer,
               .reference = reference,
               .attrs = std::move(attrs)});
  };
  add("Adagrad", "One step of ADAGRAD.", infer<3>, adagrad, {"decay_factor", "epsilon", "norm_coefficient"});
  add("Adam", "One step of Adam.", infer<4>, adam,
      {"alpha", "beta", "epsilon", "norm_coefficient", "norm_coefficient_post"});
  add("Momentum", "One step of stochastic gradient descent with momentum.", infer<3>, momentum,
      {"alpha", "beta", "mode", "norm_coefficient"});
}

}  // namespace tenon
