// tenon run: a model or plan on given inputs.
#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "base/error.hpp"
#include "cli/common.hpp"

namespace tenon::cli {
namespace {

struct RunOptions {
  ModelOptions model;
  std::vector<std::string> inputs;
  std::string outputs;
  int top = 5;
  bool reference = false;
};

void print_output(const std::string& name, const Datum& d, int top) {
  if (!d.is_tensor()) {
    fmt::print("{}: {} of {} items\n", name, d.kind == Type::Kind::kMap ? "map" : "sequence",
               d.kind == Type::Kind::kMap ? static_cast<size_t>(d.keys.size()) : d.items.size());
    return;
  }
  const Tensor& t = d.tensor;
  fmt::print("{}: {} {}\n", name, tenon::name(t.dtype()), dims_text(t.dims()));
  if (t.size() == 0 || t.dtype() == DType::kString || top <= 0) return;
  // The last row's largest values: what a classifier's user looks for.
  int64_t row = t.rank() == 0 ? 1 : t.dims().back();
  row = std::min<int64_t>(row, t.size());
  std::vector<int64_t> order(static_cast<size_t>(row));
  std::iota(order.begin(), order.end(), int64_t{0});
  auto count = static_cast<size_t>(std::min<int64_t>(top, row));
  std::partial_sort(order.begin(), order.begin() + static_cast<int64_t>(count), order.end(),
                    [&](int64_t a, int64_t b) { return t.at(a) > t.at(b); });
  for (size_t i = 0; i < count; ++i) fmt::print("  [{}] {:.6g}\n", order[i], t.at(order[i]));
}

NamedTensors named_outputs(const Graph& g, const std::vector<Datum>& outputs) {
  NamedTensors out;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const std::string& name = g.value(g.outputs[i]).name;
    const Datum& d = outputs[i];
    if (d.is_tensor()) {
      out.emplace_back(name, d.tensor);
    } else if (d.kind == Type::Kind::kMap) {
      out.emplace_back(name + ".keys", d.keys);
      out.emplace_back(name + ".values", d.tensor);
    } else {
      for (size_t k = 0; k < d.items.size(); ++k) {
        if (d.items[k].is_tensor()) {
          out.emplace_back(fmt::format("{}.{}", name, k), d.items[k].tensor);
        } else if (d.items[k].kind == Type::Kind::kMap) {
          out.emplace_back(fmt::format("{}.{}.keys", name, k), d.items[k].keys);
          out.emplace_back(fmt::format("{}.{}.values", name, k), d.items[k].tensor);
        }
      }
    }
  }
  return out;
}

void run(const RunOptions& o) {
  bool plan = is_plan_file(o.model.model);
  std::map<std::string, Dims> shapes;
  GraphPtr imported = plan ? nullptr : import_model(o.model.model);
  std::vector<Datum> inputs;
  std::shared_ptr<EngineCore> engine;
  auto inputs_for = [&](const Graph& g) {
    if (!o.inputs.empty()) return read_inputs(g, o.inputs);
    auto dims = input_dims(g, wanted_shapes(g, o.model, 1));
    expect(dims.has_value(), "the model's input shapes are open: give --inputs FILE or --shape NAME:DIMS");
    return sample_inputs(g, *dims);
  };
  if (plan) {
    engine = open_model(o.model);
    inputs = inputs_for(engine->graph());
  } else {
    inputs = inputs_for(*imported);
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i].is_tensor()) shapes[imported->value(imported->inputs[i]).name] = inputs[i].tensor.dims();
    }
    engine = EngineCore::build(imported, shapes, {}, engine_options(o.model));
  }
  print_notes(*engine, false);
  auto program = engine->program_for(inputs);
  ProgramSession session(program, engine->pool(), engine->ops());
  std::vector<Datum> outputs(program->outputs.size());
  session.run(inputs, outputs);
  if (o.outputs.empty()) {
    for (size_t i = 0; i < outputs.size(); ++i) {
      print_output(engine->graph().value(engine->graph().outputs[i]).name, outputs[i], o.top);
    }
  } else {
    write_npz(o.outputs, named_outputs(engine->graph(), outputs));
  }
}

}  // namespace

void add_run(CLI::App& app) {
  auto o = std::make_shared<RunOptions>();
  CLI::App* sub = app.add_subcommand("run", "Run a model or plan once on given inputs");
  add_model_options(*sub, o->model);
  sub->add_option("--inputs,-i", o->inputs,
                  "Inputs: .npz (arrays named like the inputs), or NAME=file.npy, NAME=file.pb")
      ->expected(1)
      ->take_all();
  sub->add_option("--outputs,-o", o->outputs, "Write the outputs to this .npz instead of printing them");
  sub->add_option("--top", o->top, "How many of the largest values to print of each output");
  sub->callback([o] { run(*o); });
}

}  // namespace tenon::cli
