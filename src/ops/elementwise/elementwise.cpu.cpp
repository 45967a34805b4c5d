// CPU tactics of every elementwise op: the float tape, else loops in the type's own arithmetic.
#include "ops/op_table.hpp"
#include "tactic/pointwise_tactic.hpp"

namespace tenon {

void define_elementwise_cpu(TacticTable& table) {
  for (const auto& [name, op] : all_ops().all()) {
    if (!op.elementwise || name == "Where" || name == "Cast") continue;
    table.add(name, {{"tape", judge_tape, prepare_tape}, {"plain", judge_plain, prepare_plain}});
  }
}

}  // namespace tenon
