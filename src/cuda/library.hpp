// Shared libraries found at run time: in the system's search path, the CUDA toolkit and pip's nvidia packages. Nothing
// here throws for a library that is absent; what was looked for is kept for the message. Handles stay open for the
// process.
#pragma once

#include <string>
#include <vector>

namespace tenon::cuda {

struct Library {
  void* handle = nullptr;             ///< null: not found
  std::string path;                   ///< what was opened
  std::vector<std::string> searched;  ///< names and paths that were tried, in order

  void* symbol(const char* name) const noexcept;
  /// "libnvrtc.so.13, libnvrtc.so.12 in the system's search path; /usr/local/cuda/lib64; ..."
  std::string looked_for() const;
};

/// The first of `names` ("libnvrtc.so.13") that opens: from `variable` (an environment variable with a folder or a
/// file, may be null) alone when that is set, else by the system's search path, then in the folders of
/// toolkit_folders().
Library find_library(const std::vector<std::string>& names, const char* variable);

/// Folders that may hold the toolkit's libraries: $CUDA_HOME and $CUDA_PATH, /usr/local/cuda*,
/// site-packages/nvidia/*/lib of $VIRTUAL_ENV, of the private environment .cache/cuda-venv and of the system's Python.
std::vector<std::string> toolkit_folders();

}  // namespace tenon::cuda
