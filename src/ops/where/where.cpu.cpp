// CPU tactics of Where.
#include "tactic/pointwise_tactic.hpp"

namespace tenon {

void define_where_cpu(TacticTable& table) {
  table.add("Where", {{"tape", judge_tape, prepare_tape}, {"plain", judge_plain, prepare_plain}});
}

}  // namespace tenon
