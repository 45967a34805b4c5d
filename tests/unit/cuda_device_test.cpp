// The kernels on a real device against loops in double. Skipped, saying why, where there is no NVIDIA GPU.
#include <gtest/gtest.h>

#include "../device/runner.hpp"

namespace tenon::cuda {
namespace {

using testing::Runner;
using testing::Scratch;

Runner* runner() {
  static std::string why;
  static std::unique_ptr<Runner> one = [] {
    try {
      return std::make_unique<Runner>();
    } catch (const Error& e) {
      why = e.what();
      return std::unique_ptr<Runner>();
    }
  }();
  if (!one) std::printf("*** NO CUDA DEVICE, NOTHING IS RUN *** %s\n", why.c_str());
  return one.get();
}

#define NEEDS_DEVICE() \
  Runner* r = runner(); \
  if (!r) GTEST_SKIP() << "no CUDA device"

double silu(double x) { return x / (1 + std::exp(-x)); }

struct ProductCase {
  const char* name;
  Product product;
  bool residual;
};

/// A * B + bias, SiLU or, with a residual, ReLU of the sum with it; rows of `ld`, columns beyond the filters untouched.
std::vector<double> product_reference(const Product& p, const std::vector<float>& a, const std::vector<float>& b,
                                      const std::vector<float>& bias, const std::vector<float>* residual, int64_t ld) {
  const Window& w = p.window;
  int64_t rows = p.rows(), taps = int64_t{w.kernel[0]} * w.kernel[1];
  std::vector<double> out(static_cast<size_t>(rows * p.filters));
  auto one_row = [&](int64_t m) {
    int64_t x = m % w.out_width, y = m / w.out_width % w.out_height, n = m / w.out_width / w.out_height;
    for (int f = 0; f < p.filters; ++f) {
      double sum = 0;
      for (int64_t t = 0; t < taps; ++t) {
        int64_t iy = y * w.stride[0] - w.pad[0] + t / w.kernel[1] * w.dilation[0],
                ix = x * w.stride[1] - w.pad[1] + t % w.kernel[1] * w.dilation[1];
        if (iy < 0 || iy >= w.height || ix < 0 || ix >= w.width) continue;
        const float* from = a.data() + ((n * w.height + iy) * w.width + ix) * w.pixel_stride;
        const float* filter = b.data() + (int64_t{f} * taps + t) * w.channels;
        for (int c = 0; c < w.channels; ++c) sum += double{from[c]} * filter[c];
      }
      sum += bias[f];
      out[m * p.filters + f] = residual ? std::max(0.0, sum + (*residual)[m * ld + f]) : silu(sum);
    }
  };
  std::vector<std::thread> threads;
  unsigned count = std::max(1u, std::thread::hardware_concurrency());
  for (unsigned t = 0; t < count; ++t) {
    threads.emplace_back([&, t] {
      for (int64_t m = t; m < rows; m += count) one_row(m);
    });
  }
  for (std::thread& t : threads) t.join();
  return out;
}

double tolerance(Math math) {
  switch (math) {
    case Math::kHalf: return 8e-4;
    case Math::kBFloat16: return 6e-3;
    case Math::kTF32: return 2e-3;
    case Math::kTF32x3: return 2e-5;  // tensor cores do not round the sums to nearest
    default: return 1e-6;
  }
}

void check_product(Runner& r, const ProductCase& c, Math math) {
  Product p = c.product;
  p.math = math;
  DType dtype = testing::dtype_of(math);
  const Window& w = p.window;
  int64_t ld = p.filters + 24, rows = p.rows();  // a slice of a wider buffer
  auto a =
      testing::random_values(static_cast<size_t>(int64_t{w.batch} * w.height * w.width * w.pixel_stride), 1, dtype);
  auto b = testing::random_values(static_cast<size_t>(int64_t{p.filters} * p.depth()), 2, dtype,
                                  1.0f / std::sqrt(static_cast<float>(p.depth())));
  auto bias = testing::random_values(static_cast<size_t>(p.filters), 3, DType::kFloat32);
  auto residual = testing::random_values(static_cast<size_t>(rows * ld), 4, dtype);
  auto expected = product_reference(p, a, b, bias, c.residual ? &residual : nullptr, ld);
  TileEpilogue epilogue = testing::bias_epilogue(dtype, ld, c.residual ? EwOp::kRelu : EwOp::kSilu, c.residual);
  auto tactics = product_tactics(p, epilogue, r.device->info(), 200);
  ASSERT_FALSE(tactics.empty()) << c.name;
  std::vector<KernelPlan> plans;
  std::vector<const KernelPlan*> pointers;
  for (const auto& t : tactics) plans.push_back(plan_product(p, t, epilogue, r.device->info()));
  for (const auto& plan : plans) pointers.push_back(&plan);
  r.compile(pointers);
  Buffer da = r.upload(a, dtype), dbias = r.upload(bias, DType::kFloat32), dres = r.upload(residual, dtype);
  double worst = 0;
  for (size_t i = 0; i < tactics.size(); ++i) {
    SCOPED_TRACE(fmt::format("{} math {} {}", c.name, static_cast<int>(math), tactics[i].name()));
    FilterLayout layout = filter_layout(p, tactics[i]);
    int64_t taps = int64_t{w.kernel[0]} * w.kernel[1];
    Buffer db = r.upload(pack_filters(layout, math, b.data(), taps * w.channels, 1, w.channels));
    Buffer out = r.poisoned(static_cast<size_t>(rows * ld) * element_size(math));
    Scratch scratch(r, plans[i]);
    Operands operands;
    operands.in[0] = dbias.get();
    operands.in[1] = dres.get();
    operands.out[0] = out.get();
    Params params = product_params(p, tactics[i], *r.device, da.get(), db.get(), operands, scratch.workspace.get(),
                                   scratch.counters.get());
    for (int twice = 0; twice < 2; ++twice) r.run(plans[i], params);
    auto got = r.download(out, dtype);
    std::vector<float> mine(expected.size());
    int64_t touched = 0;
    for (int64_t m = 0; m < rows; ++m) {
      for (int64_t n = 0; n < ld; ++n) {
        if (n < p.filters) {
          mine[m * p.filters + n] = got[m * ld + n];
        } else {
          touched += got[m * ld + n] == got[m * ld + n];  // no longer NaN
        }
      }
    }
    double d = testing::distance(mine, expected);
    EXPECT_LT(d, tolerance(math));
    EXPECT_EQ(touched, 0) << "columns beyond the slice were written";
    if (!(d < worst)) worst = d;
  }
  std::printf("  %-28s math %d: %3zu tactics, worst %.2e\n", c.name, static_cast<int>(math), tactics.size(), worst);
}

std::vector<ProductCase> product_cases() {
  auto conv = [](testing::Runner*, Window w, int filters) {
    Product p;
    p.window = w;
    p.filters = filters;
    return p;
  };
  std::vector<ProductCase> cases;
  cases.push_back({"3x3 64->72 28x28 b2", conv(nullptr, testing::image(2, 28, 64, 3, 1, 1), 72), true});
  cases.push_back({"3x3/2 128->96 15x15 b3", conv(nullptr, testing::image(3, 15, 128, 3, 2, 1), 96), false});
  cases.push_back({"1x1/2 64->40 14x14", conv(nullptr, testing::image(1, 14, 64, 1, 2, 0), 40), false});
  cases.push_back({"7x7/2 4->64 64x64", conv(nullptr, testing::image(1, 64, 4, 7, 2, 3), 64), false});
  cases.push_back({"3x3 24->32 20x20", conv(nullptr, testing::image(1, 20, 24, 3, 1, 1), 32), true});
  Window dilated = testing::image(1, 17, 72, 3, 1, 2);
  dilated.dilation[0] = dilated.dilation[1] = 2;
  dilated.out_height = dilated.out_width = 17;
  dilated.pixel_stride = 104;
  cases.push_back({"3x3 dilated, slice of 104", conv(nullptr, dilated, 33), true});
  cases.push_back({"matrix 100x77x200", Product::matrix(Math::kHalf, 100, 77, 200, 208), false});
  cases.push_back({"matrix 257x768x768", Product::matrix(Math::kHalf, 257, 768, 768, 768), true});
  cases.push_back({"matrix 1x1000x2048", Product::matrix(Math::kHalf, 1, 1000, 2048, 2048), false});
  return cases;
}

TEST(CudaDevice, ProductsInEveryTactic) {
  NEEDS_DEVICE();
  for (const ProductCase& c : product_cases()) {
    for (Math math : {Math::kHalf, Math::kBFloat16, Math::kTF32, Math::kTF32x3, Math::kFloat32})
      check_product(*r, c, math);
  }
}

TEST(CudaDevice, Depthwise) {
  NEEDS_DEVICE();
  for (DType dtype : {DType::kFloat16, DType::kFloat32}) {
    for (auto [size, channels, stride, kernel, tile] :
         {std::array{29, 144, 2, 3, 1}, {14, 36, 1, 5, 4}, {20, 96, 1, 3, 2}, {9, 7, 1, 3, 4}}) {
      Window w = testing::image(2, size, channels, kernel, stride, kernel / 2);
      auto a = testing::random_values(static_cast<size_t>(2) * size * size * channels, 1, dtype);
      auto b = testing::random_values(static_cast<size_t>(kernel) * kernel * channels, 2, dtype);
      auto bias = testing::random_values(channels, 3, DType::kFloat32);
      std::vector<double> expected(static_cast<size_t>(w.pixels()) * channels);
      for (int64_t m = 0; m < w.pixels(); ++m) {
        int64_t x = m % w.out_width, y = m / w.out_width % w.out_height, n = m / w.out_width / w.out_height;
        for (int c = 0; c < channels; ++c) {
          double sum = bias[c];
          for (int t = 0; t < kernel * kernel; ++t) {
            int64_t iy = y * stride - w.pad[0] + t / kernel, ix = x * stride - w.pad[1] + t % kernel;
            if (iy >= 0 && iy < size && ix >= 0 && ix < size)
              sum += double{a[((n * size + iy) * size + ix) * channels + c]} * b[t * channels + c];
          }
          expected[m * channels + c] = std::max(0.0, sum);
        }
      }
      KernelPlan plan = plan_depthwise(w, dtype, testing::bias_epilogue(dtype, channels, EwOp::kRelu, false), tile);
      Buffer da = r->upload(a, dtype), db = r->upload(b, dtype), dbias = r->upload(bias, DType::kFloat32);
      Buffer out = r->poisoned(expected.size() * testing::size_of(dtype));
      Operands operands;
      operands.in[0] = dbias.get();
      operands.out[0] = out.get();
      r->run(plan, depthwise_params(da.get(), db.get(), operands));
      EXPECT_LT(testing::distance(r->download(out, dtype), expected), dtype == DType::kFloat16 ? 1e-3 : 1e-6)
          << size << ' ' << channels;
    }
  }
}

TEST(CudaDevice, Pooling) {
  NEEDS_DEVICE();
  for (DType dtype : {DType::kFloat16, DType::kFloat32}) {
    for (auto [size, channels, kernel, stride, pad] :
         {std::array{21, 64, 3, 2, 1}, {7, 200, 7, 1, 0}, {10, 9, 2, 2, 0}}) {
      for (PoolKind kind : {PoolKind::kMax, PoolKind::kMeanInside, PoolKind::kMeanAll}) {
        Window w = testing::image(2, size, channels, kernel, stride, pad);
        auto a = testing::random_values(static_cast<size_t>(2) * size * size * channels, 1, dtype);
        std::vector<double> expected(static_cast<size_t>(w.pixels()) * channels);
        for (int64_t m = 0; m < w.pixels(); ++m) {
          int64_t x = m % w.out_width, y = m / w.out_width % w.out_height, n = m / w.out_width / w.out_height;
          for (int c = 0; c < channels; ++c) {
            double sum = 0, top = -1e9;
            int count = 0;
            for (int t = 0; t < kernel * kernel; ++t) {
              int64_t iy = y * stride - pad + t / kernel, ix = x * stride - pad + t % kernel;
              if (iy < 0 || iy >= size || ix < 0 || ix >= size) continue;
              double v = a[((n * size + iy) * size + ix) * channels + c];
              sum += v, top = std::max(top, v), ++count;
            }
            expected[m * channels + c] = kind == PoolKind::kMax          ? top
                                         : kind == PoolKind::kMeanInside ? sum / count
                                                                         : sum / (kernel * kernel);
          }
        }
        Buffer da = r->upload(a, dtype), out = r->poisoned(expected.size() * testing::size_of(dtype));
        Operands operands;
        operands.out[0] = out.get();
        r->run(plan_pool(w, dtype, kind, TileEpilogue::store(dtype, channels)), pool_params(da.get(), operands));
        EXPECT_LT(testing::distance(r->download(out, dtype), expected), dtype == DType::kFloat16 ? 1e-3 : 1e-6)
            << size << ' ' << int(kind);
      }
    }
  }
}

TEST(CudaDevice, Rows) {
  NEEDS_DEVICE();
  for (DType dtype : {DType::kFloat16, DType::kFloat32}) {
    for (int64_t cols : {1, 7, 64, 197, 768, 1000, 3000, 12000}) {
      for (int kind = 0; kind <= static_cast<int>(RowKind::kMax); ++kind) {
        RowProblem p;
        p.kind = static_cast<RowKind>(kind);
        p.rows = 37, p.cols = cols;
        bool reduces = p.kind >= RowKind::kSum;
        Access x;
        x.dtype = dtype, x.row_stride = cols;
        p.in = {x, x};
        p.input.output(p.input.emit(EwOp::kAdd, {p.input.input(), p.input.input()}));
        p.epilogue = TileEpilogue::store(dtype, reduces ? 1 : cols);
        auto a = testing::random_values(static_cast<size_t>(37 * cols), 1, dtype, 3),
             b = testing::random_values(static_cast<size_t>(37 * cols), 2, dtype);
        std::vector<double> expected;
        for (int64_t m = 0; m < 37; ++m) {
          double sum = 0, squares = 0, top = -1e30, e = 0, var = 0;
          auto at = [&](int64_t c) { return static_cast<double>(a[m * cols + c] + b[m * cols + c]); };
          for (int64_t c = 0; c < cols; ++c) sum += at(c), squares += at(c) * at(c), top = std::max(top, at(c));
          for (int64_t c = 0; c < cols; ++c)
            e += std::exp(at(c) - top), var += (at(c) - sum / cols) * (at(c) - sum / cols);
          if (reduces) {
            expected.push_back(p.kind == RowKind::kSum ? sum : p.kind == RowKind::kMean ? sum / cols : top);
            continue;
          }
          for (int64_t c = 0; c < cols; ++c) {
            double s = at(c) - top;
            expected.push_back(kind == 0   ? std::exp(s) / e
                               : kind == 1 ? s - std::log(e)
                               : kind == 2 ? (at(c) - sum / cols) / std::sqrt(var / cols + 1e-5)
                                           : at(c) / std::sqrt(squares / cols + 1e-5));
          }
        }
        Buffer da = r->upload(a, dtype), db = r->upload(b, dtype),
               out = r->poisoned(expected.size() * testing::size_of(dtype));
        Operands operands;
        operands.in[0] = da.get(), operands.in[1] = db.get(), operands.out[0] = out.get();
        r->run(plan_rows(p), operand_params(operands));
        double limit = dtype == DType::kFloat16 ? 2e-3 : 1e-5;
        if (cols == 1 && kind <= 2) {
          EXPECT_EQ(r->download(out, dtype)[3], kind == 0 ? 1.0f : 0.0f);
        } else {
          EXPECT_LT(testing::distance(r->download(out, dtype), expected), limit) << cols << " kind " << kind;
        }
      }
    }
  }
}

TEST(CudaDevice, Regions) {
  NEEDS_DEVICE();
  // gelu(a + b) with b along the rows, a transposed: out[i, j] from a[j, i].
  for (auto [rows, cols] : {std::array{33, 70}, {64, 128}, {5, 1}}) {
    Region region;
    auto a = region.expression.input(), b = region.expression.input();
    region.expression.output(region.expression.emit(EwOp::kGelu, {region.expression.emit(EwOp::kAdd, {a, b})}));
    region.dims = {rows, cols};
    region.in_types = {DType::kFloat32, DType::kFloat16};
    region.out_types = {DType::kFloat16};
    region.in_strides = {{1, rows}, {0, 1}};
    region.out_strides = {{cols, 1}};
    auto x = testing::random_values(static_cast<size_t>(rows) * cols, 1, DType::kFloat32, 3),
         y = testing::random_values(cols, 2, DType::kFloat16);
    std::vector<double> expected;
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j < cols; ++j) {
        double v = x[j * rows + i] + y[j];
        expected.push_back(0.5 * v * (1 + std::erf(v / std::sqrt(2.0))));
      }
    }
    Buffer da = r->upload(x, DType::kFloat32), db = r->upload(y, DType::kFloat16),
           out = r->poisoned(expected.size() * 2);
    Operands operands;
    operands.in[0] = da.get(), operands.in[1] = db.get(), operands.out[0] = out.get();
    r->run(plan_region(region), operand_params(operands));
    EXPECT_LT(testing::distance(r->download(out, DType::kFloat16), expected), 1e-3) << rows;
  }
}

void check_attention(Runner& r, Attention a) {
  DType dtype = testing::dtype_of(a.math);
  int kv = a.heads / a.share, d = a.head;
  a.q = a.out = {int64_t{a.queries} * a.heads * d, d, int64_t{a.heads} * d};
  a.k = a.v = {int64_t{a.keys} * kv * d, d, int64_t{kv} * d};
  a.mask = {0, int64_t{a.queries} * a.keys, a.keys};
  auto q = testing::random_values(static_cast<size_t>(a.batch * a.q.batch), 1, dtype, 2),
       k = testing::random_values(static_cast<size_t>(a.batch * a.k.batch), 2, dtype, 2);
  auto v = testing::random_values(static_cast<size_t>(a.batch * a.v.batch), 3, dtype);
  auto mask = testing::random_values(static_cast<size_t>(a.heads * a.mask.head), 4,
                                     a.mask_type == DType::kBool ? DType::kFloat32 : DType::kFloat16);
  std::vector<std::byte> mask_bytes;
  if (a.mask_type == DType::kBool) {
    for (float m : mask) mask_bytes.push_back(std::byte{m > 0});
  } else {
    mask_bytes = testing::to_bytes(mask, DType::kFloat16);
  }
  std::vector<double> expected(q.size());
  for (int n = 0; n < a.batch; ++n) {
    for (int h = 0; h < a.heads; ++h) {
      for (int i = 0; i < a.queries; ++i) {
        std::vector<double> s(a.keys);
        double top = -1e300, sum = 0;
        for (int j = 0; j < a.keys; ++j) {
          double dot = 0;
          for (int c = 0; c < d; ++c)
            dot += double{q[n * a.q.batch + i * a.q.row + h * d + c]} *
                   k[n * a.k.batch + j * a.k.row + h / a.share * d + c];
          dot *= a.scale;
          if (a.softcap != 0) dot = a.softcap * std::tanh(dot / a.softcap);
          float m = mask[h * a.mask.head + i * a.mask.row + j];
          if (a.mask_type == DType::kFloat16) dot += m;
          if ((a.mask_type == DType::kBool && !(m > 0)) || (a.causal && j > i + a.causal_shift)) dot = -INFINITY;
          s[j] = dot;
          top = std::max(top, dot);
        }
        for (double& x : s) x = std::exp(x - top), sum += x;
        for (int c = 0; c < d; ++c) {
          double y = 0;
          for (int j = 0; j < a.keys; ++j) y += s[j] / sum * v[n * a.v.batch + j * a.v.row + h / a.share * d + c];
          expected[n * a.q.batch + i * a.q.row + h * d + c] = y;
        }
      }
    }
  }
  Buffer dq = r.upload(q, dtype), dk = r.upload(k, dtype), dv = r.upload(v, dtype), dm = r.upload(mask_bytes),
         out = r.poisoned(q.size() * 2);
  r.run(plan_attention(a, r.device->info()), attention_params(dq.get(), dk.get(), dv.get(), dm.get(), out.get()));
  EXPECT_LT(testing::distance(r.download(out, dtype), expected), a.math == Math::kHalf ? 2e-3 : 1.2e-2)
      << a.queries << ' ' << a.keys << ' ' << a.head;
}

TEST(CudaDevice, Attention) {
  NEEDS_DEVICE();
  Attention a;
  a.batch = 2, a.heads = 4, a.queries = 128, a.keys = 128, a.head = 64, a.scale = 0.125f;
  check_attention(*r, a);
  a.queries = 50, a.keys = 197, a.share = 2;
  check_attention(*r, a);
  a.causal = true, a.causal_shift = 147;
  check_attention(*r, a);
  a.softcap = 5, a.mask_type = DType::kFloat16;
  check_attention(*r, a);
  a.math = Math::kBFloat16, a.head = 128, a.mask_type = DType::kBool;
  check_attention(*r, a);
  a.head = 32, a.causal = false, a.softcap = 0, a.queries = 1, a.keys = 300;
  check_attention(*r, a);
  a.math = Math::kHalf, a.head = 256, a.queries = 70;
  check_attention(*r, a);
}

TEST(CudaDevice, GraphsRepeat) {
  NEEDS_DEVICE();
  // x = 2x + 1 twenty times, programmatic edges and without: each kernel sees its predecessor's result.
  for (bool programmatic : {false, true}) {
    if (programmatic && r->device->info().capability() < 90) continue;
    Region region;
    region.expression.output(region.expression.emit(EwOp::kAffine, {region.expression.input()}, 2, 1));
    region.dims = {100000};
    region.in_types = region.out_types = {DType::kFloat32};
    region.in_strides = region.out_strides = {{1}};
    KernelPlan plan = plan_region(region);
    plan.shape.programmatic = programmatic;
    std::vector<float> x(100000, 0.5f);
    Buffer a = r->upload(x, DType::kFloat32), b = r->poisoned(400000);
    Operands there, back;
    there.in[0] = a.get(), there.out[0] = b.get(), back.in[0] = b.get(), back.out[0] = a.get();
    r->load(plan);
    r->stream.begin_capture();
    for (int i = 0; i < 10; ++i) {
      r->run(plan, operand_params(there));
      r->run(plan, operand_params(back));
    }
    Graph graph = r->stream.end_capture();
    r->stream.launch(graph);
    auto got = r->download(a, DType::kFloat32);
    for (float g : got) ASSERT_EQ(g, 0.5f * 1048576 + 1048575);
  }
}

}  // namespace
}  // namespace tenon::cuda
