#include <gmock/gmock.h>

#include "onnx_testing.hpp"

namespace tenon::onnx_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(OnnxImport, ReadsInputsOutputsAndMetadata) {
  G g = line({node("Relu", {"x"}, {"y"}, {}, "", "act")});
  g.inputs = {value("x", 1, dim("N") + dim("") + dim(-1) + dim(0))};
  auto graph = import(model(g, 13, blob(2, "maker") + blob(14, blob(1, "names") + blob(2, "a,b"))));
  EXPECT_EQ(graph->value(graph->inputs[0]).type.text(), "float32[N,?x.1,?x.2,0]");
  EXPECT_EQ(graph->value(graph->outputs[0]).name, "y");
  EXPECT_EQ(graph->value(graph->outputs[0]).type.text(), "float32[N,?x.1,?x.2,0]");
  EXPECT_EQ(only(*graph, "Relu").name, "act");
  EXPECT_EQ(graph->metadata["producer_name"], "maker");
  EXPECT_EQ(graph->metadata["opset"], "13");
  EXPECT_EQ(graph->metadata["props.names"], "a,b");
}

TEST(OnnxImport, DimensionNamesAreExpressionsOnlyOverInputSymbols) {
  G g = line({node("Relu", {"x"}, {"y"})});
  g.inputs = {value("x", 1, dim("N")), value("z", 1, dim("2*N") + dim("2*M") + dim("past + 1"))};
  auto graph = import(model(g));
  const Shape& shape = *graph->value(graph->inputs[1]).type.shape;
  EXPECT_EQ(shape[0], Dim::symbol("N") * Dim(2));
  EXPECT_TRUE(shape[1].is_symbol());
  EXPECT_TRUE(shape[2].is_symbol());
  for (const Dim& d : shape) EXPECT_EQ(Dim::parse(d.text()), d);
}

TEST(OnnxImport, SymbolsOfValuesCanBeWrittenAndReadBack) {
  G g = line({node("Relu", {"x"}, {"y"})});
  g.inputs = {value("x", 1, dim("") + dim("")), value("a/b c~1", 1, dim("") + dim(""))};
  auto graph = import(model(g));
  for (ValueId v : graph->inputs) {
    for (const Dim& d : *graph->value(v).type.shape)
      EXPECT_EQ(Dim::parse((d * Dim(2) + Dim(1)).text()), d * Dim(2) + Dim(1));
  }
  // Names that differ in their last letter only.
  std::string stem(60, 'n');
  g = line({node("NonZero", {"x"}, {stem + "1"}), node("NonZero", {"x"}, {stem + "2"})});
  g.outputs = {value(stem + "1"), value(stem + "2")};
  graph = import(model(g));
  EXPECT_FALSE(graph->value(graph->outputs[0]).type == graph->value(graph->outputs[1]).type);
}

TEST(OnnxImport, ConstantsAreValuesAndUnusedOnesAreDropped) {
  auto graph = import(model(line({node("Constant", {}, {"c"}, {attr_tensor("value", floats("", {2}, {1, 2}))}),
                                  node("Constant", {}, {"unused"}, {attr_tensor("value", floats("", {1}, {9}))}),
                                  node("Add", {"x", "c"}, {"t"}), node("Add", {"t", "w"}, {"y"})},
                                 {floats("w", {2}, {3, 4}), floats("dead", {2}, {5, 6})})));
  EXPECT_EQ(ops_of(*graph), "Add Add");
  int constants = 0;
  for (ValueId v = 0; v < graph->value_count(); ++v) constants += graph->value(v).is_constant();
  EXPECT_EQ(constants, 2);
  EXPECT_THAT(constant(*graph, graph->node(graph->order()[1]).inputs[1]).values<float>(), ElementsAre(3, 4));
}

TEST(OnnxImport, AnInitializerAmongTheInputsIsAConstant) {
  G g = line({node("Add", {"x", "w"}, {"y"})}, {floats("w", {2}, {3, 4})});
  g.inputs.push_back(value("w", 1, dim(2)));
  auto graph = import(model(g));
  EXPECT_EQ(graph->inputs.size(), 1u);
}

TEST(OnnxImport, OptionalInputsAndOutputs) {
  G g = line({node("Clip", {"x", "", "hi"}, {"t"}), node("Clip", {"t", "", ""}, {"u"}),
              node("Odd", {"u"}, {"", "y", ""}, {}, "com.acme")},
             {floats("hi", {}, {1})});
  auto graph = import_loosely(model(g));
  const Node& first = graph->node(graph->order()[0]);
  EXPECT_EQ(first.inputs.size(), 3u);
  EXPECT_EQ(first.inputs[1], kNone);
  EXPECT_EQ(graph->node(graph->order()[1]).inputs.size(), 1u);
  const Node& odd = only(*graph, "com.acme.Odd");
  ASSERT_EQ(odd.outputs.size(), 2u);
  EXPECT_EQ(graph->value(odd.outputs[1]).name, "y");
}

TEST(OnnxImport, OutputsThatAreInputsOrConstantsKeepTheirNames) {
  G g = line({node("Relu", {"x"}, {"y"})}, {floats("w", {2}, {3, 4})});
  g.outputs = {value("x", 1, dim(2)), value("w", 1, dim(2)), value("y", 1, dim(2))};
  auto graph = import(model(g));
  std::vector<std::string> names;
  for (ValueId v : graph->outputs) names.push_back(graph->value(v).name);
  EXPECT_THAT(names, ElementsAre("x", "w", "y"));
  EXPECT_EQ(graph->outputs[0], graph->inputs[0]);
  EXPECT_EQ(ops_of(*graph), "Relu Identity");
  g.outputs.push_back(g.outputs[2]);
  EXPECT_THAT(error_of(model(g)), HasSubstr("given twice"));
}

TEST(OnnxImport, NodesOutOfOrderAreSorted) {
  auto graph = import(model(line({node("Neg", {"t"}, {"y"}), node("Relu", {"x"}, {"t"})})));
  EXPECT_EQ(ops_of(*graph), "Relu Neg");
}

TEST(OnnxImport, TopologyErrors) {
  EXPECT_THAT(
      error_of(model(line({node("Add", {"x", "b"}, {"a"}), node("Relu", {"a"}, {"b"}), node("Relu", {"x"}, {"y"})}))),
      HasSubstr("cycle"));
  EXPECT_THAT(error_of(model(line({node("Relu", {"y"}, {"y"})}))), HasSubstr("cycle"));
  EXPECT_THAT(error_of(model(line({node("Relu", {"x"}, {"y"}), node("Neg", {"x"}, {"y"})}))), HasSubstr("made twice"));
  EXPECT_THAT(error_of(model(line({node("Relu", {"x"}, {"x"}), node("Neg", {"x"}, {"y"})}))), HasSubstr("already"));
  EXPECT_THAT(error_of(model(line({node("Relu", {"nowhere"}, {"y"})}))), HasSubstr("'nowhere'"));
  EXPECT_THAT(error_of(model(line({node("Relu", {"x"}, {"z"})}))), HasSubstr("output 'y'"));
  EXPECT_THAT(error_of(model(line({node("Relu", {"x"}, {"y"})}, {floats("w", {1}, {1}), floats("w", {1}, {1})}))),
              HasSubstr("given twice"));
}

TEST(OnnxImport, ModelErrors) {
  G g = line({node("Relu", {"x"}, {"y"})});
  EXPECT_THAT(error_of(""), HasSubstr("empty"));
  EXPECT_THAT(error_of(blob(7, g.bytes()) + opset("", 13)), HasSubstr("ir_version"));
  EXPECT_THAT(error_of(number(1, 8) + opset("", 13)), HasSubstr("no graph"));
  EXPECT_THAT(error_of(number(1, 8) + blob(7, g.bytes())), HasSubstr("opset"));
  EXPECT_THAT(error_of(model(g, 0)), HasSubstr("opset version 0"));
  EXPECT_THAT(error_of(model(g, 13, opset("ai.onnx", 12))), HasSubstr("imported twice"));
  Code code{};
  EXPECT_THAT(error_of(model(g, 99), &code), HasSubstr("99"));
  EXPECT_EQ(code, Code::kUnsupported);
  EXPECT_THAT(error_of(model(line({node("Gelu", {"x"}, {"y"})}), 13)), HasSubstr("came with opset 20"));
}

TEST(OnnxImport, UnknownOperatorsAreListedTogether) {
  G g = line({node("Mystery", {"x"}, {"t"}, {}, "com.acme", "n1"), node("Mystery", {"t"}, {"u"}, {}, "com.acme", "n2"),
              node("Riddle", {"u"}, {"y"}, {}, "org.other", "n3")});
  try {
    import(model(g, 13, blob(2, "somebody") + opset("com.acme", 3)));
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kUnsupported);
    EXPECT_THAT(e.what(), HasSubstr("Mystery (domain com.acme, opset 3): 2 nodes, first 'n1'"));
    EXPECT_THAT(e.what(), HasSubstr("Riddle (domain org.other"));
    EXPECT_THAT(e.what(), HasSubstr("somebody"));
  }
  EXPECT_EQ(ops_of(*import_loosely(model(g))), "com.acme.Mystery com.acme.Mystery org.other.Riddle");
}

TEST(OnnxImport, AttributesAreChecked) {
  EXPECT_THAT(error_of(model(line({node("Relu", {"x"}, {"y"}, {attr_int("colour", 1)})}))), HasSubstr("'colour'"));
  EXPECT_THAT(
      error_of(model(line({node("LeakyRelu", {"x"}, {"y"}, {attr_float("alpha", 1), attr_float("alpha", 1)})}))),
      HasSubstr("given twice"));
  EXPECT_THAT(
      error_of(model(line({node("LeakyRelu", {"x"}, {"y"}, {blob(1, "alpha") + number(3, 1) + number(20, 1)})}))),
      HasSubstr("declared as type 1"));
  EXPECT_THAT(error_of(model(line({node("LeakyRelu", {"x"}, {"y"}, {blob(1, "alpha") + number(20, 77)})}))),
              HasSubstr("type 77"));
  EXPECT_THAT(error_of(model(line({node("Relu", {"x", "x"}, {"y"})}))), HasSubstr("inputs"));
}

std::string branch(Names nodes, const std::string& out) {
  return G{std::move(nodes), {}, {value(out)}, {}, {}}.bytes();
}

TEST(OnnxImport, BodiesAreClosedAndShareTheirCaptures) {
  // then uses a and the constant w; else uses b, then a. Order of first use over both: a, b.
  G g = line({node("Relu", {"x"}, {"a"}), node("Neg", {"x"}, {"b"}),
              node("If", {"c"}, {"y"},
                   {attr_graph("then_branch", branch({node("Add", {"a", "w"}, {"t"})}, "t")),
                    attr_graph("else_branch", branch({node("Sub", {"b", "a"}, {"e"})}, "e"))})},
             {floats("w", {2}, {3, 4})});
  g.inputs.push_back(value("c", 9, ""));
  auto graph = import(model(g));
  const Node& branchy = only(*graph, "If");
  EXPECT_EQ(branchy.attrs.integer("captures", 0), 2);
  ASSERT_EQ(branchy.inputs.size(), 3u);
  EXPECT_EQ(graph->value(branchy.inputs[1]).name, "a");
  EXPECT_EQ(graph->value(branchy.inputs[2]).name, "b");
  auto then_body = branchy.attrs.graph("then_branch"), else_body = branchy.attrs.graph("else_branch");
  ASSERT_EQ(then_body->inputs.size(), 2u);
  ASSERT_EQ(else_body->inputs.size(), 2u);
  EXPECT_EQ(then_body->value(then_body->inputs[0]).name, "a");
  EXPECT_EQ(then_body->use_count(then_body->inputs[1]), 0);
  const Node& sub = only(*else_body, "Sub");
  EXPECT_EQ(sub.inputs[0], else_body->inputs[1]);
  EXPECT_EQ(sub.inputs[1], else_body->inputs[0]);
  EXPECT_TRUE(then_body->value(only(*then_body, "Add").inputs[1]).is_constant());
}

TEST(OnnxImport, CapturesPassThroughNestedBodies) {
  std::string inner = branch({node("Relu", {"x"}, {"i"})}, "i");
  std::string middle =
      branch({node("If", {"c"}, {"m"}, {attr_graph("then_branch", inner), attr_graph("else_branch", inner)})}, "m");
  G g = line({node("If", {"c"}, {"y"}, {attr_graph("then_branch", middle), attr_graph("else_branch", middle)})});
  g.inputs.push_back(value("c", 9, ""));
  auto graph = import(model(g));
  const Node& outer = only(*graph, "If");
  EXPECT_EQ(outer.attrs.integer("captures", 0), 2);  // c and x
  const Node& nested = only(*outer.attrs.graph("then_branch"), "If");
  EXPECT_EQ(nested.attrs.integer("captures", 0), 1);
  EXPECT_EQ(nested.attrs.graph("else_branch")->inputs.size(), 1u);
}

TEST(OnnxImport, ABodyThatUsesALaterValueWaitsForIt) {
  std::string body = branch({node("Relu", {"late"}, {"t"})}, "t");
  G g = line({node("If", {"c"}, {"y"}, {attr_graph("then_branch", body), attr_graph("else_branch", body)}),
              node("Neg", {"x"}, {"late"})});
  g.inputs.push_back(value("c", 9, ""));
  EXPECT_EQ(ops_of(*import(model(g))), "Neg If");
}

TEST(OnnxImport, DeepNestingIsAnErrorNotAnOverflow) {
  for (int depth : {10, 1000}) {
    std::string body = branch({node("Relu", {"x"}, {"r"})}, "r");
    for (int i = 0; i < depth; ++i)
      body = branch({node("If", {"c"}, {"r"}, {attr_graph("then_branch", body), attr_graph("else_branch", "")})}, "r");
    G g = line({node("If", {"c"}, {"y"}, {attr_graph("then_branch", body), attr_graph("else_branch", "")})});
    g.inputs.push_back(value("c", 9, ""));
    std::string error = error_of(model(g));
    EXPECT_EQ(error.find("nested deeper") != std::string::npos, depth == 1000) << error;
  }
}

TEST(OnnxImport, LongChainsNeedNoRecursion) {
  G g = line({});
  constexpr int kLength = 100000;
  for (int i = 0; i < kLength; ++i) {
    std::string from = i == 0 ? "x" : "t" + std::to_string(i - 1);
    g.nodes.push_back(node("Relu", {from}, {i + 1 == kLength ? "y" : "t" + std::to_string(i)}));
  }
  EXPECT_EQ(import(model(g))->node_count(), kLength);
  std::reverse(g.nodes.begin(), g.nodes.end());
  EXPECT_EQ(import(model(g))->node_count(), kLength);
}

std::string function(const std::string& name, const Names& in, const Names& out, const Names& nodes,
                     const Names& attrs = {}, const Names& defaults = {}) {
  std::string f = blob(1, name);
  for (const auto& i : in) f += blob(4, i);
  for (const auto& o : out) f += blob(5, o);
  for (const auto& a : attrs) f += blob(6, a);
  for (const auto& n : nodes) f += blob(7, n);
  for (const auto& d : defaults) f += blob(11, d);
  return blob(25, f + blob(9, number(2, 21)) + blob(10, "local"));
}

TEST(OnnxImport, FunctionsAreInlined) {
  std::string inner =
      function("Leak", {"a"}, {"b"}, {node("LeakyRelu", {"a"}, {"b"}, {attr_ref("alpha", "slope", 1)})}, {"slope"});
  std::string outer =
      function("Twice", {"a", "absent"}, {"c"},
               {node("Leak", {"a"}, {"b"}, {attr_ref("slope", "s", 1)}, "local"), node("Clip", {"b", "absent"}, {"c"})},
               {}, {attr_float("s", 0.25f)});
  auto graph = import(model(
      line({node("Twice", {"x"}, {"t"}, {attr_float("s", 0.5f)}, "local"), node("Twice", {"t"}, {"y"}, {}, "local")}),
      21, inner + outer));
  EXPECT_EQ(ops_of(*graph), "LeakyRelu Clip LeakyRelu Clip");
  EXPECT_EQ(graph->node(graph->order()[0]).attrs.number("alpha", 0), 0.5);
  EXPECT_EQ(graph->node(graph->order()[2]).attrs.number("alpha", 0), 0.25);
  EXPECT_EQ(graph->node(graph->order()[1]).inputs.size(), 1u);
  EXPECT_EQ(graph->value(graph->outputs[0]).name, "y");
}

TEST(OnnxImport, RecursiveFunctionsAndBombsAreRefused) {
  std::string f = function("F", {"a"}, {"b"}, {node("H", {"a"}, {"b"}, {}, "local")});
  std::string h = function("H", {"a"}, {"b"}, {node("F", {"a"}, {"b"}, {}, "local")});
  EXPECT_THAT(error_of(model(line({node("F", {"x"}, {"y"}, {}, "local")}), 21, f + h)), HasSubstr("calls itself"));
  std::string bomb;
  for (int i = 0; i < 40; ++i) {
    std::string next = i == 39 ? "Relu" : "B" + std::to_string(i + 1), domain = i == 39 ? "" : "local";
    bomb += function("B" + std::to_string(i), {"a"}, {"b"},
                     {node(next, {"a"}, {"m"}, {}, domain), node(next, {"m"}, {"b"}, {}, domain)});
  }
  EXPECT_THAT(error_of(model(line({node("B0", {"x"}, {"y"}, {}, "local")}), 21, bomb)), HasSubstr("limit"));
}

TEST(OnnxImport, TwoConstantsOfOneNameGiveTheLater) {
  auto graph = import(model(line({node("Constant", {}, {"c"}, {attr_tensor("value", floats("", {2}, {1, 1}))}),
                                  node("Add", {"x", "c"}, {"y"}),
                                  node("Constant", {}, {"c"}, {attr_tensor("value", floats("", {2}, {7, 8}))})})));
  EXPECT_THAT(constant(*graph, only(*graph, "Add").inputs[1]).values<float>(), ElementsAre(7, 8));
}

TEST(OnnxImport, NamesMustBePlainText) {
  EXPECT_THAT(error_of(model(line({node("Relu", {"x"}, {"y"}, {}, "", "\xff\xfe")}))), HasSubstr("UTF-8"));
  EXPECT_THAT(error_of(model(line({node("Relu", {"x"}, {"y"}, {}, "", std::string("a\0b", 3))}))),
              HasSubstr("control"));
  EXPECT_THAT(error_of(model(line({node("Relu", {"x"}, {"y"}, {}, "", "\x1b[2J")}))), HasSubstr("control"));
  EXPECT_THAT(error_of(model(line({node("Relu", {"x"}, {"y"}, {}, "", std::string(100000, 'a'))}))),
              HasSubstr("at most"));
  EXPECT_EQ(error_of(model(line({node("Relu", {"x"}, {"y"}, {}, "", "größe/层")}))), "");
}

}  // namespace
}  // namespace tenon::onnx_test
