// CUDA tactics of the pools, channels-last.
#include "base/error.hpp"
#include "tactic/cuda.hpp"
#include "tactic/cuda_products.hpp"

namespace tenon {
namespace {

bool global(const Problem& p) { return p.node->op.starts_with("Global"); }

std::optional<cuda::Window> window_of(const Problem& p, std::string& why) {
  if (!global(p)) return cuda_window(p, p.attrs().ints("kernel_shape"), why);
  cuda::Window w;
  const Operand& x = p.in[0];
  w.batch = static_cast<int>(x.dims[0]);
  w.channels = static_cast<int>(x.dims[1]);
  w.pixel_stride = x.dims[1];
  w.height = w.kernel[0] = x.rank() == 3 ? 1 : static_cast<int>(x.dims[2]);
  w.width = w.kernel[1] = static_cast<int>(x.dims.back());
  return w;
}

cuda::PoolKind kind_of(const Problem& p) {
  if (p.node->op == "MaxPool" || p.node->op == "GlobalMaxPool") return cuda::PoolKind::kMax;
  return p.attrs().integer("count_include_pad", 0) != 0 ? cuda::PoolKind::kMeanAll : cuda::PoolKind::kMeanInside;
}

Verdict judge(const Problem& p) {
  const Operand &x = p.in[0], &y = p.out[0];
  if (!cuda_float(x.dtype)) return Verdict::no("not for {}", name(x.dtype));
  if (x.rank() != 3 && x.rank() != 4) return Verdict::no("not a 1-D or 2-D pool");
  if (p.out.size() > 1 && p.out[1].present()) return Verdict::no("indices are wanted");
  if (x.size() == 0 || y.size() == 0) return Verdict::no("an empty operand");
  for (const Operand* o : {&x, &y}) {
    if (!o->dense() || (o->format != Format::kChannelsLast && !formats_agree(o->dims)))
      return Verdict::no("not channels-last");
  }
  // With ceil_mode the last windows hang over the padding, which a mean of the padded window must know about.
  if (kind_of(p) == cuda::PoolKind::kMeanAll && p.attrs().integer("ceil_mode", 0) != 0)
    return Verdict::no("a mean over pads in ceil mode");
  std::string why;
  if (!window_of(p, why)) return Verdict::no("{}", why);
  return cuda_yes(p);
}

std::unique_ptr<Kernel> prepare(const Problem& p, WeightStore&) {
  std::string why;
  cuda::Window window = *window_of(p, why);
  auto plan =
      cuda::plan_pool(window, p.in[0].dtype, kind_of(p), cuda::TileEpilogue::store(p.out[0].dtype, window.channels));
  return make_cuda_kernel(plan, [](const CudaBinding& b) {
    cuda::Operands operands;
    operands.out[0] = b.out[0];
    return cuda::pool_params(b.in[0], operands);
  });
}

}  // namespace

void define_pool_cuda(TacticTable& table) {
  for (const char* op : {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"})
    table.add(op, {{"cuda_pool", judge, prepare}});
}

}  // namespace tenon
