// What a tensor of a graph may be. Every path meets these limits: shape inference checks what each node makes, import
// and planning what goes in. Larger shapes come from hostile or broken models, and would be asked of the memory next.
#pragma once

#include <cstdint>
#include <string_view>

#include "graph/type.hpp"

namespace tenon {

inline constexpr int64_t kMaxTensorElements = int64_t{1} << 34;
inline constexpr int kMaxTensorRank = 32;

/// Refuses a tensor type of more axes than kMaxTensorRank or, where its shape is all numbers, of more elements than
/// kMaxTensorElements. `what` begins the sentence: "input 'x'".
void check_limits(const Type& type, std::string_view what);

}  // namespace tenon
