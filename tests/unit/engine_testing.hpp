// Models for the tests of the public API, as ONNX bytes.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "onnx_testing.hpp"
#include "tenon/tenon.hpp"

namespace tenon::engine_test {

inline std::span<const std::byte> bytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// y[N,2] = Relu(x[N,3] * w + b): columns are x0 + x1 + x2 + 1 and x0 - x2 (cut at zero).
inline std::string dense_model() {
  using namespace onnx_test;
  G g;
  g.nodes = {node("MatMul", {"x", "w"}, {"p"}), node("Add", {"p", "b"}, {"s"}), node("Relu", {"s"}, {"y"})};
  g.inputs = {value("x", 1, dim("N") + dim(3))};
  g.outputs = {value("y", 1, dim("N") + dim(2))};
  g.initializers = {floats("w", {3, 2}, {1, 1, 1, 0, 1, -1}), floats("b", {2}, {1, 0})};
  // metadata_props: key "task", value "test"
  return model(g, 21, blob(14, blob(1, "task") + blob(2, "test")));
}

/// i[2,K] = NonZero(x[?]): how long the output is only the data say.
inline std::string nonzero_model() {
  using namespace onnx_test;
  G g;
  g.nodes = {node("NonZero", {"x"}, {"i"})};
  g.inputs = {value("x", 1, dim("") + dim(""))};
  g.outputs = {value("i", 7, dim(2) + dim("K"))};
  return model(g);
}

inline BuildConfig one_thread() {
  BuildConfig config;
  config.threads = 1;
  config.opt_level = 0;
  return config;
}

inline Engine dense(const BuildConfig& config = one_thread()) { return Engine::build(bytes(dense_model()), config); }

/// The code and message of what `body` throws; the message is "" when it throws nothing.
template <class F>
std::pair<Code, std::string> error_of(F&& body) {
  try {
    body();
  } catch (const Error& e) {
    return {e.code(), e.what()};
  }
  return {Code::kUnknown, ""};
}

}  // namespace tenon::engine_test
