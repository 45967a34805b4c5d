// oneDNN's objects, owned. A PrimitiveDesc describes one computation and says how the library would do it; a Call is
// that computation compiled and ready to run on addresses. What the library refuses is a value (an empty object with
// the reason), not an error. Everything here presumes that library() is not null and computes in the calling thread
// alone.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cpu/onednn/library.hpp"
#include "tensor/dtype.hpp"

namespace tenon::cpu::onednn {

/// Owns a handle of the library.
template <class Handle>
using Owned = std::unique_ptr<Handle, void (*)(Handle*)>;

/// The library's number for an element type, 0 when it has none.
int data_type(DType dtype) noexcept;

/// Dims, type and layout of a tensor. Moves only.
class Desc {
 public:
  Desc() : handle_(nullptr, nullptr) {}
  explicit Desc(DescHandle* owned);
  static Desc strided(const std::vector<Dim>& dims, DType dtype, const std::vector<Dim>& strides);
  static Desc dense(const std::vector<Dim>& dims, DType dtype);
  /// The library chooses the layout.
  static Desc any(const std::vector<Dim>& dims, DType dtype);
  static Desc copy_of(const DescHandle* other);

  const DescHandle* get() const noexcept { return handle_.get(); }
  explicit operator bool() const noexcept { return handle_ != nullptr; }
  size_t bytes() const;
  /// Strides and blocks in words: part of the keys of packed weights.
  std::string layout() const;

 private:
  Owned<DescHandle> handle_;
};

/// One step done to results before they are stored.
struct PostOp {
  int algorithm = 0;
  float alpha = 0, beta = 0;         ///< of an elementwise function
  std::shared_ptr<const Desc> with;  ///< the second operand of a binary one; null: elementwise
};

/// What a computation does besides its product.
struct Attributes {
  std::vector<PostOp> post_ops;
  std::vector<std::pair<int, int>> scales;       ///< argument and mask
  std::vector<std::pair<int, int>> zero_points;  ///< argument and mask
};

/// A computation as the library would do it.
class PrimitiveDesc {
 public:
  PrimitiveDesc() : handle_(nullptr, nullptr) {}
  /// `create` is called with the engine and the attributes and makes the descriptor; empty with `why` when it refuses.
  using Create = std::function<int(const Api&, PrimitiveDescHandle**, EngineHandle*, const AttrHandle*)>;
  static PrimitiveDesc make(const Attributes& attributes, const Create& create, std::string& why);

  const PrimitiveDescHandle* get() const noexcept { return handle_.get(); }
  explicit operator bool() const noexcept { return handle_ != nullptr; }
  /// The implementation's name: "brgconv:avx512_core".
  std::string implementation() const;
  /// Whether that is one of the library's slow ones, which are there for completeness.
  bool slow() const;
  /// Borrowed descriptor of an argument.
  const DescHandle* argument(int argument) const;
  size_t scratch_bytes() const;

 private:
  explicit PrimitiveDesc(PrimitiveDescHandle* owned);
  Owned<PrimitiveDescHandle> handle_;
};

/// A compiled computation. Thread-safe. One caller at a time runs without allocating here (the library itself allocates
/// a little in every run); more at once make what they need for themselves anew.
class Call {
 public:
  /// `arguments` are the ids in the order in which run() takes their addresses; kScratchpad is not among them. Those
  /// that `desc` does not describe by itself (scales, zero points) have theirs in `described`.
  static std::unique_ptr<Call> make(const PrimitiveDesc& desc, std::vector<int> arguments,
                                    std::vector<std::pair<int, Desc>> described, std::string& why);
  Call();  ///< an empty one; use make()
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  void run(const void* const* addresses, void* scratch) const;
  size_t scratch_bytes() const noexcept { return scratch_bytes_; }

 private:
  struct Slot;
  std::unique_ptr<Slot> make_slot() const;
  void run_slot(Slot& slot, const void* const* addresses, void* scratch) const;

  Owned<PrimitiveHandle> primitive_;
  std::vector<int> arguments_;  // scratch memory last, where there is any
  std::vector<Desc> descs_;
  size_t scratch_bytes_ = 0;
  std::unique_ptr<Slot> slot_;
};

/// Copies `from` (laid out as `from_desc`) to `to`: how weights get into the library's layout. False when the library
/// has no such copy.
bool reorder(const Desc& from_desc, const void* from, const DescHandle* to_desc, void* to);

}  // namespace tenon::cpu::onednn
