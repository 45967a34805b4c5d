// The plan file: a fixed header, one JSON text, a table of blobs, the blobs (64-byte aligned). Little-endian.
#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/checked.hpp"
#include "base/error.hpp"
#include "base/hash.hpp"
#include "graph/text.hpp"
#include "plan/plan.hpp"

namespace tenon {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kMagic[8] = {'T', 'E', 'N', 'O', 'N', 'P', 'L', 'N'};
constexpr uint32_t kEndianMark = 0x01020304;
constexpr uint64_t kMaxBlobs = 1u << 20;
constexpr int kMaxNesting = 100;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t endian;
  uint64_t file_bytes;
  uint64_t text_bytes;
  uint64_t blob_count;
  uint64_t text_hash;
  uint64_t table_hash;
  uint64_t header_hash;  // of all before it
};
static_assert(sizeof(Header) == 64);

struct BlobEntry {
  uint64_t offset, bytes, hash;
};

// Constants are shared between the graphs of a plan: one blob for each distinct storage.
class BlobWriter {
 public:
  int add(const Tensor& t) {
    auto key = std::make_pair(t.raw(), t.bytes());
    auto [at, fresh] = index_.try_emplace(key, static_cast<int>(blobs_.size()));
    if (fresh) blobs_.push_back(t);
    return at->second;
  }
  const std::vector<Tensor>& blobs() const { return blobs_; }

 private:
  std::map<std::pair<const std::byte*, int64_t>, int> index_;
  std::vector<Tensor> blobs_;
};

// A graph's text numbers its own constants; `blobs` maps those numbers to the file's.
Json graph_json(const Graph& g, BlobWriter& blobs) {
  std::vector<Tensor> local;
  PrintOptions options;
  options.blobs = &local;
  options.node_names = true;
  Json out;
  out["text"] = print(g, options);
  Json list = Json::array();
  for (const Tensor& t : local) list.push_back({blobs.add(t), name(t.dtype()), t.dims()});
  out["constants"] = std::move(list);
  return out;
}

GraphPtr graph_from(const Json& j, const std::vector<Tensor>& blobs) {
  std::vector<Tensor> local;
  for (const Json& c : j.at("constants")) {
    auto index = c.at(0).get<uint64_t>();
    auto dtype = parse_dtype(c.at(1).get<std::string>());
    expect(index < blobs.size() && dtype && *dtype != DType::kString, "a constant of the plan does not exist");
    const Tensor& blob = blobs[index];
    local.push_back(
        Tensor::view(*dtype, c.at(2).get<Dims>(), {blob.raw(), static_cast<size_t>(blob.bytes())}, blob.owner()));
  }
  return parse_graph(j.at("text").get<std::string>(), &local);
}

// [tactic, channels-last in, out], and for control flow the same for each node of each body.
Json choices_json(const std::vector<Choice>& choices) {
  Json out = Json::array();
  for (const Choice& c : choices) {
    Json one = {c.tactic, c.in == Format::kChannelsLast, c.out == Format::kChannelsLast};
    if (!c.bodies.empty()) {
      Json bodies = Json::array();
      for (const auto& body : c.bodies) bodies.push_back(choices_json(body));
      one.push_back(std::move(bodies));
    }
    out.push_back(std::move(one));
  }
  return out;
}

std::vector<Choice> choices_from(const Json& j, int depth) {
  expect(depth < kMaxNesting, "the choices of the plan are nested more than {} deep", kMaxNesting);
  std::vector<Choice> out;
  for (const Json& c : j) {
    Choice choice;
    choice.tactic = c.at(0).get<std::string>();
    choice.in = c.at(1).get<bool>() ? Format::kChannelsLast : Format::kPlain;
    choice.out = c.at(2).get<bool>() ? Format::kChannelsLast : Format::kPlain;
    if (c.size() > 3) {
      for (const Json& body : c.at(3)) choice.bodies.push_back(choices_from(body, depth + 1));
    }
    out.push_back(std::move(choice));
  }
  return out;
}

Json plan_json(const Plan& plan, BlobWriter& blobs) {
  Json j;
  j["info"] = plan.info;
  j["metadata"] = plan.graph->metadata;
  j["graph"] = graph_json(*plan.graph, blobs);
  Json profile = Json::object();
  for (const auto& [input, range] : plan.profile) profile[input] = {range.min, range.opt, range.max};
  j["profile"] = std::move(profile);
  Json specials = Json::array();
  for (const Specialization& s : plan.specializations) {
    specials.push_back(
        {{"dims", s.input_dims}, {"graph", graph_json(*s.graph, blobs)}, {"choices", choices_json(s.choices)}});
  }
  j["specializations"] = std::move(specials);
  Json packed = Json::object();
  for (const auto& [key, blob] : plan.packed) packed[key] = blobs.add(blob);
  j["packed"] = std::move(packed);
  return j;
}

Plan plan_from(const Json& j, const std::vector<Tensor>& blobs) {
  Plan plan;
  plan.info = j.at("info").get<std::map<std::string, std::string>>();
  plan.graph = graph_from(j.at("graph"), blobs);
  plan.graph->metadata = j.at("metadata").get<std::map<std::string, std::string>>();
  for (const auto& [input, range] : j.at("profile").items()) {
    plan.profile[input] = {range.at(0).get<Dims>(), range.at(1).get<Dims>(), range.at(2).get<Dims>()};
  }
  for (const Json& s : j.at("specializations")) {
    Specialization special;
    special.input_dims = s.at("dims").get<std::vector<Dims>>();
    special.graph = graph_from(s.at("graph"), blobs);
    special.choices = choices_from(s.at("choices"), 0);
    expect(static_cast<int>(special.choices.size()) == special.graph->node_count(),
           "a specialization has {} choices for {} nodes", special.choices.size(), special.graph->node_count());
    expect(special.input_dims.size() == plan.graph->inputs.size() &&
               special.graph->inputs.size() == plan.graph->inputs.size(),
           "a specialization has other inputs than the graph");
    plan.specializations.push_back(std::move(special));
  }
  for (const auto& [key, index] : j.at("packed").items()) {
    auto i = index.get<uint64_t>();
    expect(i < blobs.size(), "packed weights '{}' do not exist", key);
    plan.packed.emplace(key, blobs[i]);
  }
  return plan;
}

Header read_header(std::span<const std::byte> bytes, const std::string& label) {
  expect(bytes.size() >= sizeof(Header) && std::memcmp(bytes.data(), kMagic, sizeof(kMagic)) == 0,
         "'{}' is not a Tenon plan", label);
  Header h;
  std::memcpy(&h, bytes.data(), sizeof(h));
  expect(h.endian == kEndianMark, "plan '{}' was written on a machine of the other byte order", label);
  expect(h.version == kPlanVersion, "plan '{}' has format {}, this Tenon reads {}; build it again from the model",
         label, h.version, kPlanVersion);
  expect(h.header_hash == hash_bytes(bytes.first(offsetof(Header, header_hash))), "plan '{}' is damaged (header)",
         label);
  expect(h.file_bytes == bytes.size(), "plan '{}' has {} bytes, its header says {}: it was cut off or extended", label,
         bytes.size(), h.file_bytes);
  expect(h.blob_count <= kMaxBlobs && h.text_bytes <= bytes.size() - sizeof(Header) &&
             h.blob_count * sizeof(BlobEntry) <= bytes.size() - sizeof(Header) - h.text_bytes,
         "plan '{}' is damaged (sizes)", label);
  return h;
}

std::string_view text_of(std::span<const std::byte> bytes, const Header& h, const std::string& label) {
  auto text = bytes.subspan(sizeof(Header), h.text_bytes);
  expect(hash_bytes(text) == h.text_hash, "plan '{}' is damaged (text)", label);
  return {reinterpret_cast<const char*>(text.data()), text.size()};
}

}  // namespace

void save_plan(const Plan& plan, const std::string& path) {
  BlobWriter blobs;
  std::string text = plan_json(plan, blobs).dump();
  std::vector<BlobEntry> table;
  uint64_t at = sizeof(Header) + text.size() + blobs.blobs().size() * sizeof(BlobEntry);
  for (const Tensor& t : blobs.blobs()) {
    at = (at + 63) & ~uint64_t{63};
    table.push_back({at, static_cast<uint64_t>(t.bytes()), hash_bytes({t.raw(), static_cast<size_t>(t.bytes())})});
    at += static_cast<uint64_t>(t.bytes());
  }
  auto table_bytes = std::as_bytes(std::span(table));
  Header h{};
  std::memcpy(h.magic, kMagic, sizeof(kMagic));
  h.version = kPlanVersion;
  h.endian = kEndianMark;
  h.file_bytes = at;
  h.text_bytes = text.size();
  h.blob_count = table.size();
  h.text_hash = hash_text(text);
  h.table_hash = hash_bytes(table_bytes);
  h.header_hash = hash_bytes(std::as_bytes(std::span(&h, 1)).first(offsetof(Header, header_hash)));
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(&h, 1)));
  file.write(text);
  file.write(table_bytes);
  static constexpr std::byte kZeros[64] = {};
  for (size_t i = 0; i < table.size(); ++i) {
    file.write({kZeros, table[i].offset - static_cast<uint64_t>(file.size())});
    file.write({blobs.blobs()[i].raw(), table[i].bytes});
  }
  file.commit();
}

Plan load_plan(std::span<const std::byte> bytes, std::shared_ptr<const void> owner, const std::string& label) {
  if (reinterpret_cast<uintptr_t>(bytes.data()) % 64 != 0 && !bytes.empty()) {
    // Kernels read packed weights with aligned loads; a mapping is aligned, a caller's buffer need not be.
    Tensor copy = Tensor::uninitialized(DType::kUInt8, {static_cast<int64_t>(bytes.size())});
    std::memcpy(copy.mutable_raw(), bytes.data(), bytes.size());
    return load_plan({copy.raw(), bytes.size()}, copy.owner(), label);
  }
  Header h = read_header(bytes, label);
  std::string_view text = text_of(bytes, h, label);
  auto table_bytes = bytes.subspan(sizeof(Header) + h.text_bytes, h.blob_count * sizeof(BlobEntry));
  expect(hash_bytes(table_bytes) == h.table_hash, "plan '{}' is damaged (table)", label);
  uint64_t data_begin = sizeof(Header) + h.text_bytes + table_bytes.size();
  std::vector<Tensor> blobs;
  BlobHashes hashes{{}, owner};
  for (uint64_t i = 0; i < h.blob_count; ++i) {
    BlobEntry e;
    std::memcpy(&e, table_bytes.data() + i * sizeof(e), sizeof(e));
    expect(
        e.offset % 64 == 0 && e.offset >= data_begin && e.offset <= bytes.size() && e.bytes <= bytes.size() - e.offset,
        "plan '{}' is damaged (blob {})", label, i);
    auto data = bytes.subspan(e.offset, e.bytes);
    expect(hash_bytes(data) == e.hash, "plan '{}' is damaged (data of blob {})", label, i);
    hashes.of.emplace(std::make_pair(data.data(), static_cast<int64_t>(e.bytes)), e.hash);
    blobs.push_back(Tensor::view(DType::kUInt8, {static_cast<int64_t>(e.bytes)}, data, owner));
  }
  try {
    Plan plan = plan_from(Json::parse(text), blobs);
    plan.hashes = std::move(hashes);
    return plan;
  } catch (const nlohmann::json::exception& e) {
    fail(Code::kInvalidArgument, "plan '{}' is damaged: {}", label, e.what());
  } catch (Error& e) {
    throw e.note(fmt::format("in plan '{}'", label));
  }
}

Plan load_plan(const std::string& path) {
  auto file = MappedFile::open(path);
  Plan plan = load_plan(file->bytes(), file, path);
  // The checksums read everything; weights whose packed form is used are not read again.
  file->forget();
  return plan;
}

std::string read_plan_info(const std::string& path) {
  auto file = MappedFile::open(path);
  Header h = read_header(file->bytes(), path);
  try {
    Json j = Json::parse(text_of(file->bytes(), h, path));
    Json out;
    for (const char* key : {"info", "metadata", "profile"}) out[key] = j.at(key);
    out["bytes"] = h.file_bytes;
    out["blobs"] = h.blob_count;
    return out.dump(2);
  } catch (const nlohmann::json::exception& e) {
    fail(Code::kInvalidArgument, "plan '{}' is damaged: {}", path, e.what());
  }
}

bool is_plan_file(const std::string& path) {
  auto file = MappedFile::open(path);
  return file->bytes().size() >= sizeof(kMagic) && std::memcmp(file->bytes().data(), kMagic, sizeof(kMagic)) == 0;
}

const std::byte* PlanWeights::pack(const Tensor& constant, std::string_view key, int64_t bytes,
                                   const std::function<void(std::byte*)>& fill) {
  std::lock_guard lock(mutex_);
  // By content, so that the key means the same in every process and two equal constants share one packed form.
  auto known = hashes_.of.find({constant.raw(), constant.bytes()});
  uint64_t hash =
      known != hashes_.of.end() ? known->second : hash_bytes({constant.raw(), static_cast<size_t>(constant.bytes())});
  std::string full = fmt::format("{}:{}:{}", hex(hash), dims_text(constant.dims()), key);
  auto found = packed_.find(full);
  if (found != packed_.end()) {
    expect(found->second.bytes() == bytes, "packed weights '{}' have {} bytes where {} are needed", full,
           found->second.bytes(), bytes);
    return found->second.raw();
  }
  Tensor t = Tensor::allocate(DType::kUInt8, {bytes});
  fill(t.mutable_raw());
  ++fresh_;
  return packed_.emplace(std::move(full), std::move(t)).first->second.raw();
}

std::map<std::string, Tensor, std::less<>> PlanWeights::packed() const {
  std::lock_guard lock(mutex_);
  return packed_;
}

int64_t PlanWeights::fresh() const {
  std::lock_guard lock(mutex_);
  return fresh_;
}

int64_t PlanWeights::bytes() const {
  std::lock_guard lock(mutex_);
  int64_t total = 0;
  for (const auto& [key, t] : packed_) total += t.bytes();
  return total;
}

}  // namespace tenon
