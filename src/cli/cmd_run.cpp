// tenon run: a model or plan on given inputs.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.hpp"
#include "cli/common.hpp"

namespace tenon::cli {
namespace {

using Json = nlohmann::ordered_json;

struct RunOptions {
  ModelOptions model;
  InputOptions inputs;
  std::string outputs;
  int top = 5;
  bool json = false;
};

// Positions of the first row's largest values: what a classifier's user looks for.
std::vector<int64_t> largest_of_row(const Tensor& t, int top) {
  int64_t row = std::min<int64_t>(t.rank() == 0 ? 1 : t.dims().back(), t.size());
  std::vector<int64_t> order(static_cast<size_t>(row));
  std::iota(order.begin(), order.end(), int64_t{0});
  auto count = std::clamp<int64_t>(top, 0, row);
  std::partial_sort(order.begin(), order.begin() + count, order.end(),
                    [&](int64_t a, int64_t b) { return t.at(a) > t.at(b); });
  order.resize(static_cast<size_t>(count));
  return order;
}

void print_output(const std::string& name, const Datum& d, int top) {
  if (!d.is_tensor()) {
    fmt::print("{}: {} of {} items\n", name, d.kind == Type::Kind::kMap ? "map" : "sequence",
               d.kind == Type::Kind::kMap ? static_cast<size_t>(d.keys.size()) : d.items.size());
    return;
  }
  fmt::print("{}: {} {}\n", name, tenon::name(d.tensor.dtype()), dims_text(d.tensor.dims()));
  if (d.tensor.size() == 0 || d.tensor.dtype() == DType::kString) return;
  for (int64_t i : largest_of_row(d.tensor, top)) fmt::print("  [{}] {:.6g}\n", i, d.tensor.at(i));
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

struct Prepared {
  std::shared_ptr<EngineCore> engine;
  std::vector<Datum> inputs;
};

Prepared prepare(const RunOptions& o) {
  Prepared p;
  if (!o.inputs.files.empty() && !is_plan_file(o.model.model)) {
    // The data say which shapes are meant, also where the model says otherwise.
    GraphPtr g = import_model(o.model.model);
    p.inputs = read_inputs(*g, o.inputs, wanted_shapes(*g, o.model, 0));
    std::map<std::string, Dims> shapes;
    for (size_t i = 0; i < p.inputs.size(); ++i) {
      if (p.inputs[i].is_tensor()) shapes[g->value(g->inputs[i]).name] = p.inputs[i].tensor.dims();
    }
    p.engine = EngineCore::build(std::move(g), shapes, {}, engine_options(o.model));
    return p;
  }
  p.engine = open_model(o.model);
  p.inputs = inputs_for(*p.engine, o.inputs, o.model);
  return p;
}

Json output_json(const Datum& d, int top) {
  if (!d.is_tensor()) return {{"type", d.kind == Type::Kind::kMap ? "map" : "sequence"}};
  Json largest = Json::array();
  if (d.tensor.dtype() != DType::kString) {
    for (int64_t i : largest_of_row(d.tensor, top)) largest.push_back({{"index", i}, {"value", d.tensor.at(i)}});
  }
  return {{"type", name(d.tensor.dtype())}, {"shape", d.tensor.dims()}, {"largest", largest}};
}

void run(const RunOptions& o) {
  auto [engine, inputs] = prepare(o);
  print_notes(*engine, o.json);
  auto program = engine->program_for(inputs);
  ProgramSession session(program, engine->pool(), engine->ops());
  std::vector<Datum> outputs(program->outputs.size());
  check_interrupted();
  auto begin = std::chrono::steady_clock::now();
  session.run(inputs, outputs);
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const Graph& g = engine->graph();
  if (!o.outputs.empty()) write_npz(o.outputs, named_outputs(g, outputs));
  if (o.json) {
    Json all = Json::object();
    for (size_t i = 0; i < outputs.size(); ++i) all[g.value(g.outputs[i]).name] = output_json(outputs[i], o.top);
    Json j = {{"model", o.model.model}, {"seconds", seconds}, {"outputs", all}, {"notes", engine->notes()}};
    if (!o.outputs.empty()) j["path"] = o.outputs;
    fmt::print("{}\n", j.dump(2));
  } else if (o.outputs.empty()) {
    for (size_t i = 0; i < outputs.size(); ++i) print_output(g.value(g.outputs[i]).name, outputs[i], o.top);
  }
}

}  // namespace

void add_run(CLI::App& app) {
  auto o = std::make_shared<RunOptions>();
  CLI::App* sub = app.add_subcommand("run", "Run a model or plan once on given inputs");
  add_model_options(*sub, o->model);
  add_input_options(*sub, o->inputs);
  sub->add_option("--outputs,-o", o->outputs, "Write the outputs to this .npz instead of printing them");
  sub->add_option("--top", o->top, "How many of the largest values to print of each output (of its first row)")
      ->check(CLI::Range(0, 1 << 20));
  sub->add_flag("--json", o->json,
                "One JSON object on standard output: seconds, and type, shape and largest values of each output");
  sub->footer(
      "Without --inputs the inputs are generated. Pictures become RGB/255 (see --image-scale, --image-mean, "
      "--image-std); "
      "for square inputs of up to 384 pixels the centre is cut out as ImageNet's classifiers want it, for others the "
      "picture is stretched.\n"
      "Examples:\n"
      "  tenon run model.onnx --inputs in.npz --outputs out.npz\n"
      "  tenon run mobilenet.onnx -i dog.jpg --image-mean 0.485,0.456,0.406 --image-std 0.229,0.224,0.225\n"
      "  tenon run model.plan -i x=x.bin --shape x:1x3x224x224");
  sub->callback([o] { run(*o); });
}

}  // namespace tenon::cli
