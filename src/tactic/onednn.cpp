#include "tactic/onednn.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace tenon {
namespace {

namespace dnn = cpu::onednn;

constexpr size_t kMaxArguments = 40;  // of one call: the library takes 32 post-operations

class PieceKernel final : public Kernel {
 public:
  PieceKernel(std::vector<OnednnPiece> pieces, int threads, std::string detail)
      : pieces_(std::move(pieces)), threads_(threads), detail_(std::move(detail)) {
    for (const OnednnPiece& p : pieces_) {
      TENON_CHECK(p.addresses.size() <= kMaxArguments);
      scratch_ = std::max(scratch_, (static_cast<int64_t>(p.call->scratch_bytes()) + 63) / 64 * 64);
    }
  }

  void run(const RunArgs& a) const override {
    a.pool.run_indexed(static_cast<int64_t>(pieces_.size()), [&](int64_t part, int worker) {
      const OnednnPiece& piece = pieces_[static_cast<size_t>(part)];
      const void* addresses[kMaxArguments];
      int32_t widened = 0;
      for (size_t i = 0; i < piece.addresses.size(); ++i) addresses[i] = resolve(piece.addresses[i], a, widened);
      piece.call->run(addresses, static_cast<std::byte*>(a.workspace) + worker * scratch_);
    });
  }

  int64_t workspace() const override { return scratch_ * threads_; }
  std::string detail() const override { return detail_; }

 private:
  static const void* resolve(const OnednnPiece::Address& at, const RunArgs& a, int32_t& widened) {
    using Of = OnednnPiece::Address::Of;
    if (at.of == Of::kFixed) return at.fixed;
    if (at.of == Of::kByte || at.of == Of::kSignedByte) {
      widened = at.of == Of::kByte ? *static_cast<const uint8_t*>(a.in[at.index])
                                   : *static_cast<const int8_t*>(a.in[at.index]);
      return &widened;
    }
    const void* base = at.of == Of::kInput ? a.in[at.index] : a.out[at.index];
    return static_cast<const std::byte*>(base) + at.offset;
  }

  std::vector<OnednnPiece> pieces_;
  int threads_;
  std::string detail_;
  int64_t scratch_ = 0;
};

}  // namespace

std::unique_ptr<Kernel> make_onednn_kernel(std::vector<OnednnPiece> pieces, int threads, std::string detail) {
  return std::make_unique<PieceKernel>(std::move(pieces), threads, std::move(detail));
}

dnn::Attributes attributes_of(const std::vector<FusedStep>& steps, const std::function<dnn::Desc(size_t)>& operand) {
  dnn::Attributes out;
  for (const FusedStep& s : steps) {
    dnn::PostOp op{s.algorithm, s.alpha, s.beta, nullptr};
    if (s.extra >= 0) op.with = std::make_shared<dnn::Desc>(operand(static_cast<size_t>(s.extra)));
    out.post_ops.push_back(std::move(op));
  }
  return out;
}

std::vector<int> arguments_of(const std::vector<FusedStep>& steps, bool bias) {
  std::vector<int> out{dnn::kSource, dnn::kWeights};
  if (bias) out.push_back(dnn::kBias);
  for (size_t i = 0; i < steps.size(); ++i) {
    if (steps[i].extra >= 0) out.push_back(dnn::post_op_operand(static_cast<int>(i)));
  }
  out.push_back(dnn::kResult);
  return out;
}

const void* onednn_packed(WeightStore& store, const Tensor& constant, const dnn::Desc& as,
                          const dnn::DescHandle* wanted, const std::string& key, int64_t offset) {
  dnn::Desc to = dnn::Desc::copy_of(wanted);
  std::string full = fmt::format("{} {} {} at {}", dnn::version(), key, to.layout(), offset);
  return store.pack(constant, full, static_cast<int64_t>(to.bytes()), [&](std::byte* at) {
    bool done = dnn::reorder(as, constant.raw() + offset, to.get(), at);
    if (!done) fail(Code::kInternal, "oneDNN cannot bring weights into its own layout {}", full);
  });
}

}  // namespace tenon
