// 2-D depthwise convolution of 8-bit channels-last pictures (one filter a channel: groups == in_c == out_c), exact in
// int32. Weights, arguments, epilogues, workspaces and thread-safety as in qconv.hpp; blobs have layouts of their own.
#pragma once

#include "cpu/qconv.hpp"

namespace tenon::cpu {

uint32_t qdepthwise_layout(QIsa isa) noexcept;
size_t qdepthwise_packed_size(uint32_t layout, const QConvShape& shape);
void qdepthwise_pack(uint32_t layout, const QConvShape& shape, const QConvWeights& weights, void* packed);
size_t qdepthwise_workspace(QIsa isa, const QConvShape& shape, int threads);
void qdepthwise(QIsa isa, const QConvArgs& args, void* workspace, ThreadPool& pool);

}  // namespace tenon::cpu
