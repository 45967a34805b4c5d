// Tensors of an ONNX file. Raw data become views into the mapping (copied only when they are not aligned for their
// type); typed fields are decoded. A size that the file declares is believed only when the bytes are there. External
// data are read from files beneath the model's own directory: the name is checked, no link of either kind is followed
// and the opened descriptor must be a regular file. Each file is mapped once. Not thread-safe.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "base/file.hpp"
#include "onnx/proto.hpp"
#include "tensor/tensor.hpp"

namespace tenon::onnx {

/// Bytes that sparse tensors of one model may have when made dense.
inline constexpr int64_t kMaxSparseBytes = int64_t{64} << 20;

class Weights {
 public:
  /// `owner` keeps the model's bytes alive. `directory` is the real directory of the model; nothing when the model was
  /// given as bytes, and then external data are refused.
  Weights(std::shared_ptr<const void> owner, std::optional<std::string> directory)
      : owner_(std::move(owner)), directory_(std::move(directory)) {}

  Tensor tensor(Bytes proto, const Where& where);
  Tensor sparse(Bytes proto, const Where& where);  ///< made dense
  /// From now on, decoded tensors are kept and given again for the same bytes (for functions inlined many times).
  void share() noexcept { sharing_ = true; }

 private:
  Tensor decode(const TensorProto& t, const Where& where);
  Tensor decode_typed(const TensorProto& t, DType dtype, const Where& where);
  Tensor from_bytes(const TensorProto& t, DType dtype, Bytes bytes, std::shared_ptr<const void> owner,
                    const Where& where);
  Tensor external(const TensorProto& t, DType dtype, const Where& where);
  std::shared_ptr<const MappedFile> open_external(std::string_view location, const Where& where);

  std::shared_ptr<const void> owner_;
  std::optional<std::string> directory_;
  std::map<std::string, std::shared_ptr<const MappedFile>, std::less<>> files_;
  std::unordered_map<const std::byte*, Tensor> shared_;
  bool sharing_ = false;
  int64_t sparse_bytes_ = 0;
};

/// Opens `location` beneath `directory` for reading: a descriptor of a regular file with one hard link, reached without
/// any symbolic link. The caller closes it. Errors name the location.
int open_beneath(const std::string& directory, std::string_view location, const Where& where);

}  // namespace tenon::onnx
