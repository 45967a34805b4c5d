// Any bytes as an ONNX model: either a graph whose types can be inferred, or an Error. A graph can be written as ONNX
// again, or there is an Error.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/error.hpp"
#include "onnx/export.hpp"
#include "onnx/import.hpp"
#include "ops/op_table.hpp"

namespace {

void round_trip(std::span<const std::byte> bytes) {
  tenon::onnx::ImportOptions options;
  options.allow_unknown_ops = true;  // a mutated operator name must not hide what comes after
  options.limits.inlined_nodes = 1 << 12;
  tenon::GraphPtr graph = tenon::onnx::import_bytes(bytes, nullptr, options);
  tenon::infer_types(*graph, tenon::all_ops());
  std::string written = tenon::onnx::export_bytes(*graph);
  tenon::onnx::import_bytes(std::as_bytes(std::span(written.data(), written.size())), nullptr, options);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    round_trip(std::as_bytes(std::span(data, size)));
  } catch (const tenon::Error& error) {
    // A fault of ours that a file can provoke is a finding even where it is caught.
    if (error.code() == tenon::Code::kInternal) throw;
  }
  return 0;
}
