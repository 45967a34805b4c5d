#include "tactic/cuda.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "tactic/epilogue.hpp"
#include "tactic/libraries.hpp"

namespace tenon {

void define_conv_cuda(TacticTable& table);
void define_matmul_cuda(TacticTable& table);
void define_pool_cuda(TacticTable& table);
void define_rows_cuda(TacticTable& table);
void define_elementwise_cuda(TacticTable& table);

// ---- Runtime

namespace {
std::mutex runtime_mutex;
std::unique_ptr<CudaRuntime> runtime;
}  // namespace

CudaRuntime& CudaRuntime::open(int ordinal) {
  std::lock_guard lock(runtime_mutex);
  if (!runtime) runtime.reset(new CudaRuntime(ordinal));
  if (runtime->device_->info().ordinal != ordinal) {
    fail(Code::kUnsupported, "This process uses cuda:{}; cuda:{} needs a process of its own.",
         runtime->device_->info().ordinal, ordinal);
  }
  return *runtime;
}

CudaRuntime& CudaRuntime::current() {
  std::lock_guard lock(runtime_mutex);
  TENON_CHECK(runtime != nullptr);
  return *runtime;
}

CudaRuntime::CudaRuntime(int ordinal)
    : device_(cuda::Device::open(cuda::Driver::system(), ordinal)),
      compiler_(cuda::Compiler::system()),
      stream_(device_) {}

void CudaRuntime::compile(const std::vector<const cuda::KernelPlan*>& plans) {
  std::map<uint64_t, const cuda::KernelPlan*> wanted;
  {
    std::lock_guard lock(mutex_);
    for (const auto* plan : plans) {
      uint64_t key = plan->source.hash();
      if (!cubins_.contains(key)) wanted[key] = plan;
    }
  }
  std::vector<std::pair<uint64_t, const cuda::KernelPlan*>> list(wanted.begin(), wanted.end());
  std::atomic<size_t> next{0};
  std::exception_ptr error;
  auto work = [&] {
    for (size_t i; (i = next++) < list.size();) {
      try {
        cuda::Cubin cubin = compiler_->compile(list[i].second->source, device_->info().arch());
        std::lock_guard lock(mutex_);
        cubins_[list[i].first] = std::move(cubin);
      } catch (...) {
        std::lock_guard lock(mutex_);
        error = std::current_exception();
      }
    }
  };
  std::vector<std::thread> threads;
  size_t count = std::min<size_t>(list.size(), std::max(1u, std::thread::hardware_concurrency()));
  for (size_t t = 1; t < count; ++t) threads.emplace_back(work);
  work();
  for (std::thread& t : threads) t.join();
  if (error) std::rethrow_exception(error);
}

cuda::Function CudaRuntime::function(const cuda::KernelPlan& plan) {
  compile({&plan});
  uint64_t key = plan.source.hash();
  std::lock_guard lock(mutex_);
  auto& [module, function] = loaded_[fmt::format("{} {} {}", key, plan.shape.shared_bytes, plan.shape.cluster)];
  if (!function) {
    module = cuda::Module(device_, cubins_.at(key).bytes);
    function = module.function("kernel", plan.shape.shared_bytes, plan.shape.cluster);
  }
  return function;
}

std::shared_ptr<const cuda::Buffer> CudaRuntime::resident(const void* host, size_t bytes) {
  std::lock_guard lock(mutex_);
  auto& known = resident_[host];
  if (auto buffer = known.lock(); buffer && buffer->bytes() == bytes) return buffer;
  auto buffer = std::make_shared<cuda::Buffer>(device_, bytes);
  if (bytes > 0) {
    stream_.upload(buffer->get(), host, bytes);
    stream_.synchronize();
  }
  known = buffer;
  return buffer;
}

std::shared_ptr<const cuda::Buffer> CudaRuntime::zeros(size_t bytes) {
  std::lock_guard lock(mutex_);
  auto buffer = std::make_shared<cuda::Buffer>(device_, bytes);
  if (bytes > 0) {
    stream_.fill(buffer->get(), 0, bytes);
    stream_.synchronize();
  }
  return buffer;
}

size_t CudaRuntime::fastest(const std::string& key, size_t count, const std::function<double(size_t)>& seconds) {
  {
    std::lock_guard lock(mutex_);
    if (auto at = winners_.find(key); at != winners_.end() && at->second < count) return at->second;
  }
  size_t best = 0;
  double least = INFINITY;
  for (size_t i = 0; i < count; ++i) {
    double s = seconds(i);
    if (s < least * 0.98) least = s, best = i;
  }
  std::lock_guard lock(mutex_);
  winners_[key] = best;
  return best;
}

double CudaRuntime::time(const std::function<void(const cuda::Stream&)>& launch) {
  constexpr int kChain = 10, kTimes = 3;
  std::lock_guard lock(timing_);
  cuda::Event begin(device_), end(device_);
  stream_.begin_capture();
  cuda::Graph graph;
  try {
    for (int i = 0; i < kChain; ++i) launch(stream_);
    graph = stream_.end_capture();
  } catch (...) {
    stream_.cancel_capture();
    throw;
  }
  double least = INFINITY;
  for (int i = 0; i <= kTimes; ++i) {
    stream_.record(begin);
    stream_.launch(graph);
    stream_.record(end);
    end.synchronize();
    if (i > 0) least = std::min(least, end.since(begin) * 1e-3 / kChain);
  }
  return least;
}

// ---- Kernels

void CudaKernel::launch(const cuda::Stream& stream, const CudaBinding& binding) const {
  for (const Launch& l : launches_) l.function.launch(stream, l.shape, l.params(binding));
}

void CudaKernel::run(const RunArgs&) const {
  TENON_CHECK(!"a kernel of the GPU is launched by a session that has its memory");
}

std::unique_ptr<Kernel> make_cuda_kernel(const cuda::KernelPlan& plan,
                                         std::function<cuda::Params(const CudaBinding&)> params) {
  CudaRuntime& r = CudaRuntime::current();
  cuda::LaunchShape shape = plan.shape;
  shape.programmatic = r.device()->info().capability() >= 90;
  return std::make_unique<CudaKernel>(std::vector<CudaKernel::Launch>{{r.function(plan), shape, std::move(params)}}, 0,
                                      plan.detail);
}

Verdict cuda_yes(const Problem& p) {
  double bytes = 0;
  for (const auto* list : {&p.in, &p.out}) {
    for (const Operand& o : *list) bytes += o.present() ? static_cast<double>(byte_size(o.dtype, o.size())) : 0;
  }
  return Verdict::yes().with_cost(1e-10 + bytes * 1e-18);
}

bool cuda_float(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kFloat16 || dtype == DType::kBFloat16;
}

cuda::Expression expression_of(const cpu::Tape& tape) {
  using cpu::Opcode;
  cuda::Expression e;
  std::map<int, cuda::Expression::Value> slots;
  for (const auto& in : tape.inputs()) {
    auto v = e.input();
    if (in.used) slots[in.slot] = v;
  }
  for (const auto& c : tape.consts()) slots[c.slot] = e.constant(c.value);
  for (const cpu::TapeInst& i : tape.code()) {
    auto a = [&] { return slots.at(i.a); };
    auto b = [&] { return slots.at(i.b); };
    auto c = [&] { return slots.at(i.c); };
    cuda::Expression::Value v = 0;
    switch (i.op) {
      case Opcode::kCopy: v = a(); break;
      case Opcode::kQuantize: v = e.quantize(a(), b(), c(), i.p0, i.p1); break;
      case Opcode::kDequantize: v = e.dequantize(a(), b(), c()); break;
      case Opcode::kRoundFloat16: v = e.round_to(a(), DType::kFloat16); break;
      case Opcode::kRoundBFloat16: v = e.round_to(a(), DType::kBFloat16); break;
      case Opcode::kTruncate: v = e.truncate(a(), i.p0, i.p1); break;
      case Opcode::kTruth: v = e.emit(EwOp::kNot, {e.emit(EwOp::kNot, {a()})}); break;
      default: {
        auto op = static_cast<EwOp>(i.op);
        int n = info(op).arity;
        v = n == 1 ? e.emit(op, {a()}, i.p0, i.p1) : n == 2 ? e.emit(op, {a(), b()}) : e.emit(op, {a(), b(), c()});
      }
    }
    slots[i.dst] = v;
  }
  for (const auto& out : tape.outputs()) e.output(slots.at(out.slot));
  return e;
}

// ---- Epilogues

namespace {

std::optional<cuda::Access> access_of(const Operand& o, const Dims& result, const std::vector<int>& row_axes,
                                      int column_axis, std::string& why) {
  auto row = RowOperand::make(o, result, row_axes, column_axis, why);
  if (!row) return std::nullopt;
  cuda::Access a;
  a.dtype = o.dtype;
  a.col_stride = row->column;
  if (row->uniform >= 0) {
    a.row_stride = row->uniform;
    return a;
  }
  // One value an image: the outermost row axis alone.
  bool outer = std::all_of(row->rows.begin() + 1, row->rows.end(), [](int64_t s) { return s == 0; });
  if (!outer) {
    why = "an operand that is addressed unevenly";
    return std::nullopt;
  }
  a.row_stride = row->rows[0];
  for (size_t i = 1; i < row_axes.size(); ++i) a.row_div *= result[static_cast<size_t>(row_axes[i])];
  return a;
}

}  // namespace

std::optional<CudaEpilogue> CudaEpilogue::make(const Problem& p, const std::vector<int>& row_axes, int column_axis,
                                               std::optional<size_t> bias, std::string& why) {
  CudaEpilogue e;
  const Graph* graph = p.epilogue();
  const Dims& result = p.out[0].dims;
  std::optional<cpu::Tape> tape;
  if (graph != nullptr) {
    // The accumulator is in float whatever the anchor's own type is.
    std::vector<DType> types{DType::kFloat32};
    for (size_t i = p.extra_begin(); i < p.in.size(); ++i) types.push_back(p.in[i].dtype);
    tape = compile_tape(*graph, types, why);
    if (!tape) return std::nullopt;
    if (tape->outputs().size() != 1) {
      why = "an epilogue with several results";
      return std::nullopt;
    }
  }
  auto add = [&](size_t index) {
    auto access = access_of(p.in[index], result, row_axes, column_axis, why);
    if (!access) return false;
    e.tile.in.push_back(*access);
    e.sources.push_back(index);
    return true;
  };
  if (graph != nullptr) {
    for (size_t i = p.extra_begin(); i < p.in.size(); ++i) {
      if (!add(i)) return std::nullopt;
    }
  }
  if (tape) {
    e.tile.expression = expression_of(*tape);
  } else {
    e.tile.expression.output(e.tile.expression.input());
  }
  if (bias) {
    // A row vector: one value a column.
    cuda::Access access;
    access.dtype = p.in[*bias].dtype;
    access.col_stride = p.in[*bias].size() == 1 ? 0 : 1;
    e.tile.in.push_back(access);
    e.sources.push_back(*bias);
    e.tile.expression.add_to_first();
  }
  auto out = access_of(p.out[0], result, row_axes, column_axis, why);
  if (!out || out->col_stride != 1 || out->row_div != 1) {
    if (why.empty()) why = "a result whose rows are not even";
    if (out && out->col_stride == 0 && result[static_cast<size_t>(column_axis)] == 1) {
      out->col_stride = 1;
    } else {
      return std::nullopt;
    }
  }
  e.tile.out.push_back(*out);
  return e;
}

void CudaEpilogue::bind(cuda::Operands& operands, const CudaBinding& binding, size_t outputs) const {
  for (size_t i = 0; i < sources.size(); ++i)
    operands.in[static_cast<size_t>(tile.first_in) + i] = binding.in[sources[i]];
  for (size_t i = 0; i < outputs; ++i) operands.out[i] = binding.out[i];
}

// ---- Products

std::unique_ptr<Kernel> make_cuda_product(const cuda::Product& product, const CudaEpilogue& epilogue,
                                          const std::function<const std::byte*(const cuda::FilterLayout&)>& weights,
                                          std::vector<CudaKernel::Launch> before, int64_t b_bytes) {
  constexpr size_t kCandidates = 8;
  CudaRuntime& r = CudaRuntime::current();
  const cuda::DeviceInfo& info = r.device()->info();
  auto tactics = cuda::product_tactics(product, epilogue.tile, info, kCandidates);
  if (tactics.empty()) fail(Code::kUnsupported, "no tile shape takes this product");
  std::vector<cuda::KernelPlan> plans;
  std::vector<const cuda::KernelPlan*> pointers;
  std::string key;
  for (const auto& t : tactics) {
    plans.push_back(cuda::plan_product(product, t, epilogue.tile, info));
    plans.back().shape.programmatic = info.capability() >= 90;
    key += hex(plans.back().source.hash());
  }
  for (const auto& plan : plans) pointers.push_back(&plan);
  auto packed = [&](size_t i) {
    cuda::FilterLayout layout = cuda::filter_layout(product, tactics[i]);
    return r.resident(weights(layout), static_cast<size_t>(layout.elements() * cuda::element_size(product.math)));
  };
  auto seconds = [&](size_t i) {
    if (i == 0) r.compile(pointers);
    // Memory of its own: what an input or an epilogue's operand holds does not matter for the time.
    const cuda::Window& w = product.window;
    int64_t a =
        std::max<int64_t>(product.a_batch * product.batches, int64_t{w.batch} * w.height * w.width * w.pixel_stride);
    int64_t c = product.rows() * std::max<int64_t>(epilogue.tile.out[0].row_stride, product.filters) * product.batches;
    auto memory = r.zeros(static_cast<size_t>(std::max(a, c)) * 4 + 4096),
         b = weights ? packed(i) : r.zeros(static_cast<size_t>(b_bytes));
    auto scratch = r.zeros(static_cast<size_t>(plans[i].workspace)),
         counters = r.zeros(static_cast<size_t>(plans[i].counters) * 4);
    cuda::Operands operands;
    operands.in.fill(memory->get());
    operands.out.fill(memory->get());
    cuda::Function f = r.function(plans[i]);
    cuda::Params params = cuda::product_params(product, tactics[i], *r.device(), memory->get(), b->get(), operands,
                                               scratch->get(), counters->get());
    return r.time([&](const cuda::Stream& s) { f.launch(s, plans[i].shape, params); });
  };
  size_t best = r.fastest(key, tactics.size(), seconds);
  auto resident = weights ? packed(best) : nullptr;
  auto counters = r.zeros(static_cast<size_t>(plans[best].counters) * 4);
  int64_t own = plans[best].workspace;
  CudaKernel::Launch main{r.function(plans[best]), plans[best].shape, {}};
  cuda::ProductTactic tactic = tactics[best];
  main.params = [=, device = r.device()](const CudaBinding& binding) {
    cuda::Operands operands;
    epilogue.bind(operands, binding);
    cuda::DevicePtr b = resident ? resident->get() : binding.workspace + static_cast<cuda::DevicePtr>(own);
    return cuda::product_params(product, tactic, *device, binding.in[0], b, operands, binding.workspace,
                                counters->get());
  };
  before.push_back(std::move(main));
  return std::make_unique<CudaKernel>(std::move(before), own + b_bytes, plans[best].detail);
}

// ---- The table

const TacticTable& host_tactics(const TacticTable& table) {
  return &table == &cuda_tactics() ? own_cpu_tactics() : table;
}

const TacticTable& cuda_tactics() {
  static const TacticTable table = [] {
    TacticTable t = own_cpu_tactics();
    define_conv_cuda(t);
    define_matmul_cuda(t);
    define_pool_cuda(t);
    define_rows_cuda(t);
    define_elementwise_cuda(t);
    return t;
  }();
  return table;
}

}  // namespace tenon
