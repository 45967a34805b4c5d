#include "tactic/copy.hpp"

#include "cpu/transpose.hpp"

namespace tenon {

std::unique_ptr<Kernel> make_copy(DType dtype, const Dims& dims, const Ints& from, const Ints& to) {
  auto plan = cpu::make_copy(bits(dtype) / 8, dims, from, to);
  return make_kernel([plan](const RunArgs& a) { cpu::run_copy(plan, a.in[0], a.out[0], a.pool); });
}

}  // namespace tenon
