// Where each value's elements are: which values are views of others, in which format, at which strides. Internal to
// plan.
#pragma once

#include <vector>

#include "plan/program.hpp"

namespace tenon {

/// One value's place. A root owns a buffer; a view lies inside its parent's at `offset` (in elements).
struct Place {
  bool in_arena = false;   ///< static and byte-sized: lives in the arena (or an input's or output's buffer)
  ValueId parent = kNone;  ///< kNone: a root
  int64_t offset = 0;      ///< elements from the parent's first element
  Format format = Format::kPlain;
  Ints strides;  ///< elements
};

class Layout {
 public:
  /// `verdicts` by node id slot: what the chosen tactics can do about strides (meaningless for views and references).
  Layout(const Graph& graph, const std::vector<NodeId>& order, const std::vector<Choice>& choices,
         const std::vector<Verdict>& verdicts, const BuildOptions& options);

  const Place& of(ValueId v) const { return places_[static_cast<size_t>(v)]; }
  /// The value that owns the buffer in which `v` lies, and the element offset of `v` in it.
  std::pair<ValueId, int64_t> root(ValueId v) const;
  bool dense(ValueId v) const;
  /// What node `id`'s operand `index` will be: view of the value as stored, or needing a copy to the wanted format.
  bool needs_reorder(NodeId id, size_t index) const;
  Format wanted(NodeId id) const { return choice_[static_cast<size_t>(id)]->in; }
  const Choice& choice(NodeId id) const { return *choice_[static_cast<size_t>(id)]; }
  const Verdict& verdict(NodeId id) const { return *verdict_[static_cast<size_t>(id)]; }

 private:
  void place_roots();
  void place_reshape(const Node& node);
  void place_pieces(const Node& node);  // Split, Slice
  void place_concat(const Node& node);
  void place_in_line();
  bool takes_strides(ValueId v) const;   // every reader can read a slice
  bool writes_strides(ValueId v) const;  // its producer can write a slice
  bool free_root(ValueId v) const;       // a root in the arena that is nobody's output buffer

  const Graph& graph_;
  const std::vector<NodeId>& order_;
  const BuildOptions& options_;
  std::vector<const Choice*> choice_;
  std::vector<const Verdict*> verdict_;
  std::vector<Place> places_;
};

/// Begin and end along each axis of a Slice with constant unit steps; nothing when it is another kind of slice.
std::optional<Ints> slice_begins(const Graph& graph, const Node& node);
/// Element offset of output `index` of a Split along its axis.
int64_t split_begin(const Graph& graph, const Node& node, size_t index);
int64_t axis_of(const Graph& graph, const Node& node, int64_t otherwise);

}  // namespace tenon
