// The C API over the C++ API. Nothing is thrown across: `call` turns every exception into a status and a message.
#include "tenon/tenon.h"

#include <cstring>
#include <utility>

#include "base/error.hpp"
#include "engine/guard.hpp"
#include "tenon/tenon.hpp"

struct tenon_build_options {
  tenon::BuildConfig config;
};

struct tenon_engine {
  explicit tenon_engine(tenon::Engine e) : engine(std::move(e)) {
    for (const auto* infos : {&engine.inputs(), &engine.outputs()}) {
      for (const tenon::TensorInfo& info : *infos) {
        auto& texts = symbols.emplace_back();
        for (const std::string& s : info.symbols) texts.push_back(s.c_str());
      }
    }
  }
  tenon_engine(const tenon_engine&) = delete;
  tenon_engine& operator=(const tenon_engine&) = delete;

  tenon::Engine engine;
  std::vector<std::vector<const char*>> symbols;  // of the inputs, then of the outputs
};

struct tenon_session {
  explicit tenon_session(const tenon::Engine& engine) : session(engine) {}
  tenon::Session session;
  std::vector<tenon::LayerTime> times;
  std::vector<tenon_layer_time> layers;
};

namespace {

using tenon::Code;
using tenon::DType;

static_assert(TENON_UNKNOWN == static_cast<int>(Code::kUnknown) + 1);
static_assert(TENON_NOT_FOUND == static_cast<int>(Code::kNotFound) + 1);
static_assert(TENON_CANCELLED == static_cast<int>(Code::kCancelled) + 1);
static_assert(TENON_FLOAT32 == static_cast<int>(DType::kFloat32));
static_assert(TENON_BFLOAT16 == static_cast<int>(DType::kBFloat16));
static_assert(TENON_INT2 == static_cast<int>(DType::kInt2));

std::string& last_error() {
  thread_local std::string text;
  return text;
}

template <class F>
tenon_status call(F&& body) noexcept {
  try {
    tenon::api::guarded(body);
    return TENON_OK;
  } catch (const tenon::Error& e) {
    try {
      last_error() = e.what();
    } catch (...) {
      last_error().clear();  // no memory for the message: the status has to do
    }
    return static_cast<tenon_status>(static_cast<int>(e.code()) + 1);
  } catch (...) {
    last_error().clear();
    return TENON_UNAVAILABLE;  // no memory for the error itself
  }
}

template <class T>
T& at(T* pointer, const char* what) {
  tenon::expect(pointer != nullptr, "{} is NULL", what);
  return *pointer;
}

std::string_view text(const char* pointer, const char* what) { return &at(pointer, what); }

std::span<const int64_t> dims_of(const int64_t* dims, size_t rank) {
  tenon::expect(dims != nullptr || rank == 0, "dims is NULL");
  tenon::expect(rank <= 1024, "a rank of {} cannot be meant", rank);
  return {dims, rank};
}

std::vector<int64_t> list_of(const int64_t* dims, size_t rank) {
  auto span = dims_of(dims, rank);
  return {span.begin(), span.end()};
}

const tenon::BuildConfig& config_of(const tenon_build_options* options) {
  static const tenon::BuildConfig defaults;
  return options == nullptr ? defaults : options->config;
}

// A string of this API is an array of std::string in the C++ one, which C can neither make nor read.
void check_not_string(DType dtype, std::string_view what, std::string_view name) {
  if (dtype == DType::kString) {
    tenon::fail(Code::kUnsupported, "{} '{}' holds strings; the C API has no access to these", what, name);
  }
}

void describe(const tenon::TensorInfo& info, const std::vector<const char*>& symbols, tenon_tensor_info& out) {
  out.name = info.name.c_str();
  out.dtype = static_cast<tenon_dtype>(info.dtype);
  out.rank = info.has_rank ? static_cast<int32_t>(info.dims.size()) : -1;
  out.dims = info.dims.data();
  out.symbols = symbols.data();
}

}  // namespace

const char* tenon_version(void) { return tenon::kVersion; }
const char* tenon_last_error(void) { return last_error().c_str(); }
const char* tenon_status_text(tenon_status status) {
  if (status == TENON_OK) return "ok";
  int code = static_cast<int>(status) - 1;
  bool known = code >= 0 && code <= static_cast<int>(Code::kCancelled);
  return tenon::name(known ? static_cast<Code>(code) : Code::kUnknown);
}

tenon_status tenon_build_options_create(tenon_build_options** options) {
  return call([&] { at(options, "options") = std::make_unique<tenon_build_options>().release(); });
}
tenon_status tenon_build_options_destroy(tenon_build_options* options) {
  return call([&] { std::unique_ptr<tenon_build_options> owned(options); });
}
tenon_status tenon_build_options_shape(tenon_build_options* options, const char* input, const int64_t* dims,
                                       size_t rank) {
  return call([&] { at(options, "options").config.shapes[std::string(text(input, "input"))] = list_of(dims, rank); });
}
tenon_status tenon_build_options_profile(tenon_build_options* options, const char* input, const int64_t* min,
                                         const int64_t* opt, const int64_t* max, size_t rank) {
  return call([&] {
    tenon::ShapeProfile profile{list_of(min, rank), list_of(opt, rank), list_of(max, rank)};
    at(options, "options").config.profiles[std::string(text(input, "input"))] = std::move(profile);
  });
}
tenon_status tenon_build_options_threads(tenon_build_options* options, int threads) {
  return call([&] { at(options, "options").config.threads = threads; });
}
tenon_status tenon_build_options_level(tenon_build_options* options, int level) {
  return call([&] { at(options, "options").config.opt_level = level; });
}
tenon_status tenon_build_options_timing_cache(tenon_build_options* options, const char* path) {
  return call([&] { at(options, "options").config.timing_cache = text(path, "path"); });
}
tenon_status tenon_build_options_disable_pass(tenon_build_options* options, const char* pass) {
  return call([&] { at(options, "options").config.disabled_passes.emplace(text(pass, "pass")); });
}
tenon_status tenon_build_options_progress(tenon_build_options* options,
                                          void (*progress)(void* user, const char* phase, int done, int total),
                                          void* user) {
  return call([&] {
    auto& hook = at(options, "options").config.progress;
    hook = nullptr;
    if (progress == nullptr) return;
    hook = [=](std::string_view phase, int done, int total) {
      progress(user, std::string(phase).c_str(), done, total);
    };
  });
}
tenon_status tenon_build_options_cancel(tenon_build_options* options, int (*cancel)(void* user), void* user) {
  return call([&] {
    auto& hook = at(options, "options").config.cancel;
    hook = nullptr;
    if (cancel != nullptr) hook = [=] { return cancel(user) != 0; };
  });
}

tenon_status tenon_engine_build(const char* onnx_path, const tenon_build_options* options, tenon_engine** engine) {
  return call([&] {
    auto& out = at(engine, "engine");
    std::string path(text(onnx_path, "onnx_path"));
    out = std::make_unique<tenon_engine>(tenon::Engine::build(path, config_of(options))).release();
  });
}
tenon_status tenon_engine_build_bytes(const void* onnx, size_t bytes, const tenon_build_options* options,
                                      tenon_engine** engine) {
  return call([&] {
    auto& out = at(engine, "engine");
    tenon::expect(onnx != nullptr, "onnx is NULL");
    std::span<const std::byte> model(static_cast<const std::byte*>(onnx), bytes);
    out = std::make_unique<tenon_engine>(tenon::Engine::build(model, config_of(options))).release();
  });
}
tenon_status tenon_engine_load(const char* plan_path, int threads, tenon_engine** engine) {
  return call([&] {
    auto& out = at(engine, "engine");
    tenon::LoadConfig config;
    config.threads = threads;
    std::string path(text(plan_path, "plan_path"));
    out = std::make_unique<tenon_engine>(tenon::Engine::load(path, config)).release();
  });
}
tenon_status tenon_engine_save(const tenon_engine* engine, const char* plan_path) {
  return call([&] { at(engine, "engine").engine.save(std::string(text(plan_path, "plan_path"))); });
}
tenon_status tenon_engine_destroy(tenon_engine* engine) {
  return call([&] { std::unique_ptr<tenon_engine> owned(engine); });
}
tenon_status tenon_engine_input_count(const tenon_engine* engine, size_t* count) {
  return call([&] { at(count, "count") = at(engine, "engine").engine.inputs().size(); });
}
tenon_status tenon_engine_output_count(const tenon_engine* engine, size_t* count) {
  return call([&] { at(count, "count") = at(engine, "engine").engine.outputs().size(); });
}
tenon_status tenon_engine_input(const tenon_engine* engine, size_t index, tenon_tensor_info* info) {
  return call([&] {
    const auto& infos = at(engine, "engine").engine.inputs();
    tenon::expect(index < infos.size(), "there is no input {}; the model has {}", index, infos.size());
    describe(infos[index], engine->symbols[index], at(info, "info"));
  });
}
tenon_status tenon_engine_output(const tenon_engine* engine, size_t index, tenon_tensor_info* info) {
  return call([&] {
    const auto& infos = at(engine, "engine").engine.outputs();
    tenon::expect(index < infos.size(), "there is no output {}; the model has {}", index, infos.size());
    describe(infos[index], engine->symbols[engine->engine.inputs().size() + index], at(info, "info"));
  });
}
tenon_status tenon_engine_metadata(const tenon_engine* engine, const char* key, const char** value) {
  return call([&] {
    const auto& all = at(engine, "engine").engine.metadata();
    auto found = all.find(std::string(text(key, "key")));
    if (found == all.end()) tenon::fail(Code::kNotFound, "the model has no metadata under '{}'", key);
    at(value, "value") = found->second.c_str();
  });
}

tenon_status tenon_session_create(const tenon_engine* engine, tenon_session** session) {
  return call([&] { at(session, "session") = std::make_unique<tenon_session>(at(engine, "engine").engine).release(); });
}
tenon_status tenon_session_destroy(tenon_session* session) {
  return call([&] { std::unique_ptr<tenon_session> owned(session); });
}
tenon_status tenon_session_set_input(tenon_session* session, const char* input, const void* data, tenon_dtype dtype,
                                     const int64_t* dims, size_t rank) {
  return call([&] {
    check_not_string(static_cast<DType>(dtype), "input", text(input, "input"));
    at(session, "session")
        .session.set_input(std::string_view(input), data, static_cast<DType>(dtype), dims_of(dims, rank));
  });
}
tenon_status tenon_session_input_buffer(tenon_session* session, const char* input, const int64_t* dims, size_t rank,
                                        void** data) {
  return call([&] {
    tenon::Session& s = at(session, "session").session;
    size_t index = s.engine().input_index(text(input, "input"));
    check_not_string(s.engine().inputs()[index].dtype, "input", input);
    at(data, "data") = s.input_buffer(index, dims_of(dims, rank));
  });
}
tenon_status tenon_session_set_output(tenon_session* session, const char* output, void* data, size_t bytes) {
  return call([&] { at(session, "session").session.set_output(text(output, "output"), data, bytes); });
}
tenon_status tenon_session_run(tenon_session* session) {
  return call([&] { at(session, "session").session.run(); });
}
tenon_status tenon_session_output(const tenon_session* session, const char* output, tenon_tensor* tensor) {
  return call([&] {
    tenon::TensorView view = at(session, "session").session.output(text(output, "output"));
    check_not_string(view.dtype, "output", output);
    at(tensor, "tensor") = {static_cast<tenon_dtype>(view.dtype), static_cast<int32_t>(view.dims.size()),
                            view.dims.data(), view.data, view.bytes};
  });
}
tenon_status tenon_session_set_profiling(tenon_session* session, int on) {
  return call([&] { at(session, "session").session.set_profiling(on != 0); });
}
tenon_status tenon_session_layers(tenon_session* session, const tenon_layer_time** layers, size_t* count) {
  return call([&] {
    tenon_session& s = at(session, "session");
    auto& out = at(layers, "layers");
    auto& n = at(count, "count");
    s.layers.clear();
    s.times = s.session.layers();
    for (const tenon::LayerTime& t : s.times) {
      s.layers.push_back({t.name.c_str(), t.op.c_str(), t.implementation.c_str(), t.seconds, t.runs});
    }
    out = s.layers.data();
    n = s.layers.size();
  });
}
