// Tactics on an NVIDIA GPU: the device with its compiled kernels and resident weights, and kernels that are launched on
// it. The same Problem, Verdict and Kernel as on the CPU; only what a Kernel's operands point to differs, so such a
// kernel is launched by a session that has the device's memory, never run().
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "cpu/pointwise.hpp"
#include "cuda/kernels.hpp"
#include "tactic/tactic.hpp"

namespace tenon {

/// The GPU of this process. Thread-safe; lives until the process ends.
class CudaRuntime {
 public:
  /// Opens device `ordinal`; throws unavailable with what was looked for when there is no driver or no NVRTC. One
  /// device a process: another ordinal later is refused.
  static CudaRuntime& open(int ordinal);
  /// The open one.
  static CudaRuntime& current();

  const std::shared_ptr<cuda::Device>& device() const noexcept { return device_; }
  std::string version() const { return compiler_->version(); }
  /// Whether float32 products may round their factors to TF32.
  bool tf32 = false;

  /// Compiles several instances at once; those that are known already cost nothing.
  void compile(const std::vector<const cuda::KernelPlan*>& plans);
  cuda::Function function(const cuda::KernelPlan& plan);
  /// Device memory with these bytes; the same address gives the same memory as long as somebody holds it.
  std::shared_ptr<const cuda::Buffer> resident(const void* host, size_t bytes);
  std::shared_ptr<const cuda::Buffer> zeros(size_t bytes);
  /// The fastest of the candidates by name, measured or remembered. `seconds` measures one.
  size_t fastest(const std::string& key, size_t count, const std::function<double(size_t)>& seconds);
  /// Seconds of one launch, in a chain of several.
  double time(const std::function<void(const cuda::Stream&)>& launch);

 private:
  explicit CudaRuntime(int ordinal);
  std::shared_ptr<cuda::Device> device_;
  std::shared_ptr<const cuda::Compiler> compiler_;
  std::mutex mutex_, timing_;
  cuda::Stream stream_;
  std::map<uint64_t, cuda::Cubin> cubins_;
  std::map<std::string, std::pair<cuda::Module, cuda::Function>> loaded_;
  std::map<const void*, std::weak_ptr<const cuda::Buffer>> resident_;
  std::map<std::string, size_t> winners_;
};

/// Addresses of a step's operands on the device.
struct CudaBinding {
  const cuda::DevicePtr* in;
  const cuda::DevicePtr* out;
  cuda::DevicePtr workspace;
};

class CudaKernel final : public Kernel {
 public:
  struct Launch {
    cuda::Function function;
    cuda::LaunchShape shape;
    std::function<cuda::Params(const CudaBinding&)> params;
  };
  CudaKernel(std::vector<Launch> launches, int64_t workspace, std::string detail)
      : launches_(std::move(launches)), workspace_(workspace), detail_(std::move(detail)) {}
  void launch(const cuda::Stream& stream, const CudaBinding& binding) const;
  void run(const RunArgs& args) const override;
  int64_t workspace() const override { return workspace_; }
  std::string detail() const override { return detail_; }

 private:
  std::vector<Launch> launches_;
  int64_t workspace_;
  std::string detail_;
};

/// The tactics of the CPU, for what the GPU has none for, and those of the GPU, whose estimates beat them: for choosing
/// by estimates (level 1) only.
const TacticTable& cuda_tactics();

// ---- For the tactics themselves.

/// A verdict that beats every CPU tactic; among each other the least bytes and operations win.
Verdict cuda_yes(const Problem& problem);
bool cuda_float(DType dtype);

/// A finished tape as an expression of the kernels.
cuda::Expression expression_of(const cpu::Tape& tape);

/// The epilogue of a kernel whose results are rows of columns, the bias (an operand of the problem, or none) added
/// first. `sources[i]` is the problem's operand behind operands.in[first_in + i].
struct CudaEpilogue {
  cuda::TileEpilogue tile;
  std::vector<size_t> sources;
  static std::optional<CudaEpilogue> make(const Problem& problem, const std::vector<int>& row_axes, int column_axis,
                                          std::optional<size_t> bias, std::string& why);
  void bind(cuda::Operands& operands, const CudaBinding& binding, size_t outputs = 1) const;
};

/// A product by the fastest tile shape. `a` is operand 0; `weights` packed filters on the host (which outlive the
/// kernel), or null: then B is in the workspace at `b_offset`, put there by `before`.
std::unique_ptr<Kernel> make_cuda_product(const cuda::Product& product, const CudaEpilogue& epilogue,
                                          const std::function<const std::byte*(const cuda::FilterLayout&)>& weights,
                                          std::vector<CudaKernel::Launch> before, int64_t b_bytes);

/// A plain kernel with operands alone.
std::unique_ptr<Kernel> make_cuda_kernel(const cuda::KernelPlan& plan,
                                         std::function<cuda::Params(const CudaBinding&)> params);

}  // namespace tenon
