// Any bytes as a plan file: either a plan, or an Error. Most damage is caught by the checksums, so the mutator also
// makes files whose checksums are right: what is behind them must hold too.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "graph/text.hpp"
#include "plan/plan.hpp"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

// The layout of src/plan/serialize.cpp: where its numbers are.
constexpr size_t kFileBytes = 16, kTextBytes = 24, kBlobCount = 32, kTextHash = 40, kTableHash = 48, kHeaderHash = 56;
constexpr size_t kHeader = 64, kEntry = 24;

uint64_t get(const uint8_t* data, size_t at) {
  uint64_t value;
  std::memcpy(&value, data + at, sizeof(value));
  return value;
}

void put(uint8_t* data, size_t at, uint64_t value) { std::memcpy(data + at, &value, sizeof(value)); }

uint64_t hash(const uint8_t* data, size_t size) { return tenon::hash_bytes(std::as_bytes(std::span(data, size))); }

// Writes the right checksums over whatever sizes the file claims, as far as they lie inside it.
void seal(uint8_t* data, size_t size) {
  if (size < kHeader) return;
  put(data, kFileBytes, size);
  uint64_t text = get(data, kTextBytes), blobs = get(data, kBlobCount);
  if (text <= size - kHeader) {
    put(data, kTextHash, hash(data + kHeader, text));
    size_t table = kHeader + text;
    if (blobs <= (size - table) / kEntry) {
      for (size_t entry = table; entry < table + blobs * kEntry; entry += kEntry) {
        uint64_t offset = get(data, entry), bytes = get(data, entry + 8);
        if (offset <= size && bytes <= size - offset) put(data, entry + 16, hash(data + offset, bytes));
      }
      put(data, kTableHash, hash(data + table, blobs * kEntry));
    }
  }
  put(data, kHeaderHash, hash(data, kHeaderHash));
}

// A small valid plan to begin with.
std::string valid_plan() {
  tenon::Plan plan;
  plan.graph = tenon::parse_graph(
      "graph main (float32[N,4] x, float32[4,20] w = random(1)) => (y) { t = MatMul(x, w) y = Relu(t) }");
  tenon::Specialization special;
  special.input_dims = {{2, 4}};
  special.graph =
      tenon::parse_graph("graph main (float32[2,4] x, float32[4,20] w = random(1)) => (y) { y = MatMul(x, w) }");
  special.choices.resize(1);
  plan.specializations.push_back(special);
  plan.profile["x"] = {{1, 4}, {2, 4}, {8, 4}};
  plan.info["isa"] = "none";
  std::string path = "/tmp/tenon-fuzz-plan-" + std::to_string(getpid());
  tenon::save_plan(plan, path);
  std::string bytes = tenon::read_text_file(path);
  unlink(path.c_str());
  return bytes;
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  static const std::string plan = valid_plan();
  if (size < kHeader && plan.size() <= max_size) {
    std::memcpy(data, plan.data(), plan.size());
    return plan.size();
  }
  size = LLVMFuzzerMutate(data, size, max_size);
  if (seed % 8 != 0) {
    if (size >= kHeader) std::memcpy(data, plan.data(), 16);  // magic, version, byte order
    seal(data, size);
  }
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    // Aligned as a mapped file would be, and of the exact size, so that a read beyond its end is seen.
    auto owner = std::make_shared<std::vector<std::byte>>(size);
    if (size != 0) std::memcpy(owner->data(), data, size);
    std::span<const std::byte> bytes(*owner);
    tenon::load_plan(bytes, owner, "fuzz");
  } catch (const tenon::Error& error) {
    if (error.code() == tenon::Code::kInternal) throw;
  }
  return 0;
}
