// What the verbs share: options for models, shapes and inputs, loading either kind of file, exit codes, tables.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/engine.hpp"
#include "tensor/npy.hpp"

namespace tenon::cli {

/// Exit codes: scripts rely on them.
enum Exit {
  kDone = 0,
  kInternalError = 1,
  kUsage = 2,
  kBadInput = 3,
  kUnsupportedModel = 4,
  kNoResource = 5,
  kNotVerified = 6
};
int exit_code(const Error& e) noexcept;

/// Thrown when results differ by more than allowed: exit code 6.
struct NotVerified {};

/// Set by Ctrl-C; long work asks it. A second Ctrl-C ends the process at once.
bool interrupted() noexcept;
void install_interrupt_handler();
/// Throws cancelled after Ctrl-C.
void check_interrupted();

/// The candidate that is a typing mistake away from `word`; empty when none is near.
std::string nearest(const std::string& word, const std::vector<std::string>& candidates);

/// A bar on a terminal, nothing elsewhere; removed when done == total.
void show_progress(std::string_view phase, int done, int total);

/// "1x3x224x224" or "1,3,224,224"; "scalar" or "" for no dimensions.
Dims parse_dims(const std::string& text);
/// "name:1x3x224x224" entries, several by comma-free repetition; a lone "1x3x..." is for the only input (name "").
std::map<std::string, Dims> parse_shapes(const std::vector<std::string>& texts);

struct ModelOptions {
  std::string model;  ///< .onnx, .plan or graph text (.txt)
  std::vector<std::string> shapes, min_shapes, opt_shapes, max_shapes;
  int64_t batch = 0;  ///< the first dimension of every input whose first dimension is symbolic
  int threads = 0;
  std::string device = "cpu";
  bool tf32 = false;
  int level = 2;
  double budget = 20;
  std::string timing_cache;
  std::vector<std::string> disabled;
  std::string stop_after;
  bool no_rebuild = false;
  bool no_libraries = false;
  std::string onednn;  ///< file of the library; empty: looked for
};
/// The model and the groups of options below, those of profiles left out. `names` are those of the model's option, as
/// CLI11 takes them.
void add_model_options(CLI::App& app, ModelOptions& options, const std::string& names = "model");
/// A number between both, and not NaN (which CLI::Range lets pass).
CLI::Validator number_in(double low, double high);
void add_shape_options(CLI::App& app, ModelOptions& options);   ///< --shape, --batch
void add_device_options(CLI::App& app, ModelOptions& options);  ///< --threads, --device
void add_tuning_options(CLI::App& app, ModelOptions& options);  ///< --opt-level, --budget, --timing-cache, --no-rebuild
void add_pass_options(CLI::App& app, ModelOptions& options);    ///< --disable-pass, --stop-after
void add_profile_options(CLI::App& app, ModelOptions& options);  ///< --minShapes, --optShapes, --maxShapes
/// trtexec's --fp32, --fp16, --int8...: what the device cannot do is refused, with the reason.
void add_precision_flags(CLI::App& app);

EngineOptions engine_options(const ModelOptions& options);
/// Builds from a model or loads a plan. `shapes`: more shapes (from input files), which win over nothing given.
/// `builder`, when given, makes the engine of an imported model (to verify it, say).
using ModelBuilder = std::function<std::shared_ptr<EngineCore>(
    const GraphPtr& imported, const std::map<std::string, Dims>& shapes,
    const std::map<std::string, ProfileRange>& profile, EngineOptions options)>;
std::shared_ptr<EngineCore> open_model(const ModelOptions& options, const std::map<std::string, Dims>& shapes = {},
                                       const ModelBuilder& builder = nullptr);
/// Imports a model as a graph: ONNX, graph text, or the graph of a plan.
GraphPtr import_model(const std::string& path, bool allow_unknown_ops = false);
/// Shapes from --shape/--batch for the inputs of a graph; unknown dimensions become `otherwise` (0: stay unknown).
std::map<std::string, Dims> wanted_shapes(const Graph& graph, const ModelOptions& options, int64_t otherwise);

struct InputOptions {
  std::vector<std::string> files;
  std::vector<double> image_mean = {0, 0, 0}, image_std = {1, 1, 1};
  double image_scale = 1.0 / 255;
};
void add_input_options(CLI::App& app, InputOptions& options);
/// The name of the only input; an error where there are more.
std::string only_input(const Graph& graph);
/// Inputs of a graph by name from .npz, .npy, .pb, raw or picture files ("name=file" or "file"). `shapes`: as asked
/// for, for raw files and pictures. A picture goes into N,3,H,W (or N,H,W,3) as RGB, (byte * scale - mean) / std; for
/// square inputs of at most 384 pixels, which classifiers have, its short side is scaled to 8/7 of the input's and the
/// centre cut out, for others it is stretched, where H and W are open it stays as it is.
std::vector<Datum> read_inputs(const Graph& graph, const InputOptions& options,
                               const std::map<std::string, Dims>& shapes);
/// Inputs for an engine: from the files, else generated at the shapes asked for, else at those it was planned for.
std::vector<Datum> inputs_for(const EngineCore& engine, const InputOptions& inputs, const ModelOptions& model);
/// Deterministic small values of the graph's types for the given shapes.
std::vector<Datum> sample_inputs(const Graph& graph, const std::vector<Dims>& dims);
std::vector<Dims> dims_of_inputs(std::span<const Datum> inputs);

void print_notes(const EngineCore& engine, bool quiet);
int64_t peak_memory_bytes();
std::string human_bytes(double bytes);
std::string human_seconds(double seconds);

// One function a verb: adds its sub-command.
void add_build(CLI::App& app);
void add_run(CLI::App& app);
void add_bench(CLI::App& app);
void add_inspect(CLI::App& app);
void add_compare(CLI::App& app);
void add_detect(CLI::App& app);
void add_optimize(CLI::App& app);
void add_read(CLI::App& app);
void add_completion(CLI::App& app);

}  // namespace tenon::cli
