#include "cpu/onednn/primitive.hpp"

#include <algorithm>
#include <atomic>

#include "base/error.hpp"

namespace tenon::cpu::onednn {
namespace {

const Library& loaded() {
  const Library* l = library();
  TENON_CHECK(l != nullptr);
  return *l;
}

const Api& api() { return loaded().api; }

Owned<AttrHandle> attributes_handle(const Attributes& a, std::string& why) {
  Owned<AttrHandle> attr(nullptr, [](AttrHandle* h) { api().primitive_attr_destroy(h); });
  Owned<PostOpsHandle> ops(nullptr, [](PostOpsHandle* h) { api().post_ops_destroy(h); });
  AttrHandle* made = nullptr;
  PostOpsHandle* list = nullptr;
  bool ok = api().primitive_attr_create(&made) == kSuccess;
  attr.reset(made);
  ok = ok && api().post_ops_create(&list) == kSuccess;
  ops.reset(list);
  ok = ok && api().primitive_attr_set_scratchpad_mode(made, kScratchpadUser) == kSuccess;
  for (auto [argument, mask] : a.scales)
    ok = ok && api().primitive_attr_set_scales_mask(made, argument, mask) == kSuccess;
  for (auto [argument, mask] : a.zero_points)
    ok = ok && api().primitive_attr_set_zero_points_mask(made, argument, mask) == kSuccess;
  for (const PostOp& p : a.post_ops) {
    int status = p.with == nullptr ? api().post_ops_append_eltwise(list, p.algorithm, p.alpha, p.beta)
                                   : api().post_ops_append_binary(list, p.algorithm, p.with->get());
    ok = ok && status == kSuccess;
  }
  ok = ok && api().primitive_attr_set_post_ops(made, list) == kSuccess;
  if (!ok) {
    why = "oneDNN does not know one of the attributes";
    attr.reset();
  }
  return attr;
}

}  // namespace

int data_type(DType dtype) noexcept {
  switch (dtype) {
    case DType::kFloat32: return kF32;
    case DType::kFloat16: return kF16;
    case DType::kBFloat16: return kBf16;
    case DType::kInt32: return kS32;
    case DType::kInt8: return kS8;
    case DType::kUInt8: return kU8;
    default: return 0;
  }
}

// --- Desc ---

Desc::Desc(DescHandle* owned) : handle_(owned, [](DescHandle* h) { api().memory_desc_destroy(h); }) {}

Desc Desc::strided(const std::vector<Dim>& dims, DType dtype, const std::vector<Dim>& strides) {
  DescHandle* made = nullptr;
  api().memory_desc_create_with_strides(&made, static_cast<int>(dims.size()), dims.data(), data_type(dtype),
                                        strides.data());
  return Desc(made);
}

Desc Desc::dense(const std::vector<Dim>& dims, DType dtype) {
  std::vector<Dim> strides(dims.size(), 1);
  for (size_t i = dims.size(); i-- > 1;) strides[i - 1] = strides[i] * std::max<Dim>(dims[i], 1);
  return strided(dims, dtype, strides);
}

Desc Desc::any(const std::vector<Dim>& dims, DType dtype) {
  DescHandle* made = nullptr;
  api().memory_desc_create_with_tag(&made, static_cast<int>(dims.size()), dims.data(), data_type(dtype), kTagAny);
  return Desc(made);
}

Desc Desc::copy_of(const DescHandle* other) {
  DescHandle* made = nullptr;
  api().memory_desc_clone(&made, other);
  return Desc(made);
}

size_t Desc::bytes() const { return api().memory_desc_get_size(handle_.get()); }

std::string Desc::layout() const {
  int32_t axes = 0, blocks = 0;
  const Dim *strides = nullptr, *sizes = nullptr, *of = nullptr;
  auto get = [&](int what, void* to) { return api().memory_desc_query(handle_.get(), what, to) == kSuccess; };
  std::string text = fmt::format("{}", bytes());
  if (!get(kQueryAxes, &axes) || !get(kQueryStrides, &strides) || !get(kQueryInnerBlocks, &blocks)) return text;
  for (int i = 0; i < axes; ++i) text += fmt::format(" {}", strides[i]);
  if (blocks == 0 || !get(kQueryInnerSizes, &sizes) || !get(kQueryInnerAxes, &of)) return text;
  for (int i = 0; i < blocks; ++i) text += fmt::format(" {}{}", sizes[i], static_cast<char>('a' + of[i]));
  return text;
}

// --- PrimitiveDesc ---

PrimitiveDesc::PrimitiveDesc(PrimitiveDescHandle* owned)
    : handle_(owned, [](PrimitiveDescHandle* h) { api().primitive_desc_destroy(h); }) {}

PrimitiveDesc PrimitiveDesc::make(const Attributes& attributes, const Create& create, std::string& why) {
  OneThread guard(loaded());  // the number of threads is baked in
  auto attr = attributes_handle(attributes, why);
  if (attr == nullptr) return {};
  PrimitiveDescHandle* made = nullptr;
  int status = create(api(), &made, loaded().engine, attr.get());
  if (status != kSuccess || made == nullptr) {
    why = status == kUnimplemented ? "oneDNN has no implementation for it"
                                   : fmt::format("oneDNN refuses it (status {})", status);
    return {};
  }
  return PrimitiveDesc(made);
}

std::string PrimitiveDesc::implementation() const {
  const char* text = nullptr;
  if (api().primitive_desc_query(get(), kQueryImplInfo, 0, &text) != kSuccess || text == nullptr) return "?";
  return text;
}

bool PrimitiveDesc::slow() const {
  std::string name = implementation();
  return name.starts_with("ref") || name.starts_with("simple") || name.find("gemm:ref") != std::string::npos;
}

const DescHandle* PrimitiveDesc::argument(int argument) const {
  return api().primitive_desc_query_md(get(), kQueryArgument, argument);
}

size_t PrimitiveDesc::scratch_bytes() const {
  const DescHandle* d = api().primitive_desc_query_md(get(), kQueryScratchpad, 0);
  return d == nullptr ? 0 : api().memory_desc_get_size(d);
}

// --- Call ---

// What one running thread needs for itself: memory objects hold addresses.
struct Call::Slot {
  ~Slot() {
    for (ExecArg& a : args) api().memory_destroy(a.memory);
    if (stream != nullptr) api().stream_destroy(stream);
  }
  std::atomic<bool> busy{false};
  StreamHandle* stream = nullptr;
  std::vector<ExecArg> args;
};

Call::Call() : primitive_(nullptr, [](PrimitiveHandle* h) { api().primitive_destroy(h); }) {}
Call::~Call() = default;

std::unique_ptr<Call::Slot> Call::make_slot() const {
  auto slot = std::make_unique<Slot>();
  if (api().stream_create(&slot->stream, loaded().engine, kInOrder) != kSuccess) return nullptr;
  for (size_t i = 0; i < descs_.size(); ++i) {
    MemoryHandle* memory = nullptr;
    if (api().memory_create(&memory, descs_[i].get(), loaded().engine, nullptr) != kSuccess) return nullptr;
    slot->args.push_back({arguments_[i], memory});
  }
  return slot;
}

std::unique_ptr<Call> Call::make(const PrimitiveDesc& desc, std::vector<int> arguments,
                                 std::vector<std::pair<int, Desc>> described, std::string& why) {
  OneThread guard(loaded());
  auto call = std::make_unique<Call>();
  PrimitiveHandle* made = nullptr;
  if (api().primitive_create(&made, desc.get()) != kSuccess) {
    why = "oneDNN cannot compile it";
    return nullptr;
  }
  call->primitive_.reset(made);
  call->arguments_ = std::move(arguments);
  call->scratch_bytes_ = desc.scratch_bytes();
  if (call->scratch_bytes_ > 0) call->arguments_.push_back(kScratchpad);
  for (int argument : call->arguments_) {
    auto own = std::find_if(described.begin(), described.end(), [&](const auto& d) { return d.first == argument; });
    call->descs_.push_back(Desc::copy_of(own != described.end() ? own->second.get() : desc.argument(argument)));
    if (!call->descs_.back()) {
      why = fmt::format("oneDNN does not know its argument {}", argument);
      return nullptr;
    }
  }
  call->slot_ = call->make_slot();
  if (call->slot_ == nullptr) {
    why = "oneDNN cannot describe an operand";
    return nullptr;
  }
  return call;
}

void Call::run_slot(Slot& slot, const void* const* addresses, void* scratch) const {
  OneThread guard(loaded());
  const Api& f = api();
  for (size_t i = 0; i < slot.args.size(); ++i) {
    // The library takes inputs and outputs alike as void*.
    void* at = slot.args[i].arg == kScratchpad ? scratch : const_cast<void*>(addresses[i]);
    f.memory_set_data_handle(slot.args[i].memory, at);
  }
  int status = f.primitive_execute(primitive_.get(), slot.stream, static_cast<int>(slot.args.size()), slot.args.data());
  if (status != kSuccess) fail(Code::kInternal, "oneDNN failed with status {}", status);
}

void Call::run(const void* const* addresses, void* scratch) const {
  struct Release {
    std::atomic<bool>& busy;
    ~Release() { busy.store(false, std::memory_order_release); }
  };
  if (!slot_->busy.exchange(true, std::memory_order_acquire)) {
    Release release{slot_->busy};
    return run_slot(*slot_, addresses, scratch);
  }
  auto own = make_slot();
  expect(own != nullptr, "oneDNN is out of memory");
  run_slot(*own, addresses, scratch);
}

bool reorder(const Desc& from_desc, const void* from, const DescHandle* to_desc, void* to) {
  std::string why;
  PrimitiveDesc desc = PrimitiveDesc::make(
      {},
      [&](const Api& f, PrimitiveDescHandle** made, EngineHandle* engine, const AttrHandle* attr) {
        return f.reorder_primitive_desc_create(made, from_desc.get(), engine, to_desc, engine, attr);
      },
      why);
  if (!desc) return false;
  auto call = Call::make(desc, {kSource, kResult}, {}, why);
  if (call == nullptr) return false;
  std::vector<std::byte> scratch(desc.scratch_bytes() + 64);
  auto at = reinterpret_cast<uintptr_t>(scratch.data());
  const void* addresses[] = {from, to};
  call->run(addresses, scratch.data() + (64 - at % 64));
  return true;
}

}  // namespace tenon::cpu::onednn
