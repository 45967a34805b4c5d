// What is behind the handle tenon::Engine. Immutable after construction but for EngineCore's own cache, which locks.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/engine.hpp"
#include "tenon/tenon.hpp"

namespace tenon {

struct EngineState {
  std::shared_ptr<EngineCore> core;
  std::vector<TensorInfo> inputs, outputs;
};

namespace api {
/// The position of `name`; an unknown one is answered with those there are. `what`: "input" or "output".
size_t index_of(const std::vector<TensorInfo>& infos, std::string_view name, std::string_view what);
}  // namespace api

}  // namespace tenon
