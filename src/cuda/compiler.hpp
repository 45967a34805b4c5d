// NVRTC by dlopen: CUDA text in, cubin out. The kernels of src/cuda/kernels are part of the program as text, so neither
// the toolkit's headers nor its compiler are needed. Thread-safe; compilations run in parallel.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cuda/device.hpp"

namespace tenon::cuda {

/// A kernel to compile: a file of src/cuda/kernels (or text that includes some), with what is put before it.
struct KernelSource {
  std::string file;        ///< "conv_mma.cu"
  std::string defines;     ///< lines of #define that make the instance
  std::string snippet;     ///< generated code (the epilogue), which the file includes as "generated.cuh"
  bool fast_math = false;  ///< approximate division and exp: for results in 16 bits

  uint64_t hash() const;
};

struct Cubin {
  std::vector<std::byte> bytes;
  std::string log;
  int registers = 0, spill_bytes = 0, static_shared = 0;  ///< as ptxas reports
};

class Compiler {
 public:
  /// Finds NVRTC. Throws unavailable with what was looked for.
  static std::shared_ptr<const Compiler> system();
  virtual ~Compiler() = default;
  /// `arch`: "sm_90a". Every kernel has the entry `kernel`. When the text does not compile: internal, with NVRTC's log.
  virtual Cubin compile(const KernelSource& source, const std::string& arch) const = 0;
  virtual std::string version() const = 0;
};

/// The embedded text of a file of src/cuda/kernels; null when there is none of that name.
const char* kernel_text(std::string_view file) noexcept;
/// All embedded files.
std::vector<std::string> kernel_files();

}  // namespace tenon::cuda
