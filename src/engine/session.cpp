#include "runtime/session.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.hpp"
#include "engine/guard.hpp"
#include "engine/state.hpp"

namespace tenon {

struct SessionState {
  // Programs that this session has an arena for. Few, as arenas are large; the engine caches programs beyond them.
  static constexpr size_t kMaxArenas = 4;
  struct Made {
    std::vector<Dims> dims;
    std::unique_ptr<ProgramSession> session;
  };
  struct Target {
    void* data = nullptr;
    size_t bytes = 0;
  };

  explicit SessionState(const Engine& e) : engine(e) {}

  void set_input(size_t index, const void* data, DType dtype, std::span<const int64_t> dims);
  void* input_buffer(size_t index, std::span<const int64_t> dims);
  void set_output(size_t index, void* data, size_t bytes);
  void run();
  TensorView output(size_t index) const;

  const TensorInfo& check_input(size_t index, std::span<const int64_t> dims) const;
  void adopt_input(size_t index, Tensor tensor);
  void choose_program();
  void aim_outputs();
  void fill_targets();

  Engine engine;
  std::shared_ptr<const EngineState> state;
  std::vector<Datum> inputs, outputs;
  std::vector<Tensor> owned;  // by input: the buffer that input_buffer handed out
  std::vector<Target> targets;
  std::vector<Made> made;  // most recently used first
  ProgramSession* current = nullptr;
  bool shapes_changed = true, targets_changed = true, has_run = false, profiling = false;
  std::vector<double> seconds;
  int64_t runs = 0;
};

namespace {

size_t element_alignment(DType dtype) {
  if (dtype == DType::kString) return alignof(std::string);
  if (dtype == DType::kComplex128) return 8;
  return static_cast<size_t>(std::max(1, std::min(8, bits(dtype) / 8)));
}

void check_buffer(const void* data, size_t bytes, DType dtype, std::string_view what, const std::string& name) {
  expect(data != nullptr || bytes == 0, "the buffer of {} '{}' is null", what, name);
  expect(reinterpret_cast<uintptr_t>(data) % element_alignment(dtype) == 0,
         "the buffer of {} '{}' is not aligned for {}", what, name, tenon::name(dtype));
}

size_t bytes_of(DType dtype, std::span<const int64_t> dims) {
  return static_cast<size_t>(byte_size(dtype, element_count(dims)));
}

std::string open_dims_text(const TensorInfo& info) {
  std::string out;
  for (size_t i = 0; i < info.dims.size(); ++i) {
    std::string dim = info.dims[i] >= 0         ? std::to_string(info.dims[i])
                      : info.symbols[i].empty() ? "?"
                                                : info.symbols[i];
    out += (i ? "x" : "") + dim;
  }
  return out.empty() ? "scalar" : out;
}

}  // namespace

const TensorInfo& SessionState::check_input(size_t index, std::span<const int64_t> dims) const {
  expect(index < state->inputs.size(), "there is no input {}; the model has {}", index, state->inputs.size());
  const TensorInfo& info = state->inputs[index];
  if (info.dtype == DType::kUndefined) {
    fail(Code::kUnsupported, "input '{}' is not a tensor; sequences, maps and optionals cannot be given here",
         info.name);
  }
  bool fits = !info.has_rank || info.dims.size() == dims.size();
  for (size_t i = 0; fits && i < dims.size(); ++i) {
    fits = dims[i] >= 0 && (!info.has_rank || info.dims[i] < 0 || info.dims[i] == dims[i]);
  }
  expect(fits, "input '{}' has the shape {}; {} does not fit", info.name, open_dims_text(info), dims_text(dims));
  return info;
}

void SessionState::adopt_input(size_t index, Tensor tensor) {
  const Tensor& old = inputs[index].tensor;
  if (!old.defined() || old.dims() != tensor.dims()) shapes_changed = true;
  inputs[index] = Datum(std::move(tensor));
}

void SessionState::set_input(size_t index, const void* data, DType dtype, std::span<const int64_t> dims) {
  const TensorInfo& info = check_input(index, dims);
  expect(dtype == info.dtype, "input '{}' is {}; a {} tensor was given", info.name, name(info.dtype), name(dtype));
  size_t bytes = bytes_of(dtype, dims);
  check_buffer(data, bytes, dtype, "input", info.name);
  const Tensor& old = inputs[index].tensor;
  bool same =
      old.defined() && old.raw() == data && std::equal(dims.begin(), dims.end(), old.dims().begin(), old.dims().end());
  if (same) return;
  std::span<const std::byte> view(static_cast<const std::byte*>(data), bytes);
  adopt_input(index, Tensor::view(dtype, Dims(dims.begin(), dims.end()), view, nullptr));
}

void* SessionState::input_buffer(size_t index, std::span<const int64_t> dims) {
  const TensorInfo& info = check_input(index, dims);
  Tensor& buffer = owned[index];
  bool fits = buffer.defined() && std::equal(dims.begin(), dims.end(), buffer.dims().begin(), buffer.dims().end());
  if (!fits) buffer = Tensor::allocate(info.dtype, Dims(dims.begin(), dims.end()));
  if (!fits || inputs[index].tensor.raw() != buffer.raw()) adopt_input(index, buffer);
  return buffer.mutable_raw();
}

void SessionState::set_output(size_t index, void* data, size_t bytes) {
  expect(index < targets.size(), "there is no output {}; the model has {}", index, targets.size());
  const TensorInfo& info = state->outputs[index];
  if (data != nullptr) {
    if (info.dtype == DType::kUndefined || info.dtype == DType::kString) {
      fail(Code::kUnsupported, "output '{}' is not a tensor of numbers; it cannot be written to a caller's buffer",
           info.name);
    }
    check_buffer(data, bytes, info.dtype, "output", info.name);
  }
  if (targets[index].data == data && targets[index].bytes == bytes) return;
  targets[index] = {data, bytes};
  outputs[index] = Datum();
  targets_changed = true;
}

void SessionState::choose_program() {
  std::vector<Dims> dims;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].tensor.defined()) {
      fail(Code::kInvalidArgument, "input '{}' has not been set", state->inputs[i].name);
    }
    dims.push_back(inputs[i].tensor.dims());
  }
  auto at = std::find_if(made.begin(), made.end(), [&](const Made& m) { return m.dims == dims; });
  if (at == made.end()) {
    auto session =
        std::make_unique<ProgramSession>(state->core->program(dims), state->core->pool(), state->core->ops());
    if (made.size() == kMaxArenas) made.pop_back();
    at = made.insert(made.begin(), {std::move(dims), std::move(session)});
  }
  std::rotate(made.begin(), at, at + 1);
  current = made.front().session.get();
  seconds.assign(all_steps(current->program()).size(), 0.0);
  runs = 0;
  shapes_changed = false;
  targets_changed = true;
}

// Points the outputs that the caller owns at the caller's memory; the program writes there directly.
void SessionState::aim_outputs() {
  for (size_t i = 0; i < targets.size(); ++i) {
    const Type& type = current->program().outputs[i];
    if (targets[i].data == nullptr || !type.is_static()) continue;
    Dims dims = const_dims(*type.shape);
    size_t bytes = bytes_of(type.dtype, dims);
    expect(bytes <= targets[i].bytes, "output '{}' of shape {} takes {} bytes; the buffer given for it has {}",
           state->outputs[i].name, dims_text(dims), bytes, targets[i].bytes);
    std::span<const std::byte> view(static_cast<const std::byte*>(targets[i].data), bytes);
    outputs[i] = Datum(Tensor::view(type.dtype, std::move(dims), view, nullptr));
  }
  targets_changed = false;
}

// Outputs whose size the data decide come in memory of their own and are copied.
void SessionState::fill_targets() {
  for (size_t i = 0; i < targets.size(); ++i) {
    if (targets[i].data == nullptr || !outputs[i].is_tensor() || outputs[i].tensor.raw() == targets[i].data) continue;
    const Tensor& t = outputs[i].tensor;
    auto bytes = static_cast<size_t>(t.bytes());
    expect(bytes <= targets[i].bytes, "output '{}' of shape {} takes {} bytes; the buffer given for it has {}",
           state->outputs[i].name, dims_text(t.dims()), bytes, targets[i].bytes);
    if (bytes > 0) std::memcpy(targets[i].data, t.raw(), bytes);
    std::span<const std::byte> view(static_cast<const std::byte*>(targets[i].data), bytes);
    outputs[i] = Datum(Tensor::view(t.dtype(), t.dims(), view, nullptr));
  }
}

void SessionState::run() {
  has_run = false;
  if (shapes_changed) choose_program();
  if (targets_changed) aim_outputs();
  current->run(inputs, outputs, profiling ? std::span<double>(seconds) : std::span<double>());
  fill_targets();
  runs += profiling ? 1 : 0;
  has_run = true;
}

TensorView SessionState::output(size_t index) const {
  expect(index < outputs.size(), "there is no output {}; the model has {}", index, outputs.size());
  const Datum& d = outputs[index];
  const std::string& output_name = state->outputs[index].name;
  expect(has_run && (!d.is_tensor() || d.tensor.defined()), "output '{}' has no value yet; call run() first",
         output_name);
  if (!d.is_tensor()) {
    fail(Code::kUnsupported, "output '{}' is not a tensor; sequences, maps and optionals cannot be taken here",
         output_name);
  }
  return {d.tensor.dtype(), d.tensor.dims(), d.tensor.raw(), static_cast<size_t>(d.tensor.bytes())};
}

Session::Session(const Engine& engine) {
  api::guarded([&] {
    state_ = std::make_unique<SessionState>(engine);
    state_->state = engine.state_;
    state_->inputs.resize(engine.inputs().size());
    state_->owned.resize(engine.inputs().size());
    state_->outputs.resize(engine.outputs().size());
    state_->targets.resize(engine.outputs().size());
    state_->made.reserve(SessionState::kMaxArenas);
  });
}

Session::~Session() = default;
Session::Session(Session&& other) noexcept = default;
Session& Session::operator=(Session&& other) noexcept = default;

void Session::set_input(size_t index, const void* data, DType dtype, std::span<const int64_t> dims) {
  api::guarded([&] { state_->set_input(index, data, dtype, dims); });
}
void Session::set_input(std::string_view name, const void* data, DType dtype, std::span<const int64_t> dims) {
  api::guarded([&] { state_->set_input(engine().input_index(name), data, dtype, dims); });
}
void* Session::input_buffer(size_t index, std::span<const int64_t> dims) {
  return api::guarded([&] { return state_->input_buffer(index, dims); });
}
void* Session::input_buffer(std::string_view name, std::span<const int64_t> dims) {
  return api::guarded([&] { return state_->input_buffer(engine().input_index(name), dims); });
}
void Session::set_output(size_t index, void* data, size_t bytes) {
  api::guarded([&] { state_->set_output(index, data, bytes); });
}
void Session::set_output(std::string_view name, void* data, size_t bytes) {
  api::guarded([&] { state_->set_output(engine().output_index(name), data, bytes); });
}
void Session::run() {
  api::guarded([&] { state_->run(); });
}
bool Session::steady() const { return state_->current != nullptr && state_->current->program().allocation_free(); }
TensorView Session::output(size_t index) const {
  return api::guarded([&] { return state_->output(index); });
}
TensorView Session::output(std::string_view name) const {
  return api::guarded([&] { return state_->output(engine().output_index(name)); });
}

void Session::set_profiling(bool on) {
  state_->profiling = on;
  std::fill(state_->seconds.begin(), state_->seconds.end(), 0.0);
  state_->runs = 0;
}

std::vector<LayerTime> Session::layers() const {
  return api::guarded([&] {
    std::vector<LayerTime> out;
    if (!state_->profiling || state_->current == nullptr) return out;
    std::vector<const Step*> steps = all_steps(state_->current->program());
    for (size_t i = 0; i < steps.size(); ++i) {
      out.push_back({steps[i]->name, steps[i]->op, steps[i]->tactic, state_->seconds[i], state_->runs});
    }
    return out;
  });
}

const Engine& Session::engine() const noexcept { return state_->engine; }

}  // namespace tenon
