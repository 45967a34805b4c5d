// CPU tactics of the pools, in both formats.
#include "cpu/pool.hpp"

#include "base/error.hpp"
#include "cpu/reduce.hpp"
#include "tactic/problem_window.hpp"

namespace tenon {
namespace {

bool same_format(const Problem& p) {
  return p.in[0].format == p.out[0].format || formats_agree(p.in[0].dims) || formats_agree(p.out[0].dims);
}

cpu::Pool2D pool_of(const Problem& p) {
  const Operand &x = p.in[0], &y = p.out[0];
  Window w = problem_window(p, p.attrs().ints("kernel_shape"));
  bool flat = x.rank() == 3;
  size_t last = w.axes() - 1;
  cpu::Pool2D c;
  c.batch = x.dims[0];
  c.channels = x.dims[1];
  c.in_h = flat ? 1 : x.dims[2];
  c.in_w = x.dims.back();
  c.out_h = flat ? 1 : y.dims[2];
  c.out_w = y.dims.back();
  c.kernel_h = flat ? 1 : w.kernel[0];
  c.kernel_w = w.kernel[last];
  c.stride_h = flat ? 1 : w.strides[0];
  c.stride_w = w.strides[last];
  c.dilation_h = flat ? 1 : w.dilations[0];
  c.dilation_w = w.dilations[last];
  c.pad_top = flat ? 0 : w.begins[0];
  c.pad_left = w.begins[last];
  c.pad_bottom = flat ? 0 : w.ends[0];
  c.pad_right = w.ends[last];
  c.count_include_pad = p.attrs().integer("count_include_pad", 0) != 0;
  c.src_n = x.strides[0];
  c.src_c = x.strides[1];
  c.src_h = flat ? 0 : x.strides[2];
  c.src_w = x.strides.back();
  c.dst_n = y.strides[0];
  c.dst_c = y.strides[1];
  c.dst_h = flat ? 0 : y.strides[2];
  c.dst_w = y.strides.back();
  return c;
}

Verdict judge_window(const Problem& p) {
  bool max = p.node->op == "MaxPool";
  DType t = p.in[0].dtype;
  bool bytes = t == DType::kInt8 || t == DType::kUInt8;
  if (t != DType::kFloat32 && !(max && bytes)) return Verdict::no("not for {}", name(t));
  if (p.in[0].rank() != 3 && p.in[0].rank() != 4) return Verdict::no("not a 1-D or 2-D pool");
  if (p.out.size() > 1 && p.out[1].present()) return Verdict::no("indices are wanted");
  if (!same_format(p)) return Verdict::no("the formats differ");
  if (p.out[0].size() == 0) return Verdict::no("an empty result");
  return Verdict::yes().with_strides();
}

std::unique_ptr<Kernel> prepare_window(const Problem& p, WeightStore&) {
  cpu::Pool2D pool = pool_of(p);
  DType t = p.in[0].dtype;
  bool max = p.node->op == "MaxPool";
  return make_kernel([=](const RunArgs& a) {
    if (t == DType::kInt8) {
      cpu::max_pool(pool, static_cast<const int8_t*>(a.in[0]), static_cast<int8_t*>(a.out[0]), a.pool);
    } else if (t == DType::kUInt8) {
      cpu::max_pool(pool, static_cast<const uint8_t*>(a.in[0]), static_cast<uint8_t*>(a.out[0]), a.pool);
    } else if (max) {
      cpu::max_pool(pool, static_cast<const float*>(a.in[0]), static_cast<float*>(a.out[0]), a.pool);
    } else {
      cpu::average_pool(pool, static_cast<const float*>(a.in[0]), static_cast<float*>(a.out[0]), a.pool);
    }
  });
}

Verdict judge_global(const Problem& p) {
  if (p.in[0].dtype != DType::kFloat32) return Verdict::no("not for {}", name(p.in[0].dtype));
  if (p.in[0].rank() < 3 || p.in[0].rank() > 5) return Verdict::no("rank {}", p.in[0].rank());
  if (p.out[0].size() == 0 || p.in[0].size() == 0) return Verdict::no("an empty operand");
  return Verdict::yes().with_strides();
}

std::unique_ptr<Kernel> prepare_global(const Problem& p, WeightStore&) {
  bool reduce[5] = {false, false, true, true, true};
  const Operand& x = p.in[0];
  auto op = p.node->op == "GlobalMaxPool" ? cpu::ReduceOp::kMax : cpu::ReduceOp::kMean;
  auto plan = cpu::make_reduce(op, x.dims, x.strides, p.out[0].strides, {reduce, x.dims.size()});
  return make_kernel([plan](const RunArgs& a) {
    cpu::run_reduce(plan, static_cast<const float*>(a.in[0]), static_cast<float*>(a.out[0]), a.pool);
  });
}

}  // namespace

void define_pool_cpu(TacticTable& table) {
  table.add("MaxPool", {{"window", judge_window, prepare_window}});
  table.add("AveragePool", {{"window", judge_window, prepare_window}});
  table.add("GlobalAveragePool", {{"reduce", judge_global, prepare_global}});
  table.add("GlobalMaxPool", {{"reduce", judge_global, prepare_global}});
}

}  // namespace tenon
