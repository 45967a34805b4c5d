// Times the CUDA products as networks run them: a chain of 20 launches in one graph with programmatic edges, warm, and
// cold (second-level cache flushed, different weights in each launch). Prints, for each shape, every tactic with --all,
// else the best. Needs an NVIDIA GPU.
//   cuda_bench [--all] [--limit TACTICS] [--only TEXT] [--no-programmatic]
#include <algorithm>

#include "../../tests/device/runner.hpp"

namespace tenon::cuda {
namespace {

using testing::Runner;

struct Options {
  bool all = false, programmatic = true;
  size_t limit = 16;
  std::string only;
};

struct Shape {
  std::string name;
  Product product;
};

std::vector<Shape> shapes() {
  std::vector<Shape> out;
  auto conv = [&](int batch, int size, int channels, int filters, int kernel, int stride) {
    Product p;
    p.window = testing::image(batch, size, channels, kernel, stride, kernel / 2);
    p.filters = filters;
    out.push_back(
        {fmt::format("b{} {}x{} {}->{} {}x{}/{}", batch, size, size, channels, filters, kernel, kernel, stride), p});
  };
  for (int batch : {1, 20, 128}) {
    conv(batch, 56, 64, 64, 3, 1);
    conv(batch, 28, 128, 128, 3, 1);
    conv(batch, 14, 256, 256, 3, 1);
    conv(batch, 7, 512, 512, 3, 1);
    conv(batch, 14, 256, 1024, 1, 1);
    conv(batch, 14, 1024, 256, 1, 1);
    conv(batch, 7, 512, 2048, 1, 1);
    conv(batch, 7, 2048, 512, 1, 1);
    conv(batch, 56, 64, 256, 1, 1);
    conv(batch, 224, 4, 64, 7, 2);
    for (auto [n, k] : {std::pair{2304, 768}, {768, 768}, {3072, 768}, {768, 3072}}) {
      out.push_back({fmt::format("b{} bert {}x{}x{}", batch, 128 * batch, n, k),
                     Product::matrix(Math::kHalf, 128 * batch, n, k, k)});
    }
  }
  conv(1, 80, 64, 64, 3, 1);
  conv(1, 40, 128, 128, 3, 1);
  conv(1, 160, 32, 32, 3, 1);
  conv(1, 14, 64, 384, 1, 1);
  conv(1, 14, 384, 64, 1, 1);
  out.push_back({"gemm 8192x8192x8192", Product::matrix(Math::kHalf, 8192, 8192, 8192, 8192)});
  return out;
}

constexpr int kChain = 20;

struct Timing {
  double warm = 0, cold = 0;  // microseconds a launch
};

class Bench {
 public:
  Bench(Runner& runner, const Shape& shape, const Options& options) : r_(runner), shape_(shape), options_(options) {}

  void run(Buffer& flush) {
    const Product& p = shape_.product;
    TileEpilogue epilogue = testing::bias_epilogue(DType::kFloat16, p.filters, EwOp::kRelu, false);
    auto tactics = product_tactics(p, epilogue, r_.device->info(), options_.limit);
    std::vector<KernelPlan> plans;
    std::vector<const KernelPlan*> pointers;
    for (const auto& t : tactics) plans.push_back(plan_product(p, t, epilogue, r_.device->info()));
    for (KernelPlan& plan : plans) {
      plan.shape.programmatic = options_.programmatic;
      pointers.push_back(&plan);
    }
    r_.compile(pointers);
    const Window& w = p.window;
    a_ = random_buffer(int64_t{w.batch} * w.height * w.width * w.pixel_stride);
    out_ = Buffer(r_.device, static_cast<size_t>(p.rows() * p.filters) * 2);
    bias_ = r_.upload(std::vector<float>(static_cast<size_t>(p.filters), 0.5f), DType::kFloat32);
    std::vector<std::pair<double, std::string>> lines;
    for (size_t i = 0; i < tactics.size(); ++i) {
      try {
        Timing t = time(tactics[i], plans[i], flush);
        lines.emplace_back(
            t.cold, fmt::format("{:7.2f} cold {:7.2f} warm {:6.1f} TFLOP/s  #{:<2} {:3} regs  {}", t.cold, t.warm,
                                p.flops() / t.warm / 1e6, i, r_.load(plans[i]).registers, tactics[i].name()));
      } catch (const Error& e) {
        std::printf("%s %s: %.200s\n", shape_.name.c_str(), tactics[i].name().c_str(), e.what());
        if (r_.device->lost()) throw;
      }
    }
    std::sort(lines.begin(), lines.end());
    for (size_t i = 0; i < lines.size() && (i == 0 || options_.all); ++i)
      std::printf("%-26s %s\n", shape_.name.c_str(), lines[i].second.c_str());
    std::fflush(stdout);
  }

 private:
  Buffer random_buffer(int64_t elements) {
    int64_t some = std::min<int64_t>(elements, 1 << 20);
    Buffer b(r_.device, static_cast<size_t>(elements) * 2);
    auto bytes =
        testing::to_bytes(testing::random_values(static_cast<size_t>(some), 5, DType::kFloat32, 0.1f), DType::kFloat16);
    for (int64_t at = 0; at < elements; at += some) {
      r_.stream.upload(b.get() + static_cast<DevicePtr>(at) * 2, bytes.data(),
                       static_cast<size_t>(std::min(some, elements - at)) * 2);
    }
    r_.stream.synchronize();
    return b;
  }

  Timing time(const ProductTactic& tactic, const KernelPlan& plan, Buffer& flush) {
    const Product& p = shape_.product;
    int64_t weights = filter_layout(p, tactic).elements();
    int copies = static_cast<int>(std::clamp<int64_t>((int64_t{200} << 20) / (weights * 2), 1, kChain));
    Buffer b = random_buffer(weights * copies);
    testing::Scratch scratch(r_, plan);
    Operands operands;
    operands.in[0] = bias_.get();
    operands.out[0] = out_.get();
    std::vector<Params> params;
    for (int i = 0; i < copies; ++i) {
      params.push_back(product_params(p, tactic, *r_.device, a_.get(),
                                      b.get() + static_cast<DevicePtr>(i * weights * 2), operands,
                                      scratch.workspace.get(), scratch.counters.get()));
    }
    r_.load(plan);
    auto capture = [&](bool same) {
      r_.stream.begin_capture();
      for (int i = 0; i < kChain; ++i) r_.run(plan, params[same ? 0 : static_cast<size_t>(i % copies)]);
      return r_.stream.end_capture();
    };
    Graph warm = capture(true), cold = capture(false);
    Timing t;
    t.warm = median(warm, nullptr);
    t.cold = median(cold, &flush);
    return t;
  }

  double median(const Graph& graph, Buffer* flush) {
    constexpr int kTimes = 7;
    Event begin(r_.device), end(r_.device);
    std::vector<double> times;
    for (int i = 0; i < kTimes + 1; ++i) {
      if (flush) r_.stream.fill(flush->get(), static_cast<unsigned char>(i), flush->bytes());
      r_.stream.record(begin);
      r_.stream.launch(graph);
      r_.stream.record(end);
      end.synchronize();
      if (i > 0) times.push_back(end.since(begin) * 1000.0 / kChain);
    }
    std::sort(times.begin(), times.end());
    return times[kTimes / 2];
  }

  Runner& r_;
  const Shape& shape_;
  const Options& options_;
  Buffer a_, out_, bias_;
};

int run(const Options& options) {
  Runner runner;
  std::printf("%s, %s, us a launch in a chain of %d, half with float sums, bias and ReLU\n",
              runner.device->info().name.c_str(), runner.compiler->version().c_str(), kChain);
  Buffer flush(runner.device, size_t{192} << 20);
  for (const Shape& shape : shapes()) {
    if (shape.name.find(options.only) == std::string::npos) continue;
    Bench(runner, shape, options).run(flush);
  }
  return 0;
}

}  // namespace
}  // namespace tenon::cuda

int main(int argc, char** argv) {
  tenon::cuda::Options options;
  for (int i = 1; i < argc; ++i) {
    std::string arg = argv[i];
    if (arg == "--all") options.all = true;
    if (arg == "--no-programmatic") options.programmatic = false;
    if (arg == "--limit" && i + 1 < argc) options.limit = static_cast<size_t>(std::atoi(argv[++i]));
    if (arg == "--only" && i + 1 < argc) options.only = argv[++i];
  }
  try {
    return tenon::cuda::run(options);
  } catch (const tenon::Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
