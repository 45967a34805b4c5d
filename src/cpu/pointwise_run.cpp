#include <algorithm>
#include <cstring>

#include "base/error.hpp"
#include "cpu/pointwise.hpp"
#include "cpu/pointwise_kernels.hpp"

namespace tenon::cpu {
namespace {

/// One operand in a tile: bytes between neighbours in a row and between rows.
struct Walk {
  const char* base;
  int64_t step, row_step;
};

int64_t padded(int64_t n) { return (n + 15) & ~int64_t{15}; }

/// The machine of one thread: the slots, and what the broadcast slots hold by now.
class Machine {
 public:
  explicit Machine(const Tape& tape) : tape_(tape), table_(pointwise_table()) {
    for (int i = 0; i < tape.slots(); ++i) slot_[i] = slot(i);
    for (size_t i = 0; i < tape.inputs().size(); ++i) held_[i] = {nullptr, 0, 0};
  }

  /// rows x cols elements, rows * cols <= block. `inputs` and `outputs` are walks that start at the tile.
  void run_tile(const Walk* inputs, const Walk* outputs, int64_t rows, int64_t cols) {
    const int64_t n = rows * cols;
    fill_consts(n);
    for (size_t i = 0; i < tape_.inputs().size(); ++i) {
      if (tape_.inputs()[i].used) stage(static_cast<int>(i), inputs[i], rows, cols);
    }
    const int direct = direct_output(outputs, rows, cols);
    const auto code = tape_.code();
    for (size_t i = 0; i < code.size(); ++i) {
      const TapeInst& inst = code[i];
      float* dst = slot(inst.dst);
      if (direct >= 0 && i + 1 == code.size()) dst = reinterpret_cast<float*>(const_cast<char*>(outputs[direct].base));
      table_.kernels[static_cast<int>(inst.op)](slot_[inst.a], slot_[inst.b], slot_[inst.c], dst, inst.p0, inst.p1, n);
    }
    for (size_t i = 0; i < tape_.outputs().size(); ++i) {
      if (static_cast<int>(i) != direct) unload(tape_.outputs()[i], outputs[i], rows, cols);
    }
  }

 private:
  struct Held {
    const char* base;
    int64_t length, cols;
  };

  float* slot(int index) { return frame_ + index * (tape_.block() + kSlotSlack); }
  const float* slot(int index) const { return frame_ + index * (tape_.block() + kSlotSlack); }

  void fill_consts(int64_t n) {
    if (n <= consts_filled_) return;
    for (const auto& c : tape_.consts()) std::fill_n(slot(c.slot), padded(n), c.value);
    consts_filled_ = n;
  }

  static bool dense(const Walk& w, int64_t size, int64_t rows, int64_t cols) {
    return (w.step == size || cols == 1) && (rows == 1 || w.row_step == size * cols);
  }

  float load_one(DType dtype, const char* from) const {
    alignas(64) float value[16];
    table_.load[static_cast<int>(dtype)](from, value, 1);
    return value[0];
  }

  void stage(int index, const Walk& w, int64_t rows, int64_t cols) {
    const Tape::Input& input = tape_.inputs()[index];
    const int64_t size = tape_dtype_size(input.dtype), n = rows * cols;
    float* scratch = slot(input.slot);
    slot_[input.slot] = scratch;
    const bool fixed_rows = rows == 1 || w.row_step == 0;
    if (fixed_rows && (w.step == 0 || cols == 1)) {  // one element
      Held& held = held_[index];
      if (held.base == w.base && held.length >= n && held.cols == 0) return;
      std::fill_n(scratch, padded(n), load_one(input.dtype, w.base));
      held = {w.base, n, 0};
    } else if (dense(w, size, rows, cols)) {
      if (input.dtype == DType::kFloat32 && n % 16 == 0) {
        slot_[input.slot] = reinterpret_cast<const float*>(w.base);
      } else {
        table_.load[static_cast<int>(input.dtype)](w.base, scratch, n);
        held_[index] = {nullptr, 0, 0};
      }
    } else if (w.row_step == 0 && w.step == size) {  // the same row again and again
      Held& held = held_[index];
      if (held.base == w.base && held.length >= n && held.cols == cols) return;
      load_row(input.dtype, w.base, scratch, cols);
      for (int64_t r = 1; r < rows; ++r)
        std::memcpy(scratch + r * cols, scratch, static_cast<size_t>(cols) * sizeof(float));
      held = {w.base, n, cols};
    } else {
      stage_rows(input.dtype, w, scratch, rows, cols);
      held_[index] = {nullptr, 0, 0};  // what was held is overwritten: a last tile of one row must not find it
    }
  }

  /// May write up to kSlotSlack - 1 floats past n: the next row overwrites them, and a slot has that much
  /// slack.
  void load_row(DType dtype, const char* from, float* to, int64_t n) const {
    table_.load[static_cast<int>(dtype)](from, to, n);
  }

  void stage_rows(DType dtype, const Walk& w, float* scratch, int64_t rows, int64_t cols) const {
    const int64_t size = tape_dtype_size(dtype);
    for (int64_t r = 0; r < rows; ++r) {
      const char* from = w.base + r * w.row_step;
      float* to = scratch + r * cols;
      if (w.step == size) {
        load_row(dtype, from, to, cols);
      } else if (w.step == 0) {
        std::fill_n(to, cols, load_one(dtype, from));
      } else if (dtype == DType::kFloat32) {
        for (int64_t c = 0; c < cols; ++c) to[c] = *reinterpret_cast<const float*>(from + c * w.step);
      } else {
        for (int64_t c = 0; c < cols; ++c) to[c] = load_one(dtype, from + c * w.step);
      }
    }
  }

  int direct_output(const Walk* outputs, int64_t rows, int64_t cols) const {
    const int i = tape_.last_output();
    if (i < 0 || tape_.outputs()[i].dtype != DType::kFloat32 || rows * cols % 16 != 0) return -1;
    return dense(outputs[i], sizeof(float), rows, cols) ? i : -1;
  }

  void unload(const Tape::Output& output, const Walk& w, int64_t rows, int64_t cols) const {
    const int64_t size = tape_dtype_size(output.dtype);
    const float* from = slot(output.slot);
    const PointwiseStore store = table_.store[static_cast<int>(output.dtype)];
    char* to = const_cast<char*>(w.base);
    if (dense(w, size, rows, cols)) {
      store(from, to, rows * cols);
      return;
    }
    for (int64_t r = 0; r < rows; ++r) {
      if (w.step == size) {
        store(from + r * cols, to + r * w.row_step, cols);
      } else {
        for (int64_t c = 0; c < cols; ++c) store(from + r * cols + c, to + r * w.row_step + c * w.step, 1);
      }
    }
  }

  const Tape& tape_;
  const PointwiseTable& table_;
  int64_t consts_filled_ = 0;
  Held held_[Tape::kMaxInputs];
  const float* slot_[Tape::kMaxSlots];
  alignas(64) float frame_[kFrameFloats];
};

}  // namespace

void run_rows(const Tape& tape, const void* const* inputs, const int64_t* input_strides,
              const int64_t* input_row_strides, void* const* outputs, const int64_t* output_row_strides, int64_t rows,
              int64_t n) {
  TENON_CHECK(tape.finished());
  if (rows <= 0 || n <= 0) return;
  Machine machine(tape);
  const size_t input_count = tape.inputs().size(), operands = input_count + tape.outputs().size();
  const char* base[PointwisePlan::kMaxOperands];
  Walk walk[PointwisePlan::kMaxOperands];
  for (size_t i = 0; i < operands; ++i) {
    const bool input = i < input_count;
    const size_t j = input ? i : i - input_count;
    const int64_t size = tape_dtype_size(input ? tape.inputs()[j].dtype : tape.outputs()[j].dtype);
    base[i] = static_cast<const char*>(input ? inputs[j] : outputs[j]);
    walk[i].step = input ? input_strides[j] * size : size;
    walk[i].row_step = (input ? input_row_strides[j] : output_row_strides[j]) * size;
  }
  const int64_t tile_rows = std::max<int64_t>(1, tape.block() / n), tile_cols = std::min<int64_t>(tape.block(), n);
  for (int64_t r = 0; r < rows; r += tile_rows) {
    for (int64_t c = 0; c < n; c += tile_cols) {
      for (size_t i = 0; i < operands; ++i) walk[i].base = base[i] + r * walk[i].row_step + c * walk[i].step;
      machine.run_tile(walk, walk + input_count, std::min(tile_rows, rows - r), std::min(tile_cols, n - c));
    }
  }
}

void run_row(const Tape& tape, const void* const* inputs, const int64_t* input_strides, void* const* outputs,
             int64_t n) {
  constexpr int64_t kOneRow[PointwisePlan::kMaxOperands] = {};
  run_rows(tape, inputs, input_strides, kOneRow, outputs, kOneRow, 1, n);
}

namespace {

using Dim = PointwisePlan::Dim;

int operand_size(const Tape& tape, size_t i) {
  const size_t inputs = tape.inputs().size();
  return tape_dtype_size(i < inputs ? tape.inputs()[i].dtype : tape.outputs()[i - inputs].dtype);
}

/// Outermost first by the first output's stride; then neighbours that are one dimension for every operand
/// become one.
std::vector<Dim> collapse(std::vector<Dim> dims, size_t operands, size_t first_output) {
  std::erase_if(dims, [](const Dim& d) { return d.size == 1; });
  std::stable_sort(dims.begin(), dims.end(), [&](const Dim& a, const Dim& b) {
    return std::abs(a.stride[first_output]) > std::abs(b.stride[first_output]);
  });
  std::vector<Dim> out;
  for (const Dim& d : dims) {
    bool merge = !out.empty();
    for (size_t i = 0; i < operands && merge; ++i) merge = out.back().stride[i] == d.stride[i] * d.size;
    if (merge) {
      const int64_t size = out.back().size * d.size;
      out.back() = d;
      out.back().size = size;
    } else {
      out.push_back(d);
    }
  }
  while (out.size() < 2) out.insert(out.begin(), Dim{1, {}});
  return out;
}

}  // namespace

PointwisePlan make_plan(Tape tape, std::span<const int64_t> dims, std::span<const std::vector<int64_t>> strides) {
  TENON_CHECK(tape.finished());
  const size_t inputs = tape.inputs().size(), operands = inputs + tape.outputs().size();
  TENON_CHECK(strides.size() == operands);
  std::vector<Dim> all(dims.size());
  PointwisePlan plan;
  plan.elements = 1;
  for (size_t d = 0; d < dims.size(); ++d) {
    all[d].size = dims[d];
    plan.elements *= dims[d];
    for (size_t i = 0; i < operands; ++i) {
      TENON_CHECK(strides[i].size() == dims.size());
      all[d].stride[i] = strides[i][d] * operand_size(tape, i);
    }
  }
  all = collapse(std::move(all), operands, inputs);
  if (all.size() > PointwisePlan::kMaxDims) {
    fail(Code::kUnsupported, "a pointwise region of {} dimensions that do not merge; at most {} are handled",
         all.size(), PointwisePlan::kMaxDims);
  }
  plan.rank = static_cast<int>(all.size());
  std::copy(all.begin(), all.end(), plan.dims.begin());
  plan.row = all[plan.rank - 1].size;
  plan.rows = all[plan.rank - 2].size;
  for (int d = 0; d < plan.rank - 2; ++d) plan.outer *= all[d].size;
  const int64_t block = tape.block();
  if (plan.row * 2 <= block && plan.row > 0) {  // several short rows make a tile
    plan.tile_rows = std::min(plan.rows, block / plan.row);
    plan.tile_cols = plan.row;
    plan.tiles_per_outer = (plan.rows + plan.tile_rows - 1) / plan.tile_rows;
  } else {
    plan.tile_cols = std::min(plan.row, block);
    plan.tiles_per_outer = plan.rows * ((plan.row + block - 1) / block);
  }
  plan.tape = std::move(tape);
  return plan;
}

namespace {

struct TilePlace {
  int64_t r0, c0, rows, cols;
};

TilePlace place(const PointwisePlan& plan, int64_t tile) {
  if (plan.tile_cols == plan.row) {
    const int64_t r0 = tile * plan.tile_rows;
    return {r0, 0, std::min(plan.tile_rows, plan.rows - r0), plan.row};
  }
  const int64_t per_row = (plan.row + plan.tile_cols - 1) / plan.tile_cols;
  const int64_t c0 = tile % per_row * plan.tile_cols;
  return {tile / per_row, c0, 1, std::min(plan.tile_cols, plan.row - c0)};
}

void run_tiles(const PointwisePlan& plan, const void* const* inputs, void* const* outputs, int64_t begin, int64_t end) {
  Machine machine(plan.tape);
  const size_t input_count = plan.tape.inputs().size(), operands = input_count + plan.tape.outputs().size();
  Walk walk[PointwisePlan::kMaxOperands];
  const Dim& inner = plan.dims[plan.rank - 1];
  const Dim& middle = plan.dims[plan.rank - 2];
  for (size_t i = 0; i < operands; ++i) walk[i] = {nullptr, inner.stride[i], middle.stride[i]};
  for (int64_t tile = begin; tile < end; ++tile) {
    const TilePlace at = place(plan, tile % plan.tiles_per_outer);
    for (size_t i = 0; i < operands; ++i) {
      const void* base = i < input_count ? inputs[i] : outputs[i - input_count];
      int64_t offset = at.r0 * walk[i].row_step + at.c0 * walk[i].step;
      int64_t rest = tile / plan.tiles_per_outer;
      for (int d = plan.rank - 3; d >= 0; --d) {
        offset += rest % plan.dims[d].size * plan.dims[d].stride[i];
        rest /= plan.dims[d].size;
      }
      walk[i].base = static_cast<const char*>(base) + offset;
    }
    machine.run_tile(walk, walk + input_count, at.rows, at.cols);
  }
}

}  // namespace

void run(const PointwisePlan& plan, const void* const* inputs, void* const* outputs, ThreadPool& pool) {
  if (plan.elements == 0) return;
  const int64_t tiles = plan.outer * plan.tiles_per_outer;
  const float tile_cost = plan.tape.cost() * static_cast<float>(plan.tile_rows * plan.tile_cols);
  const int64_t grain = 1 + static_cast<int64_t>(8000.0f / tile_cost);  // 8 us of work pay for waking a thread
  pool.run_ranges(tiles, grain, [&](int64_t begin, int64_t end) { run_tiles(plan, inputs, outputs, begin, end); });
}

}  // namespace tenon::cpu
