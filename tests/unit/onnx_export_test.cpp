// Graph to ONNX and back.
#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>

#include "onnx/export.hpp"
#include "onnx_testing.hpp"

namespace tenon::onnx_test {
namespace {

using testing::HasSubstr;

std::string branch(const Names& nodes, const std::string& out) { return G{nodes, {}, {value(out)}, {}, {}}.bytes(); }

TEST(OnnxExport, RoundTripKeepsOperatorsNamesAndMetadata) {
  G g = line(
      {node("Add", {"x", "w"}, {"t"}, {}, "", "sum"), node("LeakyRelu", {"t"}, {"y"}, {attr_float("alpha", 0.5f)})},
      {floats("w", {2}, {1, 2})});
  g.inputs = {value("x", 1, dim("N") + dim("") + dim(2))};
  auto graph = import(model(g, 13, blob(14, blob(1, "names") + blob(2, "a"))));
  auto again = import(onnx::export_bytes(*graph));
  EXPECT_EQ(ops_of(*again), "Add LeakyRelu");
  EXPECT_EQ(only(*again, "Add").name, "sum");
  EXPECT_EQ(only(*again, "LeakyRelu").attrs.number("alpha", 0), 0.5);
  EXPECT_EQ(again->value(again->inputs[0]).type.text(), "float32[N,?x.1,2]");
  EXPECT_EQ(again->value(again->outputs[0]).name, "y");
  EXPECT_EQ(again->metadata["props.names"], "a");
  EXPECT_EQ(again->metadata["opset"], "21");
}

TEST(OnnxExport, BodiesCaptureByNameAgain) {
  G g = line({node("Relu", {"x"}, {"a"}), node("Neg", {"x"}, {"b"}),
              node("If", {"c"}, {"y"},
                   {attr_graph("then_branch", branch({node("Add", {"a", "x"}, {"t"})}, "t")),
                    attr_graph("else_branch", branch({node("Sub", {"b", "a"}, {"t"})}, "t"))})});
  g.inputs.push_back(value("c", 9, ""));
  auto graph = import(model(g));
  auto again = import(onnx::export_bytes(*graph));
  const Node &before = only(*graph, "If"), &after = only(*again, "If");
  EXPECT_EQ(after.attrs.integer("captures", 0), 3);
  // The bodies come out in another order, and with them what they use first.
  auto names = [](const Graph& of, const Node& n) {
    std::vector<std::string> out;
    for (ValueId v : n.inputs) out.push_back(of.value(v).name);
    return out;
  };
  EXPECT_THAT(names(*again, after), testing::UnorderedElementsAreArray(names(*graph, before)));
  EXPECT_EQ(after.attrs.graph("else_branch")->value(only(*after.attrs.graph("else_branch"), "Sub").inputs[0]).name,
            "b");
}

TEST(OnnxExport, BodyOutputsThatAreCapturedGetANode) {
  G g = line({node("If", {"c"}, {"y"},
                   {attr_graph("then_branch", branch({}, "x")),
                    attr_graph("else_branch", branch({node("Neg", {"x"}, {"n"})}, "n"))})});
  g.inputs.push_back(value("c", 9, ""));
  auto again = import(onnx::export_bytes(*import(model(g))));
  EXPECT_EQ(ops_of(*only(*again, "If").attrs.graph("then_branch")), "Identity");
}

TEST(OnnxExport, NewerOperatorsRaiseTheOpset) {
  auto graph = import_loosely(model(line({node("Swish", {"x"}, {"y"})}), 24));
  graph->metadata.erase("opset");
  EXPECT_EQ(import_loosely(onnx::export_bytes(*graph))->metadata["opset"], "24");
}

TEST(OnnxExport, OwnOperatorsAreRefusedByName) {
  Graph g;
  ValueId x = g.add_input("x", Type::tensor(DType::kFloat32, Shape{2}));
  g.outputs = {g.add("tenon.Pointwise", {x})};
  try {
    onnx::export_bytes(g);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kUnsupported);
    EXPECT_THAT(e.what(), HasSubstr("tenon.Pointwise (1)"));
  }
}

TEST(OnnxExport, LargeConstantsGoBesideTheModel) {
  char name[] = "/tmp/tenon-export-XXXXXX";
  ASSERT_NE(::mkdtemp(name), nullptr);
  std::string path = std::string(name) + "/m.onnx";
  G g = line({node("Add", {"x", "w"}, {"t"}), node("Add", {"t", "v"}, {"y"})},
             {floats("w", {1000, 2}, std::vector<float>(2000, 3)), floats("v", {2}, {1, 2})});
  onnx::export_file(*import(model(g)), path, {.external_above = 100});
  EXPECT_EQ(std::filesystem::file_size(path + ".data"), 8000u);
  auto again = onnx::import_file(path);
  const Tensor& w = constant(*again, again->node(again->order()[0]).inputs[1]);
  EXPECT_EQ(w.values<float>()[1999], 3);
  std::filesystem::remove_all(name);
}

}  // namespace
}  // namespace tenon::onnx_test
