// CPU tactics of pointwise regions: a table where a byte is all that goes in, else the tape.
#include "tactic/pointwise_tactic.hpp"

namespace tenon {

void define_pointwise_cpu(TacticTable& table) {
  table.add("tenon.Pointwise", {{"table", judge_table, prepare_table}, {"tape", judge_tape, prepare_tape}});
}

}  // namespace tenon
