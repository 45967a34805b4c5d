// Any text as a graph: either an Error, or a graph whose printed form is read back as the same graph.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/error.hpp"
#include "graph/text.hpp"

namespace {

std::string printed(const tenon::Graph& graph, std::vector<tenon::Tensor>& blobs) {
  tenon::PrintOptions options;
  options.node_names = true;
  options.blobs = &blobs;
  return tenon::print(graph, options);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tenon::GraphPtr graph;
  try {
    graph = tenon::parse_graph({reinterpret_cast<const char*>(data), size});
  } catch (const tenon::Error& error) {
    if (error.code() == tenon::Code::kInternal) throw;
    return 0;
  }
  std::vector<tenon::Tensor> blobs, blobs_again;
  std::string once = printed(*graph, blobs);
  std::string twice = printed(*tenon::parse_graph(once, &blobs), blobs_again);
  if (once != twice) {
    tenon::fail(tenon::Code::kInternal, "printed as\n{}\nread back and printed as\n{}", once, twice);
  }
  return 0;
}
