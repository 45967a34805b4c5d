// Engines: profiles, programs for several shapes, plans saved and loaded, the timing cache.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "graph/interpret.hpp"
#include "graph/text.hpp"
#include "graph_testing.hpp"
#include "runtime/engine.hpp"

namespace tenon {
namespace {

const char* kNet = R"(graph main (float32[N,4,H,8] x) => (y) {
  w = float32[16,4,3,3] random(1)  v = float32[8,16,1,1] random(2)
  a = Conv<pads=[1, 1, 1, 1]>(x, w)  b = Relu(a)  c = Conv(b, v)  y = Sigmoid(c)
})";

class Folder : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ =
        std::filesystem::temp_directory_path() /
        fmt::format("tenon-engine-{}-{}", getpid(), ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(path_);
  }
  void TearDown() override { std::filesystem::remove_all(path_); }
  std::string file(const char* name) const { return (path_ / name).string(); }
  std::filesystem::path path_;
};
using EnginePlan = Folder;
using EngineTimings = Folder;

EngineOptions quick() {
  EngineOptions options;
  options.threads = 1;
  options.level = 1;
  return options;
}

std::vector<Datum> run(EngineCore& engine, const std::vector<Datum>& inputs) {
  ProgramSession session(engine.program_for(inputs), engine.pool(), engine.ops());
  std::vector<Datum> out(engine.graph().outputs.size());
  session.run(inputs, out);
  return out;
}

std::vector<Datum> input(Dims dims) {
  testing::Random random(5);
  return {Datum(testing::random_tensor(DType::kFloat32, dims, random))};
}

std::string message(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_NE(e.code(), Code::kInternal) << e.what();
    return e.what();
  }
  return "no error";
}

TEST(Engine, ProfileAcceptsAndRefuses) {
  std::map<std::string, ProfileRange> profile{{"x", {{1, 4, 4, 8}, {2, 4, 8, 8}, {4, 4, 16, 8}}}};
  auto engine = EngineCore::build(parse_graph(kNet), {{"x", {2, 4, 8, 8}}}, profile, quick());
  for (Dims dims : {Dims{1, 4, 4, 8}, Dims{2, 4, 8, 8}, Dims{4, 4, 16, 8}}) {
    EXPECT_EQ(run(*engine, input(dims))[0].tensor.dims(), (Dims{dims[0], 8, dims[2], 8}));
  }
  EXPECT_NE(message([&] { run(*engine, input({5, 4, 8, 8})); }).find("profile"), std::string::npos);
  EXPECT_NE(message([&] { run(*engine, input({1, 4, 3, 8})); }).find("profile"), std::string::npos);
  EXPECT_NE(message([&] { run(*engine, input({1, 4, 8, 9})); }).find("'x'"), std::string::npos);
  EXPECT_NE(message([&] { run(*engine, input({1, 4, 8})); }).find("'x'"), std::string::npos);
  EXPECT_NE(message([&] { engine->program_for({}); }).find("1 inputs"), std::string::npos);
  std::vector<Datum> ints{Datum(Tensor::allocate(DType::kInt64, {2, 4, 8, 8}))};
  EXPECT_NE(message([&] { run(*engine, ints); }).find("int64"), std::string::npos);
}

TEST(Engine, EveryShapeOfAProfileRunsTheTacticsOfOpt) {
  std::map<std::string, ProfileRange> profile{{"x", {{1, 4, 1, 8}, {2, 4, 8, 8}, {4, 4, 64, 8}}}};
  EngineOptions options = quick();
  int chosen = 0;
  options.progress = [&](std::string_view phase, int done, int) { chosen += phase == "choosing tactics" && done == 1; };
  auto engine = EngineCore::build(parse_graph(kNet), {{"x", {2, 4, 8, 8}}}, profile, options);
  EXPECT_EQ(chosen, 1);
  auto opt = engine->program({{2, 4, 8, 8}});
  for (const Dims& dims : {Dims{1, 4, 1, 8}, Dims{4, 4, 64, 8}, Dims{3, 4, 9, 8}}) {
    auto other = engine->program({dims});
    ASSERT_EQ(other->choices.size(), opt->choices.size());
    for (size_t i = 0; i < opt->choices.size(); ++i) EXPECT_EQ(other->choices[i].tactic, opt->choices[i].tactic);
    auto x = input(dims);
    EXPECT_LE(testing::distance(interpret(engine->graph(), engine->ops(), x)[0].tensor, run(*engine, x)[0].tensor),
              1e-5);
  }
  EXPECT_EQ(chosen, 1) << "nothing is chosen while somebody waits";
}

TEST(Engine, OneSymbolHasOneValue) {
  auto engine = EngineCore::build(parse_graph("graph main (float32[N] a, float32[N] b) => (y) { y = Add(a, b) }"), {},
                                  {}, quick());
  std::vector<Datum> uneven{input({2})[0], input({3})[0]};
  EXPECT_NE(message([&] { run(*engine, uneven); }).find("dimension N"), std::string::npos);
}

TEST(Engine, KeepsProgramsForSeveralShapes) {
  EngineOptions options = quick();
  options.max_programs = 2;
  auto engine = EngineCore::build(parse_graph(kNet), {{"x", {1, 4, 8, 8}}}, {}, options);
  auto pinned = engine->program({{1, 4, 8, 8}});
  auto two = engine->program({{2, 4, 8, 8}});
  EXPECT_EQ(two, engine->program({{2, 4, 8, 8}}));
  EXPECT_NE(two, pinned);
  engine->program({{3, 4, 8, 8}});
  engine->program({{4, 4, 8, 8}});
  EXPECT_NE(two, engine->program({{2, 4, 8, 8}})) << "the least used is dropped";
  EXPECT_EQ(pinned, engine->program({{1, 4, 8, 8}})) << "what was planned stays";
  EXPECT_EQ(engine->planned_dims(), (std::vector<Dims>{{1, 4, 8, 8}}));
}

TEST_F(EnginePlan, RoundTripsToTheSameBytesAndValues) {
  std::map<std::string, ProfileRange> profile{{"x", {{1, 4, 1, 8}, {2, 4, 8, 8}, {4, 4, 16, 8}}}};
  auto built = EngineCore::build(parse_graph(kNet), {{"x", {2, 4, 8, 8}}}, profile, quick());
  save_plan(built->plan(), file("a.plan"));
  auto loaded = EngineCore::load(load_plan(file("a.plan")), quick());
  EXPECT_TRUE(loaded->notes().empty());
  save_plan(loaded->plan(), file("b.plan"));
  EXPECT_EQ(read_text_file(file("a.plan")), read_text_file(file("b.plan")));
  auto x = input({2, 4, 8, 8}), other = input({1, 4, 5, 8});
  EXPECT_TRUE(identical(run(*built, x)[0].tensor, run(*loaded, x)[0].tensor));
  EXPECT_TRUE(identical(run(*built, other)[0].tensor, run(*loaded, other)[0].tensor));
  EXPECT_THROW(run(*loaded, input({5, 4, 5, 8})), Error) << "the profile is loaded too";
  EXPECT_TRUE(is_plan_file(file("a.plan")));
  EXPECT_NE(read_plan_info(file("a.plan")).find("\"isa\""), std::string::npos);
}

TEST_F(EnginePlan, OfAnotherMachineIsPlannedAgainOrRefused) {
  auto built = EngineCore::build(parse_graph(kNet), {{"x", {2, 4, 8, 8}}}, {}, quick());
  for (const char* key : {"isa", "layout", "tenon"}) {
    Plan plan = built->plan();
    plan.info[key] = "another";
    save_plan(plan, file("other.plan"));
    EngineOptions refuse = quick();
    refuse.rebuild = false;
    EXPECT_THROW(EngineCore::load(load_plan(file("other.plan")), refuse), Error);
    auto again = EngineCore::load(load_plan(file("other.plan")), quick());
    EXPECT_EQ(again->notes().size(), 1u);
    auto x = input({2, 4, 8, 8});
    EXPECT_LE(testing::distance(run(*built, x)[0].tensor, run(*again, x)[0].tensor), 1e-5);
  }
}

// --- damage ---

// The header's numbers, as src/plan/serialize.cpp lays them out.
uint64_t number(const std::string& bytes, size_t at) {
  uint64_t value;
  std::memcpy(&value, bytes.data() + at, 8);
  return value;
}

void seal(std::string& bytes) {
  auto hash = [&](size_t at, size_t size) { return hash_bytes(std::as_bytes(std::span(bytes.data() + at, size))); };
  auto put = [&](size_t at, uint64_t value) { std::memcpy(bytes.data() + at, &value, 8); };
  uint64_t text = number(bytes, 24), blobs = number(bytes, 32);
  if (text <= bytes.size() - 64 && blobs <= (bytes.size() - 64 - text) / 24) {
    put(40, hash(64, text));
    for (uint64_t i = 0; i < blobs; ++i) {
      size_t entry = 64 + text + i * 24;
      uint64_t at = number(bytes, entry), size = number(bytes, entry + 8);
      if (at <= bytes.size() && size <= bytes.size() - at) put(entry + 16, hash(at, size));
    }
    put(48, hash(64 + text, blobs * 24));
  }
  put(56, hash(0, 56));
}

// Loads all of a plan as far as it goes and runs it where it loads. An Error is right, anything else is not.
bool survives(const std::string& bytes) {
  auto owner = std::make_shared<std::string>(bytes);
  try {
    Plan plan = load_plan(std::as_bytes(std::span(*owner)), owner, "damaged");
    auto engine = EngineCore::load(std::move(plan), quick());
    run(*engine, input({1, 4, 3, 8}));
    return true;
  } catch (const Error& e) {
    EXPECT_NE(e.code(), Code::kInternal) << e.what();
    return false;
  }
}

std::string small_plan(const std::string& path) {
  const char* net =
      "graph main (float32[1,4,3,8] x, float32[8,4,1,1] w = random(1)) => (y) { a = Conv(x, w)  y = Relu(a) }";
  auto built = EngineCore::build(parse_graph(net), {}, {}, quick());
  save_plan(built->plan(), path);
  return read_text_file(path);
}

TEST_F(EnginePlan, CutOffIsRefused) {
  std::string bytes = small_plan(file("p"));
  ASSERT_TRUE(survives(bytes));
  for (size_t size = 0; size < bytes.size(); size += 64) {
    EXPECT_FALSE(survives(bytes.substr(0, size))) << size;
  }
  EXPECT_FALSE(survives(bytes.substr(0, bytes.size() - 1)));
  EXPECT_FALSE(survives(bytes + "x"));
}

TEST_F(EnginePlan, FlippedBitsAreFound) {
  std::string bytes = small_plan(file("p"));
  uint64_t text_end = 64 + number(bytes, 24), table_end = text_end + number(bytes, 32) * 24;
  testing::Random random(3);
  for (int i = 0; i < 400; ++i) {
    // All of the header and of the table, and places in the text and the blobs. (Padding between blobs means nothing.)
    size_t at =
        i < 64 ? static_cast<size_t>(i) : static_cast<size_t>(random.in(64, static_cast<int64_t>(table_end) - 1));
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << random.in(0, 7)));
    EXPECT_FALSE(survives(damaged)) << "byte " << at;
  }
  std::string last = bytes;
  last.back() = static_cast<char>(last.back() ^ 1);
  EXPECT_FALSE(survives(last));
}

TEST_F(EnginePlan, FlippedBitsBehindRightChecksumsAreSurvived) {
  std::string bytes = small_plan(file("p"));
  int refused = 0;
  testing::Random random(4);
  auto table_end = static_cast<int64_t>(64 + number(bytes, 24) + number(bytes, 32) * 24);
  for (int i = 0; i < 600; ++i) {
    std::string damaged = bytes;
    auto at = static_cast<size_t>(random.in(8, table_end - 1));
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << random.in(0, 7)));
    seal(damaged);
    refused += survives(damaged) ? 0 : 1;
  }
  EXPECT_GT(refused, 100);
}

TEST_F(EnginePlan, OfAnotherFormatIsRefusedInWords) {
  std::string bytes = small_plan(file("p"));
  bytes[8] = 99;
  seal(bytes);
  auto owner = std::make_shared<std::string>(bytes);
  std::string text = message([&] { load_plan(std::as_bytes(std::span(*owner)), owner, "old"); });
  EXPECT_NE(text.find("format 99"), std::string::npos) << text;
}

TEST_F(EnginePlan, AWriteThatFailsLeavesTheOldFile) {
  auto built = EngineCore::build(parse_graph(kNet), {{"x", {2, 4, 8, 8}}}, {}, quick());
  std::ofstream(file("p")) << "old";
  Plan plan = built->plan();
  // In a child process: the limit on file sizes cannot be lifted again.
  pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    rlimit limit{4096, 4096};
    setrlimit(RLIMIT_FSIZE, &limit);
    std::signal(SIGXFSZ, SIG_IGN);
    try {
      save_plan(plan, file("p"));
    } catch (const Error&) {
      _exit(7);
    }
    _exit(1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
  EXPECT_EQ(read_text_file(file("p")), "old");
  auto files = std::distance(std::filesystem::directory_iterator(path_), std::filesystem::directory_iterator());
  EXPECT_EQ(files, 1) << "a temporary file was left behind";
}

// --- timings ---

TEST_F(EngineTimings, RoundTrip) {
  TimingCache cache;
  cache.put("Conv a=1 b", 1.25e-6);
  cache.put("MatMul", 3);
  cache.save(file("t"));
  TimingCache again;
  again.load(file("t"));
  EXPECT_EQ(again.size(), 2u);
  EXPECT_EQ(again.find("Conv a=1 b"), 1.25e-6);
  EXPECT_EQ(again.find("nothing"), std::nullopt);
  EXPECT_EQ(again.text(), cache.text());
  TimingCache third;  // what another process added is kept
  third.put("Gemm", 2);
  third.save(file("t"));
  again.load(file("t"));
  EXPECT_EQ(again.size(), 3u);
  TimingCache none;
  none.load(file("absent"));
  EXPECT_EQ(none.size(), 0u);
}

TEST_F(EngineTimings, DamageIsRefused) {
  TimingCache cache;
  for (int i = 0; i < 5; ++i) cache.put(fmt::format("key {}", i), 1e-6 * (i + 1));
  std::string text = cache.text();
  for (const std::string& bad : {std::string("tenon timing cache 2\n"), text.substr(3), text + "no number here\n",
                                 text + "-1 key\n", text + "nan key\n", std::string("\0\1\2", 3)}) {
    TimingCache damaged;
    EXPECT_NE(message([&] { damaged.parse(bad, "cache"); }), "no error") << bad;
  }
  testing::Random random(1);
  for (int i = 0; i < 200; ++i) {  // any bit: an error or other numbers, never a crash
    std::string damaged = text;
    auto at = static_cast<size_t>(random.in(0, static_cast<int64_t>(text.size()) - 1));
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << random.in(0, 7)));
    TimingCache c;
    message([&] { c.parse(damaged, "cache"); });
    EXPECT_LE(c.size(), 6u);
  }
}

TEST_F(EngineTimings, WithTheCacheABuildIsDeterministic) {
  EngineOptions options = quick();
  options.level = 2;
  options.timing_cache = file("t");
  for (const char* name : {"first", "second", "third"}) {
    auto built = EngineCore::build(parse_graph(kNet), {{"x", {2, 4, 32, 8}}}, {}, options);
    save_plan(built->plan(), file(name));
  }
  EXPECT_EQ(read_text_file(file("first")), read_text_file(file("second")));
  EXPECT_EQ(read_text_file(file("first")), read_text_file(file("third")));
}

}  // namespace
}  // namespace tenon
