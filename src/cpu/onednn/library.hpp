// oneDNN 3, opened with dlopen when first asked for: a second source of kernels that nothing depends on. The library is
// looked for where the user says (choose_library, else the variable TENON_ONEDNN_LIBRARY), then in the usual places; it
// stays open until the process ends. All functions are thread-safe; nothing throws but choose_library.
#pragma once

#include <string>

#include "cpu/onednn/abi.hpp"

namespace tenon::cpu::onednn {

struct Library {
  Api api;
  std::string path;     ///< the file, or the bare name where the system's linker found it
  std::string version;  ///< "oneDNN 3.2.0 (40112196)"
  EngineHandle* engine = nullptr;
  int (*get_threads)() = nullptr;  ///< OpenMP's, of the calling thread; null in a sequential build of the library
  void (*set_threads)(int) = nullptr;
};

/// The library, loaded at the first call; null when there is none that fits.
const Library* library();
/// Its version, or nothing. Loads it.
std::string version();
/// What was looked for and what came of it, a line a place. Loads the library.
std::string search_report();
/// Says which file to load, "none" for none at all. Before anything else asks; an error when the file does not do or
/// another choice is in use already.
void choose_library(const std::string& path);

/// While it lives, the library computes in the calling thread alone: the work is cut for our own pool.
class OneThread {
 public:
  explicit OneThread(const Library& library);
  ~OneThread();
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  const Library& library_;
  int before_ = 1;
};

}  // namespace tenon::cpu::onednn
