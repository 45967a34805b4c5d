// Times the CPU kernels on the shapes of known networks: microseconds (the best of many repetitions), GFLOP/s and the
// percentage of the multiply-add rate measured on the same threads.
//   kernel_bench [--threads N] [--filter TEXT] [--isa NAME] [--ms MILLISECONDS_PER_SHAPE]
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.hpp"
#include "cpu/conv.hpp"
#include "cpu/depthwise.hpp"
#include "cpu/gemm.hpp"
#include "cpu/isa.hpp"
#include "cpu/winograd.hpp"

namespace tenon::cpu {
namespace {

struct AlignedFree {
  void operator()(float* p) const { std::free(p); }
};
using Buffer = std::unique_ptr<float, AlignedFree>;

Buffer buffer(size_t floats) {
  const size_t bytes = (floats * sizeof(float) + 127) / 64 * 64;
  Buffer b(static_cast<float*>(std::aligned_alloc(64, bytes)));
  for (size_t i = 0; i < floats; ++i) b.get()[i] = static_cast<float>(i % 97) / 97.0f - 0.5f;
  return b;
}

struct Options {
  int threads = 1;
  std::string filter;
  double milliseconds = 150;
};

struct Bench {
  Options options;
  ThreadPool pool;
  double peak;

  explicit Bench(const Options& o) : options(o), pool(o.threads), peak(measure_peak_gflops(pool)) {}

  bool wants(const std::string& name) const { return name.find(options.filter) != std::string::npos; }

  void time(const std::string& name, double flops, const std::function<void()>& body) {
    using Clock = std::chrono::steady_clock;
    body();
    double best = 1e30, total = 0;
    for (int i = 0; i < 5 || total < options.milliseconds * 1e-3; ++i) {
      auto start = Clock::now();
      body();
      const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
      best = std::min(best, seconds);
      total += seconds;
    }
    const double rate = flops / best * 1e-9;
    std::printf("%-44s %10.1f us %8.1f GFLOP/s %5.1f %%\n", name.c_str(), best * 1e6, rate, 100 * rate / peak);
    std::fflush(stdout);
  }

  void run_gemm(const char* label, int64_t m, int64_t n, int64_t k) {
    const std::string name =
        std::string("gemm ") + label + " " + std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k);
    if (!wants(name)) return;
    Buffer a = buffer(m * k), b = buffer(k * n), packed = buffer(packed_b_floats(k, n)), c = buffer(m * n),
           bias = buffer(n);
    pack_b(b.get(), n, 1, k, n, packed.get());
    GemmArgs args{m, n, k, a.get(), k, packed.get(), c.get(), n, false, Epilogue{.bias = bias.get()}};
    time(name, 2.0 * m * n * k, [&] { gemm(pool, args); });
  }

  void run_batch_gemm(const char* label, int64_t batch, int64_t m, int64_t n, int64_t k, bool transposed) {
    const std::string name = std::string("batch ") + label + " " + std::to_string(batch) + " x " + std::to_string(m) +
                             "x" + std::to_string(n) + "x" + std::to_string(k) + (transposed ? " BT" : "");
    if (!wants(name)) return;
    Buffer a = buffer(batch * m * k), b = buffer(batch * k * n), c = buffer(batch * m * n);
    BatchGemmArgs args;
    args.batch = batch, args.m = m, args.n = n, args.k = k;
    args.a = a.get(), args.lda = k, args.a_batch = m * k;
    args.b = b.get(), args.b_batch = n * k, args.b_row = transposed ? 1 : n, args.b_col = transposed ? k : 1;
    args.c = c.get(), args.ldc = n, args.c_batch = m * n;
    Buffer workspace = buffer(batch_gemm_workspace_floats(args, pool.threads()));
    time(name, 2.0 * batch * m * n * k, [&] { batch_gemm(pool, args, workspace.get()); });
  }

  void run_depthwise(const char* label, ConvShape s) {
    const std::string name = std::string("depthwise ") + label + " " + std::to_string(s.kh) + "x" +
                             std::to_string(s.kw) + " s" + std::to_string(s.stride_h) + " " + std::to_string(s.cin) +
                             "@" + std::to_string(s.h);
    if (!wants(name)) return;
    Buffer src = buffer(s.h * s.w * s.cin), w = buffer(s.cin * s.kh * s.kw), bias = buffer(s.cin);
    Buffer packed = buffer(depthwise_packed_floats(s)), dst = buffer(s.oh() * s.ow() * s.cin);
    depthwise_pack(s, w.get(), packed.get());
    ConvArgs args{src.get(),
                  ImageStrides::dense(s.h, s.w, s.cin),
                  packed.get(),
                  dst.get(),
                  ImageStrides::dense(s.oh(), s.ow(), s.cin),
                  Epilogue{.bias = bias.get(), .act = Epilogue::kClip, .hi = 6}};
    time(name, 2.0 * s.oh() * s.ow() * s.cin * s.kh * s.kw, [&] { depthwise(pool, s, args); });
  }

  void run_conv(const char* label, ConvShape s, bool planar = false) {
    std::string name = std::string(planar ? "planar " : "conv ") + label + " " + std::to_string(s.kh) + "x" +
                       std::to_string(s.kw) + " s" + std::to_string(s.stride_h) + " " + std::to_string(s.cin) + "->" +
                       std::to_string(s.cout) + "@" + std::to_string(s.h) +
                       (s.groups > 1 ? " g" + std::to_string(s.groups) : "");
    if (!wants(name)) return;
    Buffer src = buffer(s.n * s.h * s.w * s.cin), w = buffer(s.cout * s.cin / s.groups * s.kh * s.kw),
           bias = buffer(s.cout);
    Buffer packed = buffer(conv_packed_floats(s)), dst = buffer(s.n * s.oh() * s.ow() * s.cout);
    conv_pack(s, w.get(), packed.get());
    ConvArgs args{
        src.get(), ImageStrides::dense(s.h, s.w, s.cin),        packed.get(),
        dst.get(), ImageStrides::dense(s.oh(), s.ow(), s.cout), Epilogue{.bias = bias.get(), .act = Epilogue::kRelu}};
    Buffer workspace =
        buffer(planar ? conv_planar_workspace_floats(s, pool.threads()) : conv_workspace_floats(s, pool.threads()));
    const double flops = 2.0 * s.n * s.oh() * s.ow() * s.cout * (s.cin / s.groups) * s.kh * s.kw;
    if (planar) {
      time(name, flops, [&] { conv_planar(pool, s, args, PlanarStrides::dense(s.cin, s.h, s.w), workspace.get()); });
    } else {
      time(name, flops, [&] { conv(pool, s, args, workspace.get()); });
    }
    if (planar || !winograd_applies(s)) return;
    Buffer points = buffer(winograd_packed_floats(s)), room = buffer(winograd_workspace_floats(s, pool.threads()));
    winograd_pack(s, w.get(), points.get());
    args.weights = points.get();
    time("winograd " + name, flops, [&] { winograd(pool, s, args, room.get()); });
  }
};

ConvShape square(int64_t size, int64_t cin, int64_t cout, int64_t kernel, int64_t stride, int64_t groups = 1) {
  ConvShape s;
  s.h = s.w = size;
  s.cin = cin, s.cout = cout, s.groups = groups;
  s.kh = s.kw = kernel;
  s.stride_h = s.stride_w = stride;
  s.pad_top = s.pad_left = s.pad_bottom = s.pad_right = kernel / 2;
  return s;
}

void run_yolo(Bench& b) {
  b.run_conv("yolov8n", square(640, 3, 16, 3, 2), true);
  b.run_conv("yolov8n", square(640, 3, 16, 3, 2));
  b.run_conv("yolov8n", square(320, 16, 32, 3, 2));
  b.run_conv("yolov8n", square(160, 32, 32, 1, 1));
  b.run_conv("yolov8n", square(160, 16, 16, 3, 1));
  b.run_conv("yolov8n", square(160, 48, 32, 1, 1));
  b.run_conv("yolov8n", square(160, 32, 64, 3, 2));
  b.run_conv("yolov8n", square(80, 64, 64, 1, 1));
  b.run_conv("yolov8n", square(80, 32, 32, 3, 1));
  b.run_conv("yolov8n", square(80, 128, 64, 1, 1));
  b.run_conv("yolov8n", square(80, 64, 64, 3, 1));
  b.run_conv("yolov8n", square(80, 80, 80, 3, 1));
  b.run_conv("yolov8n", square(80, 64, 128, 3, 2));
  b.run_conv("yolov8n", square(40, 128, 128, 1, 1));
  b.run_conv("yolov8n", square(40, 64, 64, 3, 1));
  b.run_conv("yolov8n", square(40, 128, 256, 3, 2));
  b.run_conv("yolov8n", square(20, 256, 256, 1, 1));
  b.run_conv("yolov8n", square(20, 128, 128, 3, 1));
  b.run_conv("yolov8n", square(20, 512, 256, 1, 1));
}

void run_mobile(Bench& b) {
  b.run_conv("mobilenetv2", square(112, 16, 96, 1, 1));
  b.run_conv("mobilenetv2", square(56, 24, 144, 1, 1));
  b.run_conv("mobilenetv2", square(56, 144, 24, 1, 1));
  b.run_conv("mobilenetv2", square(28, 32, 192, 1, 1));
  b.run_conv("mobilenetv2", square(28, 192, 32, 1, 1));
  b.run_conv("mobilenetv2", square(14, 64, 384, 1, 1));
  b.run_conv("mobilenetv2", square(14, 384, 64, 1, 1));
  b.run_conv("mobilenetv2", square(7, 160, 960, 1, 1));
  b.run_conv("mobilenetv2", square(7, 960, 160, 1, 1));
  b.run_conv("mobilenetv2", square(7, 320, 1280, 1, 1));
  b.run_depthwise("mobilenetv2", square(112, 32, 32, 3, 1, 32));
  b.run_depthwise("mobilenetv2", square(112, 96, 96, 3, 2, 96));
  b.run_depthwise("mobilenetv2", square(56, 144, 144, 3, 1, 144));
  b.run_depthwise("mobilenetv2", square(28, 192, 192, 3, 1, 192));
  b.run_depthwise("mobilenetv2", square(14, 384, 384, 3, 1, 384));
  b.run_depthwise("mobilenetv2", square(14, 576, 576, 3, 2, 576));
  b.run_depthwise("mobilenetv2", square(7, 960, 960, 3, 1, 960));
  b.run_depthwise("mobilenetv3", square(28, 120, 120, 5, 1, 120));
  b.run_depthwise("mobilenetv3", square(14, 672, 672, 5, 2, 672));
}

void run_residual(Bench& b) {
  b.run_conv("resnet20", square(32, 3, 16, 3, 1), true);
  b.run_conv("resnet20", square(32, 16, 16, 3, 1));
  b.run_conv("resnet20", square(16, 32, 32, 3, 1));
  b.run_conv("resnet20", square(8, 64, 64, 3, 1));
  b.run_conv("resnet50", square(224, 3, 64, 7, 2), true);
  b.run_conv("resnet50", square(56, 64, 64, 3, 1));
  b.run_conv("resnet50", square(28, 128, 128, 3, 1));
  b.run_conv("resnet50", square(14, 256, 256, 3, 1));
  b.run_conv("resnet50", square(7, 512, 512, 3, 1));
  b.run_conv("resnet50", square(14, 1024, 256, 1, 1));
  b.run_conv("resnext50", square(56, 128, 128, 3, 1, 32));
  b.run_conv("resnext50", square(14, 512, 512, 3, 1, 32));
  b.run_conv("superres", square(224, 1, 64, 5, 1), true);
  b.run_conv("superres", square(224, 64, 64, 3, 1));
  b.run_conv("superres", square(224, 64, 32, 3, 1));
  b.run_conv("superres", square(224, 32, 9, 3, 1));
}

void run_gemms(Bench& b) {
  b.run_gemm("bert", 128, 768, 768);
  b.run_gemm("bert", 128, 3072, 768);
  b.run_gemm("bert", 128, 768, 3072);
  b.run_gemm("square", 1024, 1024, 1024);
  b.run_gemm("gemv", 1, 1000, 1280);
  b.run_gemm("gemv", 1, 4096, 1024);
  b.run_gemm("gemv", 4, 768, 768);
  b.run_batch_gemm("bert scores", 12, 128, 128, 64, true);
  b.run_batch_gemm("decode scores", 12, 1, 512, 64, true);
  b.run_batch_gemm("decode mix", 12, 1, 64, 512, false);
  b.run_batch_gemm("bert mix", 12, 128, 64, 128, false);
}

}  // namespace
}  // namespace tenon::cpu

int main(int argc, char** argv) {
  tenon::cpu::Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag == "--threads") options.threads = std::atoi(argv[i + 1]);
    if (flag == "--filter") options.filter = argv[i + 1];
    if (flag == "--isa") tenon::cpu::set_isa_cap(argv[i + 1]);
    if (flag == "--ms") options.milliseconds = std::atof(argv[i + 1]);
  }
  tenon::cpu::Bench bench(options);
  std::printf("%s, %d threads, measured peak %.1f GFLOP/s\n", tenon::cpu::isa_name(), options.threads, bench.peak);
  run_yolo(bench);
  run_mobile(bench);
  run_residual(bench);
  run_gemms(bench);
  return 0;
}
