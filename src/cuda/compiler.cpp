#include "cuda/compiler.hpp"

#include <cstdio>
#include <cstring>
#include <mutex>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "cuda/library.hpp"

namespace tenon::cuda {

// Made by the build from src/cuda/kernels (embed.cmake): name, text, name, text, ..., null.
extern const char* const kEmbeddedKernels[];

const char* kernel_text(std::string_view file) noexcept {
  for (const char* const* at = kEmbeddedKernels; *at; at += 2) {
    if (file == *at) return at[1];
  }
  return nullptr;
}

std::vector<std::string> kernel_files() {
  std::vector<std::string> names;
  for (const char* const* at = kEmbeddedKernels; *at; at += 2) names.emplace_back(*at);
  return names;
}

uint64_t KernelSource::hash() const {
  uint64_t h = hash_text(file, fast_math);
  h = hash_text(defines, h);
  h = hash_text(snippet, h);
  for (const char* const* at = kEmbeddedKernels; *at; at += 2) h = hash_text(at[1], h);
  return h;
}

namespace {

struct Program;  // nvrtcProgram points to one

struct NvrtcApi {
  int (*nvrtcVersion)(int*, int*) = nullptr;
  const char* (*nvrtcGetErrorString)(int) = nullptr;
  int (*nvrtcCreateProgram)(Program**, const char*, const char*, int, const char* const*, const char* const*) = nullptr;
  int (*nvrtcDestroyProgram)(Program**) = nullptr;
  int (*nvrtcCompileProgram)(Program*, int, const char* const*) = nullptr;
  int (*nvrtcGetProgramLogSize)(Program*, size_t*) = nullptr;
  int (*nvrtcGetProgramLog)(Program*, char*) = nullptr;
  int (*nvrtcGetCUBINSize)(Program*, size_t*) = nullptr;
  int (*nvrtcGetCUBIN)(Program*, char*) = nullptr;
};

/// Numbers that follow or precede a word in ptxas's report.
int number_before(const std::string& log, const char* word) {
  size_t at = log.find(word);
  if (at == std::string::npos) return 0;
  size_t begin = at;
  while (begin > 0 && (log[begin - 1] == ' ' || (log[begin - 1] >= '0' && log[begin - 1] <= '9'))) --begin;
  int value = 0;
  std::sscanf(log.c_str() + begin, "%d", &value);
  return value;
}

class Nvrtc final : public Compiler {
 public:
  Nvrtc(NvrtcApi api, std::string path) : api_(api), path_(std::move(path)) { api_.nvrtcVersion(&major_, &minor_); }

  std::string version() const override { return fmt::format("NVRTC {}.{} ({})", major_, minor_, path_); }

  Cubin compile(const KernelSource& source, const std::string& arch) const override {
    const char* body = kernel_text(source.file);
    if (!body) fail(Code::kInternal, "There is no kernel file '{}'.", source.file);
    std::string text = source.defines + "#line 1 \"" + source.file + "\"\n" + body;
    std::vector<const char*> names, texts;
    for (const char* const* at = kEmbeddedKernels; *at; at += 2) {
      names.push_back(at[0]);
      texts.push_back(at[1]);
    }
    names.push_back("generated.cuh");
    texts.push_back(source.snippet.c_str());
    Holder program{api_};
    check(api_.nvrtcCreateProgram(&program.handle, text.c_str(), source.file.c_str(), static_cast<int>(names.size()),
                                  texts.data(), names.data()),
          "nvrtcCreateProgram");
    std::string target = "--gpu-architecture=" + arch;
    std::vector<const char*> options = {target.c_str(), "--std=c++17", "--device-as-default-execution-space",
                                        "--ptxas-options=-v"};
    if (source.fast_math) options.insert(options.end(), {"--prec-div=false", "--prec-sqrt=false", "--ftz=true"});
    int result = api_.nvrtcCompileProgram(program.handle, static_cast<int>(options.size()), options.data());
    Cubin cubin;
    cubin.log = log_of(program.handle);
    if (result != 0) {
      fail(Code::kInternal, "The kernel {} does not compile for {} ({}: {}):\n{}\nwith\n{}", source.file, arch,
           version(), api_.nvrtcGetErrorString(result), cubin.log, source.defines);
    }
    size_t size = 0;
    check(api_.nvrtcGetCUBINSize(program.handle, &size), "nvrtcGetCUBINSize");
    cubin.bytes.resize(size);
    check(api_.nvrtcGetCUBIN(program.handle, reinterpret_cast<char*>(cubin.bytes.data())), "nvrtcGetCUBIN");
    cubin.registers = number_before(cubin.log, " registers");
    cubin.spill_bytes =
        number_before(cubin.log, " bytes spill stores") + number_before(cubin.log, " bytes spill loads");
    cubin.static_shared = number_before(cubin.log, " bytes smem");
    return cubin;
  }

 private:
  struct Holder {
    const NvrtcApi& api;
    Program* handle = nullptr;
    ~Holder() {
      if (handle) api.nvrtcDestroyProgram(&handle);
    }
  };

  void check(int result, const char* call) const {
    if (result != 0) fail(Code::kInternal, "NVRTC refused: {}: {}.", call, api_.nvrtcGetErrorString(result));
  }

  std::string log_of(Program* program) const {
    size_t size = 0;
    check(api_.nvrtcGetProgramLogSize(program, &size), "nvrtcGetProgramLogSize");
    std::string log(size, '\0');
    check(api_.nvrtcGetProgramLog(program, log.data()), "nvrtcGetProgramLog");
    while (!log.empty() && log.back() == '\0') log.pop_back();
    return log;
  }

  NvrtcApi api_;
  std::string path_;
  int major_ = 0, minor_ = 0;
};

std::shared_ptr<const Compiler> load() {
  Library library = find_library({"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"}, "TENON_NVRTC");
  if (!library.handle) {
    fail(Code::kUnavailable,
         "NVRTC, which compiles kernels, is not here: looked for {}. A plan that was built elsewhere runs without it; "
         "to "
         "build one, install the CUDA toolkit or `pip install nvidia-cuda-nvrtc`.",
         library.looked_for());
  }
  NvrtcApi api;
  const char* missing = nullptr;
  auto bind = [&](const char* name, auto& to) {
    to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(library.symbol(name));
    if (!to) missing = name;
  };
#define TENON_BIND(name) bind(#name, api.name)
  TENON_BIND(nvrtcVersion);
  TENON_BIND(nvrtcGetErrorString);
  TENON_BIND(nvrtcCreateProgram);
  TENON_BIND(nvrtcDestroyProgram);
  TENON_BIND(nvrtcCompileProgram);
  TENON_BIND(nvrtcGetProgramLogSize);
  TENON_BIND(nvrtcGetProgramLog);
  TENON_BIND(nvrtcGetCUBINSize);
  TENON_BIND(nvrtcGetCUBIN);
#undef TENON_BIND
  if (missing) fail(Code::kUnavailable, "{} is no NVRTC that Tenon can use: it has no {}.", library.path, missing);
  return std::make_shared<Nvrtc>(api, library.path);
}

}  // namespace

std::shared_ptr<const Compiler> Compiler::system() {
  static std::mutex mutex;
  static std::shared_ptr<const Compiler> compiler;
  std::lock_guard lock(mutex);
  if (!compiler) compiler = load();
  return compiler;
}

}  // namespace tenon::cuda
