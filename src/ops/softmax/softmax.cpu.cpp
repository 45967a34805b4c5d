// CPU tactics of Softmax and LogSoftmax in float32, over any axis of either format.
#include "cpu/softmax.hpp"

#include "base/error.hpp"
#include "graph/op.hpp"
#include "tactic/tactic.hpp"

namespace tenon {
namespace {

// The dense dimensions in memory order, and where the softmax's axis is among them.
std::optional<cpu::SoftmaxShape> shape_of(const Problem& p) {
  const Operand& x = p.in[0];
  int64_t axis = p.attrs().integer("axis", -1);
  if (axis < 0) axis += x.rank();
  if (axis < 0 || axis >= x.rank()) return std::nullopt;
  std::vector<size_t> order;
  for (size_t i = 0; i < x.dims.size(); ++i) order.push_back(i);
  if (x.format == Format::kChannelsLast && x.rank() >= 3) {
    order.erase(order.begin() + 1);
    order.push_back(1);
  }
  int64_t outer = 1, inner = 1;
  bool before = true;
  for (size_t d : order) {
    if (static_cast<int64_t>(d) == axis) {
      before = false;
    } else {
      (before ? outer : inner) *= x.dims[d];
    }
  }
  return cpu::SoftmaxShape::dense(outer, x.dims[static_cast<size_t>(axis)], inner);
}

Verdict judge(const Problem& p) {
  const Operand &x = p.in[0], &y = p.out[0];
  if (x.dtype != DType::kFloat32) return Verdict::no("not for {}", name(x.dtype));
  if (x.rank() == 0 || x.size() == 0) return Verdict::no("an empty or scalar input");
  if (x.format != y.format && !formats_agree(x.dims)) return Verdict::no("the formats differ");
  return shape_of(p) ? Verdict::yes() : Verdict::no("a bad axis");
}

std::unique_ptr<Kernel> prepare(const Problem& p, WeightStore&) {
  cpu::SoftmaxShape shape = *shape_of(p);
  bool log = p.node->op == "LogSoftmax";
  return make_kernel([=](const RunArgs& a) {
    auto* f = log ? cpu::log_softmax : cpu::softmax;
    f(shape, static_cast<const float*>(a.in[0]), static_cast<float*>(a.out[0]), a.pool);
  });
}

}  // namespace

void define_softmax_cpu(TacticTable& table) {
  table.add("Softmax", {{"two_pass", judge, prepare}});
  table.add("LogSoftmax", {{"two_pass", judge, prepare}});
}

}  // namespace tenon
