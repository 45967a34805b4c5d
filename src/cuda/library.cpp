#include "cuda/library.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

namespace tenon::cuda {
namespace fs = std::filesystem;
namespace {

void* open_library(const std::string& name) { return dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL); }

std::string variable(const char* name) {
  const char* value = name ? std::getenv(name) : nullptr;
  return value ? value : "";
}

/// The folders inside `folder` whose names begin with `prefix`, the highest version first.
std::vector<fs::path> inside(const fs::path& folder, const std::string& prefix) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (at->path().filename().string().starts_with(prefix)) found.push_back(at->path());
  }
  std::sort(found.rbegin(), found.rend());
  return found;
}

/// site-packages/nvidia/*/lib below the lib folder of a Python installation.
void add_pip_folders(const fs::path& lib, std::vector<std::string>& out) {
  for (const fs::path& python : inside(lib, "python3")) {
    for (const char* packages : {"site-packages", "dist-packages"}) {
      for (const fs::path& package : inside(python / packages / "nvidia", "")) {
        std::error_code error;
        if (fs::is_directory(package / "lib", error)) out.push_back((package / "lib").string());
      }
    }
  }
}

}  // namespace

void* Library::symbol(const char* name) const noexcept { return handle ? dlsym(handle, name) : nullptr; }

std::string Library::looked_for() const {
  std::string text;
  for (const std::string& place : searched) text += (text.empty() ? "" : ", ") + place;
  return text;
}

std::vector<std::string> toolkit_folders() {
  std::vector<std::string> folders;
  auto toolkit = [&](const fs::path& root) {
    std::error_code error;
    for (const char* lib : {"lib64", "lib", "targets/x86_64-linux/lib"}) {
      if (fs::is_directory(root / lib, error)) folders.push_back((root / lib).string());
    }
  };
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"}) {
    if (std::string root = variable(name); !root.empty()) toolkit(root);
  }
  for (const fs::path& root : inside("/usr/local", "cuda")) toolkit(root);
  if (std::string venv = variable("VIRTUAL_ENV"); !venv.empty()) add_pip_folders(fs::path(venv) / "lib", folders);
  for (const char* lib : {".cache/cuda-venv/lib", "/usr/local/lib", "/usr/lib"}) add_pip_folders(lib, folders);
  return folders;
}

Library find_library(const std::vector<std::string>& names, const char* environment) {
  Library library;
  auto attempt = [&](const std::string& what) {
    library.searched.push_back(what);
    library.handle = open_library(what);
    if (library.handle) library.path = what;
    return library.handle != nullptr;
  };
  if (std::string place = variable(environment); !place.empty()) {
    std::error_code error;
    if (!fs::is_directory(place, error)) {
      attempt(place);
      return library;
    }
    for (const std::string& name : names) {
      if (attempt((fs::path(place) / name).string())) return library;
    }
    return library;
  }
  for (const std::string& name : names) {
    if (attempt(name)) return library;
  }
  for (const std::string& folder : toolkit_folders()) {
    library.searched.push_back(folder);
    for (const std::string& name : names) {
      std::string path = (fs::path(folder) / name).string();
      std::error_code error;
      if (!fs::exists(path, error)) continue;
      library.handle = open_library(path);
      if (library.handle) {
        library.path = path;
        return library;
      }
    }
  }
  return library;
}

}  // namespace tenon::cuda
