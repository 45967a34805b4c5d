#include <gtest/gtest.h>

#include "base/error.hpp"
#include "graph/interpret.hpp"
#include "graph/text.hpp"

namespace tenon {
namespace {

std::string round_trip(const std::string& text) {
  std::vector<Tensor> blobs;
  PrintOptions options;
  options.blobs = &blobs;
  options.node_names = true;
  GraphPtr g = parse_graph(text);
  std::string first = print(*g, options);
  EXPECT_EQ(first.find("elements)"), std::string::npos);
  std::vector<Tensor> again;
  options.blobs = &again;
  EXPECT_EQ(first, print(*parse_graph(first, &blobs), options));
  return first;
}

TEST(GraphText, RoundTripsEveryConstruct) {
  std::string out = round_trip(R"(
graph main (float32[N,2*N+1] %"/in put", int64[...] i, seq(float32[2]) s, map(int64,float32[]) m) => (y, q) {
  # a comment
  w = float32[2,2] {1, -2.5, inf, nan}
  big = float16[40] random(3)
  names = string[2] {"a\"b", "c\x01"}
  float32[N,3] t = MatMul<alpha=0.5, ints=[1, -2], floats=[1.0, 2.5], name="x", empty=[], words=["a", "b"]>(%"/in put", w) @"layer/1"
  p, _, q = Split<axis=-1>(t, _)
  z = Mul(p, 0.5)
  y = If<captures=1, then_branch=graph a (float32[...] c) => (r) { r = Relu(c) }>(i, z)
})");
  EXPECT_NE(out.find("%\"/in put\""), std::string::npos);
  EXPECT_NE(out.find("@\"layer/1\""), std::string::npos);
  EXPECT_NE(out.find("2*N+1"), std::string::npos);
}

TEST(GraphText, SaysWhereItFails) {
  auto message = [](const char* text) -> std::string {
    try {
      parse_graph(text);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_NE(message("graph g (float32[2] x) => (y) {\n y = Relu(z)\n}").find("line 2"), std::string::npos);
  EXPECT_NE(message("graph g (float32[2] x) => (y) {\n y = Relu(z)\n}").find("'z' is not defined"), std::string::npos);
  EXPECT_NE(message("graph g () => (y) { y = float32[1000000000000] {1} }").find("too large"), std::string::npos);
  EXPECT_NE(message("graph g () => (y) { y = float32[100000] {1} }").find("fewer elements"), std::string::npos);
  EXPECT_NE(message("graph g (float32[2] x) => (x) { x = Relu(x) }").find("twice"), std::string::npos);
  EXPECT_NE(message("graph g () => () {").find("expected"), std::string::npos);
  EXPECT_NE(message("graph g () => () { y = Relu<a=\"x>() }").find("not closed"), std::string::npos);
}

TEST(Dim, KeepsOneCanonicalForm) {
  auto canonical = [](const char* text) { return Dim::parse(text).text(); };
  EXPECT_EQ(canonical("N*2+N"), canonical("3*N"));
  EXPECT_EQ(canonical("M+N-M"), "N");
  EXPECT_EQ(canonical("floor(4*N+6/4)"), "N+1");
  EXPECT_EQ(canonical("floor(N/2)+1"), "floor(N/2)+1");
  EXPECT_EQ(canonical("max(N,N+2)"), "N+2");
  Dim n = Dim::symbol("N"), h = Dim::symbol("H");
  EXPECT_EQ(Dim::floor_div(n * h, h), n);
  EXPECT_EQ(Dim::ceil_div(Dim(7), Dim(2)).value(), 4);
  auto five = [](std::string_view s) -> std::optional<int64_t> { return s == "N" ? 5 : 7; };
  EXPECT_EQ((Dim::floor_div(n * h + Dim(3), Dim(4))).evaluate(five), 9);
  EXPECT_THROW(Dim::parse("3+"), Error);
  EXPECT_THROW(Dim::parse("99999999999999999999"), Error);
}

TEST(GraphOrder, NamesTheNodeOnACycle) {
  Graph g;
  ValueId x = g.add_input("x", Type::tensor(DType::kFloat32, Shape{2}));
  NodeId a = g.add_node("Add", {x, x}, {"a"}, {}, "first");
  NodeId b = g.add_node("Relu", {g.node(a).outputs[0]}, {"b"});
  g.set_input(a, 1, g.node(b).outputs[0]);
  try {
    g.order();
    FAIL() << "a cycle was not noticed";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("cycle"), std::string::npos);
  }
}

TEST(GraphOrder, TakesLongChainsWithoutRecursion) {
  Graph g;
  ValueId v = g.add_input("x", Type::tensor(DType::kFloat32, Shape{2}));
  for (int i = 0; i < 100000; ++i) v = g.add("Relu", {v});
  g.outputs.push_back(v);
  EXPECT_EQ(g.order().size(), 100000u);
  g.compact();
  EXPECT_EQ(g.node_count(), 100000);
}

TEST(GraphEdit, OutputsKeepTheirNames) {
  GraphPtr g = parse_graph("graph g (float32[2] x) => (y) { t = Abs(x) y = Identity(t) }");
  ValueId y = g->outputs[0], t = g->node(g->value(y).producer).inputs[0];
  g->replace_uses(y, t);
  EXPECT_EQ(g->value(g->outputs[0]).name, "y");
}

TEST(Graph, FreshNamesAreFree) {
  Graph g;
  ValueId x = g.add_input("c_0", Type::tensor(DType::kFloat32, Shape{2}));
  ValueId c = g.add_constant(Tensor::scalar(1.0f));
  EXPECT_NE(g.value(c).name, "c_0");
  g.rename(x, "c_2");
  EXPECT_EQ(g.fresh_name("c"), "c_3");
}

TEST(Graph, KnowsItsOutputs) {
  Graph g;
  ValueId x = g.add_input("x", Type::tensor(DType::kFloat32, Shape{2}));
  ValueId a = g.add("Relu", {x}), b = g.add("Relu", {x});
  g.outputs = {a, b, a};
  EXPECT_EQ(g.outputs.count(a), 2);
  EXPECT_EQ(g.use_count(b), 1);
  g.replace_uses(a, b);
  EXPECT_FALSE(g.is_output(a));
  EXPECT_EQ(g.outputs.count(b), 3);
  EXPECT_EQ(g.outputs.count(kNone), 0);
}

// The quick way through a graph that is in order, and the other one, give the same.
TEST(Graph, OrderWithoutARightOrderOfSlots) {
  GraphPtr g = parse_graph("graph g (float32[2] x) => (c) { a = Relu(x)  b = Neg(a)  c = Exp(b) }");
  std::vector<NodeId> plain = g->order();
  ValueId a = g->node(plain[0]).outputs[0];
  g->set_input(plain[1], 0, g->add("Abs", {a}, {}, plain[0]));
  std::vector<NodeId> order = g->order();
  ASSERT_EQ(order.size(), 4u);
  EXPECT_EQ(g->node(order[1]).op, "Abs");
  g->set_input(plain[0], 0, g->node(plain[2]).outputs[0]);
  EXPECT_THROW(g->order(), Error);
}

}  // namespace
}  // namespace tenon
