// Tactics of oneDNN against the reference. Without the library they are skipped, and say where it was looked for.
#include <gtest/gtest.h>

#include "cpu/onednn/library.hpp"
#include "graph/interpret.hpp"
#include "graph/text.hpp"
#include "graph_testing.hpp"
#include "runtime/engine.hpp"
#include "tactic/libraries.hpp"

namespace tenon {

void define_conv_onednn(TacticTable& table);
void define_matmul_onednn(TacticTable& table);
void define_integer_onednn(TacticTable& table);

namespace {

class Onednn : public ::testing::Test {
 protected:
  void SetUp() override {
    if (cpu::onednn::library() == nullptr) {
      GTEST_SKIP() << "NOT TESTED: there is no oneDNN here (pip install onednn-cpu-gomp, or TENON_ONEDNN_LIBRARY):\n"
                   << cpu::onednn::search_report();
    }
  }
};

const TacticTable& only_onednn() {
  static const TacticTable table = [] {
    TacticTable t;
    define_conv_onednn(t);
    define_matmul_onednn(t);
    define_integer_onednn(t);
    return t;
  }();
  return table;
}

EngineOptions options_for(int threads) {
  EngineOptions o;
  o.threads = threads;
  o.level = 1;
  o.tactics = &only_onednn();
  return o;
}

std::vector<Datum> run(EngineCore& engine, const std::vector<Datum>& inputs) {
  ProgramSession session(engine.program_for(inputs), engine.pool(), engine.ops());
  std::vector<Datum> out(engine.graph().outputs.size());
  session.run(inputs, out);
  return out;
}

int library_steps(const Program& program) {
  int count = 0;
  for (const Step& s : program.steps) count += needs_library(s.tactic) ? 1 : 0;
  return count;
}

// Runs a graph by the library's tactics alone and by the reference. `steps`: how many steps the library must run.
void check(const std::string& text, int steps, double tolerance = 2e-5) {
  GraphPtr g = parse_graph(text);
  std::vector<Datum> inputs = testing::random_inputs(*g, 7);
  for (int threads : {1, 3}) {
    SCOPED_TRACE(fmt::format("{} threads: {}", threads, text));
    auto engine = EngineCore::build(g->clone(), {}, {}, options_for(threads));
    EXPECT_EQ(library_steps(*engine->program_for(inputs)), steps);
    std::vector<Datum> wanted = interpret(*g, engine->ops(), inputs), got = run(*engine, inputs);
    ASSERT_EQ(wanted.size(), got.size());
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_LE(testing::distance(wanted[i].tensor, got[i].tensor), tolerance) << "output " << i;
    }
  }
}

std::string conv(const std::string& x, const std::string& w, const std::string& attributes, const std::string& rest) {
  return "graph main (float32" + x + " x) => (y) { w = float32" + w + " random(1)  a = Conv<" + attributes +
         ">(x, w)  " + rest + " }";
}

TEST_F(Onednn, ConvolutionsOfAllShapes) {
  check(conv("[1,16,7,9]", "[24,16,3,3]", "pads=[1, 1, 1, 1]", "y = Identity(a)"), 1);
  check(conv("[2,3,17,5]", "[5,3,3,3]", "strides=[2, 2]", "y = Identity(a)"), 1);
  check(conv("[1,8,1,1]", "[4,8,1,1]", "", "y = Identity(a)"), 1);
  check(conv("[5,17,6,6]", "[33,17,1,1]", "", "y = Identity(a)"), 1);
  check(conv("[1,16,14,14]", "[32,16,5,3]", "pads=[4, 2, 4, 2], dilations=[2, 2]", "y = Identity(a)"), 1);
  check(conv("[1,16,9,9]", "[16,1,3,3]", "group=16, pads=[1, 1, 1, 1]", "y = Identity(a)"), 1);
  check(conv("[1,32,9,9]", "[32,16,3,3]", "group=2, pads=[1, 0, 1, 0], strides=[2, 1]", "y = Identity(a)"), 1);
  check(conv("[1,8,31]", "[16,8,3]", "pads=[1, 1]", "y = Identity(a)"), 1);
  check(conv("[1,8,5,6,7]", "[16,8,3,3,3]", "pads=[1, 1, 1, 1, 1, 1]", "y = Identity(a)"), 1);
  check(conv("[1,16,2,8]", "[16,16,7,7]", "pads=[6, 3, 6, 3]", "y = Identity(a)"), 1);
}

TEST_F(Onednn, EpiloguesArePostOperations) {
  const char* kinds[] = {
      "y = Relu(a)",
      "y = LeakyRelu<alpha=0.1>(a)",
      "y = Sigmoid(a)",
      "y = HardSwish(a)",
      "y = Gelu(a)",
      "y = Mish(a)",
      "y = Softplus(a)",
      "y = Elu<alpha=0.5>(a)",
      "y = HardSigmoid<alpha=0.3, beta=0.4>(a)",
      "lo = float32[] {0.0}  hi = float32[] {6.0}  y = Clip(a, lo, hi)",
      "s = Sigmoid(a)  y = Mul(a, s)",
      "s = Softplus(a)  t = Tanh(s)  y = Mul(a, t)",
      "three = float32[] {3.0}  lo = float32[] {0.0}  six = float32[] {6.0}  b = Add(a, three)  c = Clip(b, lo, six)  "
      "d = Mul(a, c)  y = Div(d, six)",
      "r = float32[] {1.4142135}  one = float32[] {1.0}  h = float32[] {0.5}  b = Div(a, r)  e = Erf(b)  f = Add(e, "
      "one)"
      "  i = Mul(a, f)  y = Mul(i, h)",
      "c = float32[] {2.5}  b = Sub(c, a)  y = Relu(b)",
      "p = float32[24,1,1] random(3)  b = Mul(a, p)  q = float32[24,1,1] random(4)  y = Add(b, q)",
  };
  for (const char* kind : kinds) check(conv("[1,16,7,9]", "[24,16,3,3]", "pads=[1, 1, 1, 1]", kind), 1, 1e-4);
}

TEST_F(Onednn, ResidualsAreOperands) {
  std::string two =
      "graph main (float32[3,16,7,9] x, float32[3,24,7,9] r) => (y) { w = float32[24,16,3,3] random(1)  bias = "
      "float32[24] random(2)  a = Conv<pads=[1, 1, 1, 1]>(x, w, bias)  ";
  check(two + "b = Add(a, r)  y = Relu(b) }", 1);
  check(two + "b = Sub(r, a)  s = Sigmoid(b)  y = Mul(b, s) }", 1);
  check(two + "b = Mul(a, r)  y = Max(b, r) }", 1);
}

// An 8-bit convolution: types of input and weights, their zero points ("" for none), attributes, and what is behind it.
std::string int8_conv(const char* x, const char* w, const char* x_zero, const char* w_zero, const char* attributes,
                      const char* rest) {
  std::string zeros = *x_zero != 0 ? fmt::format("z = {} {{{}}} ", x[0] == 'u' ? "uint8[]" : "int8[]", x_zero) : "";
  zeros += *w_zero != 0 ? fmt::format("v = {} {{{}}} ", w[0] == 'u' ? "uint8[]" : "int8[]", w_zero) : "";
  const char* more = *w_zero != 0 ? ", z, v" : *x_zero != 0 ? ", z" : "";
  return fmt::format("graph main ({} x) => (y) {{ w = {} random(1)  {} a = ConvInteger<{}>(x, w{})  {} }}", x, w, zeros,
                     attributes, more, rest);
}

TEST_F(Onednn, EightBitConvolutions) {
  const char* same = "y = Identity(a)";
  check(int8_conv("uint8[1,16,7,9]", "int8[24,16,3,3]", "", "", "pads=[1, 1, 1, 1]", same), 1, 0);
  check(int8_conv("int8[1,16,7,9]", "int8[24,16,3,3]", "", "", "pads=[1, 1, 1, 1]", same), 1, 0);
  check(int8_conv("uint8[2,5,9,9]", "int8[7,5,3,3]", "131", "", "pads=[1, 1, 1, 1], strides=[2, 2]", same), 1, 0);
  check(int8_conv("int8[1,64,9,9]", "int8[64,64,1,1]", "-3", "0", "", same), 1, 0);
  check(int8_conv("uint8[1,32,9,9]", "uint8[32,1,3,3]", "100", "128", "group=32, pads=[1, 1, 1, 1]", same), 1, 0);
}

TEST_F(Onednn, EightBitEpiloguesUpToTheNextQuantisation) {
  const char* dequantized =
      "f = Cast<to=1>(a)  s = float32[24,1,1] random(3)  d = float32[] {0.0005}  g = Mul(f, d)  h = Mul(g, s)  "
      "b = float32[24,1,1] random(4)  i = Add(h, b)  ";
  const char* kinds[] = {
      "y = Relu(i)",
      "q = float32[] {0.03}  zq = uint8[] {101}  y = QuantizeLinear(i, q, zq)",
      "q = float32[] {0.03}  zq = int8[] {-7}  r = Relu(i)  y = QuantizeLinear(r, q, zq)",
      "q = float32[] {0.03}  zq = uint8[] {101}  j = QuantizeLinear(i, q, zq)  k = DequantizeLinear(j, q, zq)  l = "
      "Sigmoid(k)  m = Mul(k, l)  p = float32[] {0.02}  zp = uint8[] {13}  y = QuantizeLinear(m, p, zp)",
  };
  for (const char* kind : kinds) {
    std::string rest = std::string(dequantized) + kind;
    check(int8_conv("uint8[1,16,7,9]", "int8[24,16,3,3]", "131", "", "pads=[1, 1, 1, 1]", rest.c_str()), 1, 0.01);
  }
}

TEST_F(Onednn, ProductsWithAConstant) {
  auto product = [](const char* x, const char* w, const char* rest) {
    check(fmt::format("graph main (float32{} x) => (y) {{ w = float32{} random(1)  {} }}", x, w, rest), 1, 1e-4);
  };
  product("[7,33]", "[33,65]", "y = MatMul(x, w)");
  product("[1,40]", "[40,200]", "y = MatMul(x, w)");
  product("[200,17]", "[17,5]", "y = MatMul(x, w)");
  product("[2,3,5,16]", "[16,24]", "a = MatMul(x, w)  b = float32[24] random(2)  c = Add(a, b)  y = Gelu(c)");
  product("[9,16]", "[24,16]", "c = float32[24] random(2)  a = Gemm<transB=1>(x, w, c)  y = Relu(a)");
  product("[1,16]", "[300,16]", "c = float32[1,300] random(2)  y = Gemm<transB=1>(x, w, c)");
  product("[80,16]", "[16,24]", "a = MatMul(x, w)  y = Sigmoid(a)");
}

TEST_F(Onednn, ProductsOfTwoInputs) {
  auto product = [](const char* x, const char* w, const char* rest) {
    check(fmt::format("graph main (float32{} x, float32{} w) => (y) {{ {} }}", x, w, rest), 1, 1e-4);
  };
  product("[2,3,7,9]", "[2,3,9,11]", "a = MatMul(x, w)  s = float32[] {0.125}  y = Mul(a, s)");
  product("[2,60,9]", "[2,9,11]", "y = MatMul(x, w)");
  product("[5,9]", "[4,9,11]", "y = MatMul(x, w)");
  product("[100,9]", "[9,130]", "y = MatMul(x, w)");
  check(
      "graph main (float32[4,6,8] x, float32[4,8,10] w, float32[4,6,10] r) => (y) { a = MatMul(x, w)  y = Add(a, r) }",
      1);
}

TEST_F(Onednn, PlansKeepPackedWeightsAndNameTheLibrary) {
  std::string text = conv("[1,16,7,9]", "[24,16,3,3]", "pads=[1, 1, 1, 1]", "y = Relu(a)");
  auto built = EngineCore::build(parse_graph(text), {}, {}, options_for(1));
  Plan plan = built->plan();
  EXPECT_EQ(plan.info["library"], cpu::onednn::version());
  size_t packed = plan.packed.size();
  EXPECT_EQ(packed, 1u);
  auto loaded = EngineCore::load(plan, options_for(1));
  EXPECT_TRUE(loaded->notes().empty());
  EXPECT_EQ(loaded->plan().packed.size(), packed) << "weights are found, not packed anew";
  auto inputs = testing::random_inputs(built->graph(), 3);
  EXPECT_TRUE(identical(run(*built, inputs)[0].tensor, run(*loaded, inputs)[0].tensor));
}

TEST_F(Onednn, PlansWithoutTheLibraryArePlannedAgainOrRefused) {
  std::string text = conv("[1,16,7,9]", "[24,16,3,3]", "pads=[1, 1, 1, 1]", "y = Relu(a)");
  auto built = EngineCore::build(parse_graph(text), {}, {}, options_for(1));
  auto inputs = testing::random_inputs(built->graph(), 3);
  Plan other = built->plan();
  other.info["library"] = "oneDNN 3.1.0 (another)";
  auto again = EngineCore::load(other, options_for(1));
  EXPECT_EQ(again->notes().size(), 1u);
  EngineOptions own;
  own.threads = 1;
  own.libraries = false;
  auto without = EngineCore::load(built->plan(), own);
  ASSERT_EQ(without->notes().size(), 1u);
  EXPECT_NE(without->notes()[0].find("oneDNN"), std::string::npos) << without->notes()[0];
  EXPECT_EQ(library_steps(*without->program_for(inputs)), 0);
  EXPECT_LE(testing::distance(run(*built, inputs)[0].tensor, run(*without, inputs)[0].tensor), 2e-5);
  EXPECT_FALSE(without->plan().info.contains("library"));
  own.rebuild = false;
  EXPECT_THROW(EngineCore::load(built->plan(), own), Error);
}

TEST(OnednnLibrary, IsLookedForAndSaysWhere) {
  std::string report = cpu::onednn::search_report();
  EXPECT_FALSE(report.empty());
  EXPECT_EQ(cpu::onednn::version().empty(), cpu::onednn::library() == nullptr);
  if (cpu::onednn::library() != nullptr) {
    EXPECT_NE(report.find(cpu::onednn::version()), std::string::npos) << report;
  }
  EXPECT_THROW(cpu::onednn::choose_library("/nowhere/libdnnl.so.3"), Error) << "too late to choose";
}

}  // namespace
}  // namespace tenon
