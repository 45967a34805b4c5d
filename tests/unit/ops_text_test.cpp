// Regular expressions and the ops on strings, where the official tests are thin.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "graph/interpret.hpp"
#include "ops/op_table.hpp"
#include "ops/regex.hpp"

namespace tenon {
namespace {

bool match(std::string_view pattern, std::string_view text) { return Regex(pattern).full_match(text); }

TEST(Regex, MatchesTheWholeTextOnly) {
  EXPECT_TRUE(match("abc", "abc"));
  EXPECT_FALSE(match("abc", "abcd"));
  EXPECT_FALSE(match("bc", "abc"));
  EXPECT_TRUE(match("", ""));
  EXPECT_FALSE(match("", "a"));
  EXPECT_TRUE(match("a|bc|", ""));
  EXPECT_TRUE(match("^(?:a|ab)(?:c|bcd)$", "abcd"));
}

TEST(Regex, Repetition) {
  EXPECT_TRUE(match("a{2,3}", "aa"));
  EXPECT_TRUE(match("a{2,3}", "aaa"));
  EXPECT_FALSE(match("a{2,3}", "aaaa"));
  EXPECT_TRUE(match("a{2,}b", "aaaaab"));
  EXPECT_TRUE(match("(ab){3}", "ababab"));
  EXPECT_FALSE(match("(ab){3}", "abab"));
  EXPECT_TRUE(match("(a|b){2}c*?", "ba"));
  EXPECT_TRUE(match("a{x}", "a{x}"));
  EXPECT_TRUE(match("(a*)*", "aaa"));
  EXPECT_TRUE(match("(a{2}){2}b", "aaaab"));
}

TEST(Regex, Classes) {
  EXPECT_TRUE(match("[a-c\\d_-]+", "b7_-a"));
  EXPECT_FALSE(match("[^a-c]", "b"));
  EXPECT_TRUE(match("[^a-c]", "\xC3\xA9"));  // one code point
  EXPECT_TRUE(match(".", "\xE2\x82\xAC"));
  EXPECT_FALSE(match(".", "\n"));
  EXPECT_TRUE(match("(?s).", "\n"));
  EXPECT_TRUE(match("[[:alpha:]]+[[:^digit:]]", "abc!"));
  EXPECT_TRUE(match("[]a]+", "]a"));
  EXPECT_TRUE(match("\\w+@\\w+\\.(?:com|org)", "a_1@b.org"));
  EXPECT_TRUE(match("\\x41\\x{20AC}", "A\xE2\x82\xAC"));
}

TEST(Regex, FlagsAndAnchors) {
  EXPECT_TRUE(match("(?i)straSSe", "STRASSE"));
  EXPECT_TRUE(match("a(?i:b)c", "aBc"));
  EXPECT_FALSE(match("a(?i:b)c", "aBC"));
  EXPECT_TRUE(match("(?P<first>a)b", "ab"));
  EXPECT_TRUE(match("foo\\b.*", "foo bar"));
  EXPECT_FALSE(match("foo\\b.*", "foobar"));
}

TEST(Regex, HostilePatternsAreFastOrRefused) {
  EXPECT_FALSE(match("(a+)+b", std::string(5000, 'a')));
  EXPECT_FALSE(match("(a?){50}a{50}b", std::string(60, 'a')));
  for (const char* bad : {"(", ")", "a**", "*a", "[a", "a{3,2}", "a{1001}", "(?=a)", "\\1", "\\", "[b-a]", "(?P<x",
                          "\\x{110000}", "((((a{1000}){1000}){1000}){1000})"}) {
    EXPECT_THROW(Regex{bad}, Error) << bad;
  }
  EXPECT_THROW(Regex{std::string(100000, '(')}, Error);
}

Tensor texts(std::vector<std::string> values, Dims dims) {
  return Tensor::of<std::string>(std::move(dims), std::span<const std::string>(values));
}

std::vector<Datum> run(const std::string& op, Attrs attrs, std::vector<Tensor> inputs, size_t outputs = 1) {
  Graph g;
  std::vector<ValueId> in;
  std::vector<Datum> data;
  for (size_t i = 0; i < inputs.size(); ++i) {
    in.push_back(g.add_input(fmt::format("x{}", i), Type::tensor(inputs[i])));
    data.emplace_back(inputs[i]);
  }
  NodeId n = g.add_node(op, in, std::vector<std::string>(outputs, ""), std::move(attrs));
  g.outputs = g.node(n).outputs;
  infer_types(g, all_ops());
  return interpret(g, all_ops(), data);
}

std::vector<std::string> strings(const Datum& d) {
  auto v = d.tensor.values<std::string>();
  return {v.begin(), v.end()};
}

TEST(Strings, NormalizerKnowsLettersBeyondAscii) {
  Attrs a;
  a.set("case_change_action", std::string("UPPER"));
  a.set("stopwords", Strings{"\xC3\x84pfel"});
  auto out = run("StringNormalizer", a, {texts({"\xC3\xA4PFEL", "stra\xC3\x9F\x65", "\xCE\xB1\xCE\xB2"}, {3})});
  EXPECT_THAT(strings(out[0]), testing::ElementsAre("STRA\xC3\x9F\x45", "\xCE\x91\xCE\x92"));
}

TEST(Strings, SplitKeepsTheRest) {
  Attrs a;
  a.set("maxsplit", int64_t{1});
  auto out = run("StringSplit", a, {texts({"  a  b c ", "", "x"}, {3})}, 2);
  EXPECT_EQ(out[0].tensor.dims(), Dims({3, 2}));
  EXPECT_THAT(strings(out[0]), testing::ElementsAre("a", "b c", "", "", "x", ""));
  EXPECT_EQ(out[1].tensor.to_ints(), (std::vector<int64_t>{2, 0, 1}));
}

TEST(Strings, ConcatRefusesWhatDoesNotBroadcast) {
  EXPECT_THROW(run("StringConcat", {}, {texts({"a", "b"}, {2}), texts({"a", "b", "c"}, {3})}), Error);
}

}  // namespace
}  // namespace tenon
