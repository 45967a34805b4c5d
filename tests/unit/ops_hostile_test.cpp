// Hostile attributes, shapes and indices: refused with a sentence by shape inference, by the reference, or by both.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "graph/interpret.hpp"
#include "graph/text.hpp"
#include "ops/op_table.hpp"

namespace tenon {
namespace {

struct Case {
  const char* name;
  const char* graph;    ///< inputs are concrete; they are fed with zeros
  const char* message;  ///< part of what the reference says
  bool inferred;        ///< whether shape inference must refuse it too
};

std::string refusal(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kInvalidArgument) << e.what();
    return e.message();
  }
  return "(accepted)";
}

class Hostile : public testing::TestWithParam<Case> {};

TEST_P(Hostile, IsRefused) {
  GraphPtr g = parse_graph(GetParam().graph);
  std::vector<Datum> inputs;
  for (ValueId v : g->inputs) {
    const Type& type = g->value(v).type;
    inputs.emplace_back(Tensor::allocate(type.dtype, const_dims(*type.shape)));
  }
  EXPECT_THAT(refusal([&] { interpret(*g, all_ops(), inputs); }), testing::HasSubstr(GetParam().message));
  std::string inferred = refusal([&] { infer_types(*g, all_ops()); });
  if (GetParam().inferred) {
    EXPECT_NE(inferred, "(accepted)");
  }
}

const Case kCases[] = {
    {"KernelOverInput", "graph g (float32[1,1,2,2] x) => (y) { w = float32[1,1,5,5] zeros  y = Conv(x, w) }",
     "reaches over 5", true},
    {"StrideZero", "graph g (float32[1,1,4,4] x) => (y) { w = float32[1,1,1,1] zeros  y = Conv<strides=[0, 1]>(x, w) }",
     "strides has an entry of 0", true},
    {"PadNegative", "graph g (float32[1,1,4,4] x) => (y) { y = MaxPool<kernel_shape=[1, 1], pads=[-1, 0, 0, 0]>(x) }",
     "pads has an entry of -1", true},
    {"GroupDoesNotDivide",
     "graph g (float32[1,3,4,4] x) => (y) { w = float32[4,1,1,1] zeros  y = Conv<group=2>(x, w) }", "groups", true},
    {"KernelHuge", "graph g (float32[1,1,4,4] x) => (y) { y = MaxPool<kernel_shape=[9223372036854775807, 1]>(x) }",
     "the kernel has an extent", true},
    {"LstmHiddenLies",
     "graph g (float32[3,1,2] x) => (y) { w = float32[1,8,2] zeros  r = float32[1,8,2] zeros  y = "
     "LSTM<hidden_size=200>(x, w, r) }",
     "hidden_size is not", true},
    {"LstmBiasShort",
     "graph g (float32[3,1,2] x) => (y) { w = float32[1,8,2] zeros  r = float32[1,8,2] zeros  b = float32[1,8] zeros  "
     "y "
     "= LSTM<hidden_size=2>(x, w, r, b) }",
     "B has 8 elements", true},
    {"QLinearConvZeroPoints",
     "graph g (uint8[1,2,4,4] x) => (y) { s = float32[] {1}  z = uint8[] {0}  w = uint8[3,2,1,1] zeros  k = uint8[2] "
     "zeros  y = QLinearConv(x, s, z, w, s, k, s, z) }",
     "2 zero points are given", true},
    {"QLinearConvBias",
     "graph g (uint8[1,2,4,4] x) => (y) { s = float32[] {1}  z = uint8[] {0}  w = uint8[3,2,1,1] zeros  b = int32[1] "
     "zeros  y = QLinearConv(x, s, z, w, s, z, s, z, b) }",
     "bias has 1 entries", true},
    {"UnsqueezeFar", "graph g (float32[2] x) => (y) { a = int64[33] zeros  y = Unsqueeze(x, a) }", "33 axes are added",
     true},
    {"ElementsBeyondTheLimit", "graph g (float32[1] x) => (y) { n = int64[2] {1048576, 1048576}  y = Expand(x, n) }",
     "limit of 17179869184", true},
    {"MatMulInner", "graph g (float32[2,3] a, float32[4,2] b) => (y) { y = MatMul(a, b) }", "inner extents", true},
    {"ReshapeTwoHoles", "graph g (float32[4] x) => (y) { t = int64[2] {-1, -1}  y = Reshape(x, t) }", "-1 twice", true},
    {"ReshapeSize", "graph g (float32[4] x) => (y) { t = int64[2] {3, 2}  y = Reshape(x, t) }", "cannot be reshaped",
     true},
    {"ReshapeOverflow", "graph g (float32[4] x) => (y) { t = int64[3] {4294967296, 4294967296, 4}  y = Reshape(x, t) }",
     "more elements than 64 bits", true},
    {"SliceStep",
     "graph g (float32[4] x) => (y) { s = int64[1] {0}  e = int64[1] {4}  a = int64[1] {0}  p = int64[1] {0} "
     "y = Slice(x, s, e, a, p) }",
     "step of axis 0 is 0", true},
    {"SliceAxisTwice",
     "graph g (float32[4,4] x) => (y) { s = int64[2] {0, 0}  e = int64[2] {4, 4}  a = int64[2] {0, -2} "
     "y = Slice(x, s, e, a) }",
     "given twice", true},
    {"GatherIndex", "graph g (float32[4] x) => (y) { i = int64[1] {4}  y = Gather(x, i) }", "index 4 is outside",
     false},
    {"GatherNegative", "graph g (float32[4] x) => (y) { i = int64[1] {-5}  y = Gather(x, i) }", "index -5 is outside",
     false},
    {"ScatterIndex", "graph g (float32[4] x, float32[1] u) => (y) { i = int64[1,1] {7}  y = ScatterND(x, i, u) }",
     "index 7", false},
    {"RangeDelta", "graph g () => (y) { a = int64[] {0}  b = int64[] {4}  d = int64[] {0}  y = Range(a, b, d) }",
     "delta is 0", true},
    {"RangeBomb",
     "graph g () => (y) { a = int64[] {-9223372036854775808}  b = int64[] {9223372036854775807}  d = int64[] {1} "
     "y = Range(a, b, d) }",
     "more than", false},
    {"TopKTooMany", "graph g (float32[4] x) => (v, i) { k = int64[1] {5}  v, i = TopK(x, k) }", "k is 5", true},
    {"ExpandBomb", "graph g (float32[1] x) => (y) { t = int64[2] {1073741824, 1073741824}  y = Expand(x, t) }",
     "the limit of", false},
    {"TileBomb", "graph g (float32[2] x) => (y) { r = int64[1] {4611686018427387904}  y = Tile(x, r) }", "64 bits",
     true},
    {"ConstantBomb", "graph g () => (y) { t = int64[2] {1099511627776, 1099511627776}  y = ConstantOfShape(t) }",
     "64 bits", false},
    {"ConstantNegative", "graph g () => (y) { t = int64[1] {-3}  y = ConstantOfShape(t) }", "the shape has -3", true},
    {"PadBeyond", "graph g (float32[4] x) => (y) { p = int64[2] {-3, -3}  y = Pad(x, p) }", "would have -2", true},
    {"PadReflectsNothing", "graph g (float32[0] x) => (y) { p = int64[2] {1, 1}  y = Pad<mode=\"reflect\">(x, p) }",
     "nothing to pad", false},
    {"SplitSum", "graph g (float32[4] x) => (a, b) { s = int64[2] {1, 2}  a, b = Split(x, s) }", "the axis has 4",
     true},
    {"TransposeTwice", "graph g (float32[2,3] x) => (y) { y = Transpose<perm=[0, 0]>(x) }", "given twice", true},
    {"SqueezeWide", "graph g (float32[2,3] x) => (y) { a = int64[1] {0}  y = Squeeze(x, a) }", "cannot be squeezed",
     true},
    {"AxisOutside", "graph g (float32[2,3] x) => (y) { y = Softmax<axis=2>(x) }", "axis 2 is outside", true},
    {"ConcatShapes", "graph g (float32[2,3] x, float32[2,4] z) => (y) { y = Concat<axis=0>(x, z) }", "cannot be joined",
     true},
    {"ResizeScale", "graph g (float32[1,1,2,2] x) => (y) { s = float32[4] {1, 1, -1, 1}  y = Resize(x, _, s) }", "",
     true},
    {"BroadcastMismatch", "graph g (float32[2] x, float32[3] z) => (y) { y = Add(x, z) }", "broadcast", true},
    {"TypesDiffer", "graph g (float32[2] x, int64[2] z) => (y) { y = Add(x, z) }", "float32 and int64", true},
    {"FloatOpOfIntegers", "graph g (int64[2] x) => (y) { y = Exp(x) }", "not defined for int64", true},
    {"DepthBlock", "graph g (float32[1,3,2,2] x) => (y) { y = DepthToSpace<blocksize=2>(x) }", "no multiple", true},
    {"LoopForever",
     "graph g (float32[1] x) => (y) { m = int64[] {9223372036854775807}  c = bool[] {1} "
     "y = Loop<body=graph b (int64[] i, bool[] k, float32[...] s) => (k, t) { t = Relu(s) }>(m, c, x) }",
     "rounds", false},
    {"TreeCycle",
     "graph g (float32[1,1] x) => (y) { y = ai.onnx.ml.TreeEnsembleRegressor<nodes_treeids=[0, 0], "
     "nodes_nodeids=[0, 1], nodes_featureids=[0, 0], nodes_truenodeids=[1, 0], nodes_falsenodeids=[1, 0], "
     "nodes_values=[0.0, 0.0], nodes_modes=[\"BRANCH_LEQ\", \"BRANCH_LEQ\"], target_treeids=[0], target_nodeids=[0], "
     "target_ids=[0], target_weights=[1.0]>(x) }",
     "reached twice", false},
    {"RecurrentWeights",
     "graph g (float32[2,1,3] x) => (y) { w = float32[1,8,3] zeros  r = float32[1,20,5] zeros  y = LSTM(x, w, r) }",
     "do not fit", false},
    {"LossLabel", "graph g (float32[2,3] x) => (y) { t = int64[2] {0, 3}  y = SoftmaxCrossEntropyLoss(x, t) }",
     "label 3 is outside", false},
    {"DftLength", "graph g (float32[1,4,1] x) => (y) { n = int64[] {1099511627776}  y = DFT(x, n) }",
     "a transform of length", false},
    {"WindowSize", "graph g () => (y) { n = int64[] {-4}  y = HannWindow(n) }", "a window of -4", false},
    {"StftStep", "graph g (float32[1,8,1] x) => (y) { s = int64[] {0}  w = float32[4] zeros  y = STFT(x, s, w) }",
     "cannot be cut", false},
    {"MelRate",
     "graph g () => (y) { b = int64[] {4}  n = int64[] {8}  r = int64[] {0}  l = float32[] {0}  h = float32[] {1} "
     "y = MelWeightMatrix(b, n, r, l, h) }",
     "rate of 0", false},
    {"GridRank", "graph g (float32[1,1,2,2] x, float32[1,2,2,3] p) => (y) { y = GridSample(x, p) }", "does not fit",
     false},
    {"GridMode", "graph g (float32[1,1,2,2] x, float32[1,2,2,2] p) => (y) { y = GridSample<mode=\"fast\">(x, p) }",
     "mode 'fast'", true},
    {"RoiBatch", "graph g (float32[1,1,2,2] x, float32[1,4] r) => (y) { b = int64[1] {1}  y = RoiAlign(x, r, b) }",
     "batch index 1", false},
    {"RotaryPosition",
     "graph g (float32[1,1,1,4] x, float32[2,2] c, float32[2,2] s) => (y) { p = int64[1,1] {2} "
     "y = RotaryEmbedding(x, c, s, p) }",
     "position 2 is outside", false},
    {"CacheIndex",
     "graph g (float32[1,4,2] x, float32[1,2,2] u) => (y) { i = int64[1] {9223372036854775807} "
     "y = TensorScatter(x, u, i) }",
     "out of range", false},
    {"LinearHeads", "graph g (float32[1,1,4] x) => (y) { y = LinearAttention<q_num_heads=3, kv_num_heads=2>(x, x, x) }",
     "do not divide", true},
    {"UnpoolIndex", "graph g (float32[1,1,1] x) => (y) { i = int64[1,1,1] {2}  y = MaxUnpool<kernel_shape=[2]>(x, i) }",
     "index 2 is outside", false},
    {"ColumnsBlock",
     "graph g (float32[1,4,1] x) => (y) { i = int64[2] {2, 2}  b = int64[2] {3, 1}  y = Col2Im(x, i, b) }", "", false},
    {"DetNotSquare", "graph g (float32[2,3] x) => (y) { y = Det(x) }", "not square", false},
    {"CropSizes", "graph g (float32[2,3] x) => (y) { s = int64[2] {-1, 2}  y = CenterCropPad(x, s) }", "", false},
    {"NgramIndex",
     "graph g (int64[3] x) => (y) { y = TfIdfVectorizer<mode=\"TF\", ngram_counts=[0], ngram_indexes=[-1], "
     "pool_int64s=[1]>(x) }",
     "ngram_indexes holds -1", true},
    {"MultinomialClasses", "graph g (float32[2,0] x) => (y) { y = Multinomial(x) }", "not (batch, classes)", false},
    {"RandomShape", "graph g () => (y) { y = RandomUniform<shape=[4294967296, 4294967296]>() }", "", false},
    {"AdamCount",
     "graph g (float32[] r, int64[] t, float32[2] x) => (y) { "
     "y = ai.onnx.preview.training.Adam(r, t, x) }",
     "do not divide", true},
    {"LinearCoefficients",
     "graph g (float32[2,3] x) => (y) { y = ai.onnx.ml.LinearRegressor<coefficients=[1.0, 2.0], targets=1>(x) }",
     "do not fit 3 features", false},
    {"LinearLabels", "graph g (float32[2,1] x) => (y) { y = ai.onnx.ml.LinearClassifier<coefficients=[1.0]>(x) }",
     "no class labels", true},
    {"SvmVectors",
     "graph g (float32[2,2] x) => (y) { y = ai.onnx.ml.SVMClassifier<coefficients=[1.0], rho=[0.5], "
     "vectors_per_class=[9223372036854775807, 1], support_vectors=[1.0, 2.0], classlabels_ints=[0, 1]>(x) }",
     "vectors_per_class has an entry", false},
    {"SvmSupports",
     "graph g (float32[2,2] x) => (y) { y = ai.onnx.ml.SVMRegressor<coefficients=[1.0], rho=[0.5], n_supports=3, "
     "support_vectors=[1.0, 2.0]>(x) }",
     "do not fit 2 features", false},
    {"CategoriesMissing", "graph g (int64[2] x) => (y) { y = ai.onnx.ml.OneHotEncoder(x) }", "must be given", true},
    {"FeatureWidths", "graph g (float32[2,2] x) => (y) { y = ai.onnx.ml.FeatureVectorizer<inputdimensions=[-1]>(x) }",
     "has an entry of -1", true},
    {"ImputerWidth", "graph g (float32[2,3] x) => (y) { y = ai.onnx.ml.Imputer<imputed_value_floats=[1.0, 2.0]>(x) }",
     "2 values are given for 3 features", false},
    {"TreeEnsembleCycle",
     "graph g (float32[1,1] x) => (y) { y = ai.onnx.ml.TreeEnsemble<nodes_featureids=[0, 0], nodes_truenodeids=[1, 0], "
     "nodes_falsenodeids=[1, 0], nodes_trueleafs=[0, 0], nodes_falseleafs=[0, 0], nodes_modes=uint8[2] {0, 0}, "
     "nodes_splits=float32[2] {1, 1}, leaf_weights=float32[1] {1}, leaf_targetids=[0], tree_roots=[0]>(x) }",
     "form a cycle", false},
    {"NmsThreshold",
     "graph g (float32[1,1,4] b, float32[1,1,1] s) => (y) { m = int64[] {1}  t = float32[] {2} "
     "y = NonMaxSuppression(b, s, m, t) }",
     "iou_threshold", false},
};

INSTANTIATE_TEST_SUITE_P(All, Hostile, testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace tenon
