// A pointwise region: the generated part does all of it for VEC neighbouring elements, `region(operands, first)`, counting
// over COUNT elements of the outputs.
#include "prelude.cuh"
#include "generated.cuh"

extern "C" __global__ void __launch_bounds__(THREADS) kernel(Operands operands) {
  launch_next();
  wait_previous();
  const i64 index = (i64(blockIdx.x) * THREADS + threadIdx.x) * OUT_VEC;
  if (index < COUNT) region(operands, index);
}
