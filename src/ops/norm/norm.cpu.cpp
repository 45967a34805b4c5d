// CPU tactics of the normalisations in float32: rows (Layer, RMS) of plain tensors, groups (Instance, Group) of either
// format. Scales and shifts may be constants or values of the run.
#include "cpu/norm.hpp"

#include "base/error.hpp"
#include "graph/op.hpp"
#include "tactic/tactic.hpp"

namespace tenon {
namespace {

bool plain(const Operand& o) { return o.dense() && (o.format == Format::kPlain || formats_agree(o.dims)); }

// --- rows ---

int64_t axis_of(const Problem& p) {
  int64_t axis = p.attrs().integer("axis", -1);
  return axis < 0 ? axis + p.in[0].rank() : axis;
}

Verdict judge_rows(const Problem& p) {
  const Operand& x = p.in[0];
  if (x.dtype != DType::kFloat32) return Verdict::no("not for {}", name(x.dtype));
  if (x.size() == 0 || axis_of(p) < 0 || axis_of(p) >= x.rank()) return Verdict::no("an empty input or a bad axis");
  if (!plain(x) || !plain(p.out[0])) return Verdict::no("not in the plain format");
  for (size_t i = 1; i < p.out.size(); ++i) {
    if (p.out[i].present()) return Verdict::no("the statistics are wanted");
  }
  Dims row(x.dims.begin() + axis_of(p), x.dims.end());
  for (size_t i : {1, 2}) {
    if (!p.has(i)) continue;
    if (p.in[i].dtype != DType::kFloat32 || !plain(p.in[i])) return Verdict::no("a parameter that is not plain");
    Dims d = p.in[i].dims;
    while (d.size() > row.size() && d.front() == 1) d.erase(d.begin());
    if (d != row) return Verdict::no("a parameter that broadcasts along the row");
  }
  return Verdict::yes().with_in_place(0);
}

std::unique_ptr<Kernel> prepare_rows(const Problem& p, WeightStore&) {
  const Operand& x = p.in[0];
  cpu::RowNorm norm;
  norm.size = element_count(Dims(x.dims.begin() + axis_of(p), x.dims.end()));
  norm.rows = x.size() / norm.size;
  norm.src_stride = norm.dst_stride = norm.size;
  norm.epsilon = static_cast<float>(p.attrs().number("epsilon", 1e-5));
  bool centre = p.node->op == "LayerNormalization", scale = p.has(1), bias = p.has(2);
  return make_kernel([=](const RunArgs& a) {
    cpu::RowNorm n = norm;
    n.scale = scale ? static_cast<const float*>(a.in[1]) : nullptr;
    n.bias = bias ? static_cast<const float*>(a.in[2]) : nullptr;
    auto* f = centre ? cpu::layer_norm : cpu::rms_norm;
    f(n, static_cast<const float*>(a.in[0]), static_cast<float*>(a.out[0]), a.pool);
  });
}

// --- groups ---

Verdict judge_groups(const Problem& p) {
  const Operand &x = p.in[0], &y = p.out[0];
  if (x.dtype != DType::kFloat32) return Verdict::no("not for {}", name(x.dtype));
  if (x.rank() < 3 || x.rank() > 5 || x.size() == 0) return Verdict::no("rank {} or empty", x.rank());
  if (x.format != y.format && !formats_agree(x.dims)) return Verdict::no("the formats differ");
  if (!x.dense() || !y.dense()) return Verdict::no("not dense");
  int64_t groups = p.node->op == "GroupNormalization" ? p.attrs().integer("num_groups", 0) : x.dims[1];
  if (groups < 1 || x.dims[1] % groups != 0) return Verdict::no("channels that do not divide into groups");
  for (size_t i : {1, 2}) {
    if (p.in[i].dtype != DType::kFloat32 || p.in[i].size() != x.dims[1]) return Verdict::no("the parameters");
  }
  return Verdict::yes().with_in_place(0);
}

std::unique_ptr<Kernel> prepare_groups(const Problem& p, WeightStore&) {
  const Operand& x = p.in[0];
  cpu::GroupNorm norm;
  norm.batch = x.dims[0];
  norm.channels = x.dims[1];
  norm.space = x.size() / (norm.batch * norm.channels);
  norm.groups = p.node->op == "GroupNormalization" ? p.attrs().integer("num_groups", 0) : norm.channels;
  bool last = x.format == Format::kChannelsLast;
  norm.src_batch = norm.dst_batch = norm.channels * norm.space;
  norm.src_channel = norm.dst_channel = last ? 1 : norm.space;
  norm.src_space = norm.dst_space = last ? norm.channels : 1;
  norm.epsilon = static_cast<float>(p.attrs().number("epsilon", 1e-5));
  return make_kernel([=](const RunArgs& a) {
    cpu::GroupNorm n = norm;
    n.scale = static_cast<const float*>(a.in[1]);
    n.bias = static_cast<const float*>(a.in[2]);
    cpu::group_norm(n, static_cast<const float*>(a.in[0]), static_cast<float*>(a.out[0]), a.pool);
  });
}

}  // namespace

void define_norm_cpu(TacticTable& table) {
  for (const char* op : {"LayerNormalization", "RMSNormalization"}) table.add(op, {{"rows", judge_rows, prepare_rows}});
  for (const char* op : {"InstanceNormalization", "GroupNormalization"}) {
    table.add(op, {{"groups", judge_groups, prepare_groups}});
  }
}

}  // namespace tenon
