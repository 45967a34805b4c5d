// The C API, from C++ and from the examples (C99 and C++) that are linked against libtenon.so alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include "engine_testing.hpp"
#include "tenon/tenon.h"

namespace tenon {
namespace {

using ::testing::HasSubstr;

/// What a command prints; it must succeed.
std::string output_of(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  EXPECT_NE(pipe, nullptr);
  if (pipe == nullptr) return "";
  std::string out;
  char buffer[4096];
  for (size_t n = 0; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) out.append(buffer, n);
  EXPECT_EQ(pclose(pipe), 0) << command;
  return out;
}

struct Files {
  std::string model = ::testing::TempDir() + "engine_c_test.onnx", plan = ::testing::TempDir() + "engine_c_test.plan";
  Files() {
    std::string bytes = engine_test::dense_model();
    std::ofstream(model, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  ~Files() {
    std::remove(model.c_str());
    std::remove(plan.c_str());
  }
};

tenon_engine* dense_engine() {
  std::string model = engine_test::dense_model();
  tenon_engine* engine = nullptr;
  EXPECT_EQ(tenon_engine_build_bytes(model.data(), model.size(), nullptr, &engine), TENON_OK) << tenon_last_error();
  return engine;
}

TEST(CApi, ExamplesRun) {
  Files files;
  EXPECT_EQ(output_of(std::string(TENON_EXAMPLE_C) + " " + files.model + " " + files.plan), "4 0 \n");
  EXPECT_EQ(output_of(std::string(TENON_EXAMPLE_CPP) + " " + files.model), "input x: N 3\noutput y: N 2\n4 0 \n");
}

TEST(CApi, LibraryShowsTheApiAlone) {
  std::string symbols = output_of(std::string("nm -D -C --defined-only ") + TENON_LIBRARY);
  size_t seen = 0;
  for (size_t at = 0; at < symbols.size();) {
    size_t end = std::min(symbols.find('\n', at), symbols.size());
    std::string line = symbols.substr(at, end - at);  // "0000000000012345 T tenon::Engine::save(...) const"
    at = end + 1;
    size_t space = line.find(' ');
    ASSERT_NE(space, std::string::npos) << line;
    std::string name = line.substr(space + 3);
    bool ours = name.starts_with("tenon_") || name.starts_with("tenon::Engine::") ||
                name.starts_with("tenon::Session::") || name.ends_with(" for tenon::Error");
    EXPECT_TRUE(ours) << line;
    ++seen;
  }
  EXPECT_GT(seen, 40U);
  EXPECT_THAT(symbols, HasSubstr("typeinfo for tenon::Error"));
}

TEST(CApi, DescribesAnEngine) {
  tenon_engine* engine = dense_engine();
  size_t inputs = 0, outputs = 0;
  EXPECT_EQ(tenon_engine_input_count(engine, &inputs), TENON_OK);
  EXPECT_EQ(tenon_engine_output_count(engine, &outputs), TENON_OK);
  EXPECT_EQ(inputs, 1U);
  EXPECT_EQ(outputs, 1U);
  tenon_tensor_info info;
  ASSERT_EQ(tenon_engine_output(engine, 0, &info), TENON_OK);
  EXPECT_STREQ(info.name, "y");
  EXPECT_EQ(info.dtype, TENON_FLOAT32);
  ASSERT_EQ(info.rank, 2);
  EXPECT_EQ(info.dims[0], -1);
  EXPECT_EQ(info.dims[1], 2);
  EXPECT_STREQ(info.symbols[0], "N");
  EXPECT_STREQ(info.symbols[1], "");
  const char* task = nullptr;
  EXPECT_EQ(tenon_engine_metadata(engine, "props.task", &task), TENON_OK);
  EXPECT_STREQ(task, "test");
  EXPECT_EQ(tenon_engine_metadata(engine, "props.none", &task), TENON_NOT_FOUND);
  EXPECT_EQ(tenon_engine_input(engine, 1, &info), TENON_INVALID_ARGUMENT);
  EXPECT_STREQ(tenon_version(), kVersion);
  tenon_engine_destroy(engine);
}

TEST(CApi, RunsASession) {
  tenon_engine* engine = dense_engine();
  tenon_session* session = nullptr;
  ASSERT_EQ(tenon_session_create(engine, &session), TENON_OK);
  tenon_engine_destroy(engine);  // the session keeps it
  const float x[] = {1, 2, 3};
  float y[2] = {};
  const int64_t dims[] = {1, 3};
  EXPECT_EQ(tenon_session_run(session), TENON_INVALID_ARGUMENT);
  EXPECT_THAT(tenon_last_error(), HasSubstr("has not been set"));
  ASSERT_EQ(tenon_session_set_input(session, "x", x, TENON_FLOAT32, dims, 2), TENON_OK);
  ASSERT_EQ(tenon_session_set_output(session, "y", y, sizeof(y)), TENON_OK);
  ASSERT_EQ(tenon_session_set_profiling(session, 1), TENON_OK);
  ASSERT_EQ(tenon_session_run(session), TENON_OK) << tenon_last_error();
  tenon_tensor result;
  ASSERT_EQ(tenon_session_output(session, "y", &result), TENON_OK);
  EXPECT_EQ(result.data, y);
  EXPECT_EQ(result.bytes, sizeof(y));
  EXPECT_EQ(result.rank, 2);
  EXPECT_EQ(y[0], 7);
  const tenon_layer_time* layers = nullptr;
  size_t count = 0;
  ASSERT_EQ(tenon_session_layers(session, &layers, &count), TENON_OK);
  ASSERT_GT(count, 0U);
  EXPECT_EQ(layers[0].runs, 1);
  tenon_session_destroy(session);
}

TEST(CApi, AnswersMistakesWithAStatus) {
  tenon_engine* engine = nullptr;
  EXPECT_EQ(tenon_engine_build("/nowhere/model.onnx", nullptr, &engine), TENON_NOT_FOUND);
  EXPECT_EQ(engine, nullptr);
  EXPECT_THAT(tenon_last_error(), HasSubstr("/nowhere/model.onnx"));
  EXPECT_EQ(tenon_engine_build(nullptr, nullptr, &engine), TENON_INVALID_ARGUMENT);
  EXPECT_STREQ(tenon_last_error(), "onnx_path is NULL");
  EXPECT_EQ(tenon_engine_build("x", nullptr, nullptr), TENON_INVALID_ARGUMENT);
  EXPECT_EQ(tenon_session_run(nullptr), TENON_INVALID_ARGUMENT);
  EXPECT_EQ(tenon_session_create(nullptr, nullptr), TENON_INVALID_ARGUMENT);
  EXPECT_EQ(tenon_engine_destroy(nullptr), TENON_OK);
  EXPECT_STREQ(tenon_status_text(TENON_OK), "ok");
  EXPECT_STREQ(tenon_status_text(TENON_INVALID_ARGUMENT), "invalid argument");

  tenon_session* session = nullptr;
  engine = dense_engine();
  ASSERT_EQ(tenon_session_create(engine, &session), TENON_OK);
  const int32_t x[] = {1, 2, 3};
  const int64_t dims[] = {1, 3};
  EXPECT_EQ(tenon_session_set_input(session, "x", x, TENON_INT32, dims, 2), TENON_INVALID_ARGUMENT);
  EXPECT_EQ(tenon_session_set_input(session, "q", x, TENON_INT32, dims, 2), TENON_NOT_FOUND);
  EXPECT_EQ(tenon_session_set_input(session, "x", x, TENON_FLOAT32, nullptr, 2), TENON_INVALID_ARGUMENT);
  tenon_session_destroy(session);
  tenon_engine_destroy(engine);
}

TEST(CApi, TakesOptions) {
  std::string model = engine_test::dense_model();
  tenon_build_options* options = nullptr;
  tenon_engine* engine = nullptr;
  ASSERT_EQ(tenon_build_options_create(&options), TENON_OK);
  const int64_t low[] = {1, 3}, best[] = {2, 3}, high[] = {4, 3};
  int calls = 0;
  EXPECT_EQ(tenon_build_options_profile(options, "x", low, best, high, 2), TENON_OK);
  EXPECT_EQ(tenon_build_options_shape(options, "x", best, 2), TENON_OK);
  EXPECT_EQ(tenon_build_options_threads(options, 1), TENON_OK);
  EXPECT_EQ(tenon_build_options_level(options, 0), TENON_OK);
  EXPECT_EQ(tenon_build_options_disable_pass(options, "fuse_epilogue"), TENON_OK);
  auto count = [](void* user, const char*, int, int) { ++*static_cast<int*>(user); };
  EXPECT_EQ(tenon_build_options_progress(options, count, &calls), TENON_OK);
  ASSERT_EQ(tenon_engine_build_bytes(model.data(), model.size(), options, &engine), TENON_OK) << tenon_last_error();
  EXPECT_GT(calls, 0);
  tenon_engine_destroy(engine);
  engine = nullptr;
  EXPECT_EQ(tenon_build_options_cancel(
                options, [](void*) { return 1; }, nullptr),
            TENON_OK);
  EXPECT_EQ(tenon_engine_build_bytes(model.data(), model.size(), options, &engine), TENON_CANCELLED);
  EXPECT_EQ(tenon_build_options_cancel(options, nullptr, nullptr), TENON_OK);
  EXPECT_EQ(tenon_build_options_disable_pass(options, "no_such_pass"), TENON_OK);
  EXPECT_EQ(tenon_engine_build_bytes(model.data(), model.size(), options, &engine), TENON_INVALID_ARGUMENT);
  EXPECT_EQ(engine, nullptr);
  EXPECT_EQ(tenon_build_options_destroy(options), TENON_OK);
}

}  // namespace
}  // namespace tenon
