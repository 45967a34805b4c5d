#include "corpus.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/error.hpp"
#include "onnx/proto_io.hpp"

namespace tenon::conformance {
namespace {

namespace fs = std::filesystem;
constexpr double kRelative = 1e-3, kAbsolute = 1e-7;

std::vector<fs::path> sorted(const fs::path& folder) {
  std::vector<fs::path> out;
  for (const fs::directory_entry& e : fs::directory_iterator(folder)) out.push_back(e.path());
  std::sort(out.begin(), out.end());
  return out;
}

void add_light(std::vector<Case>& out, const fs::path& model, const std::string& part) {
  fs::path wanted = model.parent_path() / (model.stem().string() + "_output_0.pb");
  if (fs::exists(wanted))
    out.push_back({part + "/" + model.stem().string(), part, model.string(), {}, wanted.string()});
}

void add_folder(std::vector<Case>& out, const fs::path& folder, const std::string& part) {
  if (!fs::exists(folder / "model.onnx")) return;
  Case test{part + "/" + folder.filename().string(), part, (folder / "model.onnx").string(), {}, ""};
  for (const fs::path& p : sorted(folder)) {
    if (fs::is_directory(p) && p.filename().string().starts_with("test_data_set_")) test.sets.push_back(p.string());
  }
  out.push_back(std::move(test));
}

Data light_data(const Case& test, const Graph& graph) {
  expect(graph.inputs.size() == 1, "a light model has one input");
  const Type& type = graph.value(graph.inputs[0]).type;
  expect(type.is_tensor() && type.dtype == DType::kFloat32 && type.shape.has_value(),
         "a light model's input is float32 of known rank");
  Dims dims;
  for (const Dim& d : *type.shape) dims.push_back(d.is_const() ? d.value() : 1);
  Tensor x = Tensor::allocate(DType::kFloat32, dims);
  for (int64_t i = 0; i < x.size(); ++i) x.set(i, static_cast<double>(i) / static_cast<double>(x.size()));
  return {{Datum(x)}, {onnx::read_tensor_pb(test.wanted)}};
}

std::vector<Datum> read_all(const std::string& folder, std::string_view stem, const Graph& graph,
                            const std::vector<ValueId>& values) {
  std::vector<Datum> out;
  for (ValueId v : values) {
    fs::path file = fs::path(folder) / fmt::format("{}_{}.pb", stem, out.size());
    if (!fs::exists(file)) break;
    out.push_back(onnx::read_tensor_pb(file.string(), graph.value(v).type));
  }
  return out;
}

std::string type_difference(const Tensor& wanted, const Tensor& got) {
  if (wanted.dtype() != got.dtype()) return fmt::format("{} instead of {}", name(got.dtype()), name(wanted.dtype()));
  if (wanted.dims() != got.dims())
    return fmt::format("shape {} instead of {}", dims_text(got.dims()), dims_text(wanted.dims()));
  return "";
}

std::string tensor_difference(const Tensor& wanted, const Tensor& got) {
  if (std::string types = type_difference(wanted, got); !types.empty()) return types;
  int64_t wrong = 0, first = -1;
  bool text = wanted.dtype() == DType::kString, floats = !text && is_floating(wanted.dtype());
  double relative = wanted.dtype() == DType::kBFloat16 ? std::max(kRelative, 0x1p-6) : kRelative;
  for (int64_t i = 0; i < wanted.size(); ++i) {
    bool same = true;
    if (text) {
      same = wanted.data<std::string>()[i] == got.data<std::string>()[i];
    } else if (!floats) {
      int64_t a = wanted.int_at(i), b = got.int_at(i);
      auto off = std::fabs(static_cast<double>(b) - static_cast<double>(a));
      same = a == b || off <= kAbsolute + kRelative * std::fabs(static_cast<double>(a));
    } else {
      double a = wanted.at(i), b = got.at(i);
      same = a == b || (std::isnan(a) && std::isnan(b)) ||
             (std::isfinite(a) && std::isfinite(b) && std::fabs(b - a) <= kAbsolute + relative * std::fabs(a));
    }
    if (same) continue;
    if (wrong++ == 0) first = i;
  }
  if (wrong == 0) return "";
  if (text)
    return fmt::format("{} of {} texts differ; [{}] is '{}' instead of '{}'", wrong, wanted.size(), first,
                       got.data<std::string>()[first], wanted.data<std::string>()[first]);
  return fmt::format("{} of {} elements differ; [{}] is {} instead of {}", wrong, wanted.size(), first, got.at(first),
                     wanted.at(first));
}

}  // namespace

std::vector<Case> find_cases(const std::string& folder) {
  std::vector<Case> out;
  expect(fs::is_directory(folder), "there is no folder '{}'", folder);
  for (const fs::path& part : sorted(folder)) {
    if (!fs::is_directory(part)) continue;
    for (const fs::path& p : sorted(part)) {
      if (fs::is_directory(p)) {
        add_folder(out, p, part.filename().string());
      } else if (p.extension() == ".onnx") {
        add_light(out, p, part.filename().string());
      }
    }
  }
  expect(!out.empty(), "no test was found below '{}'", folder);
  return out;
}

std::vector<Data> read_data(const Case& test, const Graph& graph) {
  std::vector<Data> out;
  if (!test.wanted.empty()) out.push_back(light_data(test, graph));
  for (const std::string& set : test.sets) {
    out.push_back({read_all(set, "input", graph, graph.inputs), read_all(set, "output", graph, graph.outputs)});
  }
  expect(!out.empty(), "the test has no data");
  return out;
}

std::string kind_difference(const Datum& wanted, const Datum& got) {
  bool tensors = wanted.is_tensor() && got.is_tensor();
  return tensors ? type_difference(wanted.tensor, got.tensor) : "another kind of value than wanted";
}

std::string difference(const Datum& wanted, const Datum& got) {
  bool bare = wanted.is_tensor() != got.is_tensor() || (wanted.kind != got.kind && !wanted.is_tensor());
  if (bare) return "another kind of value than wanted";
  if (wanted.is_tensor()) return tensor_difference(wanted.tensor, got.tensor);
  if (wanted.kind == Type::Kind::kMap) {
    std::string keys = tensor_difference(wanted.keys, got.keys);
    return keys.empty() ? tensor_difference(wanted.tensor, got.tensor) : "keys: " + keys;
  }
  if (wanted.items.size() != got.items.size())
    return fmt::format("{} elements instead of {}", got.items.size(), wanted.items.size());
  for (size_t i = 0; i < wanted.items.size(); ++i) {
    if (std::string d = difference(wanted.items[i], got.items[i]); !d.empty())
      return fmt::format("element {}: {}", i, d);
  }
  return "";
}

}  // namespace tenon::conformance
