// Conv by oneDNN in float32, with the epilogue as post-operations.
#include "tactic/onednn_conv.hpp"

namespace tenon {
namespace {

std::optional<OnednnConv> conv_of(const Problem& p, std::string& why) {
  const Operand &x = p.in[0], &w = p.in[1];
  if (x.dtype != DType::kFloat32 || w.dtype != DType::kFloat32 || p.out[0].dtype != DType::kFloat32) {
    why = "only float32";
    return std::nullopt;
  }
  if (w.constant == nullptr || (p.has(2) && p.in[2].constant == nullptr)) {
    why = "the weights are not constant";
    return std::nullopt;
  }
  auto conv = onednn_conv_of(p, w.dims, why);
  if (!conv) return conv;
  auto steps = fused_steps(p, 1, why);
  if (!steps) {
    why = "epilogue: " + why;
    return std::nullopt;
  }
  conv->steps = std::move(*steps);
  conv->source_type = conv->weights_type = conv->result_type = DType::kFloat32;
  conv->constant = *w.constant;
  conv->bias = p.has(2) ? p.in[2].constant : nullptr;
  return conv;
}

Verdict judge(const Problem& p) {
  std::string why;
  auto conv = conv_of(p, why);
  return conv ? judge_onednn_conv(p, *conv) : Verdict::no("{}", why);
}

std::unique_ptr<Kernel> prepare(const Problem& p, WeightStore& store) {
  std::string why;
  return prepare_onednn_conv(p, *conv_of(p, why), store);
}

}  // namespace

void define_conv_onednn(TacticTable& table) { table.add("Conv", {{"onednn_nhwc", judge, prepare}}); }

}  // namespace tenon
