// Tactic: one way to run one (fused) node on one device for one concrete problem, or a *no* with a reason. A tactic
// judges and prepares; the planner times and chooses. `prepare` makes a Kernel: immutable, thread-compatible (several
// sessions may run one Kernel at a time, each with its own workspace), and its run() allocates nothing.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.hpp"
#include "graph/graph.hpp"

namespace tenon {

/// Physical order of a tensor's elements. Logical dimensions are always ONNX's (N,C,spatial...).
enum class Format : uint8_t {
  kPlain,         ///< row-major in the logical order
  kChannelsLast,  ///< N, spatial..., C: for ranks 3 to 5
};
std::string_view name(Format format) noexcept;

/// Dense element strides, per logical dimension, of `dims` stored in `format`.
Ints format_strides(const Dims& dims, Format format);
/// Whether both formats store these dims alike (one channel, or no spatial extent).
bool formats_agree(const Dims& dims);

/// One input or output of a problem.
struct Operand {
  DType dtype = DType::kUndefined;  ///< undefined: an optional operand that is left out
  Dims dims;                        ///< logical
  Format format = Format::kPlain;
  Ints strides;                      ///< in elements, per logical dimension; may describe a slice of a larger buffer
  const Tensor* constant = nullptr;  ///< plain and dense, when the operand is a constant

  bool present() const noexcept { return dtype != DType::kUndefined; }
  int rank() const noexcept { return static_cast<int>(dims.size()); }
  int64_t size() const { return element_count(dims); }
  /// No gaps: strides are those of the format.
  bool dense() const;
};

/// What a tactic judges: a node with everything about its operands known.
struct Problem {
  const Node* node = nullptr;
  std::vector<Operand> in;
  std::vector<Operand> out;
  int threads = 1;

  const Attrs& attrs() const noexcept { return node->attrs; }
  bool has(size_t i) const noexcept { return i < in.size() && in[i].present(); }
  /// The fused epilogue (a graph of elementwise nodes over the node's result and the extra inputs), or null.
  const Graph* epilogue() const;
  size_t extra_begin() const noexcept;  ///< index in `in` of the first extra input of the epilogue
};

/// Yes, with what the tactic can do about layouts; or no, with the reason in words.
struct Verdict {
  bool ok = false;
  std::string why;
  bool strided_in =
      false;  ///< inputs may be slices of larger buffers (along channels in channels-last, or the outermost axes)
  bool strided_out = false;  ///< so may the outputs
  int in_place = -1;         ///< output 0 may share the buffer of this input (which is then overwritten)
  double cost = 0;           ///< estimated seconds, for short-listing; 0: unknown

  static Verdict yes() {
    Verdict v;
    v.ok = true;
    return v;
  }
  template <class... Args>
  static Verdict no(fmt::format_string<Args...> format, Args&&... args) {
    Verdict v;
    v.why = fmt::format(format, std::forward<Args>(args)...);
    return v;
  }
  Verdict& with_strides(bool input = true, bool output = true) {
    strided_in = input;
    strided_out = output;
    return *this;
  }
  Verdict& with_in_place(int input) {
    in_place = input;
    return *this;
  }
  Verdict& with_cost(double seconds) {
    cost = seconds;
    return *this;
  }
};

struct RunArgs {
  const void* const* in;  ///< one pointer an operand (null for one left out); constants included
  void* const* out;
  void* workspace;  ///< Kernel::workspace() bytes, 64-byte aligned
  ThreadPool& pool;
};

class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual void run(const RunArgs& args) const = 0;
  /// Bytes of scratch memory that run() needs.
  virtual int64_t workspace() const { return 0; }
  /// What ran, for --layers and --explain: "conv_nhwc avx3 14x32".
  virtual std::string detail() const { return {}; }
};

/// Where prepared weights live. `pack` returns memory with the packed form of a constant: from the plan file when it is
/// there already, else made now by `fill`. The memory outlives the kernels. Keys must name everything that the bytes
/// depend on besides the constant: the tactic, the ISA's layout id, block sizes.
class WeightStore {
 public:
  virtual ~WeightStore() = default;
  virtual const std::byte* pack(const Tensor& constant, std::string_view key, int64_t bytes,
                                const std::function<void(std::byte*)>& fill) = 0;
};

struct Tactic {
  std::string_view name;  ///< how_what: "gemm_packed"
  Verdict (*judge)(const Problem&);
  std::unique_ptr<Kernel> (*prepare)(const Problem&, WeightStore&);
};

/// Tactics by op, in order of preference. Made once from ops.def; immutable.
class TacticTable {
 public:
  void add(std::string_view op, std::vector<Tactic> tactics);
  /// Tactics of an op in order of preference (possibly none: then the reference runs it).
  const std::vector<Tactic>& of(std::string_view op) const noexcept;

 private:
  std::map<std::string, std::vector<Tactic>, std::less<>> table_;
};

const TacticTable& cpu_tactics();

/// A kernel from a callable `void(const RunArgs&)`, for tactics that need no class of their own.
template <class F>
std::unique_ptr<Kernel> make_kernel(F f, int64_t workspace = 0, std::string detail = {}) {
  struct Lambda final : Kernel {
    Lambda(F g, int64_t bytes, std::string d) : call(std::move(g)), scratch(bytes), text(std::move(d)) {}
    void run(const RunArgs& args) const override { call(args); }
    int64_t workspace() const override { return scratch; }
    std::string detail() const override { return text; }
    F call;
    int64_t scratch;
    std::string text;
  };
  return std::make_unique<Lambda>(std::move(f), workspace, std::move(detail));
}

}  // namespace tenon
