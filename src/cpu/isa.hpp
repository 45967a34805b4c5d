// Which instruction set the CPU kernels use. It is chosen at run time from what this processor has; a cap
// lowers the choice (for tests and for comparing tiers). Reading is thread-safe; `set_isa_cap` must not run
// beside a kernel.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tenon {
class ThreadPool;
}

namespace tenon::cpu {

/// "avx512", "avx2", "sse4", or "portable" where the processor has none of these.
const char* isa_name();

/// fp32 values in one vector register of that ISA.
int vector_lanes();

/// Names the way in which weights are packed (register block and vector width). Weights packed under another
/// id must be packed again. Never 0; two ISAs may share an id where their packed forms are the same.
uint32_t layout_id();

/// The tiers that this machine has, lowest first; each is a name that `set_isa_cap` takes. Looks beneath a cap, so it
/// must not run beside a kernel either.
std::vector<std::string> isa_tiers();

/// Uses no ISA above `name` from now on; "" takes the cap away. Throws invalid-argument for an unknown name.
void set_isa_cap(std::string_view name);

/// Measured fused multiply-add rate (fp32, 10^9 operations a second) of all threads of the pool: the best of
/// several short runs. It takes about 50 ms.
double measure_peak_gflops(ThreadPool& pool);

}  // namespace tenon::cpu
