// The part of oneDNN 3's C interface that is used here: constants, and the functions as a table of pointers that
// library.cpp fills with dlsym. Declared anew so that building needs none of its headers; the interface is stable
// within major version 3. Opaque structures are only ever pointed to.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tenon::cpu::onednn {

struct EngineHandle;
struct StreamHandle;
struct MemoryHandle;
struct DescHandle;
struct PrimitiveDescHandle;
struct PrimitiveHandle;
struct AttrHandle;
struct PostOpsHandle;

constexpr int kMaxAxes = 12;  // dims, strides and pads are passed as arrays of this many

struct VersionInfo {
  int major, minor, patch;
  const char* hash;
  unsigned cpu_runtime, gpu_runtime;
};

struct ExecArg {
  int arg;
  MemoryHandle* memory;
};

// Plain constants instead of C enums: their values are part of the binary interface.
constexpr int kSuccess = 0, kUnimplemented = 3;
constexpr unsigned kRuntimeSequential = 1, kRuntimeOpenmp = 2, kRuntimeTbb = 4;
constexpr int kCpuEngine = 1;
constexpr unsigned kInOrder = 1;
constexpr int kF16 = 1, kBf16 = 2, kF32 = 3, kS32 = 4, kS8 = 5, kU8 = 6;
constexpr int kForwardInference = 96;
constexpr int kTagAny = 1;
constexpr int kScratchpadUser = 1;

enum Algorithm : int {
  kConvolutionDirect = 0x1,
  kDeconvolutionDirect = 0xa,
  kRelu = 0x20,
  kTanh,
  kElu,
  kSquare,
  kAbs,
  kSqrt,
  kLinear,
  kSoftRelu,
  kHardSigmoid,
  kLogistic,
  kExp,
  kGeluTanh,
  kSwish,
  kLog,
  kClip,
  kClip2,
  kPow,
  kGeluErf,
  kRound,
  kMish,
  kHardSwish,
  kPoolMax = 0x1ff,
  kPoolAverageAll = 0x2ff,
  kPoolAverageInside = 0x3ff,
  kBinaryAdd = 0x1fff0,
  kBinaryMul,
  kBinaryMax,
  kBinaryMin,
  kBinaryDiv,
  kBinarySub,
  kSoftmax = 0x30000,
  kLogSoftmax,
};

enum Query : int {
  kQueryImplInfo = 8,
  kQueryStrides = 14,
  kQuerySource = 129,
  kQueryWeights = 131,
  kQueryResult = 133,
  kQueryScratchpad = 136,
  kQueryArgument = 255,
  kQueryAxes = 256,
  kQueryInnerBlocks = 263,  // number of them
  kQueryInnerSizes = 264,
  kQueryInnerAxes = 265,
};

enum Argument : int {
  kSource = 1,
  kSource1 = 2,
  kResult = 17,
  kWeights = 33,
  kBias = 41,
  kScale = 51,
  kShift = 52,
  kScratchpad = 80,
  kScalesOf = 4096,
  kZeroPointsOf = 8192,
  kPostOpBase = 32768,
};
/// The second operand of binary post-op `index`.
constexpr int post_op_operand(int index) { return kPostOpBase * (index + 1) | kSource1; }

/// Flags of a layer normalisation.
constexpr unsigned kUseScale = 2, kUseShift = 4;

using Dim = int64_t;

// Name in the library less "dnnl_", then its result and parameters.
#define TENON_ONEDNN_FUNCTIONS(F) \
  F(version, const VersionInfo*, ()) \
  F(engine_create, int, (EngineHandle**, int kind, size_t index)) \
  F(stream_create, int, (StreamHandle**, EngineHandle*, unsigned flags)) \
  F(stream_destroy, int, (StreamHandle*)) \
  F(memory_desc_create_with_strides, int, (DescHandle**, int ndims, const Dim* dims, int dtype, const Dim* strides)) \
  F(memory_desc_create_with_tag, int, (DescHandle**, int ndims, const Dim* dims, int dtype, int tag)) \
  F(memory_desc_clone, int, (DescHandle**, const DescHandle*)) \
  F(memory_desc_destroy, int, (DescHandle*)) \
  F(memory_desc_equal, int, (const DescHandle*, const DescHandle*)) \
  F(memory_desc_get_size, size_t, (const DescHandle*)) \
  F(memory_desc_query, int, (const DescHandle*, int what, void* result)) \
  F(memory_create, int, (MemoryHandle**, const DescHandle*, EngineHandle*, void* data)) \
  F(memory_set_data_handle, int, (MemoryHandle*, void* data)) \
  F(memory_destroy, int, (MemoryHandle*)) \
  F(primitive_attr_create, int, (AttrHandle**)) \
  F(primitive_attr_destroy, int, (AttrHandle*)) \
  F(primitive_attr_set_scratchpad_mode, int, (AttrHandle*, int mode)) \
  F(primitive_attr_set_scales_mask, int, (AttrHandle*, int arg, int mask)) \
  F(primitive_attr_set_zero_points_mask, int, (AttrHandle*, int arg, int mask)) \
  F(primitive_attr_set_post_ops, int, (AttrHandle*, const PostOpsHandle*)) \
  F(post_ops_create, int, (PostOpsHandle**)) \
  F(post_ops_destroy, int, (PostOpsHandle*)) \
  F(post_ops_append_eltwise, int, (PostOpsHandle*, int algorithm, float alpha, float beta)) \
  F(post_ops_append_binary, int, (PostOpsHandle*, int algorithm, const DescHandle*)) \
  F(post_ops_append_sum, int, (PostOpsHandle*, float scale, int32_t zero_point, int dtype)) \
  F(primitive_desc_query, int, (const PrimitiveDescHandle*, int what, int index, void* result)) \
  F(primitive_desc_query_md, const DescHandle*, (const PrimitiveDescHandle*, int what, int index)) \
  F(primitive_desc_destroy, int, (PrimitiveDescHandle*)) \
  F(primitive_create, int, (PrimitiveHandle**, const PrimitiveDescHandle*)) \
  F(primitive_execute, int, (const PrimitiveHandle*, StreamHandle*, int count, const ExecArg*)) \
  F(primitive_destroy, int, (PrimitiveHandle*)) \
  F(reorder_primitive_desc_create, int, \
    (PrimitiveDescHandle**, const DescHandle* from, EngineHandle*, const DescHandle* to, EngineHandle*, \
     const AttrHandle*)) \
  F(convolution_forward_primitive_desc_create, int, \
    (PrimitiveDescHandle**, EngineHandle*, int prop, int algorithm, const DescHandle* source, \
     const DescHandle* weights, const DescHandle* bias, const DescHandle* result, const Dim* strides, \
     const Dim* dilations, const Dim* pads_begin, const Dim* pads_end, const AttrHandle*)) \
  F(deconvolution_forward_primitive_desc_create, int, \
    (PrimitiveDescHandle**, EngineHandle*, int prop, int algorithm, const DescHandle* source, \
     const DescHandle* weights, const DescHandle* bias, const DescHandle* result, const Dim* strides, \
     const Dim* dilations, const Dim* pads_begin, const Dim* pads_end, const AttrHandle*)) \
  F(matmul_primitive_desc_create, int, \
    (PrimitiveDescHandle**, EngineHandle*, const DescHandle* source, const DescHandle* weights, \
     const DescHandle* bias, const DescHandle* result, const AttrHandle*)) \
  F(inner_product_forward_primitive_desc_create, int, \
    (PrimitiveDescHandle**, EngineHandle*, int prop, const DescHandle* source, const DescHandle* weights, \
     const DescHandle* bias, const DescHandle* result, const AttrHandle*)) \
  F(pooling_forward_primitive_desc_create, int, \
    (PrimitiveDescHandle**, EngineHandle*, int prop, int algorithm, const DescHandle* source, \
     const DescHandle* result, const Dim* strides, const Dim* kernel, const Dim* dilations, const Dim* pads_begin, \
     const Dim* pads_end, const AttrHandle*)) \
  F(softmax_forward_primitive_desc_create, int, \
    (PrimitiveDescHandle**, EngineHandle*, int prop, int algorithm, const DescHandle* source, \
     const DescHandle* result, int axis, const AttrHandle*)) \
  F(layer_normalization_forward_primitive_desc_create, int, \
    (PrimitiveDescHandle**, EngineHandle*, int prop, const DescHandle* source, const DescHandle* result, \
     const DescHandle* statistics, float epsilon, unsigned flags, const AttrHandle*))

/// The functions of one loaded library.
struct Api {
#define TENON_ONEDNN_POINTER(name, result, parameters) result(*name) parameters = nullptr;
  TENON_ONEDNN_FUNCTIONS(TENON_ONEDNN_POINTER)
#undef TENON_ONEDNN_POINTER
};

}  // namespace tenon::cpu::onednn
