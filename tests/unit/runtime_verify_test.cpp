#include "runtime/verify.hpp"

#include <gtest/gtest.h>

#include "graph/text.hpp"
#include "ops/op_table.hpp"

namespace tenon {
namespace {

GraphPtr sample() {
  GraphPtr g = parse_graph(R"(
graph g (float32[1,3,8,8] x) => (y) {
  w = float32[4,3,3,3] random(1)
  c = Conv<pads=[1, 1, 1, 1]>(x, w) @"conv"
  r = Relu(c) @"relu"
  y = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(r) @"pool"
})");
  infer_types(*g, all_ops());
  return g;
}

VerifyOptions inputs() {
  VerifyOptions v;
  Tensor x = Tensor::allocate(DType::kFloat32, {1, 3, 8, 8});
  for (int64_t i = 0; i < x.size(); ++i) x.set(i, static_cast<double>(i % 17) - 8);
  v.inputs.emplace_back(x);
  return v;
}

Verdict willing(const Problem&) { return Verdict::yes(); }

// Doubles nothing, forgets everything: a pool that answers ones.
std::unique_ptr<Kernel> prepare_wrong(const Problem& p, WeightStore&) {
  int64_t count = p.out[0].size();
  return make_kernel([count](const RunArgs& a) { std::fill_n(static_cast<float*>(a.out[0]), count, 1.0f); });
}

TEST(Verify, PassesARightPlan) {
  VerifyReport report;
  auto engine = build_verified(sample(), {}, {}, {}, inputs(), report);
  EXPECT_TRUE(report.done);
  EXPECT_TRUE(report.passed);
  EXPECT_LT(report.worst, 1e-5);
  EXPECT_TRUE(report.blamed.empty());
}

TEST(Verify, NamesAndLeavesOutAWrongTactic) {
  TacticTable table;
  for (const char* op : {"Conv", "Relu"}) table.add(op, cpu_tactics().of(op));
  table.add("MaxPool", {{"wrong", willing, prepare_wrong}});
  table.add("MaxPool", cpu_tactics().of("MaxPool"));
  EngineOptions options;
  options.tactics = &table;
  options.level = 0;
  VerifyReport report;
  auto engine = build_verified(sample(), {}, {}, options, inputs(), report);
  EXPECT_TRUE(report.passed);
  ASSERT_EQ(report.blamed.size(), 1u);
  EXPECT_EQ(report.blamed[0], "tactic wrong of node pool");
}

TEST(Verify, TellsAmplifiedRoundingFromAWrongStep) {
  VerifyOptions v = inputs();
  v.tolerance = 1e-12;  // nothing in float32 is that close end to end, but every step is right
  VerifyReport report;
  build_verified(sample(), {}, {}, {}, v, report);
  EXPECT_TRUE(report.done);
  EXPECT_TRUE(report.by_layer);
  EXPECT_GT(report.worst, v.tolerance);
  EXPECT_TRUE(report.blamed.empty());
}

TEST(Verify, SaysWhyWhenTheReferenceRefusesTheSamples) {
  GraphPtr g = parse_graph("graph g (float32[4,2] x, int64[3] i) => (y) { y = Gather(x, i) }");
  infer_types(*g, all_ops());
  VerifyOptions v;
  v.inputs = {Datum(Tensor::allocate(DType::kFloat32, {4, 2})), Datum(Tensor::of_ints(std::vector<int64_t>{0, 9, 1}))};
  VerifyReport report;
  build_verified(g, {}, {}, {}, v, report);
  EXPECT_FALSE(report.done);
  EXPECT_NE(report.why_not.find("refuses"), std::string::npos);
}

}  // namespace
}  // namespace tenon
