// Any bytes as an ONNX model: either a graph whose types can be inferred, or an Error.
#include <cstddef>
#include <cstdint>

#include "base/error.hpp"
#include "onnx/import.hpp"
#include "ops/op_table.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    tenon::GraphPtr graph = tenon::onnx::import_bytes(std::as_bytes(std::span(data, size)), nullptr);
    tenon::infer_types(*graph, tenon::all_ops());
  } catch (const tenon::Error& error) {
    // A fault of ours that a file can provoke is a finding even where it is caught.
    if (error.code() == tenon::Code::kInternal) throw;
  }
  return 0;
}
