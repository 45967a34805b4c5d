// Times the 8-bit kernels on the layers of YOLOv8n (640x640) and MobileNetV2 (224x224) and on some matrices, uint8
// activations and int8 weights, requantised to uint8. Prints one line a layer: GOP/s at 1 and 2 threads (the minimum
// time of many repetitions). qkernel_ort.py times the same layers in ONNX Runtime from the lines of `--list`.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "base/thread_pool.hpp"
#include "cpu/qconv.hpp"
#include "cpu/qdepthwise.hpp"
#include "cpu/qgemm.hpp"

namespace tenon::cpu {
namespace {

struct Layer {
  const char* net;
  int64_t size, in_c, out_c, kernel, stride, groups;
  int count;  // in the network
};

constexpr Layer kLayers[] = {
    {"yolov8n", 640, 3, 16, 3, 2, 1, 1},         {"yolov8n", 320, 16, 32, 3, 2, 1, 1},
    {"yolov8n", 160, 32, 32, 1, 1, 1, 1},        {"yolov8n", 160, 16, 16, 3, 1, 1, 2},
    {"yolov8n", 160, 48, 32, 1, 1, 1, 1},        {"yolov8n", 160, 32, 64, 3, 2, 1, 1},
    {"yolov8n", 80, 64, 64, 1, 1, 1, 1},         {"yolov8n", 80, 32, 32, 3, 1, 1, 6},
    {"yolov8n", 80, 128, 64, 1, 1, 1, 1},        {"yolov8n", 80, 64, 128, 3, 2, 1, 1},
    {"yolov8n", 40, 128, 128, 1, 1, 1, 1},       {"yolov8n", 40, 64, 64, 3, 1, 1, 9},
    {"yolov8n", 40, 256, 128, 1, 1, 1, 1},       {"yolov8n", 40, 128, 256, 3, 2, 1, 1},
    {"yolov8n", 20, 256, 256, 1, 1, 1, 1},       {"yolov8n", 20, 128, 128, 3, 1, 1, 4},
    {"yolov8n", 20, 384, 256, 1, 1, 1, 3},       {"yolov8n", 20, 512, 256, 1, 1, 1, 1},
    {"yolov8n", 80, 64, 64, 3, 1, 1, 2},         {"yolov8n", 80, 64, 80, 3, 1, 1, 1},
    {"yolov8n", 80, 80, 80, 3, 1, 1, 1},         {"yolov8n", 80, 80, 80, 1, 1, 1, 1},
    {"yolov8n", 40, 128, 80, 3, 1, 1, 1},        {"yolov8n", 20, 256, 80, 3, 1, 1, 1},
    {"mobilenetv2", 224, 3, 32, 3, 2, 1, 1},     {"mobilenetv2", 112, 32, 32, 3, 1, 32, 1},
    {"mobilenetv2", 112, 32, 16, 1, 1, 1, 1},    {"mobilenetv2", 112, 16, 96, 1, 1, 1, 1},
    {"mobilenetv2", 112, 96, 96, 3, 2, 96, 1},   {"mobilenetv2", 56, 96, 24, 1, 1, 1, 1},
    {"mobilenetv2", 56, 24, 144, 1, 1, 1, 2},    {"mobilenetv2", 56, 144, 144, 3, 1, 144, 1},
    {"mobilenetv2", 28, 32, 192, 1, 1, 1, 3},    {"mobilenetv2", 28, 192, 192, 3, 1, 192, 2},
    {"mobilenetv2", 28, 192, 32, 1, 1, 1, 2},    {"mobilenetv2", 14, 64, 384, 1, 1, 1, 4},
    {"mobilenetv2", 14, 384, 384, 3, 1, 384, 4}, {"mobilenetv2", 14, 384, 64, 1, 1, 1, 3},
    {"mobilenetv2", 14, 576, 96, 1, 1, 1, 2},    {"mobilenetv2", 7, 160, 960, 1, 1, 1, 3},
    {"mobilenetv2", 7, 960, 960, 3, 1, 960, 3},  {"mobilenetv2", 7, 960, 320, 1, 1, 1, 1},
    {"mobilenetv2", 7, 320, 1280, 1, 1, 1, 1},
};

struct Matrix {
  int64_t m, n, k;
};
constexpr Matrix kMatrices[] = {{1, 1000, 1280}, {1, 4096, 4096},  {4, 768, 768},    {16, 3072, 768},
                                {128, 768, 768}, {128, 3072, 768}, {512, 768, 3072}, {1024, 1024, 1024}};

struct Free {
  void operator()(uint8_t* p) const { ::operator delete (p, std::align_val_t{64}); }
};
using Memory = std::unique_ptr<uint8_t, Free>;

Memory allocate(size_t bytes) {
  Memory m(static_cast<uint8_t*>(::operator new (bytes, std::align_val_t{64})));
  std::mt19937 rng(1);
  for (size_t i = 0; i < bytes; ++i) m.get()[i] = static_cast<uint8_t>(rng() >> 8);
  return m;
}

template <class F>
double seconds(F&& body) {
  using Clock = std::chrono::steady_clock;
  double best = 1e9;
  const auto start = Clock::now();
  for (int i = 0; i < 2000 && (i < 20 || Clock::now() - start < std::chrono::milliseconds(150)); ++i) {
    const auto from = Clock::now();
    body();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - from).count());
  }
  return best;
}

constexpr float kScale = 0.001f;

QEpilogue requant(void* out, int64_t ld) {
  QEpilogue e;
  e.kind = QEpilogueKind::kRequant;
  e.out = out;
  e.ld_out = ld;
  e.scale = &kScale;
  e.out_zp = 128;
  return e;
}

double time_layer(QIsa isa, const Layer& l, int threads) {
  ThreadPool pool(threads);
  const int64_t pad = l.kernel / 2;
  const QConvShape s{1,        l.size, l.size, l.in_c, l.out_c, l.kernel, l.kernel, l.stride,
                     l.stride, 1,      1,      pad,    pad,     pad,      pad,      l.groups};
  const Memory x = allocate(static_cast<size_t>(l.size * l.size * l.in_c));
  const Memory w = allocate(static_cast<size_t>(l.out_c * (l.in_c / l.groups) * l.kernel * l.kernel));
  const Memory y = allocate(static_cast<size_t>(s.out_h() * s.out_w() * l.out_c));
  const bool depthwise = l.groups > 1;
  const uint32_t layout = depthwise ? qdepthwise_layout(isa) : q_layout(isa);
  const Memory packed = allocate(depthwise ? qdepthwise_packed_size(layout, s) : qconv_packed_size(layout, s));
  (depthwise ? qdepthwise_pack : qconv_pack)(layout, s, {w.get(), QType::kS8, nullptr, false}, packed.get());
  const Memory workspace = allocate((depthwise ? qdepthwise_workspace : qconv_workspace)(isa, s, threads));
  const QConvArgs args{
      s, x.get(), QType::kU8, 0, l.size * l.in_c, l.in_c, 120, packed.get(), requant(y.get(), l.out_c)};
  return seconds([&] { (depthwise ? qdepthwise : qconv)(isa, args, workspace.get(), pool); });
}

double time_matrix(QIsa isa, const Matrix& m, int threads) {
  ThreadPool pool(threads);
  const Memory a = allocate(static_cast<size_t>(m.m * m.k));
  const Memory b = allocate(static_cast<size_t>(m.k * m.n));
  const Memory c = allocate(static_cast<size_t>(m.m * m.n * 4));
  const Memory packed = allocate(qgemm_packed_size(q_layout(isa), m.k, m.n));
  qgemm_pack(q_layout(isa), {m.k, m.n, b.get(), QType::kS8, m.n, 1, nullptr, false}, packed.get());
  const Memory workspace = allocate(qgemm_workspace(isa, m.k, threads));
  QEpilogue e;
  e.out = c.get();
  e.ld_out = m.n;
  const QGemmArgs args{m.m, m.n, m.k, a.get(), QType::kU8, m.k, 120, packed.get(), e};
  return seconds([&] { qgemm(isa, args, workspace.get(), pool); });
}

double gop(const Layer& l) {
  const int64_t out = (l.size + l.stride - 1) / l.stride;
  return 2e-9 * static_cast<double>(out * out * l.out_c * (l.in_c / l.groups) * l.kernel * l.kernel);
}

void run(QIsa isa) {
  fmt::print("isa {}\n", name(isa));
  const char* net = kLayers[0].net;
  double total[2] = {0, 0};
  for (const Layer& l : kLayers) {
    if (std::strcmp(net, l.net) != 0) {
      fmt::print("{} layers with their counts: {:.3f} ms and {:.3f} ms\n", net, total[0] * 1e3, total[1] * 1e3);
      net = l.net, total[0] = total[1] = 0;
    }
    const double one = time_layer(isa, l, 1), two = time_layer(isa, l, 2);
    total[0] += l.count * one, total[1] += l.count * two;
    fmt::print("conv {} {} {} {} {} {} {} | {:.1f} us {:.0f} GOP/s | {:.1f} us {:.0f} GOP/s\n", l.net, l.size, l.in_c,
               l.out_c, l.kernel, l.stride, l.groups, one * 1e6, gop(l) / one, two * 1e6, gop(l) / two);
  }
  fmt::print("{} layers with their counts: {:.3f} ms and {:.3f} ms\n", net, total[0] * 1e3, total[1] * 1e3);
  for (const Matrix& m : kMatrices) {
    const double work = 2e-9 * static_cast<double>(m.m * m.n * m.k);
    const double one = time_matrix(isa, m, 1), two = time_matrix(isa, m, 2);
    fmt::print("gemm {} {} {} | {:.1f} us {:.0f} GOP/s | {:.1f} us {:.0f} GOP/s\n", m.m, m.n, m.k, one * 1e6,
               work / one, two * 1e6, work / two);
  }
}

void list() {
  for (const Layer& l : kLayers) {
    fmt::print("conv {} {} {} {} {} {} {} {}\n", l.net, l.size, l.in_c, l.out_c, l.kernel, l.stride, l.groups, l.count);
  }
  for (const Matrix& m : kMatrices) fmt::print("gemm {} {} {}\n", m.m, m.n, m.k);
}

}  // namespace
}  // namespace tenon::cpu

int main(int argc, char** argv) {
  using namespace tenon::cpu;
  if (argc > 1 && std::strcmp(argv[1], "--list") == 0) {
    list();
    return 0;
  }
  bool any = false;
  for (QIsa isa : kAllQIsas) {
    const bool wanted = argc > 1 ? std::strcmp(argv[1], name(isa)) == 0 : isa == q_best_isa();
    if (wanted && q_available(isa)) run(isa), any = true;
  }
  if (!any) fmt::print(stderr, "usage: qkernel_bench [--list | sse4 | avx2 | avx512 | avx512_vnni | amx_int8]\n");
  return any ? 0 : 1;
}
