#include "cli/detector.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "base/error.hpp"
#include "vision/literal.hpp"

namespace tenon::cli {
namespace {

namespace fs = std::filesystem;

// Below this many pixels a side, a declared size is that of an exporter's example and not what the network is for.
constexpr int64_t kSmallestSensible = 64;

vision::PortInfo port_of(const Value& value) {
  vision::PortInfo port{value.name, value.type.dtype, {}};
  if (value.type.shape) {
    for (const Dim& d : *value.type.shape) port.shape.push_back(d.maybe().value_or(-1));
  }
  return port;
}

std::pair<int, int> size_in_metadata(const std::map<std::string, std::string>& metadata) {
  auto entry = metadata.find("props.imgsz");
  if (entry == metadata.end()) return {0, 0};
  vision::Literal sizes = vision::parse_literal(entry->second);
  if (sizes.items.empty()) return {0, 0};
  return {static_cast<int>(sizes.items.back().number), static_cast<int>(sizes.items.front().number)};
}

bool is_picture_name(const fs::path& path) {
  std::string end = path.extension().string();
  std::transform(end.begin(), end.end(), end.begin(), [](unsigned char c) { return std::tolower(c); });
  return end == ".jpg" || end == ".jpeg" || end == ".png";
}

std::vector<float> as_floats(const Tensor& t) {
  std::vector<float> out(static_cast<size_t>(t.size()));
  if (t.dtype() == DType::kFloat16) {
    const auto* bits = reinterpret_cast<const uint16_t*>(t.raw());
    for (size_t i = 0; i < out.size(); ++i) out[i] = half_to_float(bits[i]);
  } else {
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(t.at(static_cast<int64_t>(i)));
  }
  return out;
}

}  // namespace

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

PictureList find_pictures(const std::vector<std::string>& paths) {
  PictureList out;
  for (const std::string& path : paths) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      if (!fs::exists(path, error)) fail(Code::kNotFound, "there is no picture or folder '{}'", path);
      out.files.push_back(path);
      out.folders.emplace_back();
      continue;
    }
    std::vector<std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(path, fs::directory_options::skip_permission_denied)) {
      if (entry.is_regular_file(error) && is_picture_name(entry.path())) found.push_back(entry.path().string());
    }
    if (found.empty()) fail(Code::kNotFound, "folder '{}' holds no pictures (.jpg, .jpeg, .png)", path);
    std::sort(found.begin(), found.end());
    out.folders.insert(out.folders.end(), found.size(), path);
    out.files.insert(out.files.end(), found.begin(), found.end());
  }
  return out;
}

void PictureNetwork::choose_input(const Graph& g) {
  expect(!g.inputs.empty(), "the model has no inputs");
  if (g.inputs.size() > 1) {
    std::string all;
    for (ValueId v : g.inputs) all += (all.empty() ? "" : ", ") + g.value(v).name + " " + g.value(v).type.text();
    fail(Code::kUnsupported, "the model has {} inputs, a detector has one, the picture: {}", g.inputs.size(), all);
  }
  vision::PortInfo port = port_of(g.value(g.inputs[0]));
  bool picture = port.shape.size() == 4 && (port.shape[1] == 3 || port.shape[3] == 3);
  if (!picture) {
    fail(Code::kUnsupported, "input '{}' is {}: no picture of three channels (N,3,H,W or N,H,W,3)", port.name,
         g.value(g.inputs[0]).type.text());
  }
  nchw_ = port.shape[1] == 3;
  inputs_ = {port};
}

PictureNetwork::PictureNetwork(const ModelOptions& options, int width, int height) {
  bool plan = is_plan_file(options.model);
  GraphPtr imported;
  if (plan) {
    engine_ = EngineCore::load(load_plan(options.model), engine_options(options));
  } else {
    imported = import_model(options.model);
  }
  const Graph& g = plan ? engine_->graph() : *imported;
  choose_input(g);
  std::vector<int64_t>& shape = inputs_[0].shape;
  if (plan) {
    if (auto planned = engine_->planned_dims()) shape = (*planned)[0];
  }
  auto [meta_width, meta_height] = size_in_metadata(g.metadata);
  auto choose = [&](int64_t& side, int asked, int told) {
    bool lies = side < kSmallestSensible;
    if (asked > 0) {
      side = asked;
    } else if (lies) {
      side = told > 0 ? told : 640;
    }
  };
  choose(shape[nchw_ ? 3 : 2], width, meta_width);
  choose(shape[nchw_ ? 2 : 1], height, meta_height);
  shape[0] = 1;
  if (!plan) {
    engine_ = EngineCore::build(std::move(imported), {{inputs_[0].name, shape}}, {}, engine_options(options));
  }
  inputs_[0].dtype = engine_->graph().value(engine_->graph().inputs[0]).type.dtype;
  auto program = engine_->program({shape});
  const Graph& planned = *program->graph;
  for (ValueId v : planned.outputs) outputs_.push_back(port_of(planned.value(v)));
}

std::map<std::string, std::string> PictureNetwork::properties() const {
  std::map<std::string, std::string> out;
  for (const auto& [key, value] : engine_->graph().metadata) {
    if (key.starts_with("props.")) out[key.substr(6)] = value;
  }
  return out;
}

std::span<std::byte> PictureNetwork::prepare(int width, int height) {
  Dims dims = nchw_ ? Dims{1, 3, height, width} : Dims{1, height, width, 3};
  if (!session_ || data_[0].tensor.dims() != dims) {
    auto program = engine_->program({dims});
    session_.reset();
    session_ = std::make_unique<ProgramSession>(program, engine_->pool(), engine_->ops());
    data_ = {Datum(Tensor::allocate(inputs_[0].dtype, dims))};
    results_.assign(program->outputs.size(), Datum());
  }
  return {data_[0].tensor.mutable_raw(), static_cast<size_t>(data_[0].tensor.bytes())};
}

std::vector<vision::OutputView> PictureNetwork::run() {
  session_->run(data_, results_);
  converted_.clear();
  converted_.resize(results_.size());
  std::vector<vision::OutputView> views;
  for (size_t i = 0; i < results_.size(); ++i) {
    expect(results_[i].is_tensor(), "output '{}' is not a tensor", outputs_[i].name);
    const Tensor& t = results_[i].tensor;
    if (t.dtype() != DType::kFloat32) converted_[i] = as_floats(t);
    std::span<const float> data =
        t.dtype() == DType::kFloat32 ? t.values<float>() : std::span<const float>(converted_[i]);
    views.push_back({outputs_[i].name, t.dims(), data});
  }
  return views;
}

DetectRunner::DetectRunner(const ModelOptions& options, vision::Family family, int width, int height)
    : network_(options, width, height) {
  vision::RecogniseOptions recognise_options;
  recognise_options.family = family;
  detector_ = vision::recognise(network_.inputs(), network_.outputs(), network_.properties(), recognise_options);
}

std::vector<vision::Detection> DetectRunner::detect(const vision::Image& image, const vision::DecodeOptions& options,
                                                    StageTimes& times) {
  double start = seconds_now();
  const vision::Preprocess& how = detector_.input;
  vision::Placement placement = vision::preprocess(image, how, network_.prepare(how.width, how.height));
  double ready = seconds_now();
  std::vector<vision::OutputView> views = network_.run();
  double done = seconds_now();
  std::vector<vision::Detection> found = vision::decode(detector_, views, placement, options);
  times.preprocess += ready - start;
  times.inference += done - ready;
  times.postprocess += seconds_now() - done;
  return found;
}

}  // namespace tenon::cli
