// Shape inference with symbols: each case is a graph in text and the type that its output must get.
#include <gtest/gtest.h>

#include "graph/text.hpp"
#include "ops/op_table.hpp"

namespace tenon {
namespace {

struct Case {
  const char* name;
  const char* graph;
  const char* type;
};

std::string output_type(const char* text) {
  GraphPtr g = parse_graph(text);
  infer_types(*g, all_ops());
  return g->value(g->outputs[0]).type.text();
}

class Shapes : public testing::TestWithParam<Case> {};

TEST_P(Shapes, AreInferred) { EXPECT_EQ(output_type(GetParam().graph), GetParam().type); }

const Case kCases[] = {
    {"ReshapeCancelsSymbols", "graph g (float32[N,3,8,S] x) => (y) { t = int64[3] {0, -1, 4}  y = Reshape(x, t) }",
     "float32[N,6*S,4]"},
    {"ReshapeToShapeArithmetic",
     "graph g (float32[N,4,H,W] x) => (y) { s = Shape<start=0, end=1>(x)  r = int64[2] {4, -1} "
     "t = Concat<axis=0>(s, r)  y = Reshape(x, t) }",
     "float32[N,4,mul(H,W)]"},
    {"GatherOfShapeIsContent",
     "graph g (float32[N,S] x) => (y) { s = Shape(x)  i = int64[1] {1}  d = Gather(s, i)  two = int64[1] {2} "
     "m = Mul(d, two)  y = ConstantOfShape(m) }",
     "float32[2*S]"},
    {"ConvFloorsSymbolicExtents",
     "graph g (float32[N,3,H,32] x) => (y) { w = float32[8,3,3,3] zeros "
     "y = Conv<strides=[2, 2], pads=[1, 1, 1, 1]>(x, w) }",
     "float32[N,8,floor(H+1/2),16]"},
    {"ConvSamePaddingCeils",
     "graph g (float32[1,3,H,33] x) => (y) { w = float32[8,3,3,3] zeros "
     "y = Conv<strides=[2, 2], auto_pad=\"SAME_UPPER\">(x, w) }",
     "float32[1,8,-floor(-H/2),17]"},
    {"PoolCeilModeDropsAWindowInThePadding",
     "graph g (float32[1,1,2,2] x) => (y) { y = MaxPool<kernel_shape=[1, 1], strides=[2, 2], ceil_mode=1>(x) }",
     "float32[1,1,1,1]"},
    {"ConvTransposeGrows",
     "graph g (float32[N,4,H,5] x) => (y) { w = float32[4,2,2,2] zeros "
     "y = ConvTranspose<strides=[2, 2], group=2>(x, w) }",
     "float32[N,4,2*H,10]"},
    {"MatMulBroadcastsBatches", "graph g (float32[B,1,M,K] a, float32[7,K,5] b) => (y) { y = MatMul(a, b) }",
     "float32[B,7,M,5]"},
    {"MatMulOfVectors", "graph g (float32[4] a, float32[4] b) => (y) { y = MatMul(a, b) }", "float32[]"},
    {"GemmTransposed", "graph g (float32[K,M] a, float32[N,K] b) => (y) { y = Gemm<transA=1, transB=1>(a, b) }",
     "float32[M,N]"},
    {"SliceToTheEnd",
     "graph g (float32[N,S] x) => (y) { s = int64[1] {2}  e = int64[1] {9223372036854775807}  a = int64[1] {0} "
     "y = Slice(x, s, e, a) }",
     "float32[N-min(2,N),S]"},
    {"SliceReversed",
     "graph g (float32[N] x) => (y) { s = int64[1] {-1}  e = int64[1] {-9223372036854775808}  a = int64[1] {0} "
     "p = int64[1] {-1}  y = Slice(x, s, e, a, p) }",
     "float32[N]"},
    {"SplitUneven", "graph g (float32[7,N] x) => (a, b, c) { a, b, c = Split<axis=0, num_outputs=3>(x) }",
     "float32[3,N]"},
    {"ConcatSums", "graph g (float32[A,2] x, float32[B,2] y) => (z) { z = Concat<axis=0>(x, y) }", "float32[A+B,2]"},
    {"PadAddsAndTrims", "graph g (float32[N,5] x) => (y) { p = int64[4] {1, -2, 2, 0}  y = Pad(x, p) }",
     "float32[N+3,3]"},
    {"ExpandAgainstSymbol", "graph g (float32[1,5] x, float32[N,1] like) => (y) { s = Shape(like)  y = Expand(x, s) }",
     "float32[N,5]"},
    {"TileMultiplies", "graph g (float32[N,2] x) => (y) { r = int64[2] {3, 2}  y = Tile(x, r) }", "float32[3*N,4]"},
    {"RangeCounts",
     "graph g (float32[N] x) => (y) { a = int64[] {0}  n = Size(x)  d = int64[] {2}  y = Range(a, n, d) }",
     "int64[-floor(-N/2)]"},
    {"ReduceOverAll", "graph g (float32[N,4] x) => (y) { y = ReduceSum<keepdims=0>(x) }", "float32[]"},
    {"ReduceKeeps", "graph g (float32[N,4] x) => (y) { a = int64[1] {-1}  y = ReduceMax(x, a) }", "float32[N,1]"},
    {"SqueezeAndUnsqueeze",
     "graph g (float32[N,1,4] x) => (y) { a = int64[1] {1}  b = int64[2] {0, -1}  t = Squeeze(x, a) "
     "y = Unsqueeze(t, b) }",
     "float32[1,N,4,1]"},
    {"ResizeBySymbolicScale",
     "graph g (float32[1,3,H,10] x) => (y) { s = float32[4] {1, 1, 2, 0.5}  y = Resize(x, _, s) }",
     "float32[1,3,2*H,5]"},
    {"TopKIndices", "graph g (float32[N,9] x) => (i) { k = int64[1] {4}  v, i = TopK(x, k) }", "int64[N,4]"},
    {"LstmBothWays",
     "graph g (float32[T,B,3] x) => (y) { w = float32[2,20,3] zeros  r = float32[2,20,5] zeros "
     "y = LSTM<direction=\"bidirectional\", hidden_size=5>(x, w, r) }",
     "float32[T,2,B,5]"},
    {"IfJoinsBranches",
     "graph g (bool[] c, float32[N,4] x, float32[M,4] z) => (y) { "
     "y = If<captures=2, then_branch=graph a (float32[...] p, float32[...] q) => (r) { r = Relu(p) }, "
     "else_branch=graph b (float32[...] p, float32[...] q) => (r) { r = Relu(q) }>(c, x, z) }",
     "float32[?y.0,4]"},
    {"LoopWidensWhatGrows",
     "graph g (int64[] m, float32[1,4] x) => (y) { y = Loop<body=graph b (int64[] i, bool[] c, float32[...] s) => "
     "(d, t) { d = Identity(c)  t = Concat<axis=0>(s, s) }>(m, _, x) }",
     "float32[?y.0,4]"},
    {"QuantizeTakesTheZeroPointsType",
     "graph g (float32[N] x) => (y) { s = float32[] {0.5}  z = int8[] {3}  y = QuantizeLinear(x, s, z) }", "int8[N]"},
    {"NonZeroCountsAreUnknown", "graph g (float32[N,3] x) => (y) { y = NonZero(x) }", "int64[2,?y.1]"},
    {"DepthToSpace", "graph g (float32[N,8,H,W] x) => (y) { y = DepthToSpace<blocksize=2>(x) }",
     "float32[N,2,2*H,2*W]"},
    {"UnknownRankIsTolerated", "graph g (float32[...] x) => (y) { y = Softmax(x) }", "float32[...]"},
    {"CeilByTwoNegations",
     "graph g (float32[N] x) => (y) { n = Shape(x)  m = Neg(n)  two = int64[1] {2}  d = Div(m, two)  c = Neg(d) "
     "y = ConstantOfShape(c) }",
     "float32[floor(N/2)]"},
};

INSTANTIATE_TEST_SUITE_P(All, Shapes, testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace tenon
