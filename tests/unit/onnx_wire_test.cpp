// Damaged files: wherever the bytes stop or go wrong, an Error comes out.
#include <gmock/gmock.h>

#include "onnx_testing.hpp"

namespace tenon::onnx_test {
namespace {

using testing::HasSubstr;

std::string small_model() {
  std::string then_body = G{{node("Relu", {"x"}, {"t"})}, {}, {value("t")}, {}, {}}.bytes();
  G g = line({node("Add", {"x", "w"}, {"a"}), node("Add", {"a", "s"}, {"b"}),
              node("If", {"c"}, {"d"}, {attr_graph("then_branch", then_body), attr_graph("else_branch", then_body)}),
              node("LeakyRelu", {"d"}, {"y"}, {attr_float("alpha", 0.1f)})},
             {floats("w", {2}, {1, 2})});
  g.inputs.push_back(value("c", 9, ""));
  g.sparse.push_back(blob(1, floats("s", {1}, {5})) + blob(2, int64s("", {1})) + number(3, 2));
  return model(g, 21, blob(14, blob(1, "k") + blob(2, "v")));
}

TEST(OnnxWire, TruncationAtEveryByte) {
  std::string whole = small_model();
  ASSERT_EQ(error_of(whole), "");
  int failed = 0;
  for (size_t i = 0; i < whole.size(); ++i) failed += !error_of(whole.substr(0, i)).empty();
  // Cut between whole fields at the end, the rest is a model still: before the metadata.
  EXPECT_GE(failed, static_cast<int>(whole.size()) - 1);
}

TEST(OnnxWire, EveryBitFlipIsSurvived) {
  std::string whole = small_model();
  int failed = 0;
  for (size_t i = 0; i < whole.size() * 8; ++i) {
    std::string bytes = whole;
    bytes[i / 8] = static_cast<char>(bytes[i / 8] ^ (1 << (i % 8)));
    failed += !error_of(bytes).empty();
  }
  EXPECT_GT(failed, static_cast<int>(whole.size()));
}

std::string with_graph_bytes(const std::string& extra) {
  return model(line({node("Relu", {"x"}, {"y"})}).bytes() + extra);
}

TEST(OnnxWire, WrongWireTypesAndGroups) {
  EXPECT_THAT(error_of(with_graph_bytes(number(1, 5))), HasSubstr("model.graph: field 'node' (1) has wire type 0"));
  EXPECT_THAT(error_of(with_graph_bytes(varint(99 << 3 | 3))), HasSubstr("wire type 3"));
  EXPECT_THAT(error_of(with_graph_bytes(varint(99 << 3 | 4))), HasSubstr("wire type 4"));
  EXPECT_THAT(error_of(with_graph_bytes(varint(99 << 3 | 6))), HasSubstr("wire type 6"));
  EXPECT_THAT(error_of(with_graph_bytes(varint(2))), HasSubstr("not a field number"));
  EXPECT_EQ(error_of(with_graph_bytes(number(99, 5) + blob(98, "x") + fixed32(97, 1))), "");
}

TEST(OnnxWire, OverlongVarintsAndLengths) {
  std::string eleven(10, '\x80');
  EXPECT_THAT(error_of(with_graph_bytes(varint(99 << 3) + eleven + '\1')), HasSubstr("over-long"));
  std::string too_wide = std::string(9, '\xff') + '\x02';
  EXPECT_THAT(error_of(with_graph_bytes(varint(99 << 3) + too_wide)), HasSubstr("64 bits"));
  EXPECT_THAT(error_of(with_graph_bytes(varint(99 << 3 | 2) + varint(UINT64_MAX))), HasSubstr("claims"));
  // A length that is right in its low 32 bits only.
  EXPECT_THAT(error_of(with_graph_bytes(varint(99 << 3 | 2) + varint((uint64_t{1} << 32) + 1) + "a")),
              HasSubstr("claims"));
}

TEST(OnnxWire, ErrorsNameThePath) {
  std::string bad_attr = blob(1, "value") + blob(5, number(2, 1) + varint(9 << 3 | 2) + varint(50)) + number(20, 4);
  G g = line({node("Relu", {"x"}, {"y"}), node("Constant", {}, {"c"}, {bad_attr}), node("Neg", {"c"}, {"z"})});
  EXPECT_THAT(error_of(model(g)), HasSubstr("model.graph.node[1].attribute[0].t"));
}

TEST(OnnxWire, TypesNestOnlySoDeep) {
  std::string type = blob(1, number(1, 1));
  for (int i = 0; i < 2000; ++i) type = blob(4, blob(1, type));
  G g = line({node("Relu", {"x"}, {"y"})});
  g.inputs.push_back(blob(1, "deep") + blob(2, type));
  EXPECT_THAT(error_of(model(g)), HasSubstr("nested deeper"));
}

}  // namespace
}  // namespace tenon::onnx_test
