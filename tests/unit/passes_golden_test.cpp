// src/passes/NAME.golden: for the pass or cleanup step NAME, blocks of a graph and what becomes of it.
//
//   # why, for people
//   graph main (...) => (...) { ... }
//   --- becomes            or: --- stays
//   graph main (...) ...   what is printed, types off
//   === the title of the next block
//
// The manager runs the pass alone (with all cleanup; a cleanup step: alone). Each block is also held against the
// interpreter, run twice, verified, printed and read back. TENON_UPDATE_GOLDEN=1 writes the files anew, for review.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "base/file.hpp"
#include "graph/interpret.hpp"
#include "graph/text.hpp"
#include "graph_testing.hpp"
#include "ops/op_table.hpp"
#include "passes/pass.hpp"

namespace tenon {
namespace {

const std::string kFolder = TENON_SOURCE_DIR "/src/passes";
const std::set<std::string> kCleanup = {"fold_constants", "merge_equal_nodes", "remove_dead_nodes"};

struct Block {
  std::string title, before, after;  // before with its comments
  bool stays = false;
};

std::string trimmed(const std::string& s) {
  size_t begin = s.find_first_not_of(" \n\r\t"), end = s.find_last_not_of(" \n\r\t");
  return begin == std::string::npos ? "" : s.substr(begin, end - begin + 1);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find('\n', at), text.size());
    out.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

std::vector<Block> read_blocks(const std::string& text) {
  std::vector<Block> blocks(1);
  bool after = false;
  for (const std::string& line : lines_of(text)) {
    if (line.starts_with("===")) {
      blocks.emplace_back().title = trimmed(line.substr(3));
      after = false;
    } else if (line.starts_with("---")) {
      std::string word = trimmed(line.substr(3));
      EXPECT_TRUE(word == "becomes" || word == "stays") << line;
      EXPECT_FALSE(after) << "two results in block " << blocks.back().title;
      blocks.back().stays = word == "stays";
      after = true;
    } else {
      (after ? blocks.back().after : blocks.back().before) += line + "\n";
    }
  }
  EXPECT_TRUE(after) << "the last block has no result";
  return blocks;
}

std::string write_blocks(const std::vector<Block>& blocks) {
  std::string out;
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (i > 0) out += "=== " + blocks[i].title + "\n";
    out += trimmed(blocks[i].before) + "\n--- " + (blocks[i].stays ? "stays" : "becomes") + "\n";
    if (!blocks[i].stays) out += trimmed(blocks[i].after) + "\n";
  }
  return out;
}

// The pass and all cleanup; of a cleanup step: that and the removal of dead nodes. "" in place of the pass: without it.
OptimizeOptions only(const std::string& pass, const std::string& golden) {
  bool cleanup_step = kCleanup.contains(golden);
  OptimizeOptions options;
  for (const std::string& name : pass_names()) {
    bool always = cleanup_step ? name == "remove_dead_nodes" && name != golden : kCleanup.contains(name);
    if (name != pass && !always) options.disabled.insert(name);
  }
  return options;
}

std::string shown(const Graph& g) {
  PrintOptions options;
  options.types = false;
  return trimmed(print(g, options));
}

std::string exact(const Graph& g, std::vector<Tensor>& blobs) {
  PrintOptions options;
  options.blobs = &blobs;
  options.node_names = true;
  return print(g, options);
}

void expect_same_values(const Graph& before, const Graph& after, const std::string& where) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    std::vector<Datum> inputs = testing::random_inputs(before, seed);
    std::vector<Datum> want = interpret(before, all_ops(), inputs), got = interpret(after, all_ops(), inputs);
    ASSERT_EQ(want.size(), got.size()) << where;
    for (size_t i = 0; i < want.size(); ++i) {
      // What is rounded to 8 bits may land on the neighbour.
      // Half floats are rounded after each step of what a fused op does in one.
      DType type = want[i].tensor.dtype();
      bool byte = want[i].tensor.dtype() == DType::kUInt8 || want[i].tensor.dtype() == DType::kInt8;
      double limit = byte ? 1.01 / 100 : type == DType::kFloat16 ? 2e-3 : type == DType::kBFloat16 ? 2e-2 : 2e-5;
      EXPECT_LE(testing::distance(want[i].tensor, got[i].tensor), limit) << where << ", output " << i;
    }
  }
}

void expect_round_trip(const Graph& g, const std::string& where) {
  std::vector<Tensor> blobs, again;
  std::string once = exact(g, blobs);
  GraphPtr back = parse_graph(once, &blobs);
  EXPECT_EQ(once, exact(*back, again)) << where;
}

class Golden : public ::testing::TestWithParam<std::string> {};

TEST_P(Golden, Blocks) {
  std::string pass = GetParam(), path = kFolder + "/" + pass + ".golden";
  std::vector<std::string> names = pass_names();
  ASSERT_NE(std::find(names.begin(), names.end(), pass), names.end()) << path << " is named after no pass";
  bool update = std::getenv("TENON_UPDATE_GOLDEN") != nullptr;
  std::vector<Block> blocks = read_blocks(read_text_file(path));
  for (Block& block : blocks) {
    std::string where = pass + ".golden, block '" + block.title + "'";
    GraphPtr before = parse_graph(block.before);
    infer_types(*before, all_ops());
    GraphPtr untouched = before->clone(), after = before->clone();
    optimize(*untouched, all_ops(), only("", pass));
    optimize(*after, all_ops(), only(pass, pass));
    verify(*after, all_ops(), pass);
    if (block.stays) {
      EXPECT_EQ(shown(*untouched), shown(*after)) << where;
    } else {
      EXPECT_NE(shown(*untouched), shown(*after)) << where << ": the pass did nothing";
      if (update) {
        block.after = shown(*after);
      } else {
        EXPECT_EQ(trimmed(block.after), shown(*after)) << where << " (TENON_UPDATE_GOLDEN=1 writes what is made now)";
      }
    }
    expect_same_values(*before, *after, where);
    expect_round_trip(*after, where);
    GraphPtr twice = after->clone();
    optimize(*twice, all_ops(), only(pass, pass));
    EXPECT_EQ(shown(*after), shown(*twice)) << where << ": running twice changes it again";
    // The whole pipeline keeps the values too.
    GraphPtr all = before->clone();
    optimize(*all, all_ops());
    expect_same_values(*before, *all, where + ", whole pipeline");
  }
  if (update) std::ofstream(path) << write_blocks(blocks);
}

INSTANTIATE_TEST_SUITE_P(Passes, Golden, ::testing::ValuesIn(pass_names()),
                         [](const auto& info) { return info.param; });

TEST(GoldenFiles, AreNamedAfterPasses) {
  std::vector<std::string> names = pass_names();
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    if (entry.path().extension() != ".golden") continue;
    EXPECT_NE(std::find(names.begin(), names.end(), entry.path().stem().string()), names.end()) << entry.path();
  }
}

}  // namespace
}  // namespace tenon
