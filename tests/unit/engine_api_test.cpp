// The C++ API: what an engine says of itself, data in and out, shapes, threads, plans, and the errors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <stdexcept>
#include <thread>

#include "engine_testing.hpp"

namespace tenon {
namespace {

using engine_test::bytes;
using engine_test::dense;
using engine_test::error_of;
using engine_test::one_thread;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Dims = std::vector<int64_t>;

std::vector<float> floats(const TensorView& view) {
  auto values = view.as<float>();
  return {values.begin(), values.end()};
}

std::vector<float> run_dense(Session& session, const std::vector<float>& x) {
  session.set_input("x", x.data(), DType::kFloat32, Dims{static_cast<int64_t>(x.size() / 3), 3});
  session.run();
  return floats(session.output("y"));
}

TEST(Engine, SaysWhatGoesInAndOut) {
  Engine e = dense();
  ASSERT_EQ(e.inputs().size(), 1U);
  const TensorInfo& x = e.inputs()[0];
  EXPECT_EQ(x.name, "x");
  EXPECT_EQ(x.dtype, DType::kFloat32);
  EXPECT_TRUE(x.has_rank);
  EXPECT_THAT(x.dims, ElementsAre(-1, 3));
  EXPECT_THAT(x.symbols, ElementsAre("N", ""));
  EXPECT_FALSE(x.profile.has_value());
  EXPECT_THAT(e.outputs()[e.output_index("y")].dims, ElementsAre(-1, 2));
  EXPECT_EQ(e.metadata().at("props.task"), "test");
  EXPECT_EQ(e.threads(), 1);
  Engine unnamed = Engine::build(bytes(engine_test::nonzero_model()), one_thread());
  EXPECT_THAT(unnamed.inputs()[0].dims, ElementsAre(-1, -1));
  EXPECT_THAT(unnamed.inputs()[0].symbols, ElementsAre("", ""));
}

TEST(Session, RunsAndFollowsTheShape) {
  Session s(dense());
  EXPECT_THAT(run_dense(s, {1, 2, 3}), ElementsAre(7, 0));
  EXPECT_THAT(s.output(0).dims, ElementsAre(1, 2));
  EXPECT_THAT(run_dense(s, {3, 2, 1, 0, 0, 0}), ElementsAre(7, 2, 1, 0));
  EXPECT_THAT(s.output(0).dims, ElementsAre(2, 2));
  EXPECT_TRUE(s.steady());
  // More shapes than the session has arenas for, and back.
  for (size_t n : {3U, 4U, 5U, 6U, 1U}) {
    EXPECT_EQ(run_dense(s, std::vector<float>(n * 3, 1)).size(), n * 2) << n;
  }
}

TEST(Session, ReadsTheCallersBufferAtEveryRun) {
  Session s(dense());
  std::vector<float> x{1, 2, 3};
  run_dense(s, x);
  x = {3, 0, 0};
  s.run();
  EXPECT_THAT(floats(s.output("y")), ElementsAre(4, 3));
}

TEST(Session, OwnsBuffersWhenAsked) {
  Session s(dense());
  auto* x = static_cast<float*>(s.input_buffer("x", Dims{1, 3}));
  x[0] = 5;
  x[1] = x[2] = 0;
  s.run();
  EXPECT_THAT(floats(s.output("y")), ElementsAre(6, 5));
  EXPECT_EQ(s.input_buffer(0, Dims{1, 3}), x);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(x) % 64, 0U);
  run_dense(s, {1, 2, 3});
  EXPECT_EQ(s.input_buffer("x", Dims{1, 3}), x);  // and it is the input again
  s.run();
  EXPECT_THAT(floats(s.output("y")), ElementsAre(6, 5));
}

TEST(Session, WritesToTheCallersBuffer) {
  Session s(dense());
  std::array<float, 4> y{-1, -1, -1, -1};
  s.set_output("y", y.data(), sizeof(y));
  run_dense(s, {1, 2, 3});
  EXPECT_EQ(s.output("y").data, y.data());
  EXPECT_THAT(y, ElementsAre(7, 0, -1, -1));
  auto [code, message] = error_of([&] { run_dense(s, std::vector<float>(9, 1)); });
  EXPECT_EQ(code, Code::kInvalidArgument);
  EXPECT_THAT(message, HasSubstr("output 'y' of shape 3x2 takes 24 bytes; the buffer given for it has 16"));
  s.set_output("y", nullptr, 0);
  EXPECT_EQ(run_dense(s, std::vector<float>(9, 1)).size(), 6U);
  EXPECT_NE(s.output("y").data, y.data());
}

TEST(Session, TakesOutputsWhoseSizeTheDataDecide) {
  Session s(Engine::build(bytes(engine_test::nonzero_model()), one_thread()));
  std::array<float, 4> x{0, 5, 6, 0};
  s.set_input("x", x.data(), DType::kFloat32, Dims{2, 2});
  std::array<int64_t, 4> i{};
  s.set_output(0, i.data(), sizeof(i));
  s.run();
  EXPECT_THAT(i, ElementsAre(0, 1, 1, 0));
  EXPECT_THAT(s.output("i").dims, ElementsAre(2, 2));
  EXPECT_FALSE(s.steady());
  x = {0, 0, 0, 9};
  s.run();
  EXPECT_EQ(s.output("i").data, i.data());
  EXPECT_THAT(s.output("i").as<int64_t>(), ElementsAre(1, 1));
  x = {1, 1, 1, 1};
  EXPECT_THAT(error_of([&] { s.run(); }).second, HasSubstr("takes 64 bytes"));
}

TEST(Session, ManyOnThreadsShareAnEngine) {
  BuildConfig config = one_thread();
  config.threads = 2;
  Engine e = dense(config);
  std::vector<std::thread> threads;
  std::array<int, 4> right{};
  for (size_t t = 0; t < right.size(); ++t) {
    threads.emplace_back([&, t] {
      Session s(e);
      for (size_t k = 0; k < 30; ++k) {
        size_t n = 1 + (t + k) % 3;
        auto y = run_dense(s, std::vector<float>(n * 3, static_cast<float>(t)));
        right[t] += y.size() == n * 2 && y[0] == static_cast<float>(3 * t + 1) && y[1] == 0 ? 1 : 0;
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_THAT(right, ElementsAre(30, 30, 30, 30));
}

TEST(Session, OutlivesItsEngineAndMoves) {
  auto e = std::make_unique<Engine>(dense());
  Session first(*e);
  e.reset();
  Session s = std::move(first);
  EXPECT_THAT(run_dense(s, {1, 2, 3}), ElementsAre(7, 0));
}

TEST(Session, TellsWhereTheTimeGoes) {
  Session s(dense());
  run_dense(s, {1, 2, 3});
  EXPECT_TRUE(s.layers().empty());
  s.set_profiling(true);
  run_dense(s, {1, 2, 3});
  run_dense(s, {1, 2, 3});
  auto layers = s.layers();
  ASSERT_FALSE(layers.empty());
  EXPECT_EQ(layers[0].runs, 2);
  EXPECT_GT(layers[0].seconds, 0);
  EXPECT_FALSE(layers[0].implementation.empty());
  s.set_profiling(true);
  EXPECT_EQ(s.layers()[0].seconds, 0);
}

TEST(Session, RefusesWhatDoesNotFit) {
  Session s(dense());
  std::array<float, 6> x{};
  auto set = [&](std::string_view name, DType t, const Dims& d) {
    return error_of([&] { s.set_input(name, x.data(), t, d); });
  };
  EXPECT_THAT(error_of([&] { s.run(); }).second, HasSubstr("input 'x' has not been set"));
  EXPECT_THAT(error_of([&] { s.output("y"); }).second, HasSubstr("call run() first"));
  EXPECT_EQ(set("X", DType::kFloat32, {1, 3}).first, Code::kNotFound);
  EXPECT_THAT(set("X", DType::kFloat32, {1, 3}).second, HasSubstr("no input 'X'; its inputs are x"));
  EXPECT_THAT(set("x", DType::kInt32, {1, 3}).second, HasSubstr("input 'x' is float32; a int32 tensor was given"));
  EXPECT_THAT(set("x", DType::kFloat32, {1, 2}).second, HasSubstr("has the shape Nx3; 1x2 does not fit"));
  EXPECT_THAT(set("x", DType::kFloat32, {3}).second, HasSubstr("3 does not fit"));
  EXPECT_THAT(set("x", DType::kFloat32, {-1, 3}).second, HasSubstr("does not fit"));
  EXPECT_NE(set("x", DType::kFloat32, {int64_t{1} << 62, 3}).second, "");
  EXPECT_THAT(error_of([&] {
                s.set_input(3, x.data(), DType::kFloat32, Dims{1, 3});
              }).second,
              HasSubstr("there is no input 3; the model has 1"));
  EXPECT_THAT(error_of([&] { s.set_input(0, nullptr, DType::kFloat32, Dims{1, 3}); }).second, HasSubstr("is null"));
  const char* odd = reinterpret_cast<const char*>(x.data()) + 1;
  EXPECT_THAT(error_of([&] { s.set_input(0, odd, DType::kFloat32, Dims{1, 3}); }).second, HasSubstr("not aligned"));
  EXPECT_EQ(error_of([&] { s.set_output("z", x.data(), 4); }).first, Code::kNotFound);
  EXPECT_EQ(error_of([&] { s.output("z"); }).first, Code::kNotFound);
  EXPECT_THAT(run_dense(s, {1, 2, 3}), ElementsAre(7, 0));  // none of it did harm
}

TEST(Engine, KeepsToItsProfile) {
  BuildConfig config = one_thread();
  config.profiles["x"] = {{1, 3}, {2, 3}, {4, 3}};
  Engine e = dense(config);
  ASSERT_TRUE(e.inputs()[0].profile.has_value());
  EXPECT_THAT(e.inputs()[0].profile->max, ElementsAre(4, 3));
  Session s(e);
  EXPECT_EQ(run_dense(s, std::vector<float>(12, 1)).size(), 8U);
  EXPECT_THAT(error_of([&] { run_dense(s, std::vector<float>(15, 1)); }).second,
              HasSubstr("outside the optimization profile 1x3 to 4x3"));
  EXPECT_EQ(run_dense(s, std::vector<float>(3, 1)).size(), 2U);
  config.profiles["x"] = {{3, 3}, {2, 3}, {4, 3}};
  EXPECT_THAT(error_of([&] { dense(config); }).second, HasSubstr("min <= opt <= max"));
}

TEST(Engine, SurvivesAsAPlan) {
  std::string path = ::testing::TempDir() + "engine_api_test.plan";
  BuildConfig config = one_thread();
  config.shapes["x"] = {2, 3};
  dense(config).save(path);
  LoadConfig load;
  load.threads = 1;
  load.rebuild = false;
  Engine e = Engine::load(path, load);
  EXPECT_THAT(e.inputs()[0].symbols, ElementsAre("N", ""));
  EXPECT_EQ(e.metadata().at("props.task"), "test");
  Session s(e);
  EXPECT_THAT(run_dense(s, {3, 2, 1, 0, 0, 0}), ElementsAre(7, 2, 1, 0));
  EXPECT_THAT(run_dense(s, {1, 2, 3}), ElementsAre(7, 0));
  std::remove(path.c_str());
  EXPECT_EQ(error_of([&] { Engine::load(path, load); }).first, Code::kNotFound);
}

TEST(Engine, BuildsWithProgressUntilCancelled) {
  BuildConfig config = one_thread();
  config.shapes["x"] = {2, 3};
  int calls = 0;
  config.progress = [&](std::string_view, int, int) { ++calls; };
  Engine e = dense(config);
  EXPECT_GE(calls, 2);
  int before = calls;
  Session s(e);
  run_dense(s, {1, 2, 3});  // plans another shape, which is not the build any more
  EXPECT_EQ(calls, before);
  config.cancel = [] { return true; };
  EXPECT_EQ(error_of([&] { dense(config); }).first, Code::kCancelled);
  config.cancel = []() -> bool { throw std::runtime_error("from the callback"); };
  EXPECT_THAT(error_of([&] { dense(config); }).second, HasSubstr("from the callback"));
}

TEST(Engine, RefusesBadModelsAndOptions) {
  EXPECT_EQ(error_of([] { Engine::build("/nowhere/model.onnx"); }).first, Code::kNotFound);
  EXPECT_EQ(error_of([] { Engine::build(bytes("not a model")); }).first, Code::kInvalidArgument);
  auto with = [](auto&& change) {
    BuildConfig config = one_thread();
    change(config);
    return error_of([&] { dense(config); }).second;
  };
  EXPECT_THAT(with([](BuildConfig& c) { c.shapes["q"] = {1}; }), HasSubstr("no input 'q'"));
  EXPECT_THAT(with([](BuildConfig& c) { c.opt_level = 9; }), HasSubstr("0 to 5, not 9"));
  EXPECT_THAT(with([](BuildConfig& c) { c.threads = -1; }), HasSubstr("-1 threads"));
  EXPECT_THAT(with([](BuildConfig& c) { c.disabled_passes = {"no_such_pass"}; }), HasSubstr("no_such_pass"));
}

}  // namespace
}  // namespace tenon
