#include "ops/op_table.hpp"

namespace tenon {

#define TENON_SLICE(folder, cpu) void define_##folder##_ops(OpTable& table);
#include "ops/ops.def"
#undef TENON_SLICE

const OpTable& all_ops() {
  static const OpTable table = [] {
    OpTable t;
#define TENON_SLICE(folder, cpu) define_##folder##_ops(t);
#include "ops/ops.def"
#undef TENON_SLICE
    return t;
  }();
  return table;
}

}  // namespace tenon
