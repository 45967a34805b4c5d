// The ops on strings, where the official tests are thin.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "graph/interpret.hpp"
#include "ops/op_table.hpp"

namespace tenon {
namespace {

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

TEST(Strings, NormalizerLeavesBytesThatAreNoUtf8) {
  Attrs a;
  a.set("case_change_action", std::string("UPPER"));
  EXPECT_THAT(strings(run("StringNormalizer", a, {texts({"a\xFFz"}, {1})})[0]), testing::ElementsAre("A\xFFZ"));
}

std::vector<int64_t> matches(const std::string& pattern, std::vector<std::string> of) {
  Attrs a;
  a.set("pattern", pattern);
  auto size = static_cast<int64_t>(of.size());
  return run("RegexFullMatch", a, {texts(std::move(of), {size})})[0].tensor.to_ints();
}

TEST(Strings, RegexMatchesWholeTexts) {
  EXPECT_THAT(matches("\\w+@\\w+\\.(?:com|org)", {"a_1@b.org", "x a_1@b.org", ""}), testing::ElementsAre(1, 0, 0));
  EXPECT_THAT(matches("[^a-c]", {"\xC3\xA9", "b"}), testing::ElementsAre(1, 0));  // one code point
  EXPECT_THAT(matches("(a+)+b", {std::string(5000, 'a')}), testing::ElementsAre(0));
}

TEST(Strings, RegexThatIsNoneIsRefused) {
  for (const char* bad : {"(", "a**", "(?=a)", "((((a{1000}){1000}){1000}){1000})"})
    EXPECT_THROW(matches(bad, {"a"}), Error);
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
