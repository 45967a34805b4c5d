// operators: prints docs/operators.md, made from the op table, the tactics and the standard's own list; with a file
// named, says whether that file is current (exit code 1 if it is not).
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>

#include "onnx/convert.hpp"
#include "ops/op_table.hpp"
#include "tactic/tactic.hpp"

using namespace tenon;

namespace {

struct Standard {
  const char *domain, *op, *versions;
};

constexpr Standard kStandard[] = {
#define TENON_ONNX_HISTORY(domain, op, versions) {domain, op, versions},
#include "onnx/op_history.def"
#undef TENON_ONNX_HISTORY
};

/// Operators that the importer turns into others, so that the table has no entry of their own.
constexpr Standard kConverted[] = {{"", "Constant", "becomes a constant"},
                                   {"", "Scatter", "becomes ScatterElements"},
                                   {"", "Upsample", "becomes Resize"}};

std::string full_name(const Standard& s) { return *s.domain == '\0' ? s.op : fmt::format("{}.{}", s.domain, s.op); }

std::string tactics_of(const std::string& op) {
  std::string out;
  for (const Tactic& t : cpu_tactics().of(op)) out += fmt::format("{}`{}`", out.empty() ? "" : ", ", t.name);
  return out.empty() ? "reference" : out;
}

// Text for a cell: a bar would end it.
std::string cell(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out;
}

std::string row(const std::string& name, const std::string& versions, const Op& op) {
  return fmt::format("| {} | {} | {} | {} | {} |\n", name, versions, op.reference != nullptr ? "yes" : "body",
                     tactics_of(op.name), cell(op.doc));
}

constexpr const char* kHead =
    "| operator | versions | reference | on the CPU | what it does |\n|---|---|---|---|---|\n";

std::string standard_part(const std::string& domain, std::map<std::string, const Op*>& left, int& there, int& all) {
  std::string out = fmt::format("\n## {}\n\n{}", domain.empty() ? "ai.onnx" : domain, kHead);
  for (const Standard& s : kStandard) {
    if (s.domain != domain) continue;
    ++all;
    auto at = left.find(full_name(s));
    std::string note = "not there";
    for (const Standard& c : kConverted) {
      if (full_name(c) == full_name(s)) note = c.versions;
    }
    there += at != left.end() || note != "not there" ? 1 : 0;
    if (at == left.end()) {
      out += fmt::format("| {} | {} | {} | | |\n", s.op, s.versions, note);
      continue;
    }
    out += row(s.op, s.versions, *at->second);
    left.erase(at);
  }
  return out;
}

std::string page() {
  std::map<std::string, const Op*> left;
  for (const auto& [name, op] : all_ops().all()) left[name] = &op;
  std::string parts;
  int there = 0, all = 0;
  for (const char* domain : {"", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training"})
    parts += standard_part(domain, left, there, all);
  std::string contrib, own;
  // What the importer says in standard operators; a text form of the operator may be there all the same.
  for (const onnx::Conversion& c : onnx::contrib_conversions()) {
    std::string name = c.domain.empty() ? std::string(c.op) : fmt::format("{}.{}", c.domain, c.op);
    left.erase(name);
    contrib += fmt::format("| {} | | becomes standard operators | | |\n", name);
  }
  for (const auto& [name, op] : left) (name.find('.') != std::string::npos ? contrib : own) += row(name, "", *op);
  parts += fmt::format("\n## Of other domains\n\n{}{}", kHead, contrib);
  parts += fmt::format(
      "\n## Tenon's own\n\nWhat passes make of the above, and operators that other runtimes write without a "
      "domain.\n\n{}{}",
      kHead, own);
  return fmt::format(
             "# Operators\n\nMade by `build/release/operators`; the tests fail when it is not current. {} of the {} "
             "operators of "
             "the\nONNX standard are there. A model may be of any opset up to 28: older meanings are converted on "
             "import. "
             "\"Versions\" are\nthe opsets that changed the operator. An operator without a tactic for the CPU runs by "
             "its "
             "reference: right, but\nslow on large tensors.\n",
             there, all) +
         parts;
}

}  // namespace

int main(int argc, char** argv) {
  std::string text = page();
  if (argc < 2) {
    fmt::print("{}", text);
    return 0;
  }
  std::ifstream file(argv[1]);
  std::string now((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (now == text) return 0;
  fmt::print("{} is not current; run: build/release/operators > docs/operators.md\n", argv[1]);
  return 1;
}
