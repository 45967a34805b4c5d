// CPU tactics of QuantizeLinear and DequantizeLinear (by scalars: the tape) and DynamicQuantizeLinear.
#include "base/error.hpp"
#include "cpu/reduce.hpp"
#include "tactic/pointwise_tactic.hpp"

namespace tenon {
namespace {

Verdict judge_dynamic(const Problem& p) {
  if (p.in[0].dtype != DType::kFloat32) return Verdict::no("not for {}", name(p.in[0].dtype));
  if (p.in[0].size() == 0) return Verdict::no("an empty input");
  if (p.out.size() != 3 || !p.out[1].present() || !p.out[2].present()) return Verdict::no("an output is left out");
  if (p.in[0].format != p.out[0].format && !formats_agree(p.in[0].dims)) return Verdict::no("the formats differ");
  return Verdict::yes();
}

std::unique_ptr<Kernel> prepare_dynamic(const Problem& p, WeightStore&) {
  int64_t count = p.in[0].size();
  return make_kernel([count](const RunArgs& a) {
    cpu::dynamic_quantize(static_cast<const float*>(a.in[0]), count, static_cast<uint8_t*>(a.out[0]),
                          static_cast<float*>(a.out[1]), static_cast<uint8_t*>(a.out[2]), a.pool);
  });
}

}  // namespace

void define_quantize_cpu(TacticTable& table) {
  table.add("DynamicQuantizeLinear", {{"min_max", judge_dynamic, prepare_dynamic}});
  table.add("QuantizeLinear", {{"tape", judge_tape, prepare_tape}});
  table.add("DequantizeLinear", {{"tape", judge_tape, prepare_tape}});
}

}  // namespace tenon
