// THE order of the passes, with a word on why each stands where it stands. A pass lives in its own file.
#include "passes/pass.hpp"

namespace tenon {

#define TENON_PASS(name) bool name(Graph& graph, PassContext& context);
#include "passes/passes.def"
#undef TENON_PASS

namespace {

constexpr Pass kPipeline[] = {
    {"remove_identities", "first: everything after sees through Identity, inference Dropout and Casts to the same type",
     remove_identities},
};

}  // namespace

std::span<const Pass> pipeline() { return kPipeline; }

}  // namespace tenon
