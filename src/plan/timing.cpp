#include "plan/timing.hpp"

#include <chrono>
#include <cstring>

#include "base/error.hpp"
#include "base/file.hpp"
#include "cpu/isa.hpp"
#include "graph/text.hpp"
#include "plan/select.hpp"

namespace tenon {
namespace {

constexpr std::string_view kHeader = "tenon timing cache 1\n";

// Weights packed for a measurement are thrown away after it.
class ScratchWeights final : public WeightStore {
 public:
  const std::byte* pack(const Tensor&, std::string_view, int64_t bytes,
                        const std::function<void(std::byte*)>& fill) override {
    kept_.push_back(Tensor::uninitialized(DType::kUInt8, {bytes}));
    fill(kept_.back().mutable_raw());
    return kept_.back().raw();
  }

 private:
  std::vector<Tensor> kept_;
};

void fill(std::byte* data, DType dtype, int64_t count) {
  if (dtype == DType::kFloat32) {
    auto* f = reinterpret_cast<float*>(data);
    for (int64_t i = 0; i < count; ++i) f[i] = static_cast<float>((i * 37) % 101) * 0.02f - 1.0f;
  } else {
    std::memset(data, 0, static_cast<size_t>(byte_size(dtype, count)));
  }
}

}  // namespace

std::byte* TacticTimer::buffer(size_t index, int64_t bytes) {
  if (buffers_.size() <= index) buffers_.resize(index + 1);
  Tensor& t = buffers_[index];
  if (!t.defined() || t.bytes() < bytes) t = Tensor::uninitialized(DType::kUInt8, {bytes});
  return t.mutable_raw();
}

double TacticTimer::seconds(const Tactic& tactic, const Problem& problem, int repetitions) {
  ScratchWeights weights;
  auto kernel = tactic.prepare(problem, weights);
  std::vector<const void*> in;
  std::vector<void*> out;
  size_t next = 0;
  for (const Operand& o : problem.in) {
    if (!o.present() || o.constant != nullptr) {
      in.push_back(o.present() ? o.constant->raw() : nullptr);
      continue;
    }
    std::byte* data = buffer(next++, byte_size(o.dtype, o.size()) + 64);
    fill(data, o.dtype, o.size());
    in.push_back(data);
  }
  for (const Operand& o : problem.out)
    out.push_back(o.present() ? buffer(next++, byte_size(o.dtype, o.size()) + 64) : nullptr);
  std::byte* workspace = buffer(next++, kernel->workspace() + 64);
  RunArgs args{in.data(), out.data(), workspace, pool_};
  double best = 1e30, spent = 0;
  for (int i = 0; i <= repetitions; ++i) {
    auto begin = std::chrono::steady_clock::now();
    kernel->run(args);
    double t = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    spent += t;
    if (i > 0 || t > 0.05) best = std::min(best, t);  // the first run warms up
    if (spent > 0.1 && i > 0) break;
  }
  return best;
}

std::string problem_key(const Node& node, const Problem& problem) {
  std::string key = node.op;
  auto describe = [&](const Operand& o) {
    if (!o.present()) {
      key += " -";
      return;
    }
    key += fmt::format(" {}:{}{}{}", name(o.dtype), dims_text(o.dims), o.format == Format::kChannelsLast ? "/cl" : "",
                       o.constant != nullptr ? "/const" : "");
  };
  for (const Operand& o : problem.in) describe(o);
  key += " ->";
  for (const Operand& o : problem.out) describe(o);
  for (const auto& [attr_name, attr] : node.attrs.items()) {
    key += " " + attr_name + "=";
    struct Print {
      std::string operator()(int64_t v) { return std::to_string(v); }
      std::string operator()(double v) { return fmt::format("{}", v); }
      std::string operator()(const std::string& v) { return v; }
      std::string operator()(const Tensor& t) { return dims_text(t.dims()); }
      std::string operator()(const Ints& v) { return dims_text(v); }
      std::string operator()(const Floats& v) { return std::to_string(v.size()); }
      std::string operator()(const Strings& v) { return std::to_string(v.size()); }
      std::string operator()(const GraphPtr& v) {
        PrintOptions options;
        options.types = false;
        std::string text = print(*v, options);
        for (char& c : text) {
          if (c == '\n') c = ' ';
        }
        return text;
      }
    };
    key += std::visit(Print{}, attr);
  }
  return key + fmt::format(" @{} t{}", cpu::isa_name(), problem.threads);
}

// --- the cache file ------------------------------------------------------------------------------------------------

std::optional<double> TimingCache::find(const std::string& key) const {
  auto at = entries_.find(key);
  return at == entries_.end() ? std::nullopt : std::optional(at->second);
}

void TimingCache::put(const std::string& key, double seconds) {
  entries_[key] = seconds;
  changed_ = true;
}

void TimingCache::parse(std::string_view text, const std::string& label) {
  expect(text.starts_with(kHeader), "'{}' is not a timing cache of this version; delete it to start a new one", label);
  text.remove_prefix(kHeader.size());
  while (!text.empty()) {
    size_t end = text.find('\n');
    expect(end != std::string_view::npos, "timing cache '{}' is cut off; delete it to start a new one", label);
    std::string_view line = text.substr(0, end);
    size_t tab = line.find('\t');
    double seconds = 0;
    bool ok = tab != std::string_view::npos;
    if (ok) {
      try {
        seconds = std::stod(std::string(line.substr(0, tab)));
      } catch (const std::exception&) {
        ok = false;
      }
    }
    expect(ok && seconds > 0 && seconds < 1e6, "timing cache '{}' is damaged; delete it to start a new one", label);
    entries_.emplace(std::string(line.substr(tab + 1)), seconds);
    text.remove_prefix(end + 1);
  }
}

std::string TimingCache::text() const {
  std::string out(kHeader);
  // In full: a second build must compare the very numbers that the first one compared.
  for (const auto& [key, seconds] : entries_) out += fmt::format("{}\t{}\n", seconds, key);
  return out;
}

void TimingCache::load(const std::string& path) {
  try {
    parse(read_text_file(path), path);
  } catch (const Error& e) {
    if (e.code() != Code::kNotFound) throw;
  }
}

void TimingCache::save(const std::string& path) const {
  TimingCache merged = *this;
  try {
    merged.load(path);
  } catch (const Error&) {
    // A damaged old cache is replaced.
  }
  AtomicFile file(path);
  file.write(merged.text());
  file.commit();
}

}  // namespace tenon
