// Test data of ONNX: files that hold one TensorProto, SequenceProto, OptionalProto or MapProto. The file itself does
// not say which; the type that is expected does. Hostile files are answered as by the importer.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "graph/type.hpp"

namespace tenon::onnx {

/// Reads the file as what `type` is (its kind and, for containers, its element's kinds; shapes are not looked at). An
/// unknown type means a tensor.
Datum read_tensor_pb(const std::string& path, const Type& type = {});

/// As read_tensor_pb, from bytes that `owner` keeps alive.
Datum read_tensor_pb(std::span<const std::byte> bytes, std::shared_ptr<const void> owner, const Type& type = {});

}  // namespace tenon::onnx
