// Bodies of composite ops mean what their references compute, in every spelling that a body has.
#include <gtest/gtest.h>

#include <set>

#include "graph/body.hpp"
#include "graph/interpret.hpp"
#include "graph/text.hpp"
#include "graph_testing.hpp"
#include "ops/op_table.hpp"

namespace tenon {
namespace {

const char* const kNodes[] = {
    "(float32[2,3,8] x, float32[8] s) => (y) { y = LayerNormalization(x, s) }",
    "(float32[2,3,8] x, float32[3,8] s, float32[3,8] b) => (y) { y = LayerNormalization<axis=1, epsilon=0.01>(x, s, b) "
    "}",
    "(float32[2,3,8] x, float32[8] s) => (y) { y = LayerNormalization<axis=-1, stash_type=1>(x, s) }",
    "(float32[2,3,8] x, float32[3,8] s) => (y) { y = RMSNormalization<axis=-2>(x, s) }",
    "(float32[2,3,4,5] x, float32[3] s, float32[3] b) => (y) { y = InstanceNormalization<epsilon=0.1>(x, s, b) }",
    "(float32[2,3,7] x, float32[3] s, float32[3] b) => (y) { y = InstanceNormalization(x, s, b) }",
    "(float32[2,6,4,5] x, float32[6] s, float32[6] b) => (y) { y = GroupNormalization<num_groups=2>(x, s, b) }",
    "(float32[2,6] x) => (y) { y = Gelu(x) }",
    "(float32[2,6] x) => (y) { y = HardSwish(x) }",
    "(float32[2,6] x) => (y) { y = Mish(x) }",
    "(float32[2,6] x) => (y) { y = Softplus(x) }",
    "(float32[2,3,4,5] q, float32[2,3,6,5] k, float32[2,3,6,7] v) => (y) { y = Attention(q, k, v) }",
    "(float32[2,3,4,5] q, float32[2,3,6,5] k, float32[2,3,6,7] v) => (y) { y = Attention<scale=0.3>(q, k, v) }",
    "(float32[2,3,4,5] q, float32[2,3,6,5] k, float32[2,3,6,7] v, float32[2,1,4,6] m) => (y) {"
    " y = Attention(q, k, v, m) }",
    "(float32[2,3,4,5] q, float32[2,3,6,5] k, float32[2,3,6,7] v, float32[2,1,1,6] m) => (y) {"
    " y = Attention<scale=0.3>(q, k, v, m) }",
};

TEST(Bodies, MeanWhatReferencesCompute) {
  std::set<std::string> seen;
  for (const char* text : kNodes) {
    GraphPtr whole = parse_graph(text);
    infer_types(*whole, all_ops());
    GraphPtr parts = whole->clone();
    NodeId id = parts->order().front();
    seen.insert(parts->node(id).op);
    ASSERT_TRUE(expand_body(*parts, id, all_ops())) << text;
    infer_types(*parts, all_ops());
    EXPECT_EQ(parts->value(parts->outputs[0]).type, whole->value(whole->outputs[0]).type) << print(*parts);
    for (uint64_t seed = 1; seed <= 3; ++seed) {
      std::vector<Datum> inputs = testing::random_inputs(*whole, seed);
      Tensor want = interpret(*whole, all_ops(), inputs)[0].tensor,
             got = interpret(*parts, all_ops(), inputs)[0].tensor;
      EXPECT_LE(testing::distance(want, got), 2e-5) << text;
    }
  }
  for (const auto& [name, op] : all_ops().all()) {
    bool both = op.reference != nullptr && !op.body.empty();
    EXPECT_TRUE(!both || seen.contains(name)) << name << " has an untested body";
  }
}

TEST(Bodies, StayOutWhereTheyDoNotFit) {
  for (const char* text : {
           "(float32[2,6] x) => (y) { y = Gelu<approximate=\"tanh\">(x) }",
           "(float32[2,3,8] x, float32[8] s) => (y, m) { y, m = LayerNormalization(x, s) }",
           "(float32[2,4,4,5] q, float32[2,2,6,5] k, float32[2,2,6,7] v) => (y) { y = Attention(q, k, v) }",
           "(float32[2,3,4,5] q, float32[2,3,6,5] k, float32[2,3,6,7] v) => (y) { y = Attention<is_causal=1>(q, k, v) "
           "}",
       }) {
    GraphPtr g = parse_graph(text);
    infer_types(*g, all_ops());
    std::string before = print(*g);
    EXPECT_FALSE(expand_body(*g, g->order().front(), all_ops())) << text;
    EXPECT_EQ(print(*g), before);
  }
}

}  // namespace
}  // namespace tenon
