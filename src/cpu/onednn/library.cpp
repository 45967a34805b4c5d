#include "cpu/onednn/library.hpp"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace tenon::cpu::onednn {
namespace {

constexpr const char* kFile = "libdnnl.so.3";
constexpr int kMajor = 3, kOldestMinor = 2;

std::string variable(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? "" : text;
}

// Binds every function; names the first that is missing.
bool bind(void* handle, Api& api, std::string& why) {
  auto find = [&](const char* name) {
    void* at = dlsym(handle, name);
    if (at == nullptr && why.empty()) why = fmt::format("it has no function {}", name);
    return at;
  };
#define TENON_ONEDNN_BIND(name, result, parameters) \
  api.name = reinterpret_cast<decltype(api.name)>(find("dnnl_" #name));
  TENON_ONEDNN_FUNCTIONS(TENON_ONEDNN_BIND)
#undef TENON_ONEDNN_BIND
  return why.empty();
}

// How the library makes threads must be something that can be held to one.
bool bind_threads(void* handle, unsigned runtime, Library& library, std::string& why) {
  if (runtime == kRuntimeSequential) return true;
  if (runtime != kRuntimeOpenmp) {
    why = "it was built for another threading than OpenMP (use the package onednn-cpu-gomp)";
    return false;
  }
  library.get_threads = reinterpret_cast<int (*)()>(dlsym(handle, "omp_get_max_threads"));
  library.set_threads = reinterpret_cast<void (*)(int)>(dlsym(handle, "omp_set_num_threads"));
  if (library.get_threads == nullptr || library.set_threads == nullptr) why = "its OpenMP was not found";
  return why.empty();
}

std::unique_ptr<Library> open(const std::string& path, std::string& why) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* text = dlerror();
    why = text != nullptr ? text : "it cannot be opened";
    return nullptr;
  }
  auto library = std::make_unique<Library>();
  library->path = path;
  const VersionInfo* info = nullptr;
  auto version_of = reinterpret_cast<const VersionInfo* (*)()>(dlsym(handle, "dnnl_version"));
  if (version_of == nullptr || (info = version_of()) == nullptr) {
    why = "it is no oneDNN";
  } else if (info->major != kMajor || info->minor < kOldestMinor) {
    why = fmt::format("it is version {}.{}.{}; {}.{} or a newer {}.x is needed", info->major, info->minor, info->patch,
                      kMajor, kOldestMinor, kMajor);
  } else if (bind(handle, library->api, why) && bind_threads(handle, info->cpu_runtime, *library, why)) {
    library->version = fmt::format("oneDNN {}.{}.{} ({})", info->major, info->minor, info->patch,
                                   std::string_view(info->hash == nullptr ? "" : info->hash).substr(0, 8));
    if (library->api.engine_create(&library->engine, kCpuEngine, 0) != kSuccess) why = "it makes no engine for the CPU";
  }
  if (why.empty()) return library;
  dlclose(handle);
  return nullptr;
}

// Beside the Python that a shell would start: <prefix>/bin/python3 and <prefix>/lib.
void add_python_prefixes(std::vector<std::string>& files) {
  std::string path = variable("PATH");
  size_t at = 0;
  while (at < path.size()) {
    size_t end = std::min(path.find(':', at), path.size());
    std::string folder = path.substr(at, end - at);
    at = end + 1;
    if (folder.empty() || folder[0] != '/' || access((folder + "/python3").c_str(), X_OK) != 0) continue;
    files.push_back(folder + "/../lib/" + kFile);
  }
}

std::vector<std::string> usual_places() {
  std::vector<std::string> files;
  for (const char* root : {"DNNLROOT", "ONEDNN_ROOT", "VIRTUAL_ENV", "CONDA_PREFIX"}) {
    std::string folder = variable(root);
    if (!folder.empty() && folder[0] == '/') files.push_back(folder + "/lib/" + kFile);
  }
  files.emplace_back(kFile);  // wherever the system's linker looks
  add_python_prefixes(files);
  std::string home = variable("HOME");
  if (!home.empty() && home[0] == '/') files.push_back(home + "/.local/lib/" + kFile);
  return files;
}

struct State {
  std::mutex mutex;
  std::optional<std::string> chosen;
  bool loaded = false;
  std::unique_ptr<Library> library;
  std::string report;

  bool attempt(const std::string& file) {
    std::string why;
    bool bare = file.find('/') == std::string::npos;
    if (!bare && access(file.c_str(), F_OK) != 0) {
      why = "no such file";
    } else {
      library = open(file, why);
    }
    report += fmt::format("  {}: {}\n", bare ? file + " (by the system's linker)" : file,
                          library != nullptr ? library->version : why);
    return library != nullptr;
  }

  void load() {
    if (loaded) return;
    loaded = true;
    std::string file = chosen ? *chosen : variable("TENON_ONEDNN_LIBRARY");
    if (file == "none") {
      report = "  not looked for: it is turned off\n";
    } else if (!file.empty()) {
      attempt(file);
    } else {
      for (const std::string& place : usual_places()) {
        if (attempt(place)) break;
      }
    }
  }
};

State& state() {
  static State* s = std::make_unique<State>().release();  // never destroyed: kernels may outlive static objects
  return *s;
}

}  // namespace

const Library* library() {
  State& s = state();
  std::lock_guard lock(s.mutex);
  s.load();
  return s.library.get();
}

std::string version() {
  const Library* l = library();
  return l == nullptr ? "" : l->version;
}

std::string search_report() {
  library();
  State& s = state();
  std::lock_guard lock(s.mutex);
  return s.report;
}

void choose_library(const std::string& path) {
  State& s = state();
  std::lock_guard lock(s.mutex);
  if (s.loaded) {
    expect(s.chosen == path, "oneDNN was looked for already; '{}' comes too late", path);
    return;
  }
  s.chosen = path;
  s.load();
  if (path != "none" && s.library == nullptr) {
    fail(Code::kNotFound, "oneDNN cannot be used from '{}':\n{}", path, s.report);
  }
}

OneThread::OneThread(const Library& library) : library_(library) {
  if (library_.set_threads == nullptr) return;
  before_ = library_.get_threads();
  if (before_ != 1) library_.set_threads(1);
}

OneThread::~OneThread() {
  if (before_ != 1) library_.set_threads(before_);
}

}  // namespace tenon::cpu::onednn
