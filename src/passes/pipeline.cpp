// THE order of the passes, with a word on why each stands where it stands. A pass lives in its own file.
#include "passes/pass.hpp"

namespace tenon {

#define TENON_PASS(name) bool name(Graph& graph, PassContext& context);
#include "passes/passes.def"
#undef TENON_PASS

namespace {

constexpr Pass kPipeline[] = {
    {"inline_branches", "first: what is inside a branch that is always taken is open to everything after",
     inline_branches},
    {"sink_constants", "before bodies are optimised by themselves: weights are constants in them too", sink_constants},
    {"expand_composites", "early: what is only a body is seen as its parts by all the others", expand_composites},
    {"remove_identities", "early: everything after sees through Identity, inference Dropout and Casts to the same type",
     remove_identities},
    {"join_split_concat", "before the layout is fixed: it removes copies that nothing later could", join_split_concat},
    {"expand_qlinear", "before quantisation is absorbed: it shows the Q and DQ inside other runtimes' ops",
     expand_qlinear},
    {"absorb_quantization", "while the weights are still 8-bit", absorb_quantization},
    {"fold_dequantized", "after it: weights that no integer product takes become floats", fold_dequantized},
    {"merge_moves", "before patterns look for what lies on both sides of a transpose", merge_moves},
    {"fold_pads", "while a convolution has no epilogue yet", fold_pads},
    {"fold_affine", "before fusion: what is in the weights needs no epilogue", fold_affine},
    {"fuse_attention", "before its scale and mask become a product's epilogue", fuse_attention},
    {"fuse_normalization", "before the pointwise passes take its parts into regions", fuse_normalization},
    {"fuse_activation", "before the pointwise passes too: one instruction instead of a handful", fuse_activation},
    {"fuse_pointwise", "before fuse_epilogue, so that an epilogue takes a whole region at once", fuse_pointwise},
    {"fuse_epilogue", "last: a node with an epilogue is opaque to the passes above", fuse_epilogue},
};

}  // namespace

std::span<const Pass> pipeline() { return kPipeline; }

}  // namespace tenon
