// CUDA tactics of what reads whole rows: softmax over the last axis in memory, layer and RMS norms, reductions over the
// last axes.
#include "base/error.hpp"
#include "tactic/cuda.hpp"

namespace tenon {
namespace {

using cuda::RowKind;

bool plain(const Operand& o) { return o.dense() && (o.format == Format::kPlain || formats_agree(o.dims)); }

/// The first of the axes that make a row, which are the last in memory; nothing when they are not.
std::optional<int64_t> first_axis(const Problem& p) {
  const Operand& x = p.in[0];
  if (!p.node->op.starts_with("Reduce")) {
    int64_t axis = p.attrs().integer("axis", -1);
    if (axis < 0) axis += x.rank();
    if (axis < 0 || axis >= x.rank()) return std::nullopt;
    bool norm = p.node->op.ends_with("Normalization");
    if (!norm && element_count(Dims(x.dims.begin() + axis + 1, x.dims.end())) != 1) return std::nullopt;
    return axis;
  }
  if (!p.has(1) || p.in[1].constant == nullptr) return std::nullopt;
  std::vector<char> gone(x.dims.size(), 0);
  for (int64_t a : p.in[1].constant->to_ints()) {
    if (a < 0) a += x.rank();
    if (a < 0 || a >= x.rank()) return std::nullopt;
    gone[static_cast<size_t>(a)] = 1;
  }
  int64_t axis = x.rank();
  while (axis > 0 && gone[static_cast<size_t>(axis - 1)]) --axis;
  for (int64_t i = 0; i < axis; ++i) {
    if (gone[static_cast<size_t>(i)]) return std::nullopt;
  }
  return axis < x.rank() ? std::optional(axis) : std::nullopt;
}

std::optional<RowKind> kind_of(std::string_view op) {
  if (op == "Softmax") return RowKind::kSoftmax;
  if (op == "LogSoftmax") return RowKind::kLogSoftmax;
  if (op == "LayerNormalization") return RowKind::kLayerNorm;
  if (op == "RMSNormalization") return RowKind::kRmsNorm;
  if (op == "ReduceSum") return RowKind::kSum;
  if (op == "ReduceMean") return RowKind::kMean;
  if (op == "ReduceMax") return RowKind::kMax;
  return std::nullopt;
}

Verdict judge(const Problem& p) {
  const Operand &x = p.in[0], &y = p.out[0];
  if (!cuda_float(x.dtype) || y.dtype != x.dtype) return Verdict::no("not for {}", name(x.dtype));
  if (x.size() == 0 || x.rank() == 0) return Verdict::no("an empty or scalar input");
  if (p.epilogue() != nullptr) return Verdict::no("an epilogue");
  if (!plain(x) || !plain(y)) return Verdict::no("not plain");
  for (size_t i = 1; i < p.out.size(); ++i) {
    if (p.out[i].present()) return Verdict::no("the statistics are wanted");
  }
  auto axis = first_axis(p);
  if (!axis) return Verdict::no("not over the last axes");
  int64_t cols = element_count(Dims(x.dims.begin() + *axis, x.dims.end()));
  if (cols > 16384) return Verdict::no("rows of {} elements", cols);
  if (p.node->op.ends_with("Normalization")) {
    for (size_t i : {1, 2}) {
      if (p.has(i) && (!cuda_float(p.in[i].dtype) || p.in[i].size() != cols || !plain(p.in[i])))
        return Verdict::no("a parameter that broadcasts");
    }
  }
  return cuda_yes(p);
}

std::unique_ptr<Kernel> prepare(const Problem& p, WeightStore&) {
  const Operand& x = p.in[0];
  cuda::RowProblem rows;
  rows.kind = *kind_of(p.node->op);
  int64_t axis = *first_axis(p);
  rows.cols = element_count(Dims(x.dims.begin() + axis, x.dims.end()));
  rows.rows = x.size() / rows.cols;
  rows.epsilon = static_cast<float>(p.attrs().number("epsilon", 1e-5));
  cuda::Access in;
  in.dtype = x.dtype;
  in.row_stride = rows.cols;
  rows.in = {in};
  rows.input.output(rows.input.input());
  bool reduces = rows.kind >= RowKind::kSum, norm = p.node->op.ends_with("Normalization");
  rows.epilogue = cuda::TileEpilogue::store(p.out[0].dtype, reduces ? 1 : rows.cols);
  std::vector<size_t> sources;
  if (norm) {
    cuda::Expression e;
    auto value = e.input();
    for (size_t i : {1, 2}) {
      if (!p.has(i)) continue;
      cuda::Access access;
      access.dtype = p.in[i].dtype;
      rows.epilogue.in.push_back(access);
      sources.push_back(i);
      value = e.emit(i == 1 ? EwOp::kMul : EwOp::kAdd, {value, e.input()});
    }
    e.output(value);
    rows.epilogue.expression = e;
  }
  return make_cuda_kernel(cuda::plan_rows(rows), [=](const CudaBinding& b) {
    cuda::Operands operands;
    operands.in[0] = b.in[0];
    for (size_t i = 0; i < sources.size(); ++i) operands.in[1 + i] = b.in[sources[i]];
    operands.out[0] = b.out[0];
    return cuda::operand_params(operands);
  });
}

}  // namespace

void define_rows_cuda(TacticTable& table) {
  for (const char* op :
       {"Softmax", "LogSoftmax", "LayerNormalization", "RMSNormalization", "ReduceSum", "ReduceMean", "ReduceMax"}) {
    table.add(op, {{"cuda_rows", judge, prepare}});
  }
}

}  // namespace tenon
