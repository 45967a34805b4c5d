// Builds an engine of an ONNX model with float inputs, prints what goes in and out, and runs it once on ones.
#include <cstdio>
#include <vector>

#include "tenon/tenon.hpp"

static void print(const char* what, const tenon::TensorInfo& info) {
  std::printf("%s %s:", what, info.name.c_str());
  for (size_t i = 0; i < info.dims.size(); ++i) {
    if (info.dims[i] >= 0) {
      std::printf(" %lld", static_cast<long long>(info.dims[i]));
    } else {
      std::printf(" %s", info.symbols[i].empty() ? "?" : info.symbols[i].c_str());
    }
  }
  std::printf("\n");
}

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s MODEL.onnx\n", argv[0]);
    return 2;
  }
  try {
    tenon::BuildConfig config;
    config.threads = 1;
    tenon::Engine engine = tenon::Engine::build(argv[1], config);
    for (const tenon::TensorInfo& info : engine.inputs()) print("input", info);
    for (const tenon::TensorInfo& info : engine.outputs()) print("output", info);

    tenon::Session session(engine);
    std::vector<std::vector<float>> data;  // read in place: it has to live as long as the session uses it
    for (const tenon::TensorInfo& info : engine.inputs()) {
      std::vector<int64_t> dims = info.dims;
      size_t count = 1;
      for (int64_t& d : dims) {
        if (d < 0) d = 1;  // any size will do where the model leaves it open
        count *= static_cast<size_t>(d);
      }
      data.emplace_back(count, 1.0F);
      session.set_input(info.name, data.back().data(), tenon::DType::kFloat32, dims);
    }
    session.run();
    for (float value : session.output(0).as<float>()) std::printf("%g ", static_cast<double>(value));
    std::printf("\n");
  } catch (const tenon::Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}
