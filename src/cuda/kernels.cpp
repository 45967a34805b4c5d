#include "cuda/kernels.hpp"

#include <algorithm>
#include <cstring>

#include "base/error.hpp"

namespace tenon::cuda {

std::string define(const char* name, int64_t value) { return fmt::format("#define {} {}\n", name, value); }

namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

std::string define(const char* name, const std::string& value) { return fmt::format("#define {} {}\n", name, value); }
using cuda::define;

/// Whether everything that is stored fits 16 bits: then approximate functions are exact enough.
bool narrow(const TileEpilogue& e) {
  return std::all_of(e.out.begin(), e.out.end(),
                     [](const Access& a) { return a.dtype == DType::kFloat16 || a.dtype == DType::kBFloat16; });
}

KernelSource source_of(const char* file, std::string defines, std::string snippet, bool fast) {
  if (fast) defines += "#define TENON_FAST 1\n";
  return {file, std::move(defines), std::move(snippet), fast};
}

unsigned blocks_for(int64_t threads_wanted, int threads) {
  int64_t blocks = ceil_div(std::max<int64_t>(threads_wanted, 1), threads);
  if (blocks > 0x7fffffff)
    fail(Code::kUnsupported, "A kernel would need {} blocks; CUDA allows {}.", blocks, 0x7fffffff);
  return static_cast<unsigned>(blocks);
}

int alignment_of(int64_t elements, int limit) {
  int v = limit;
  while (v > 1 && elements % v != 0) v /= 2;
  return v;
}

}  // namespace

int element_size(Math math) noexcept { return math == Math::kHalf || math == Math::kBFloat16 ? 2 : 4; }

std::string Window::defines() const {
  std::string text =
      define("BATCH", batch) + define("IMG_H", height) + define("IMG_W", width) + define("IMG_C", channels);
  text += define("KER_H", kernel[0]) + define("KER_W", kernel[1]) + define("STRIDE_H", stride[0]) +
          define("STRIDE_W", stride[1]);
  text +=
      define("PAD_H", pad[0]) + define("PAD_W", pad[1]) + define("DIL_H", dilation[0]) + define("DIL_W", dilation[1]);
  return text + define("OUT_H", out_height) + define("OUT_W", out_width) + define("A_LD", pixel_stride);
}

KernelPlan plan_depthwise(const Window& window, DType dtype, const TileEpilogue& epilogue, int tile_width) {
  int v = std::min(epilogue.vector(dtype == DType::kFloat32 ? 4 : 8), alignment_of(window.pixel_stride, 8));
  v = std::min(v, alignment_of(window.channels, 8));
  // Wide tiles read less; narrow ones fill the machine.
  int64_t threads_of_one = window.pixels() * window.channels / v;
  if (tile_width == 0) tile_width = threads_of_one > 400000 ? 4 : threads_of_one > 100000 ? 2 : 1;
  int threads = 128;
  int64_t count =
      int64_t{window.batch} * window.out_height * ceil_div(window.out_width, tile_width) * ceil_div(window.channels, v);
  std::string defines = window.defines() + define("ELEM", std::string(type_name(dtype))) + define("OUT_VEC", v) +
                        define("TILE_W", tile_width) + define("THREADS", threads);
  KernelPlan plan;
  plan.source = source_of("depthwise.cu", defines, epilogue.text(), narrow(epilogue));
  plan.shape.grid[0] = blocks_for(count, threads);
  plan.shape.block[0] = static_cast<unsigned>(threads);
  plan.detail = fmt::format("depthwise {} pixels x {} channels a thread", tile_width, v);
  return plan;
}

Params depthwise_params(DevicePtr a, DevicePtr weights, const Operands& operands) {
  Params p;
  p.add(a).add(weights).add(operands);
  return p;
}

KernelPlan plan_pool(const Window& window, DType dtype, PoolKind kind, const TileEpilogue& epilogue) {
  int v = std::min({epilogue.vector(dtype == DType::kFloat32 ? 4 : 8), alignment_of(window.pixel_stride, 8),
                    alignment_of(window.channels, 8)});
  int threads = 128, taps = window.kernel[0] * window.kernel[1];
  int parts = taps >= 32 ? 8 : 1;
  int64_t count = window.pixels() * ceil_div(window.channels, v) * parts;
  std::string defines = window.defines() + define("ELEM", std::string(type_name(dtype))) + define("OUT_VEC", v) +
                        define("PARTS", parts) + define("KIND", static_cast<int>(kind)) + define("THREADS", threads);
  KernelPlan plan;
  plan.source = source_of("pool.cu", defines, epilogue.text(), narrow(epilogue));
  plan.shape.grid[0] = blocks_for(count, threads);
  plan.shape.block[0] = static_cast<unsigned>(threads);
  plan.detail = fmt::format("pool {}x{}, {} channels a thread", window.kernel[0], window.kernel[1], v);
  return plan;
}

Params pool_params(DevicePtr a, const Operands& operands) {
  Params p;
  p.add(a).add(operands);
  return p;
}

Params operand_params(const Operands& operands) {
  Params p;
  p.add(operands);
  return p;
}

KernelPlan plan_rows(const RowProblem& problem) {
  constexpr int64_t kLongest = 16384;
  if (problem.cols > kLongest)
    fail(Code::kUnsupported, "Rows of {} elements; the kernel keeps at most {}.", problem.cols, kLongest);
  TENON_CHECK(static_cast<int>(problem.in.size()) == problem.input.inputs() && problem.input.outputs() == 1);
  bool reduces = problem.kind >= RowKind::kSum;
  TileEpilogue reads;
  reads.in = problem.in;
  int v = std::min(reads.vector(), alignment_of(problem.cols, 8));
  if (!reduces) v = std::min(v, problem.epilogue.vector());
  int group = problem.cols <= 32 * v * 4 ? 32 : problem.cols <= 2048 * v ? 128 : 256;
  while (group < 1024 && ceil_div(problem.cols, int64_t{group} * v) * v > 32) group *= 2;
  int threads = group == 32 ? 128 : group;
  TileEpilogue epilogue = problem.epilogue;
  epilogue.first_in = static_cast<int>(problem.in.size());
  std::string text = epilogue.text();
  std::string functions = problem.input.functions();
  // A function that both expressions use is defined once.
  std::string own = epilogue.expression.functions();
  for (size_t at = 0, end; (end = functions.find('\n', at)) != std::string::npos; at = end + 1) {
    std::string line = functions.substr(at, end - at + 1);
    if (line.find("op_") != std::string::npos && own.find(line) == std::string::npos)
      text += "namespace ew { " + line + "}\n";
  }
  text += "template <int V>\nTENON_INLINE void input(const Operands& o, i64 row, int col, float (&x)[V]) {\n";
  std::vector<std::string> inputs;
  for (size_t i = 0; i < problem.in.size(); ++i) {
    text +=
        fmt::format("  float in{}[V];\n", i) + load_text(problem.in[i], static_cast<int>(i), fmt::format("in{}", i));
    inputs.push_back(fmt::format("in{}[i]", i));
  }
  text += "  UNROLL for (int i = 0; i < V; ++i) {\n" + problem.input.body(inputs, {"x[i]"}) + "  }\n}\n";
  KernelPlan plan;
  std::string defines = define("ROWS", problem.rows) + define("COLS", problem.cols) +
                        define("KIND", static_cast<int>(problem.kind)) + define("GROUP", group) +
                        define("THREADS", threads) + define("OUT_VEC", v) +
                        define("EPSILON", fmt::format("{:.9e}f", problem.epsilon));
  plan.source = source_of("rows.cu", defines, text, narrow(problem.epilogue));
  plan.shape.grid[0] = blocks_for(problem.rows * group, threads);
  plan.shape.block[0] = static_cast<unsigned>(threads);
  plan.detail = fmt::format("rows, {} threads a row", group);
  return plan;
}

KernelPlan plan_region(const Region& region) {
  int v = region.vector(), threads = 256;
  if (region.count() / v < 132 * 256) threads = 128;
  bool fast = std::all_of(region.out_types.begin(), region.out_types.end(),
                          [](DType t) { return t == DType::kFloat16 || t == DType::kBFloat16; });
  KernelPlan plan;
  plan.source =
      source_of("pointwise.cu", define("COUNT", region.count()) + define("OUT_VEC", v) + define("THREADS", threads),
                region.text(), fast);
  plan.shape.grid[0] = blocks_for(ceil_div(region.count(), v), threads);
  plan.shape.block[0] = static_cast<unsigned>(threads);
  plan.detail = fmt::format("pointwise, {} elements a thread", v);
  return plan;
}

namespace {

struct CopyDim {
  int64_t size, from, to;
};

// Dimensions in the order of the target's strides, those merged that are one walk on both sides.
std::vector<CopyDim> merged(const std::vector<int64_t>& dims, const std::vector<int64_t>& from,
                            const std::vector<int64_t>& to) {
  std::vector<CopyDim> all, out;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] != 1) all.push_back({dims[i], from[i], to[i]});
  }
  std::stable_sort(all.begin(), all.end(), [](const CopyDim& a, const CopyDim& b) { return a.to > b.to; });
  for (const CopyDim& d : all) {
    if (!out.empty() && out.back().from == d.from * d.size && out.back().to == d.to * d.size) {
      out.back() = {out.back().size * d.size, d.from, d.to};
    } else {
      out.push_back(d);
    }
  }
  if (out.empty()) out.push_back({1, 1, 1});
  return out;
}

}  // namespace

KernelPlan plan_copy(int element_bytes, std::vector<int64_t> dims, std::vector<int64_t> from, std::vector<int64_t> to) {
  std::vector<CopyDim> walk = merged(dims, from, to);
  int v = walk.back().from == 1 && walk.back().to == 1 ? 16 / element_bytes : 1;
  auto fits = [&](int n) {
    if (walk.back().size % n != 0) return false;
    return std::all_of(walk.begin(), walk.end() - 1,
                       [&](const CopyDim& d) { return d.from % n == 0 && d.to % n == 0; });
  };
  while (v > 1 && !fits(v)) v /= 2;
  const char* type = element_bytes == 1 ? "u8" : element_bytes == 2 ? "u16" : element_bytes == 4 ? "u32" : "u64";
  int64_t count = 1;
  std::string text =
      "#include \"prelude.cuh\"\nTENON_INLINE void region(const Operands& o, i64 index) {\n  i64 from = 0, to = 0;\n";
  std::string steps;
  for (const CopyDim& d : walk) count *= d.size;
  text += fmt::format("  {} rest = index;\n", count < (int64_t{1} << 31) ? "u32" : "i64");
  for (size_t i = walk.size(); i-- > 0;) {
    text += fmt::format("  from += i64(rest % {0}) * {1}ll, to += i64(rest % {0}) * {2}ll;{3}\n", walk[i].size,
                        walk[i].from, walk[i].to, i ? fmt::format(" rest /= {};", walk[i].size) : "");
  }
  text += fmt::format(
      "  typedef Pack<{0}, OUT_VEC> P;\n  *reinterpret_cast<P*>(static_cast<{0}*>(o.out[0]) + to) = "
      "*reinterpret_cast<const "
      "P*>(static_cast<const {0}*>(o.in[0]) + from);\n}}\n",
      type);
  int threads = 256;
  KernelPlan plan;
  plan.source = source_of("pointwise.cu", define("COUNT", count) + define("OUT_VEC", v) + define("THREADS", threads),
                          text, false);
  plan.shape.grid[0] = blocks_for(ceil_div(count, v), threads);
  plan.shape.block[0] = static_cast<unsigned>(threads);
  plan.detail = fmt::format("copy, {} bytes a thread", v * element_bytes);
  return plan;
}

// ---- Attention

KernelPlan plan_attention(const Attention& a, const DeviceInfo& device) {
  if (a.head % 16 != 0 || a.head > 256)
    fail(Code::kUnsupported, "Attention with heads of {} elements; the kernel takes multiples of 16 up to 256.",
         a.head);
  for (const Attention::Strides& s : {a.q, a.k, a.v, a.out}) {
    if (s.batch % 8 || s.head % 8 || s.row % 8)
      fail(Code::kUnsupported, "Attention over strides that are not multiples of 8 elements.");
  }
  if (a.math != Math::kHalf && a.math != Math::kBFloat16)
    fail(Code::kUnsupported, "The attention kernel computes in 16 bits.");
  if (a.math == Math::kBFloat16 && device.capability() < 80)
    fail(Code::kUnsupported, "bfloat16 needs compute capability 8.0.");
  int bq = 64, bk = a.head > 128 ? 32 : 64;
  int64_t blocks = int64_t{a.batch} * a.heads * ceil_div(a.queries, bq);
  while (bq > 16 && (blocks < device.multiprocessors || bq >= 2 * a.queries)) {
    bq /= 2;
    blocks = int64_t{a.batch} * a.heads * ceil_div(a.queries, bq);
  }
  auto strides = [](const char* name, const Attention::Strides& s) {
    return fmt::format("#define {0}_BATCH {1}ll\n#define {0}_HEAD {2}ll\n#define {0}_ROW {3}ll\n", name, s.batch,
                       s.head, s.row);
  };
  int mask = a.mask_type == DType::kUndefined ? 0 : a.mask_type == DType::kBool ? 2 : 1;
  std::string defines =
      define("MATH", static_cast<int>(a.math)) + define("HEAD", a.head) + define("BQ", bq) + define("BK", bk) +
      define("THREADS", bq * 2) + define("QUERIES", a.queries) + define("KEYS", a.keys) + define("HEADS", a.heads) +
      define("SHARE", a.share) + define("CAUSAL", a.causal) + define("CAUSAL_SHIFT", a.causal_shift) +
      define("SOFTCAP_ON", a.softcap != 0) + define("SOFTCAP", fmt::format("{:.9e}f", a.softcap)) +
      define("SCALE", fmt::format("{:.9e}f", a.scale)) + define("MASK", mask) +
      define("MASK_TYPE", std::string(type_name(mask ? a.mask_type : DType::kFloat32))) + strides("Q", a.q) +
      strides("K", a.k) + strides("V", a.v) + strides("O", a.out) + strides("M", a.mask);
  KernelPlan plan;
  plan.source = source_of("attention.cu", defines, "", true);
  plan.shape.grid = {static_cast<unsigned>(ceil_div(a.queries, bq)), static_cast<unsigned>(a.batch * a.heads), 1};
  plan.shape.block[0] = static_cast<unsigned>(bq * 2);
  plan.shape.shared_bytes = static_cast<unsigned>((bq + 4 * bk) * (a.head * 2 + 16));
  if (static_cast<int>(plan.shape.shared_bytes) > device.shared_per_block) {
    fail(Code::kUnsupported, "Attention with heads of {} needs {} bytes of shared memory; the device has {}.", a.head,
         plan.shape.shared_bytes, device.shared_per_block);
  }
  if (a.batch * a.heads > 65535) fail(Code::kUnsupported, "Attention over {} heads at once.", a.batch * a.heads);
  plan.detail = fmt::format("attention {}x{}", bq, bk);
  return plan;
}

Params attention_params(DevicePtr q, DevicePtr k, DevicePtr v, DevicePtr mask, DevicePtr out) {
  Params p;
  p.add(q).add(k).add(v).add(mask).add(out);
  return p;
}

}  // namespace tenon::cuda
