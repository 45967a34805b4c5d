// CPU tactics of the reductions over constant axes.
#include "cpu/reduce.hpp"

#include "base/error.hpp"
#include "tactic/tactic.hpp"

namespace tenon {
namespace {

std::optional<cpu::ReduceOp> op_of(std::string_view name) {
  using cpu::ReduceOp;
  constexpr std::pair<std::string_view, ReduceOp> kOps[] = {
      {"ReduceSum", ReduceOp::kSum},       {"ReduceMean", ReduceOp::kMean},
      {"ReduceMax", ReduceOp::kMax},       {"ReduceMin", ReduceOp::kMin},
      {"ReduceProd", ReduceOp::kProd},     {"ReduceL1", ReduceOp::kL1},
      {"ReduceL2", ReduceOp::kL2},         {"ReduceSumSquare", ReduceOp::kSumSquare},
      {"ReduceLogSum", ReduceOp::kLogSum}, {"ReduceLogSumExp", ReduceOp::kLogSumExp}};
  for (const auto& [text, op] : kOps) {
    if (text == name) return op;
  }
  return std::nullopt;
}

// Which axes disappear; nothing when they are not constant or nothing is reduced.
std::optional<std::vector<char>> reduced_axes(const Problem& p) {
  std::vector<char> out(p.in[0].dims.size(), 0);
  Ints axes;
  if (p.has(1)) {
    if (p.in[1].constant == nullptr) return std::nullopt;
    axes = p.in[1].constant->to_ints();
  }
  if (axes.empty()) {
    if (p.attrs().integer("noop_with_empty_axes", 0) != 0) return std::nullopt;
    out.assign(out.size(), 1);
  }
  for (int64_t a : axes) {
    if (a < 0) a += p.in[0].rank();
    if (a < 0 || a >= p.in[0].rank()) return std::nullopt;
    out[static_cast<size_t>(a)] = 1;
  }
  return out;
}

Verdict judge(const Problem& p) {
  DType t = p.in[0].dtype;
  bool integers = t == DType::kInt32 || t == DType::kInt64;
  auto op = op_of(p.node->op);
  if (!op) return Verdict::no("not a reduction");
  bool rational = *op == cpu::ReduceOp::kSum || *op == cpu::ReduceOp::kMax || *op == cpu::ReduceOp::kMin ||
                  *op == cpu::ReduceOp::kProd;
  if (t != DType::kFloat32 && !(integers && rational)) return Verdict::no("not for {}", name(t));
  if (p.in[0].rank() == 0 || p.in[0].rank() > 8 || p.in[0].size() == 0) return Verdict::no("a scalar or empty input");
  if (!reduced_axes(p)) return Verdict::no("the axes are not constant");
  return Verdict::yes().with_strides(true, false);
}

std::unique_ptr<Kernel> prepare(const Problem& p, WeightStore&) {
  std::vector<char> axes = *reduced_axes(p);
  bool reduce[8] = {};
  for (size_t i = 0; i < axes.size(); ++i) reduce[i] = axes[i] != 0;
  // The result's strides along the input's axes; without keepdims the reduced ones are not there.
  bool keep = p.attrs().integer("keepdims", 1) != 0;
  Ints strides;
  size_t next = 0;
  for (size_t i = 0; i < axes.size(); ++i) {
    bool gone = axes[i] != 0 && !keep;
    strides.push_back(gone ? 0 : p.out[0].strides[next]);
    next += gone ? 0 : 1;
  }
  auto plan = cpu::make_reduce(*op_of(p.node->op), p.in[0].dims, p.in[0].strides, strides, {reduce, axes.size()});
  DType t = p.in[0].dtype;
  return make_kernel([=](const RunArgs& a) {
    if (t == DType::kFloat32) {
      cpu::run_reduce(plan, static_cast<const float*>(a.in[0]), static_cast<float*>(a.out[0]), a.pool);
    } else if (t == DType::kInt32) {
      cpu::run_reduce(plan, static_cast<const int32_t*>(a.in[0]), static_cast<int32_t*>(a.out[0]), a.pool);
    } else {
      cpu::run_reduce(plan, static_cast<const int64_t*>(a.in[0]), static_cast<int64_t*>(a.out[0]), a.pool);
    }
  });
}

}  // namespace

void define_reduce_cpu(TacticTable& table) {
  for (const char* op : {"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
                         "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"}) {
    table.add(op, {{"reduce", judge, prepare}});
  }
}

}  // namespace tenon
