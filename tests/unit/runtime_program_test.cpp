// Programs against the interpreter: graphs written by hand and graphs made at random, each planned several ways (first
// tactics, estimates, tactics and formats at random) with and without views.
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "graph/interpret.hpp"
#include "graph/text.hpp"
#include "graph_testing.hpp"
#include "ops/op_table.hpp"
#include "passes/pass.hpp"
#include "plan/plan.hpp"
#include "plan/select.hpp"
#include "runtime/session.hpp"

namespace tenon {
namespace {

using testing::Random;

// Every willing tactic in every format that fits, references and views: one of them for each node.
std::vector<Choice> random_choices(const Graph& g, Random& random) {
  std::vector<Choice> out;
  for (NodeId id : g.order()) {
    const Node& n = g.node(id);
    std::vector<Choice> list;
    constexpr Format kBoth[] = {Format::kPlain, Format::kChannelsLast};
    if (is_view_op(g, n)) {
      bool keeps = n.op == "Concat" || n.op == "Split" || n.op == "Slice";
      list.push_back({"view"});
      if (keeps) list.push_back({"view", Format::kChannelsLast, Format::kChannelsLast});
    } else if (is_static_node(g, n)) {
      for (Format in : kBoth) {
        for (Format way_out : kBoth) {
          Problem problem = make_problem(g, n, in, way_out, 2);
          for (const Tactic& t : cpu_tactics().of(n.op)) {
            if (t.judge(problem).ok) list.push_back({std::string(t.name), in, way_out});
          }
        }
      }
    }
    if (list.empty() || random.chance(5)) list = {Choice{}};
    out.push_back(list[static_cast<size_t>(random.in(0, static_cast<int64_t>(list.size()) - 1))]);
  }
  return out;
}

std::shared_ptr<const Program> planned(const GraphPtr& source, bool optimized, int way, bool views,
                                       WeightStore& weights, uint64_t seed) {
  GraphPtr g = source->clone();
  if (optimized) {
    optimize(*g, all_ops());
    if (inline_refused(*g, cpu_tactics(), all_ops(), 2)) g->compact();
  }
  infer_types(*g, all_ops());
  std::vector<Choice> choices;
  if (way < 2) {
    ThreadPool pool(1);
    SelectOptions select;
    select.level = way;
    select.threads = 2;
    choices = select_tactics(*g, cpu_tactics(), pool, select).choices;
  } else {
    Random random(seed);
    choices = random_choices(*g, random);
  }
  BuildOptions build;
  build.threads = 2;
  build.views = views;
  return build_program(g, std::move(choices), cpu_tactics(), weights, build);
}

std::string describe(const Program& p) {
  std::string out = print(*p.graph);
  for (const Step& s : p.steps) out += s.op + " by " + s.tactic + "  " + s.name + "\n";
  return out;
}

double limit_for(DType t) {
  return t == DType::kUInt8 || t == DType::kInt8 ? 0.011 : t == DType::kFloat16 ? 5e-3 : 2e-4;
}

void check_ways(const GraphPtr& g, const std::string& text, uint64_t seed) {
  static auto pool = std::make_shared<ThreadPool>(2);
  std::vector<Datum> inputs = testing::random_inputs(*g, seed);
  std::vector<Datum> want = interpret(*g, all_ops(), inputs);
  for (int variant = 0; variant < 10; ++variant) {
    bool optimized = variant % 2 == 0, views = variant % 5 != 1;
    int way = variant < 4 ? variant / 2 : 2;
    PlanWeights weights;
    std::shared_ptr<const Program> program;
    std::string where = fmt::format("seed {}, variant {} ({}, way {}, views {})\n{}", seed, variant,
                                    optimized ? "optimised" : "as it is", way, views, text);
    try {
      program = planned(g, optimized, way, views, weights, seed * 100 + static_cast<uint64_t>(variant));
      ProgramSession session(program, pool, all_ops());
      // Twice: what a run leaves behind in the arena or in the outputs must not matter.
      std::vector<Datum> got(g->outputs.size());
      for (int run = 0; run < 2; ++run) {
        session.run(inputs, got);
        for (size_t i = 0; i < want.size(); ++i) {
          ASSERT_LE(testing::distance(want[i].tensor, got[i].tensor), limit_for(want[i].tensor.dtype()))
              << testing::worst(want[i].tensor, got[i].tensor) << "output " << i << ", run " << run << ", " << where
              << "\n"
              << describe(*program);
        }
      }
    } catch (const Error& e) {
      FAIL() << e.what() << "\n" << where;
    }
  }
}

void check(const std::string& text) {
  GraphPtr g = parse_graph(text);
  infer_types(*g, all_ops());
  for (uint64_t seed = 1; seed <= 3; ++seed) check_ways(g, text, seed);
}

TEST(Program, ViewsOfConcatSplitAndSlice) {
  check(R"(graph main (float32[1,8,5,5] x, float32[8,8,3,3] w = random(1)) => (y, z) {
    a = Conv<pads=[1, 1, 1, 1]>(x, w)  p, q = Split<axis=1, num_outputs=2>(a)  r = Relu(q)  s = Neg(p)
    c = Concat<axis=1>(p, q, r, s)  i = int64[1] {2}  j = int64[1] {9}  k = int64[1] {1}
    d = Slice(c, i, j, k)  y = Sigmoid(d)  z = Concat<axis=3>(d, d) })");
  check(R"(graph main (float32[1,8,5,5] x) => (y) {
    b = int64[2] {-3, 1}  e = int64[2] {100, -1}  ax = int64[2] {3, -2}  s = Relu(x)
    t = Slice(s, b, e, ax)  u = Concat<axis=0>(t, t, t)  y = Exp(u) })");
  check(R"(graph main (float32[1,6,4,4] x) => (y) {
    a = Relu(x)  b = Neg(x)  i = Concat<axis=1>(a, b)  o = Concat<axis=1>(i, x, i)  y = Abs(o) })");
}

TEST(Program, SpatialOneAndFlatten) {
  check(R"(graph main (float32[2,16,3,3] x, float32[24,16,1,1] w = random(1), float32[24,10] v = random(2)) => (y) {
    g = GlobalAveragePool(x)  c = Conv(g, w)  r = Relu(c)  f = Flatten(r)  y = MatMul(f, v) })");
  check(R"(graph main (float32[2,24,5,5] x, float32[6,24,1,1] w = random(1), float32[24,6,1,1] v = random(2)) => (y) {
    g = GlobalAveragePool(x)  c = Conv(g, w)  r = Relu(c)  d = Conv(r, v)  s = HardSigmoid(d)  y = Mul(x, s) })");
}

TEST(Program, EpiloguesWithBroadcastExtras) {
  check(R"(graph main (float32[2,8,4,4] x, float32[1,8,1,1] r, float32[4] v, float32[8,8,3,3] w = random(1)) => (y) {
    c = Conv<pads=[1, 1, 1, 1]>(x, w)  a = Add(c, r)  m = Mul(a, v)  y = Relu(m) })");
  check(R"(graph main (float32[1,8,4,4] x, float32[8,8,3,3] w = random(1), float32[8,8,1,1] u = random(2)) => (y) {
    a = Conv<pads=[1, 1, 1, 1]>(x, w)  b = Conv(x, u)  s = Add(a, b)  y = HardSwish(s) })");
  check(R"(graph main (float32[3,5,7] x, float32[5,9] r, float32[7,9] w = random(1)) => (y) {
    m = MatMul(x, w)  a = Add(r, m)  y = Tanh(a) })");
}

TEST(Program, DepthwiseWithOddChannelsAndEpilogue) {
  for (int channels : {104, 3, 17, 24}) {
    check(fmt::format(
        R"(graph main (float32[1,{0},6,6] x, float32[{0},1,3,3] w = random(1), float32[{0}] b = random(2)) => (y) {{
      c = Conv<group={0}, pads=[1, 1, 1, 1]>(x, w, b)  y = HardSwish(c) }})",
        channels));
  }
}

TEST(Program, PicturesOneColumnWide) {
  check(R"(graph main (float32[2,20,37,1] x, float32[33,20,5,1] w = random(1), float32[33] b = random(2)) => (y) {
    c = Conv<pads=[2, 0, 1, 0], strides=[2, 1]>(x, w, b)  y = Tanh(c) })");
  check(R"(graph main (float32[1,24,30,1] x, float32[24,1,3,1] w = random(1)) => (y) {
    c = Conv<group=24, dilations=[2, 1]>(x, w)  y = Relu(c) })");
}

TEST(Program, RequantisationWithATableBehind) {
  constexpr const char* kHead = R"(graph main (uint8[1,8,6,5] x, int8[{0},8,3,3] w = random(1), float32[{0},1,1] s =
    random(2), float32[{0},1,1] b = random(3)) => (y) {{
    z = uint8[] {{120}}  k = float32[] {{0.01}}  q = float32[] {{0.05}}  i = ConvInteger<pads=[1, 1, 1, 1]>(x, w, z)
    f = Cast<to=1>(i)  m = Mul(f, k)  a = Add(m, b)  )";
  for (int channels : {8, 19, 70}) {
    const std::string head = fmt::format(fmt::runtime(kHead), channels);
    check(head + "y = QuantizeLinear(a, q, z) }");
    check(head + "r = Relu(a)  y = QuantizeLinear(r, q, z) }");
    check(head + "e = QuantizeLinear(a, q, z)  d = DequantizeLinear(e, q, z)  g = Sigmoid(d)  y = Mul(d, g) }");
    check(head + "e = QuantizeLinear(a, q, z)  d = DequantizeLinear(e, q, z)  g = Sigmoid(d)  h = Mul(d, g)\n" +
          "y = QuantizeLinear(h, q, z) }");
    check(head + "t = Mul(a, s)  e = QuantizeLinear(t, q, z)  d = DequantizeLinear(e, q, z)  y = Add(d, s) }");
  }
}

TEST(Program, FunctionsOfAByte) {
  constexpr const char* kBody = R"( z = {0}[] {{3}}  k = float32[] {{0.04}}  d = DequantizeLinear(x, k, z)
    g = Sigmoid(d)  m = Mul(d, g) )";
  for (const char* type : {"uint8", "int8"}) {
    const std::string head = fmt::format("graph main ({}[1,24,16,17] x) => (y) {{", type);
    const std::string body = fmt::format(fmt::runtime(kBody), type);
    check(head + body + "y = QuantizeLinear(m, k, z) }");
    check(head + body + "y = Neg(m) }");
  }
}

TEST(Program, IntegersPlusAValueByChannel) {
  for (const char* type : {"int8", "uint8", "int32"}) {
    for (const char* shape : {"2,16,9,11", "1,5,6,7", "3,70,1,40"}) {
      const std::string channels = std::string(shape).substr(2, std::string(shape).find(',', 2) - 2);
      const std::string head = fmt::format("graph main ({0}[{1}] x, {0}[{2},1,1] b) => (y) {{ ", type, shape, channels);
      check(head + "y = Add(x, b) }");
      check(head + "y = Sub(b, x) }");
    }
  }
}

TEST(Program, ProductsWithAScalarBehind) {
  constexpr const char* kHead = "graph main (float32[2,3,17,8] x, float32[2,3,8,19] v, float32[8,33] w = random(1)) ";
  check(std::string(kHead) + "=> (y) { m = MatMul(x, v)  c = float32[] {2.828427}  y = Div(m, c) }");
  check(std::string(kHead) + "=> (y) { m = MatMul(x, w)  c = float32[1] {0.3}  y = Mul(c, m) }");
  check(std::string(kHead) + "=> (y) { m = MatMul(x, w)  c = float32[] {0.3}  y = Div(c, m) }");
  check(
      "graph main (float32[5,8] x, float32[8,33] w = random(1), float32[33] b = random(2)) => (y) { c = float32[] {0.3}"
      "  m = Gemm<alpha=0.5>(x, w, b)  y = Mul(m, c) }");
}

TEST(Program, HardSwishInRegistersInEveryKernel) {
  const std::string tail =
      "k = float32[] {0.7}  q = float32[1] {-0.2}  h = HardSwish(c)  m = Mul(k, h)  y = Add(m, q) }";
  check("graph main (float32[1,17,9,10] x, float32[35,17,3,3] w = random(1)) => (y) { c = Conv<pads=[1,1,1,1]>(x, w) " +
        tail);
  check("graph main (float32[2,16,13,3] x, float32[33,16,2,2] w = random(1)) => (y) { c = Conv<strides=[2,1]>(x, w) " +
        tail);
  check("graph main (float32[1,21,6,7] x, float32[21,1,3,3] w = random(1)) => (y) { c = Conv<group=21>(x, w) " + tail);
  check(
      "graph main (float32[1,8,6,7] x, float32[8,9,3,3] w = random(1)) => (y) { c = ConvTranspose<strides=[4,4]>(x, "
      "w) " +
      tail);
  for (int rows : {2, 19}) {
    check(fmt::format("graph main (float32[{},24] x, float32[24,37] w = random(1)) => (y) {{ c = MatMul(x, w) ", rows) +
          tail);
    check(fmt::format("graph main (float32[3,{},24] x, float32[3,24,37] w) => (y) {{ c = MatMul(x, w) ", rows) + tail);
  }
}

TEST(Program, OutputsThatNothingComputes) {
  check("graph main (float32[2,3] x, float32[2] c = {1, 2}) => (x, c, y, y) { y = Relu(x) }");
  check("graph main (float32[2,3] x) => (y, z, y) { y = Identity(x)  s = int64[1] {6}  z = Reshape(x, s) }");
  check("graph main (float32[1,4,2,2] x) => (p, q, x) { p, q = Split<axis=1, num_outputs=2>(x) }");
  check(
      "graph main (float32[2,4,3,3] x, float32[4,4,1,1] w = random(1)) => (c, r, f) { c = Conv(x, w)  r = Relu(c)  f = "
      "Flatten(r) }");
}

TEST(Program, EmptyDimensions) {
  check(
      "graph main (float32[0,3] x, float32[3,4] w = random(1)) => (y, z) { y = MatMul(x, w)  r = Relu(y)  z = "
      "Concat<axis=1>(r, r) }");
  check("graph main (float32[2,0] x, float32[2,3] v) => (y) { r = Neg(x)  c = Concat<axis=1>(r, v, x)  y = Relu(c) }");
  check("graph main (float32[3,0] x, float32[0,4] w) => (y) { m = MatMul(x, w)  y = Exp(m) }");
  check("graph main (float32[2,0,3] x) => (y) { y = ReduceSum<keepdims=1>(x) }");
}

TEST(Program, StringsAndSizesThatDataDecide) {
  check(
      "graph main (string[2,2] x, float32[3] f) => (y, g) { s = int64[1] {4}  a = Reshape(x, s)  y = Identity(a)  g = "
      "Relu(f) }");
  check(R"(graph main (float32[2,3] x) => (y, n) {
    r = Relu(x)  b = Cast<to=9>(r)  n = NonZero(b)  t = Transpose<perm=[1, 0]>(n)  s = GatherND(r, t)  y = Neg(s) })");
}

TEST(Program, InPlaceChainsOverValuesStillNeeded) {
  check(R"(graph main (float32[1,4,6,6] x) => (y, b) {
    a = Exp(x)  b = MaxPool<kernel_shape=[2, 2]>(a)  c = Sqrt(a)  d = Sin(c)  e = Mul(c, d)  f = Add(e, a)
    s = int64[2] {4, 36}  g = Reshape(f, s)  h = Softmax<axis=1>(g)  i = Add(h, g)  y = Neg(i) })");
}

TEST(Program, AVectorByChannelWhoseLastTileIsOneRow) {
  // 7 short rows make tiles of 3, 3 and 1; the tile of one row finds another batch's element where it left its own.
  check(R"(graph main (float32[2,7,8,18] x, float32[7,1,1] c = random(6)) => (y) {
    a = Sin(x)  y = Add(c, a) })");
}

// --- graphs at random ---

class Maker {
 public:
  explicit Maker(uint64_t seed) : random_(seed) {}

  std::string make() {
    int64_t batch = random_.in(1, 2);
    add("x", {batch, random_.in(1, 20), random_.in(1, 9), random_.in(1, 9)});
    if (random_.chance(50)) add("z", values_[0].dims);
    std::string header = "graph main (";
    for (size_t i = 0; i < values_.size(); ++i)
      header += (i ? ", " : "") + type(values_[i].dims) + " " + values_[i].name;
    auto count = random_.in(3, 14);
    for (int64_t i = 0; i < count; ++i) node();
    std::string outs;
    for (const Value& v : values_) {
      bool last = &v == &values_.back();
      if (last || random_.chance(15)) outs += (outs.empty() ? "" : ", ") + v.name;
    }
    return header + ") => (" + outs + ") {\n" + body_ + "}\n";
  }

 private:
  struct Value {
    std::string name;
    Dims dims;
  };

  static std::string type(const Dims& d) {
    std::string out = "float32[";
    for (size_t i = 0; i < d.size(); ++i) out += (i ? "," : "") + std::to_string(d[i]);
    return out + "]";
  }
  void add(const std::string& name, const Dims& dims) { values_.push_back({name, dims}); }
  std::string fresh() { return "v" + std::to_string(next_++); }
  Value pick() {  // recent ones more often, so that graphs are deep
    auto n = static_cast<int64_t>(values_.size());
    return values_[static_cast<size_t>(random_.chance(60) ? n - 1 : random_.in(0, n - 1))];
  }
  std::string constant(const Dims& d) {
    std::string name = fresh();
    body_ += "  " + name + " = " + type(d) + " random(" + std::to_string(next_) + ")\n";
    return name;
  }
  std::string ints(const Ints& v) {
    std::string name = fresh();
    body_ += "  " + name + " = " + fmt::format("int64[{}] {{{}}}\n", v.size(), fmt::join(v, ", "));
    return name;
  }
  void emit(const std::string& text, const Dims& dims) {
    std::string name = fresh();
    body_ += "  " + name + " = " + text + "\n";
    add(name, dims);
  }

  void node() {
    switch (random_.in(0, 12)) {
      case 0:
      case 1: return conv();
      case 2:
      case 3: return unary();
      case 4:
      case 5: return binary();
      case 6: return concat();
      case 7: return split();
      case 8: return slice();
      case 9: return pool();
      case 10: return resize();
      case 11: return rows();
      default: return transpose();
    }
  }
  void unary() {
    constexpr const char* kOps[] = {"Relu",      "Sigmoid",   "Tanh", "Neg",     "Abs",
                                    "HardSwish", "LeakyRelu", "Clip", "Softplus"};
    Value v = pick();
    std::string op = kOps[random_.in(0, 8)];
    emit(op == "Clip" ? "Clip(" + v.name + ", -0.5, 0.75)" : op + "(" + v.name + ")", v.dims);
  }
  void conv() {
    Value v = pick();
    if (v.dims.size() != 4) return unary();
    int64_t c = v.dims[1], k = random_.in(1, 3), stride = random_.in(1, 2), pad = k / 2;
    bool depthwise = random_.chance(25);
    int64_t out = depthwise ? c : random_.in(1, 24), h = v.dims[2] + 2 * pad - k, w = v.dims[3] + 2 * pad - k;
    if (h < 0 || w < 0) return unary();
    std::string weights = constant({out, depthwise ? 1 : c, k, k});
    std::string bias = random_.chance(50) ? ", " + constant({out}) : "";
    emit(fmt::format("Conv<group={}, pads=[{}, {}, {}, {}], strides=[{}, {}]>({}, {}{})", depthwise ? c : 1, pad, pad,
                     pad, pad, stride, stride, v.name, weights, bias),
         {v.dims[0], out, h / stride + 1, w / stride + 1});
  }
  void binary() {
    Value a = pick();
    constexpr const char* kOps[] = {"Add", "Mul", "Sub", "Max"};
    std::string op = kOps[random_.in(0, 3)], other;
    std::vector<std::string> same;
    for (const Value& v : values_) {
      if (v.dims == a.dims) same.push_back(v.name);
    }
    if (random_.chance(70)) {
      other = same[static_cast<size_t>(random_.in(0, static_cast<int64_t>(same.size()) - 1))];
    } else if (a.dims.size() == 4 && random_.chance(70)) {
      other = constant({a.dims[1], 1, 1});
    } else {
      other = random_.chance(50) ? constant({a.dims.back()}) : constant({});
    }
    bool swap = random_.chance(50);
    emit(op + "(" + (swap ? other : a.name) + ", " + (swap ? a.name : other) + ")", a.dims);
  }
  void concat() {
    Value a = pick();
    int64_t axis = random_.in(0, static_cast<int64_t>(a.dims.size()) - 1);
    Dims dims = a.dims;
    std::string list = a.name;
    for (const Value& v : values_) {
      bool fits = v.dims.size() == dims.size() && random_.chance(60);
      for (size_t i = 0; fits && i < dims.size(); ++i) fits = static_cast<int64_t>(i) == axis || v.dims[i] == a.dims[i];
      if (!fits || dims[static_cast<size_t>(axis)] > 60) continue;
      list += ", " + v.name;
      dims[static_cast<size_t>(axis)] += v.dims[static_cast<size_t>(axis)];
    }
    emit(fmt::format("Concat<axis={}>({})", axis, list), dims);
  }
  void split() {
    Value a = pick();
    auto axis = static_cast<size_t>(random_.in(0, static_cast<int64_t>(a.dims.size()) - 1));
    if (a.dims[axis] < 2) return unary();
    Dims first = a.dims, second = a.dims;
    first[axis] = random_.in(1, a.dims[axis] - 1);
    second[axis] = a.dims[axis] - first[axis];
    std::string sizes = ints({first[axis], second[axis]}), p = fresh(), q = fresh();
    body_ += fmt::format("  {}, {} = Split<axis={}>({}, {})\n", p, q, axis, a.name, sizes);
    add(p, first);
    add(q, second);
  }
  void slice() {
    Value a = pick();
    auto axis = static_cast<size_t>(random_.in(0, static_cast<int64_t>(a.dims.size()) - 1));
    int64_t begin = random_.in(0, a.dims[axis] - 1), end = random_.in(begin + 1, a.dims[axis]),
            step = random_.in(1, 5) / 5 + 1;
    Dims dims = a.dims;
    dims[axis] = (end - begin + step - 1) / step;
    std::string s = ints({begin}), e = ints({end}), x = ints({static_cast<int64_t>(axis)}), t = ints({step});
    emit(fmt::format("Slice({}, {}, {}, {}, {})", a.name, s, e, x, t), dims);
  }
  void pool() {
    Value a = pick();
    if (a.dims.size() != 4 || a.dims[2] < 2 || a.dims[3] < 2) return unary();
    if (random_.chance(25)) return emit("GlobalAveragePool(" + a.name + ")", {a.dims[0], a.dims[1], 1, 1});
    const char* op = random_.chance(50) ? "MaxPool" : "AveragePool";
    emit(fmt::format("{}<kernel_shape=[2, 2], strides=[1, 2]>({})", op, a.name),
         {a.dims[0], a.dims[1], a.dims[2] - 1, (a.dims[3] - 2) / 2 + 1});
  }
  void resize() {
    Value a = pick();
    if (a.dims.size() != 4 || a.dims[2] > 12 || a.dims[3] > 12) return unary();
    std::string scales = fresh();
    body_ += "  " + scales + " = float32[4] {1.0, 1.0, 2.0, 2.0}\n";
    bool nearest = random_.chance(50);
    emit(fmt::format("Resize<mode=\"{}\", coordinate_transformation_mode=\"{}\", nearest_mode=\"floor\">({}, _, {})",
                     nearest ? "nearest" : "linear", nearest ? "asymmetric" : "half_pixel", a.name, scales),
         {a.dims[0], a.dims[1], 2 * a.dims[2], 2 * a.dims[3]});
  }
  void rows() {
    Value a = pick();
    Dims dims = a.dims;
    switch (random_.in(0, 2)) {
      case 0: return emit(fmt::format("Softmax<axis={}>({})", random_.chance(50) ? -1 : 1, a.name), dims);
      case 1: {
        std::string axes = ints({static_cast<int64_t>(dims.size()) - 1});
        dims.back() = 1;
        return emit(fmt::format("{}({}, {})", random_.chance(50) ? "ReduceMean" : "ReduceMax", a.name, axes), dims);
      }
      default: {
        int64_t columns = random_.in(1, 20);
        std::string w = constant({dims.back(), columns});
        dims.back() = columns;
        return emit("MatMul(" + a.name + ", " + w + ")", dims);
      }
    }
  }
  void transpose() {
    Value a = pick();
    if (random_.chance(40)) {
      int64_t rest = element_count(a.dims) / a.dims[0];
      std::string s = ints({a.dims[0], rest});
      return emit("Reshape(" + a.name + ", " + s + ")", {a.dims[0], rest});
    }
    Ints perm(a.dims.size());
    for (size_t i = 0; i < perm.size(); ++i) perm[i] = static_cast<int64_t>(i);
    for (size_t i = perm.size(); i-- > 1;)
      std::swap(perm[i], perm[static_cast<size_t>(random_.in(0, static_cast<int64_t>(i)))]);
    Dims dims;
    for (int64_t p : perm) dims.push_back(a.dims[static_cast<size_t>(p)]);
    emit(fmt::format("Transpose<perm=[{}]>({})", fmt::join(perm, ", "), a.name), dims);
  }

  Random random_;
  std::vector<Value> values_;
  std::string body_;
  int next_ = 0;
};

TEST(Program, RandomGraphs) {
  uint64_t first = 1, count = 200;
  if (const char* seed = std::getenv("TENON_TEST_SEED")) first = std::stoull(seed);
  if (const char* more = std::getenv("TENON_TEST_COUNT")) count = std::stoull(more);
  for (uint64_t seed = first; seed < first + count; ++seed) {
    std::string text = Maker(seed).make();
    GraphPtr g = parse_graph(text);
    ASSERT_NO_THROW(infer_types(*g, all_ops())) << text;
    check_ways(g, text, seed);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace tenon
