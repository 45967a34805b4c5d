// Tenon's C++ API: make an Engine of an ONNX model (or load a plan), give it data through a Session.
//
//  - Engine: an optimised model with its weights. Immutable; copies are handles to one engine and are cheap.
//  Thread-safe.
//  - Session: what one thread needs to run an engine. Sessions of one engine may run side by side on several threads,
//    one session serves one thread at a time. A session keeps its engine alive.
//
// Every function reports failure by throwing tenon::Error (types.hpp) and nothing else; the message names the thing and
// the way out. A function that throws leaves the object as it was (a run that throws: without outputs). No third-party
// header is included from here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/types.hpp"
#include "tenon/version.hpp"

#define TENON_API __attribute__((visibility("default")))

namespace tenon {

/// The shapes that an input may have (min to max, dimension by dimension) and the one to be fastest for.
struct ShapeProfile {
  std::vector<int64_t> min, opt, max;
};

/// How to build an engine. The defaults are good.
struct BuildConfig {
  /// Dimensions by input name for what to plan now. Inputs whose dimensions are all numbers need none; where some input
  /// stays open, the plan is made by the first run with that shape.
  std::map<std::string, std::vector<int64_t>> shapes;
  std::map<std::string, ShapeProfile>
      profiles;                           ///< by input name; `opt` is planned now, others when they are first met
  int threads = 0;                        ///< 0: one for each physical core
  int opt_level = 2;                      ///< 0 (quick: by estimate) to 5 (patient: everything is timed)
  std::string timing_cache;               ///< file of measurements, read and updated; empty: none
  std::set<std::string> disabled_passes;  ///< names of graph passes to leave out
  /// Called while building, on the building thread. Neither is called once build() has returned.
  std::function<void(std::string_view phase, int done, int total)> progress;
  std::function<bool()> cancel;  ///< true ends the build with Code::kCancelled
};

/// How to load a plan.
struct LoadConfig {
  int threads = 0;           ///< 0: one for each physical core
  bool rebuild = true;       ///< a plan of another machine or version is planned again from its graph; false: refused
  int opt_level = 2;         ///< for what has to be planned again, and for further shapes
  std::string timing_cache;  ///< file of measurements to use for that; empty: none
};

/// What there is to know of an input or output of an engine.
struct TensorInfo {
  std::string name;
  DType dtype = DType::kUndefined;      ///< kUndefined: not a tensor (a sequence, map or optional)
  bool has_rank = false;                ///< false: even the number of dimensions is open, `dims` is empty
  std::vector<int64_t> dims;            ///< -1 where open
  std::vector<std::string> symbols;     ///< one a dimension: "N", "floor(H/2)"; "" for numbers and unnamed dimensions
  std::optional<ShapeProfile> profile;  ///< of an input that was built with one
};

/// A tensor that somebody else owns.
struct TensorView {
  DType dtype = DType::kUndefined;
  std::span<const int64_t> dims;
  const void* data = nullptr;  ///< row-major; sub-byte types packed, low bits first; kString: an array of std::string
  size_t bytes = 0;

  template <class T>
  std::span<const T> as() const {
    return {static_cast<const T*>(data), bytes / sizeof(T)};
  }
};

/// Time spent in one layer of the optimised model. Layers inside control flow come right behind the layer that they are
/// in, whose time includes theirs.
struct LayerTime {
  std::string name, op, implementation;
  double seconds = 0;  ///< over all runs since profiling was switched on or the shapes changed
  int64_t runs = 0;
};

struct EngineState;
struct SessionState;

class TENON_API Engine {
 public:
  /// Imports, optimises and plans an ONNX model. Given bytes are copied and need not outlive the call.
  static Engine build(const std::string& onnx_path, const BuildConfig& config = {});
  static Engine build(std::span<const std::byte> onnx_bytes, const BuildConfig& config = {});
  /// Loads what save() wrote. The file is mapped: it is not to be edited in place while the engine lives.
  static Engine load(const std::string& plan_path, const LoadConfig& config = {});
  /// Writes a plan file; what stands at `plan_path` is replaced when all is written, or else untouched.
  void save(const std::string& plan_path) const;

  const std::vector<TensorInfo>& inputs() const noexcept;
  const std::vector<TensorInfo>& outputs() const noexcept;
  size_t input_index(std::string_view name) const;  ///< an unknown name is answered with the names there are
  size_t output_index(std::string_view name) const;
  /// The model's: "producer_name", "opset", "props.<key>" for each of its metadata_props...
  const std::map<std::string, std::string>& metadata() const noexcept;
  /// Remarks worth showing: a plan that was planned again, half floats computed in float32.
  const std::vector<std::string>& notes() const noexcept;
  int threads() const noexcept;

 private:
  friend class Session;
  explicit Engine(std::shared_ptr<const EngineState> state) : state_(std::move(state)) {}
  std::shared_ptr<const EngineState> state_;
};

class TENON_API Session {
 public:
  explicit Session(const Engine& engine);
  ~Session();
  Session(Session&& other) noexcept;
  Session& operator=(Session&& other) noexcept;

  /// Reads this input from `data` at every run, without a copy: the buffer is the caller's, row-major, aligned for its
  /// element type, and stays valid until it is replaced. A shape other than before is planned (or found in the
  /// engine's cache) by the next run. (Where a name does for an input, so does its index.)
  void set_input(size_t index, const void* data, DType dtype, std::span<const int64_t> dims);
  void set_input(std::string_view name, const void* data, DType dtype, std::span<const int64_t> dims);
  /// A buffer for this input, of the input's type and these dimensions, 64-byte aligned, owned by the session; valid
  /// until the input is set anew. The same dimensions give the same buffer.
  void* input_buffer(size_t index, std::span<const int64_t> dims);
  void* input_buffer(std::string_view name, std::span<const int64_t> dims);

  /// Writes this output to the caller's buffer of `bytes` bytes; a run whose output is larger is refused. nullptr: to a
  /// buffer of the session again.
  void set_output(size_t index, void* data, size_t bytes);
  void set_output(std::string_view name, void* data, size_t bytes);

  /// Runs once. Allocates nothing when the shapes are those of the last run and steady() is true.
  void run();
  /// Whether the program of the last run needs no memory of its own: all of it has fast kernels and known sizes.
  bool steady() const;

  /// The result of the last run; the view is valid until the next run.
  TensorView output(size_t index) const;
  TensorView output(std::string_view name) const;

  /// Switches timing of layers on (from zero) or off.
  void set_profiling(bool on);
  std::vector<LayerTime> layers() const;  ///< in order of execution; empty when profiling is off

  const Engine& engine() const noexcept;

 private:
  std::unique_ptr<SessionState> state_;
};

}  // namespace tenon
