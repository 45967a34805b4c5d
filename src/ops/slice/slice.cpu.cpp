// CPU tactic of Slice with constant bounds and any steps: one strided copy. Unit steps are the planner's views.
#include <limits>

#include "base/error.hpp"
#include "cpu/transpose.hpp"
#include "tactic/tactic.hpp"

namespace tenon {
namespace {

struct Cut {
  int64_t offset = 0;  // elements
  Ints strides;
};

std::optional<Cut> cut_of(const Problem& p) {
  for (size_t i = 1; i < p.in.size(); ++i) {
    if (p.has(i) && p.in[i].constant == nullptr) return std::nullopt;
  }
  const Operand& x = p.in[0];
  Ints starts = p.in[1].constant->to_ints(), axes, steps(starts.size(), 1);
  if (p.has(4)) steps = p.in[4].constant->to_ints();
  if (p.has(3)) {
    axes = p.in[3].constant->to_ints();
  } else {
    for (size_t i = 0; i < starts.size(); ++i) axes.push_back(static_cast<int64_t>(i));
  }
  if (steps.size() != starts.size() || axes.size() != starts.size()) return std::nullopt;
  Cut cut{0, x.strides};
  for (size_t i = 0; i < starts.size(); ++i) {
    int64_t axis = axes[i] < 0 ? axes[i] + x.rank() : axes[i];
    if (axis < 0 || axis >= x.rank() || steps[i] == 0) return std::nullopt;
    auto a = static_cast<size_t>(axis);
    int64_t extent = x.dims[a];
    // numpy's rules; the count is that of the inferred shape, which is not 0 here.
    int64_t low = steps[i] > 0 ? 0 : -1, high = steps[i] > 0 ? extent : extent - 1;
    int64_t start = starts[i] < 0 ? (starts[i] < -extent ? low : starts[i] + extent) : starts[i];
    start = std::clamp(start, low, high);
    cut.offset += start * x.strides[a];
    cut.strides[a] = p.out[0].dims[a] <= 1 ? 0 : x.strides[a] * steps[i];
  }
  return cut;
}

Verdict judge(const Problem& p) {
  const Operand& x = p.in[0];
  if (bits(x.dtype) % 8 != 0 || bits(x.dtype) > 64) return Verdict::no("not for {}", name(x.dtype));
  if (x.rank() == 0 || x.rank() > cpu::CopyPlan::kMaxDims) return Verdict::no("rank {}", x.rank());
  if (p.out[0].size() == 0) return Verdict::no("an empty result");
  if (!cut_of(p)) return Verdict::no("the bounds are not constant");
  return Verdict::yes().with_strides();
}

std::unique_ptr<Kernel> prepare(const Problem& p, WeightStore&) {
  Cut cut = *cut_of(p);
  int element = static_cast<int>(bits(p.in[0].dtype) / 8);
  auto plan = cpu::make_copy(element, p.out[0].dims, cut.strides, p.out[0].strides);
  return make_kernel([plan, offset = cut.offset * element](const RunArgs& a) {
    cpu::run_copy(plan, static_cast<const std::byte*>(a.in[0]) + offset, a.out[0], a.pool);
  });
}

}  // namespace

void define_slice_cpu(TacticTable& table) { table.add("Slice", {{"copy", judge, prepare}}); }

}  // namespace tenon
