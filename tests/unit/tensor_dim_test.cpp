// Symbolic sizes: minima and maxima absorb what they hold already, and keep one form.
#include "tensor/dim.hpp"

#include <gtest/gtest.h>

namespace tenon {
namespace {

Dim d(const char* text) { return Dim::parse(text); }

TEST(Dim, ExtremaAbsorbRepeats) {
  EXPECT_EQ(Dim::max(d("max(A,B)"), d("A")), d("max(A,B)"));
  EXPECT_EQ(Dim::max(d("B"), d("max(A,B)")), d("max(A,B)"));
  EXPECT_EQ(Dim::max(d("max(A,B)"), d("max(B,C)")), d("max(A,max(B,C))"));
  EXPECT_EQ(Dim::min(d("min(A,B)"), d("min(B,A)")), d("min(A,B)"));
  EXPECT_EQ(Dim::max(d("max(C,A)"), d("B")).text(), Dim::max(d("max(A,B)"), d("C")).text());
  Dim grown = d("A");
  for (int i = 0; i < 50; ++i) grown = Dim::max(Dim::max(grown, d("B")), d("A"));
  EXPECT_EQ(grown, d("max(A,B)"));
}

TEST(Dim, ExtremaDecideByDifferences) {
  EXPECT_EQ(Dim::max(d("max(A,B)"), d("A+2")), d("max(A+2,B)"));
  EXPECT_EQ(Dim::min(d("min(A,B)"), d("A+2")), d("min(A,B)"));
  EXPECT_EQ(Dim::max(d("max(A,3)"), d("5")), d("max(A,5)"));
  auto lookup = [](std::string_view name) -> std::optional<int64_t> { return name == "A" ? 4 : 9; };
  EXPECT_EQ(Dim::max(d("max(A,B)"), d("A+2")).evaluate(lookup), 9);
  EXPECT_EQ(Dim::min(d("min(A+1,B)"), d("A+2")).evaluate(lookup), 5);
  // A minimum within a maximum stays what it is.
  EXPECT_EQ(Dim::max(d("min(A,B)"), d("A")).evaluate(lookup), 4);
}

TEST(Dim, ReadsWhatItPrints) {
  for (const char* text : {"max(A,max(B,C))", "min(A,min(B,2*C+1))", "mul(A,B)", "floor(A/2)", "2*max(A,B)+1"}) {
    EXPECT_EQ(d(d(text).text().c_str()), d(text)) << text;
  }
}

}  // namespace
}  // namespace tenon
