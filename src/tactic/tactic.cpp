#include "tactic/tactic.hpp"

#include "cpu/onednn/library.hpp"
#include "graph/op.hpp"
#include "tactic/libraries.hpp"

namespace tenon {

std::string_view name(Format format) noexcept { return format == Format::kPlain ? "plain" : "channels_last"; }

Ints format_strides(const Dims& dims, Format format) {
  if (format == Format::kPlain || dims.size() < 3) return strides_of(dims);
  Ints out(dims.size());
  out[1] = 1;
  int64_t step = dims[1];
  for (size_t i = dims.size(); i-- > 2;) {
    out[i] = step;
    step = static_cast<int64_t>(static_cast<uint64_t>(step) * static_cast<uint64_t>(dims[i]));
  }
  out[0] = step;
  return out;
}

bool formats_agree(const Dims& dims) {
  if (dims.size() < 3) return true;
  if (dims[1] == 1) return true;
  for (size_t i = 2; i < dims.size(); ++i) {
    if (dims[i] != 1) return false;
  }
  return true;
}

bool Operand::dense() const {
  Ints want = format_strides(dims, format);
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] != 1 && strides[i] != want[i]) return false;
  }
  return true;
}

const Graph* Problem::epilogue() const {
  const Attr* a = attrs().find("epilogue");
  return a == nullptr ? nullptr : std::get<GraphPtr>(*a).get();
}

size_t Problem::extra_begin() const noexcept {
  const Graph* e = epilogue();
  return e == nullptr ? in.size() : in.size() - (e->inputs.size() - 1);
}

void TacticTable::add(std::string_view op, std::vector<Tactic> tactics) {
  auto& list = table_[std::string(op)];
  list.insert(list.end(), tactics.begin(), tactics.end());
}

const std::vector<Tactic>& TacticTable::of(std::string_view op) const noexcept {
  static const std::vector<Tactic> none;
  auto at = table_.find(op);
  return at == table_.end() ? none : at->second;
}

// A slice with CPU tactics defines define_<folder>_cpu(TacticTable&) in <folder>.cpu.cpp, one that also has tactics of
// oneDNN define_<folder>_onednn(TacticTable&) in <folder>.onednn.cpp.
#define TENON_CPU(folder) void define_##folder##_cpu(TacticTable& table);
#define TENON_CPU_ONEDNN(folder) \
  TENON_CPU(folder) \
  void define_##folder##_onednn(TacticTable& table);
#define TENON_NO_CPU(folder)
#define TENON_SLICE(folder, cpu) TENON_##cpu(folder)
#include "ops/ops.def"
#undef TENON_CPU
#undef TENON_CPU_ONEDNN
#undef TENON_SLICE

namespace {

TacticTable make_table([[maybe_unused]] bool libraries) {
  TacticTable t;
#define TENON_CPU(folder) define_##folder##_cpu(t);
#define TENON_CPU_ONEDNN(folder) \
  TENON_CPU(folder) \
  if (libraries) define_##folder##_onednn(t);
#define TENON_SLICE(folder, cpu) TENON_##cpu(folder)
#include "ops/ops.def"
#undef TENON_SLICE
#undef TENON_CPU_ONEDNN
#undef TENON_CPU
  return t;
}

}  // namespace

const TacticTable& cpu_tactics() {
  static const TacticTable table = make_table(true);
  return table;
}

const TacticTable& own_cpu_tactics() {
  static const TacticTable table = make_table(false);
  return table;
}

std::string library_behind(std::string_view tactic) {
  return needs_library(tactic) ? cpu::onednn::version() : std::string();
}

}  // namespace tenon
