// What the tactics of oneDNN share: a node's epilogue as the library's post-operations, and a kernel of pieces: the
// library computes in one thread, so a problem is cut into pieces that our pool runs side by side.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cpu/onednn/primitive.hpp"
#include "tactic/tactic.hpp"

namespace tenon {

/// One step of an epilogue in the library's terms.
struct FusedStep {
  int algorithm = 0;
  float alpha = 0, beta = 0;
  int extra = -1;  ///< the operand of a binary step, an index in Problem::in; -1: elementwise
};

/// A node's epilogue as a chain of such steps (empty when it has none); nothing with the reason in `why` when it is no
/// chain, or has a function that the library lacks. Operands are float32 and scalars, one value a channel (axis
/// `channel_axis` of the result), or of the result's shape. Behind int32 sums a chain begins with a Cast to float32;
/// one that ends with a QuantizeLinear leaves rounding and saturation to the store of the result.
std::optional<std::vector<FusedStep>> fused_steps(const Problem& problem, int channel_axis, std::string& why);

/// How an operand of a binary step lies against the result.
enum class Spread { kScalar, kChannel, kFull };
std::optional<Spread> spread_of(const Operand& operand, const Dims& result, int channel_axis);

/// The steps as attributes; `operand` describes the operand of a binary one, an index in Problem::in.
cpu::onednn::Attributes attributes_of(const std::vector<FusedStep>& steps,
                                      const std::function<cpu::onednn::Desc(size_t index)>& operand);
/// The ids of a call's arguments: source, weights, bias if there is one, the operands of the steps, result.
std::vector<int> arguments_of(const std::vector<FusedStep>& steps, bool bias);

/// One piece of a problem: a compiled call and where it starts in each operand.
struct OnednnPiece {
  struct Address {
    enum class Of { kInput, kOutput, kFixed, kByte, kSignedByte } of = Of::kFixed;  // bytes: one, as an int32
    size_t index = 0;                                                               ///< of the input or output
    int64_t offset = 0;                                                             ///< bytes
    const void* fixed = nullptr;                                                    ///< packed weights, scales
  };
  std::shared_ptr<const cpu::onednn::Call> call;
  std::vector<Address> addresses;  ///< in the order of the call's arguments
};

/// A kernel that runs the pieces on the pool, each with scratch memory of its thread.
std::unique_ptr<Kernel> make_onednn_kernel(std::vector<OnednnPiece> pieces, int threads, std::string detail);

/// The constant (from `offset` bytes on, laid out `as`) in the layout `wanted`, from the store. `key` names the use;
/// library, version and layout are added.
const void* onednn_packed(WeightStore& store, const Tensor& constant, const cpu::onednn::Desc& as,
                          const cpu::onednn::DescHandle* wanted, const std::string& key, int64_t offset = 0);

}  // namespace tenon
