// CPU tactic of pointwise regions: the tape.
#include "tactic/pointwise_tactic.hpp"

namespace tenon {

void define_pointwise_cpu(TacticTable& table) { table.add("tenon.Pointwise", {{"tape", judge_tape, prepare_tape}}); }

}  // namespace tenon
