// Inputs of a run: from files, or generated.
#include <fmt/core.h>

#include <algorithm>

#include "base/error.hpp"
#include "cli/common.hpp"
#include "onnx/proto_io.hpp"
#include "vision/letterbox.hpp"

namespace tenon::cli {
namespace {

void find_datum(const Graph& g, NamedTensors& arrays, ValueId v, Datum& out) {
  const Value& value = g.value(v);
  auto take = [&](const std::string& name) -> const Tensor* {
    for (auto& [key, tensor] : arrays) {
      if (key == name) return &tensor;
    }
    return nullptr;
  };
  if (value.type.kind == Type::Kind::kMap) {
    const Tensor *keys = take(value.name + ".keys"), *values = take(value.name + ".values");
    if (keys == nullptr || values == nullptr) return;
    out.kind = Type::Kind::kMap;
    out.keys = keys->reshaped({keys->size()});
    out.tensor = values->reshaped({values->size()});
    return;
  }
  if (const Tensor* t = take(value.name)) {
    bool same = t->dtype() == value.type.dtype || value.type.dtype == DType::kUndefined;
    out = Datum(same ? *t : npy_view_as(*t, value.type.dtype));
  }
}

}  // namespace

namespace {

// A square input of up to this many pixels a side is taken for a classifier's.
constexpr int64_t kClassifierSide = 384;
constexpr int64_t kLargestSide = 32768;

bool ends_with_any(std::string path, std::initializer_list<std::string_view> tails) {
  std::transform(path.begin(), path.end(), path.begin(), [](unsigned char c) { return std::tolower(c); });
  return std::any_of(tails.begin(), tails.end(), [&](std::string_view tail) { return path.ends_with(tail); });
}

const Value& input_named(const Graph& g, const std::string& name) {
  for (ValueId v : g.inputs) {
    if (g.value(v).name == name) return g.value(v);
  }
  std::string all;
  for (ValueId v : g.inputs) all += (all.empty() ? "" : ", ") + g.value(v).name;
  fail(Code::kInvalidArgument, "the model has no input '{}'; its inputs are {}", name, all);
}

// The dims of an input as far as the model or the command line tell; -1 where they do not.
Dims known_dims(const Value& value, const std::map<std::string, Dims>& shapes) {
  if (auto given = shapes.find(value.name); given != shapes.end()) return given->second;
  Dims out;
  expect(value.type.is_tensor() && value.type.shape, "input '{}' is {}; give --shape {}:DIMS", value.name,
         value.type.text(), value.name);
  for (const Dim& d : *value.type.shape) out.push_back(d.maybe().value_or(-1));
  return out;
}

Tensor read_picture(const Value& value, Dims dims, const std::string& path, const InputOptions& o) {
  bool nchw = dims.size() == 4 && dims[1] == 3, nhwc = dims.size() == 4 && !nchw && dims[3] == 3;
  expect(nchw || nhwc, "input '{}' is {}: a picture needs N,3,H,W or N,H,W,3", value.name, value.type.text());
  expect(dims[0] == 1 || dims[0] == -1, "input '{}' takes {} pictures at once; give them as .npy, or --batch 1",
         value.name, dims[0]);
  vision::Image image = vision::load_image(path);
  int64_t &height = dims[nchw ? 2 : 1], &width = dims[nchw ? 3 : 2];
  if (height <= 0) height = image.height;
  if (width <= 0) width = image.width;
  expect(height <= kLargestSide && width <= kLargestSide, "an input of {} x {} pixels is out of range", width, height);
  dims[0] = 1;
  vision::Preprocess how;
  how.width = static_cast<int>(width);
  how.height = static_cast<int>(height);
  bool classifier = width == height && width <= kClassifierSide;
  how.fit = classifier ? vision::Fit::kCropCentre : vision::Fit::kStretch;
  how.crop_resize = static_cast<int>(width * 256 / 224);
  how.layout = nchw ? vision::Layout::kNchw : vision::Layout::kNhwc;
  how.dtype = value.type.dtype;
  bool bytes = how.dtype == DType::kUInt8;
  expect(bytes || how.dtype == DType::kFloat32 || how.dtype == DType::kFloat16, "input '{}' is {}: not for a picture",
         value.name, value.type.text());
  how.scale = bytes ? 1 : o.image_scale;
  for (size_t c = 0; c < 3; ++c) {
    how.mean[c] = bytes ? 0 : o.image_mean[c];
    how.std[c] = bytes ? 1 : o.image_std[c];
  }
  Tensor out = Tensor::allocate(how.dtype, dims);
  vision::preprocess(image, how, {out.mutable_raw(), static_cast<size_t>(out.bytes())});
  return out;
}

}  // namespace

void add_input_options(CLI::App& app, InputOptions& o) {
  app.add_option("--inputs,-i", o.files,
                 "Inputs: .npz (arrays named like the inputs), or NAME=FILE with .npy, .pb (TensorProto), .bin or .raw "
                 "(the bytes), or a picture (.jpg, .png). NAME= may be left out where the model has one input")
      ->expected(1)
      ->take_all();
  app.add_option("--image-mean", o.image_mean, "Pictures: subtracted from each channel after scaling, R,G,B (0,0,0)")
      ->delimiter(',')
      ->expected(3);
  app.add_option("--image-std", o.image_std, "Pictures: what each channel is divided by then, R,G,B (1,1,1)")
      ->delimiter(',')
      ->expected(3);
  app.add_option("--image-scale", o.image_scale, "Pictures: what the bytes are multiplied by (1/255)");
}

std::vector<Datum> read_inputs(const Graph& g, const InputOptions& o, const std::map<std::string, Dims>& shapes) {
  for (double s : o.image_std) expect(s != 0, "--image-std must not be 0");
  NamedTensors arrays;
  for (const std::string& spec : o.files) {
    check_interrupted();
    size_t eq = spec.find('=');
    std::string name = eq == std::string::npos ? "" : spec.substr(0, eq),
                path = eq == std::string::npos ? spec : spec.substr(eq + 1);
    if (ends_with_any(path, {".npz"})) {
      for (auto& item : read_npz(path)) arrays.push_back(std::move(item));
      continue;
    }
    const Value& value = input_named(g, name.empty() ? only_input(g) : name);
    if (ends_with_any(path, {".npy"})) {
      arrays.emplace_back(value.name, read_npy(path));
    } else if (ends_with_any(path, {".pb"})) {
      arrays.emplace_back(value.name, onnx::read_tensor_pb(path, value.type).tensor);
    } else if (ends_with_any(path, {".jpg", ".jpeg", ".png"})) {
      arrays.emplace_back(value.name, read_picture(value, known_dims(value, shapes), path, o));
    } else if (ends_with_any(path, {".bin", ".raw"})) {
      Dims dims = known_dims(value, shapes);
      bool known = std::all_of(dims.begin(), dims.end(), [](int64_t d) { return d >= 0; });
      expect(known, "input '{}' is {}: say which shape '{}' has with --shape {}:DIMS", value.name, value.type.text(),
             path, value.name);
      arrays.emplace_back(value.name, read_raw(path, value.type.dtype, dims));
    } else {
      fail(Code::kInvalidArgument,
           "input '{}' must be a .npz, .npy, .pb, .bin, .raw, .jpg or .png file (NAME=FILE for one input)", path);
    }
  }
  std::vector<Datum> out(g.inputs.size());
  for (size_t i = 0; i < g.inputs.size(); ++i) {
    find_datum(g, arrays, g.inputs[i], out[i]);
    if (out[i].is_tensor() && !out[i].tensor.defined()) {
      std::string have;
      for (const auto& [name, tensor] : arrays) have += (have.empty() ? "" : ", ") + name;
      fail(Code::kInvalidArgument, "no data for input '{}' ({}); the files have: {}", g.value(g.inputs[i]).name,
           g.value(g.inputs[i]).type.text(), have.empty() ? "nothing" : have);
    }
  }
  return out;
}

std::vector<Datum> inputs_for(const EngineCore& engine, const InputOptions& inputs, const ModelOptions& model) {
  const Graph& g = engine.graph();
  if (!inputs.files.empty()) return read_inputs(g, inputs, wanted_shapes(g, model, 0));
  // What a plan was made for is what is run, unless another shape is asked for.
  bool asked = !model.shapes.empty() || !model.opt_shapes.empty() || model.batch > 0;
  auto dims = asked ? std::nullopt : engine.planned_dims();
  if (!dims) dims = input_dims(g, wanted_shapes(g, model, 1));
  expect(dims.has_value(), "the model's input shapes are open: give --shape NAME:DIMS or --inputs FILE");
  return sample_inputs(g, *dims);
}

std::vector<Datum> sample_inputs(const Graph& g, const std::vector<Dims>& dims) {
  std::vector<Datum> out;
  for (size_t i = 0; i < g.inputs.size(); ++i) {
    const Value& v = g.value(g.inputs[i]);
    if (!v.type.is_tensor())
      fail(Code::kUnsupported, "input '{}' is {}: give data with --inputs", v.name, v.type.text());
    Tensor t = Tensor::allocate(v.type.dtype, dims[i]);
    // Floats in [0, 1), integers 0 and 1: valid as pixels, masks and token ids alike.
    uint64_t state = 88172645463325252ull + i;
    for (int64_t k = 0; k < t.size() && t.dtype() != DType::kString; ++k) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      if (is_floating(t.dtype())) {
        t.set(k, static_cast<double>(state >> 40) * 0x1p-24);
      } else {
        t.set_int(k, static_cast<int64_t>(state & 1));
      }
    }
    out.emplace_back(std::move(t));
  }
  return out;
}

std::vector<Dims> dims_of_inputs(std::span<const Datum> inputs) {
  std::vector<Dims> out;
  for (const Datum& d : inputs) out.push_back(d.is_tensor() ? d.tensor.dims() : Dims());
  return out;
}

}  // namespace tenon::cli
