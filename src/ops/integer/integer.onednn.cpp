// ConvInteger by oneDNN: 8-bit products, and everything up to the next quantisation as post-operations.
#include "tactic/onednn_conv.hpp"

namespace tenon {
namespace {

namespace dnn = cpu::onednn;

bool is_byte(DType t) { return t == DType::kInt8 || t == DType::kUInt8; }

// Whether all zero points of the weights are the middle of their type: then signed weights without any do as well.
bool centered(const Problem& p, const Operand& w, const Operand* zero) {
  int64_t middle = w.dtype == DType::kUInt8 ? 128 : 0;
  if (zero == nullptr) return middle == 0;
  if (zero->constant == nullptr) return false;
  for (int64_t i = 0; i < zero->size(); ++i) {
    if (zero->constant->int_at(i) != middle) return false;
  }
  return p.has(1);
}

Tensor as_signed(const Tensor& w) {
  if (w.dtype() == DType::kInt8) return w;
  Tensor out = Tensor::allocate(DType::kInt8, w.dims());
  for (int64_t i = 0; i < w.size(); ++i) {
    out.mutable_data<int8_t>()[i] = static_cast<int8_t>(static_cast<int>(w.data<uint8_t>()[i]) - 128);
  }
  return out;
}

std::optional<OnednnConv> conv_of(const Problem& p, std::string& why) {
  const Operand &x = p.in[0], &w = p.in[1];
  auto refuse = [&](std::string text) {
    why = std::move(text);
    return std::nullopt;
  };
  if (!is_byte(x.dtype) || !is_byte(w.dtype)) return refuse("not 8-bit");
  if (w.constant == nullptr) return refuse("the weights are not constant");
  if (!centered(p, w, p.has(3) ? &p.in[3] : nullptr)) return refuse("the weights have zero points");
  if (p.has(2) && p.in[2].size() != 1) return refuse("a zero point for each channel of the input");
  if (dnn::data_type(p.out[0].dtype) == 0) return refuse("the result's type is none of oneDNN's");
  auto conv = onednn_conv_of(p, w.dims, why);
  if (!conv) return conv;
  auto steps = fused_steps(p, 1, why);
  if (!steps) return refuse("epilogue: " + why);
  conv->steps = std::move(*steps);
  conv->source_type = x.dtype;
  conv->weights_type = DType::kInt8;
  conv->result_type = p.out[0].dtype;
  bool zero = p.has(2) && (p.in[2].constant == nullptr || p.in[2].constant->int_at(0) != 0);
  conv->zero_point = zero ? 2 : -1;
  return conv;
}

Verdict judge(const Problem& p) {
  std::string why;
  auto conv = conv_of(p, why);
  return conv ? judge_onednn_conv(p, *conv) : Verdict::no("{}", why);
}

std::unique_ptr<Kernel> prepare(const Problem& p, WeightStore& store) {
  std::string why;
  OnednnConv conv = *conv_of(p, why);
  conv.constant = as_signed(*p.in[1].constant);
  return prepare_onednn_conv(p, conv, store);
}

}  // namespace

void define_integer_onednn(TacticTable& table) { table.add("ConvInteger", {{"onednn_int8", judge, prepare}}); }

}  // namespace tenon
