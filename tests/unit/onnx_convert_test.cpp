// Older operator versions come out with their newest meaning. (The values were compared with another runtime's, model
// by model; here the form is pinned.)
#include <gmock/gmock.h>

#include "onnx_testing.hpp"

namespace tenon::onnx_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// One node over x:float32[2,3,4] at an opset.
GraphPtr convert(const std::string& op, int64_t version, const Names& attrs, const Names& more_inputs = {},
                 const Names& inits = {}, const Names& outputs = {"y"}) {
  Names in = {"x"};
  in.insert(in.end(), more_inputs.begin(), more_inputs.end());
  G g{{node(op, in, outputs, attrs, "", "n")}, {value("x", 1, dim(2) + dim(3) + dim(4))}, {}, inits, {}};
  for (const auto& o : outputs) {
    if (!o.empty()) g.outputs.push_back(value(o));
  }
  return import_loosely(model(g, version));
}

std::vector<int64_t> ints_at(const Graph& g, const Node& n, size_t i) { return constant(g, n.in(i)).to_ints(); }

TEST(OnnxConvert, AxesBecomeInputs) {
  auto squeeze = convert("Unsqueeze", 11, {attr_ints("axes", {0, 4})});
  EXPECT_THAT(ints_at(*squeeze, only(*squeeze, "Unsqueeze"), 1), ElementsAre(0, 4));
  EXPECT_TRUE(only(*squeeze, "Unsqueeze").attrs.empty());
  auto reduce = convert("ReduceMean", 17, {attr_ints("axes", {-1}), attr_int("keepdims", 0)});
  EXPECT_THAT(ints_at(*reduce, only(*reduce, "ReduceMean"), 1), ElementsAre(-1));
  EXPECT_EQ(only(*reduce, "ReduceMean").attrs.integer("keepdims", 1), 0);
  auto slice = convert("Slice", 9, {attr_ints("starts", {1}), attr_ints("ends", {2}), attr_ints("axes", {1})});
  EXPECT_THAT(ints_at(*slice, only(*slice, "Slice"), 2), ElementsAre(2));
  auto split = convert("Split", 11, {attr_int("axis", 2)}, {}, {}, {"y", "z"});
  EXPECT_EQ(only(*split, "Split").attrs.integer("num_outputs", 0), 2);
  auto top = convert("TopK", 9, {attr_int("k", 2)}, {}, {}, {"y", "z"});
  EXPECT_THAT(ints_at(*top, only(*top, "TopK"), 1), ElementsAre(2));
}

TEST(OnnxConvert, ClipAndPadGetScalarsOfTheRightType) {
  auto clip = convert("Clip", 6, {attr_float("max", 6)});
  const Node& n = only(*clip, "Clip");
  EXPECT_FALSE(n.has(1));
  EXPECT_EQ(constant(*clip, n.in(2)).dtype(), DType::kFloat32);
  EXPECT_EQ(constant(*clip, n.in(2)).at(0), 6);
  auto pad = convert("Pad", 2, {attr_ints("pads", {0, 0, 1, 0, 0, 1}), attr_float("value", 1.5f)});
  EXPECT_EQ(constant(*pad, only(*pad, "Pad").in(2)).at(0), 1.5);
}

TEST(OnnxConvert, SoftmaxBefore13FlattensUnlessTheAxisIsLast) {
  EXPECT_EQ(ops_of(*convert("Softmax", 11, {attr_int("axis", 2)})), "Softmax");
  auto flat = convert("Softmax", 11, {});
  EXPECT_THAT(ops_of(*flat), HasSubstr("Flatten"));
  EXPECT_EQ(only(*flat, "Flatten").attrs.integer("axis", 0), 1);
  EXPECT_EQ(only(*flat, "Softmax").attrs.integer("axis", 0), -1);
  EXPECT_EQ(only(*flat, "Reshape").attrs.integer("allowzero", 0), 1);
  EXPECT_EQ(ops_of(*convert("Softmax", 13, {})), "Softmax");
}

TEST(OnnxConvert, UpsampleAndOldResizeBecomeResize) {
  Names scales = {floats("s", {3}, {1, 1, 2})};
  auto up = convert("Upsample", 9, {}, {"s"}, scales);
  const Node& n = only(*up, "Resize");
  EXPECT_EQ(n.attrs.string("coordinate_transformation_mode", ""), "asymmetric");
  EXPECT_EQ(n.attrs.string("nearest_mode", ""), "floor");
  EXPECT_EQ(n.inputs.size(), 3u);
  EXPECT_FALSE(n.has(1));
  auto down = convert("Resize", 10, {}, {"s"}, {floats("s", {3}, {1, 1, 0.5f})});
  EXPECT_EQ(only(*down, "Resize").attrs.string("nearest_mode", ""), "ceil");
  auto newer =
      convert("Resize", 11, {attr_string("mode", "linear")}, {"roi", "s"}, {scales[0], floats("roi", {0}, {})});
  EXPECT_FALSE(only(*newer, "Resize").has(1));
}

TEST(OnnxConvert, DropoutIsIdentityAndItsMaskIsAllTrue) {
  EXPECT_EQ(ops_of(*convert("Dropout", 7, {attr_float("ratio", 0.5f)})), "Identity");
  EXPECT_EQ(ops_of(*convert("Dropout", 12, {}, {"r"}, {floats("r", {}, {0.5f})})), "Identity");
  auto mask = convert("Dropout", 10, {}, {}, {}, {"y", "m"});
  EXPECT_EQ(mask->value(mask->outputs[1]).type.dtype, DType::kBool);
  auto alone = convert("Dropout", 10, {}, {}, {}, {"", "m"});
  EXPECT_EQ(ops_of(*alone), "Shape ConstantOfShape");
  EXPECT_THAT(error_of(model(line({node("Dropout", {"x"}, {"y", "m", "z"})}), 10)), HasSubstr("no output 2"));
}

TEST(OnnxConvert, BatchNormalizationOfTheFirstVersions) {
  Names stats;
  for (const char* name : {"s", "b", "m", "v"}) stats.push_back(floats(name, {3}, {1, 2, 3}));
  auto norm = convert("BatchNormalization", 7, {attr_float("momentum", 0.9f), attr_int("spatial", 1)},
                      {"s", "b", "m", "v"}, stats);
  EXPECT_TRUE(only(*norm, "BatchNormalization").attrs.empty());
  Names each;
  for (const char* name : {"s", "b", "m", "v"}) each.push_back(floats(name, {3, 4}, std::vector<float>(12, 1)));
  auto plain = convert("BatchNormalization", 7, {attr_int("spatial", 0)}, {"s", "b", "m", "v"}, each);
  EXPECT_THAT(ops_of(*plain), HasSubstr("Sqrt"));
}

TEST(OnnxConvert, BroadcastAxisOfOpset6) {
  auto add = convert("Add", 6, {attr_int("broadcast", 1), attr_int("axis", 1)}, {"b"}, {floats("b", {3}, {1, 2, 3})});
  EXPECT_THAT(ints_at(*add, only(*add, "Unsqueeze"), 1), ElementsAre(1));
  EXPECT_TRUE(only(*add, "Add").attrs.empty());
}

TEST(OnnxConvert, NamesAndTypesThatChanged) {
  EXPECT_EQ(only(*convert("Cast", 1, {attr_string("to", "INT32")}), "Cast").attrs.integer("to", 0), 6);
  EXPECT_EQ(ops_of(*convert("Scatter", 9, {}, {"i", "u"},
                            {tensor("i", 7, {1, 1, 1}, raw<int64_t>({0})), floats("u", {1, 1, 1}, {1})})),
            "ScatterElements");
  EXPECT_EQ(only(*convert("Relu", 1, {attr_ints("consumed_inputs", {0})}), "Relu").attrs.items().size(), 0u);
}

TEST(OnnxConvert, ScanOfOpset8IsAScanOverTheBatch) {
  std::string body =
      G{{node("Add", {"s", "v"}, {"t"})}, {value("s", 1, dim(4)), value("v", 1, dim(4))}, {value("t")}, {}, {}}.bytes();
  G g{{node("Scan", {"", "x0", "x"}, {"y"}, {attr_graph("body", body), attr_int("num_scan_inputs", 1)})},
      {value("x0", 1, dim(2) + dim(4)), value("x", 1, dim(2) + dim(3) + dim(4))},
      {value("y")},
      {},
      {}};
  auto graph = import_loosely(model(g, 8));
  const Node& outer = only(*graph, "Scan");
  EXPECT_EQ(outer.attrs.integer("num_scan_inputs", 0), 2);
  EXPECT_EQ(only(*outer.attrs.graph("body"), "Scan").attrs.integer("num_scan_inputs", 0), 1);
}

TEST(OnnxConvert, TheImportersOwnAttributeCannotBeForged) {
  EXPECT_THAT(error_of(model(line({node("Relu", {"x"}, {"y"}, {attr_int("captures", 1)})}))), HasSubstr("captures"));
}

}  // namespace
}  // namespace tenon::onnx_test
