// DetectRunner: an engine with the detector that its outputs were recognised as; pictures in, boxes out. One thread at
// a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/common.hpp"
#include "vision/detect.hpp"

namespace tenon::cli {

/// Seconds of each stage, added up over pictures.
struct StageTimes {
  double load = 0, preprocess = 0, inference = 0, postprocess = 0, draw = 0;
  int pictures = 0;
};

/// Runs a network of one picture input at whatever sizes are asked for; outputs come as float32.
class PictureNetwork {
 public:
  /// Builds or loads. `width` and `height`: 0: what the model or plan says, 640 where it says nothing sensible.
  PictureNetwork(const ModelOptions& options, int width, int height);

  const EngineCore& engine() const noexcept { return *engine_; }
  /// The port of the picture and the outputs, with the sizes in use.
  const std::vector<vision::PortInfo>& inputs() const noexcept { return inputs_; }
  const std::vector<vision::PortInfo>& outputs() const noexcept { return outputs_; }
  /// The model's metadata_props.
  std::map<std::string, std::string> properties() const;

  /// Prepares a run at the given size (cached by the engine); returns the bytes of the picture to be filled in.
  std::span<std::byte> prepare(int width, int height);
  /// Runs on what was filled in. The views are valid until the next run.
  std::vector<vision::OutputView> run();

 private:
  void choose_input(const Graph& graph);

  std::shared_ptr<EngineCore> engine_;
  std::unique_ptr<ProgramSession> session_;
  std::vector<vision::PortInfo> inputs_, outputs_;
  bool nchw_ = true;
  std::vector<Datum> data_, results_;
  std::vector<std::vector<float>> converted_;
};

class DetectRunner {
 public:
  DetectRunner(const ModelOptions& options, vision::Family family, int width, int height);

  const vision::Detector& detector() const noexcept { return detector_; }
  vision::Detector& detector() noexcept { return detector_; }
  const EngineCore& engine() const noexcept { return network_.engine(); }

  std::vector<vision::Detection> detect(const vision::Image& image, const vision::DecodeOptions& options,
                                        StageTimes& times);

 private:
  PictureNetwork network_;
  vision::Detector detector_;
};

/// Pictures named by files and folders (searched recursively, sorted); `folders[i]` is the folder that picture i was
/// found under, empty for one that was named itself.
struct PictureList {
  std::vector<std::string> files;
  std::vector<std::string> folders;
};
PictureList find_pictures(const std::vector<std::string>& paths);

double seconds_now();

}  // namespace tenon::cli
