// Control flow as programs inside programs: against the interpreter, in plan files, in verification.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "graph/interpret.hpp"
#include "graph/text.hpp"
#include "graph_testing.hpp"
#include "ops/op_table.hpp"
#include "plan/flow.hpp"
#include "runtime/verify.hpp"

namespace tenon {
namespace {

EngineOptions quick(int threads = 1) {
  EngineOptions options;
  options.threads = threads;
  options.level = 1;
  return options;
}

std::vector<Datum> run(EngineCore& engine, const std::vector<Datum>& inputs) {
  ProgramSession session(engine.program_for(inputs), engine.pool(), engine.ops());
  std::vector<Datum> out(engine.graph().outputs.size());
  // Twice: what a run leaves behind must not matter.
  session.run(inputs, out);
  session.run(inputs, out);
  return out;
}

std::string tactics(const Program& p) {
  std::string out;
  for (const Step* s : all_steps(p)) out += s->op + "/" + s->tactic + " ";
  return out;
}

// Runs the graph as an engine and with the interpreter on the same inputs; control flow must be planned.
void check(const std::string& text, std::vector<Datum> inputs = {}, bool planned = true) {
  GraphPtr g = parse_graph(text);
  infer_types(*g, all_ops());
  if (inputs.empty()) inputs = testing::random_inputs(*g, 7);
  std::vector<Datum> want = interpret(*g, all_ops(), inputs);
  for (int threads : {1, 2}) {
    auto engine = EngineCore::build(parse_graph(text), {}, {}, quick(threads));
    std::string steps = tactics(*engine->program_for(inputs));
    EXPECT_EQ(steps.find("/planned") != std::string::npos, planned) << steps << text;
    std::vector<Datum> got = run(*engine, inputs);
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_EQ(want[i].tensor.dims(), got[i].tensor.dims()) << text;
      EXPECT_LE(testing::distance(want[i].tensor, got[i].tensor), 1e-5) << "output " << i << " of " << text << steps;
    }
  }
}

Datum flag(bool value) { return Datum(Tensor::scalar<bool>(value)); }
Datum number(int64_t value) { return Datum(Tensor::scalar<int64_t>(value)); }

Datum vector_of(std::vector<double> values) {
  Tensor t = Tensor::allocate(DType::kFloat32, {static_cast<int64_t>(values.size())});
  for (size_t i = 0; i < values.size(); ++i) t.set(static_cast<int64_t>(i), values[i]);
  return Datum(t);
}

TEST(Flow, ScanCarriesReadsAndCollects) {
  for (int64_t length : {0, 1, 2, 5}) {
    check(fmt::format(R"(graph main (float32[1,4] h, float32[{0},1,3] x, float32[1,4] z) => (t, y, u) {{
      w = float32[3,4] random(1)  v = float32[4,4] random(2)
      t, y, u = Scan<body=graph b (float32[1,4] s, float32[1,3] e, float32[3,4] p, float32[4,4] q, float32[1,4] c) => (n, n, m) {{
        a = MatMul(e, p)  d = MatMul(s, q)  f = Add(a, d)  g = Add(f, c)  n = Tanh(g)  m = Neg(n)
      }}, captures=3, num_scan_inputs=1>(h, x, w, v, z)
    }})",
                      length));
  }
}

TEST(Flow, ScanAlongOtherAxesAndBackwards) {
  check(R"(graph main (float32[2] h, float32[2,3,4] x, float32[3,2] k) => (t, y, z) {
    t, y, z = Scan<body=graph b (float32[2] s, float32[2,4] e, float32[2] f) => (n, m, o) {
      i = int64[1] {1}  a = ReduceSum<keepdims=0>(e, i)  n = Add(a, s)  m = Exp(e)  o = Mul(n, f)
    }, num_scan_inputs=2, scan_input_axes=[1, 0], scan_input_directions=[1, 0], scan_output_axes=[2, -1], scan_output_directions=[0, 1]>(h, x, k)
  })");
}

TEST(Flow, LoopCountsAndStops) {
  const std::string text = R"(graph main (int64[] n, bool[] c, float32[2] x, float32[2] z) => (a, b) {
    a, b = Loop<body=graph body (int64[] i, bool[] k, float32[2] p, float32[2] q, float32[2] w) => (go, r, p) {
      r = Add(p, w)  s = ReduceSum<keepdims=0>(r)  limit = float32[] {20.0}  go = Less(s, limit)
    }, captures=1>(n, c, x, x, z)
  })";
  for (int64_t trips : {0, 1, 2, 3, 1000}) {
    for (bool going : {true, false}) {
      check(text, {number(trips), flag(going), vector_of({1, 2}), vector_of({2, 1})});
    }
  }
}

TEST(Flow, LoopSwapsKeepsAndNamesTheRound) {
  for (int64_t trips : {0, 1, 2, 5}) {
    check(R"(graph main (int64[] n, float32[2] x, float32[2] z, float32[2] k) => (a, b, c, d) {
      t = bool[] {1}
      a, b, c, d = Loop<body=graph body (int64[] i, bool[] g, float32[2] p, float32[2] q, float32[2] r, float32[2] s) => (g, q, p, r, u) {
        f = Cast<to=1>(i)  u = Add(s, f)
      }>(n, t, x, z, k, x)
    })",
          {number(trips), vector_of({1, 2}), vector_of({3, 4}), vector_of({5, 6})});
  }
}

TEST(Flow, LoopOfAKnownCountCollectsInPlace) {
  check(R"(graph main (float32[2] x) => (a, y) {
    n = int64[] {4}  t = bool[] {1}
    a, y = Loop<body=graph body (int64[] i, bool[] g, float32[2] p) => (g, r, e) { r = Add(p, p)  e = Exp(p) }>(n, t, x)
  })",
        {vector_of({0.5, -1})});
}

// How many bodies a session planned while it ran, over runs on these inputs.
int bodies_of(const std::string& text, const std::vector<std::vector<Datum>>& runs) {
  auto engine = EngineCore::build(parse_graph(text), {}, {}, quick());
  GraphPtr g = parse_graph(text);
  infer_types(*g, all_ops());
  ProgramSession session(engine->program_for(runs[0]), engine->pool(), engine->ops());
  for (const auto& inputs : runs) {
    std::vector<Datum> got(g->outputs.size()), want = interpret(*g, all_ops(), inputs);
    session.run(inputs, got);
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_EQ(want[i].tensor.dims(), got[i].tensor.dims());
      EXPECT_LE(testing::distance(want[i].tensor, got[i].tensor), 1e-5) << text;
    }
  }
  return session.bodies_planned();
}

TEST(Flow, LoopOfAnUnknownCountHasAPlannedBody) {
  const std::string text = R"(graph main (int64[] n, float32[2] x) => (y) {
    t = bool[] {1}
    a, y = Loop<body=graph body (int64[] i, bool[] g, float32[2] p) => (g, r, e) { r = Add(p, p)  e = Exp(p) }>(n, t, x)
  })";
  check(text, {number(3), vector_of({0.5, -1})}, false);
  std::vector<std::vector<Datum>> runs;
  for (int64_t n : {3, 7, 1}) runs.push_back({number(n), vector_of({0.5, -1})});
  EXPECT_EQ(bodies_of(text, runs), 1) << "one shape, one program";
}

TEST(Flow, ALoopThatGrowsIsLeftToTheInterpreterInTheEnd) {
  const std::string text = R"(graph main (int64[] n, float32[2] x) => (y) {
    t = bool[] {1}
    y = Loop<body=graph body (int64[] i, bool[] g, float32[...] p, float32[2] q) => (g, r) { m = Neg(p)  r = Concat<axis=0>(m, q) }, captures=1>(n, t, x, x)
  })";
  std::vector<Datum> few{number(5), vector_of({1, 2})}, many{number(60), vector_of({1, 2})};
  check(text, few, false);
  EXPECT_EQ(bodies_of(text, {few}), 5) << "a program a shape";
  int planned = bodies_of(text, {many, many});
  EXPECT_GE(planned, 20);
  EXPECT_LE(planned, 40) << "not a program a round for ever";
}

TEST(Flow, IfTakesABranch) {
  const std::string text = R"(graph main (bool[] c, float32[2,3] x, float32[2,3] z) => (y, v) {
    y, v = If<captures=2, else_branch=graph b (float32[2,3] p, float32[2,3] q) => (r, q) { m = Mul(p, q)  r = Sqrt(m) }, then_branch=graph a (float32[2,3] p, float32[2,3] q) => (r, r) { s = Sub(p, q)  r = Tanh(s) }>(c, x, z)
  })";
  Tensor x = Tensor::allocate(DType::kFloat32, {2, 3}), z = x.clone();
  for (int64_t i = 0; i < 6; ++i) {
    x.set(i, static_cast<double>(i));
    z.set(i, 0.5);
  }
  for (bool c : {true, false}) check(text, {flag(c), Datum(x), Datum(z)});
}

TEST(Flow, ABranchThatCannotRunAnswersWhenItIsTaken) {
  const std::string text = R"(graph main (bool[] c, float32[2,3] x) => (y) {
    y = If<captures=1, else_branch=graph b (float32[2,3] p) => (r) { w = float32[5,3] random(1)  r = MatMul(p, w) }, then_branch=graph a (float32[2,3] p) => (r) { w = float32[3,3] random(1)  r = MatMul(p, w) }>(c, x)
  })";
  Tensor x = Tensor::allocate(DType::kFloat32, {2, 3});
  auto engine = EngineCore::build(parse_graph(text), {}, {}, quick());
  EXPECT_NO_THROW(run(*engine, {flag(true), Datum(x)}));
  EXPECT_THROW(run(*engine, {flag(false), Datum(x)}), Error);
  EXPECT_NO_THROW(run(*engine, {flag(true), Datum(x)})) << "the session survives it";
}

TEST(Flow, NestsInItself) {
  const std::string text = R"(graph main (float32[2] h, float32[3,2] x, bool[] c) => (t, y) {
    t, y = Scan<body=graph b (float32[2] s, float32[2] e, bool[] k) => (n, m) {
      n = If<captures=2, else_branch=graph f (float32[2] p, float32[2] q) => (r) { r = Sub(p, q) }, then_branch=graph g (float32[2] p, float32[2] q) => (r) {
        l = int64[] {3}  t = bool[] {1}
        r = Loop<body=graph body (int64[] i, bool[] o, float32[2] u, float32[2] w) => (o, v) { v = Add(u, w) }, captures=1>(l, t, p, q)
      }>(k, s, e)
      m = Abs(n)
    }, captures=1, num_scan_inputs=1>(h, x, c)
  })";
  Tensor x = Tensor::allocate(DType::kFloat32, {3, 2});
  for (int64_t i = 0; i < 6; ++i) x.set(i, static_cast<double>(i) - 2);
  for (bool c : {true, false}) check(text, {vector_of({1, 2}), Datum(x), flag(c)});
}

TEST(Flow, TimesOfInnerStepsComeBehindTheirs) {
  auto engine = EngineCore::build(parse_graph(R"(graph main (float32[64] h, float32[50,64] x) => (t) {
    t = Scan<body=graph b (float32[64] s, float32[64] e) => (n) { a = Add(s, e)  k = float32[64,64] random(1)  n = MatMul(a, k) }, num_scan_inputs=1>(h, x)
  })"),
                                  {}, {}, quick());
  auto program = *engine->planned_dims();
  auto made = engine->program(program);
  std::vector<const Step*> steps = all_steps(*made);
  ASSERT_EQ(steps[0]->tactic, kFlowTactic);
  ASSERT_EQ(inner_steps(*steps[0]) + 1, steps.size());
  ASSERT_GT(steps.size(), 2u);
  testing::Random random(1);
  std::vector<Datum> inputs{Datum(testing::random_tensor(DType::kFloat32, {64}, random)),
                            Datum(testing::random_tensor(DType::kFloat32, {50, 64}, random))};
  std::vector<Datum> out(1);
  std::vector<double> seconds(steps.size(), 0.0);
  ProgramSession session(made, engine->pool(), engine->ops());
  session.run(inputs, out, seconds);
  double inside = 0;
  for (size_t i = 1; i < seconds.size(); ++i) {
    EXPECT_GT(seconds[i], 0);
    inside += seconds[i];
  }
  EXPECT_GE(seconds[0], inside);
}

class FlowPlan : public ::testing::Test {
 protected:
  std::string path_ = (std::filesystem::temp_directory_path() / fmt::format("tenon-flow-{}.plan", getpid())).string();
  void TearDown() override { std::filesystem::remove(path_); }
};

const char* kRecurrent = R"(graph main (float32[1,4] h, float32[N,1,3] x) => (t, y) {
  w = float32[3,4] random(1)  v = float32[4,4] random(2)
  t, y = Scan<body=graph b (float32[1,4] s, float32[1,3] e, float32[3,4] p, float32[4,4] q) => (n, n) {
    a = MatMul(e, p) @"in"  d = MatMul(s, q)  f = Add(a, d)  n = Tanh(f)
  }, captures=2, num_scan_inputs=1>(h, x, w, v) @"scan"
})";

std::vector<Datum> recurrent_inputs() {
  testing::Random random(5);
  return {Datum(testing::random_tensor(DType::kFloat32, {1, 4}, random)),
          Datum(testing::random_tensor(DType::kFloat32, {6, 1, 3}, random))};
}

TEST_F(FlowPlan, CarriesTheProgramsInside) {
  auto built = EngineCore::build(parse_graph(kRecurrent), {{"x", {6, 1, 3}}}, {}, quick());
  save_plan(built->plan(), path_);
  auto loaded = EngineCore::load(load_plan(path_), quick());
  EXPECT_TRUE(loaded->notes().empty());
  auto inputs = recurrent_inputs();
  EXPECT_EQ(tactics(*built->program_for(inputs)), tactics(*loaded->program_for(inputs)));
  EXPECT_NE(tactics(*loaded->program_for(inputs)).find("Scan/planned"), std::string::npos);
  EXPECT_TRUE(identical(run(*built, inputs)[1].tensor, run(*loaded, inputs)[1].tensor));
}

TEST_F(FlowPlan, WrongChoicesInsideAreRefused) {
  auto built = EngineCore::build(parse_graph(kRecurrent), {{"x", {6, 1, 3}}}, {}, quick());
  auto broken = [&](const std::function<void(Choice&)>& damage) {
    Plan plan = built->plan();
    for (Choice& c : plan.specializations[0].choices) {
      if (c.tactic == kFlowTactic) damage(c);
    }
    EXPECT_THROW(EngineCore::load(std::move(plan), quick()), Error);
  };
  broken([](Choice& c) { c.bodies.clear(); });
  broken([](Choice& c) { c.bodies[0].pop_back(); });
  broken([](Choice& c) { c.bodies.push_back(c.bodies[0]); });
  broken([](Choice& c) { c.bodies[0][0].tactic = "no such tactic"; });
  broken([](Choice& c) { c.bodies[0][0].tactic = "planned"; });
  broken([](Choice& c) { c.tactic = "view"; });
}

Verdict willing(const Problem&) { return Verdict::yes(); }
std::unique_ptr<Kernel> prepare_wrong(const Problem& p, WeightStore&) {
  int64_t count = p.out[0].size();
  return make_kernel([count](const RunArgs& a) { std::fill_n(static_cast<float*>(a.out[0]), count, 1.0f); });
}

TEST(Flow, VerificationNamesTheStepInside) {
  TacticTable table;
  table.add("MatMul", {{"wrong", willing, prepare_wrong}});
  table.add("MatMul", cpu_tactics().of("MatMul"));
  EngineOptions options = quick();
  options.tactics = &table;
  options.level = 0;
  // One product has a name; the other is the right one.
  GraphPtr g = parse_graph(R"(graph main (float32[1,4] h, float32[6,1,4] x) => (t) {
    w = float32[4,4] random(1)
    t = Scan<body=graph b (float32[1,4] s, float32[1,4] e, float32[4,4] p) => (n) {
      f = Add(e, s)  n = MatMul(f, p) @"product"
    }, captures=1, num_scan_inputs=1>(h, x, w) @"scan"
  })");
  infer_types(*g, all_ops());
  VerifyOptions verify;
  verify.inputs = testing::random_inputs(*g, 3);
  VerifyReport report;
  auto engine = build_verified(g, {}, {}, options, verify, report);
  EXPECT_TRUE(report.passed);
  ASSERT_EQ(report.blamed.size(), 1u);
  EXPECT_EQ(report.blamed[0], "tactic wrong of node product");
}

}  // namespace
}  // namespace tenon
