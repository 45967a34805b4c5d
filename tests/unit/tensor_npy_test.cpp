// .npy, .npz and raw files: what is written reads back the same, what numpy writes is understood, and no byte sequence
// does worse than a typed error.
#include "tensor/npy.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>

namespace tenon {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

class NpyTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "tenon-npy-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string file(const std::string& name) const { return (folder_ / name).string(); }

  static std::string bytes_of(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static void put(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

  fs::path folder_;
};

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

/// An .npy image with this header and these data.
std::string image(const std::string& header, const std::string& data, int version = 1) {
  std::string out = "\x93NUMPY" + std::string(1, static_cast<char>(version)) + std::string(1, '\0');
  out += static_cast<char>(header.size() & 255);
  out += static_cast<char>((header.size() >> 8) & 255);
  if (version > 1) out += std::string(2, '\0');
  return out + header + data;
}
std::string header(const std::string& descr, const std::string& shape, bool fortran = false) {
  return "{'descr': '" + descr + "', 'fortran_order': " + (fortran ? "True" : "False") + ", 'shape': " + shape +
         ", }\n";
}
Tensor parse(const std::string& bytes, const NpyLimits& limits = {}) {
  return parse_npy(std::as_bytes(std::span(bytes)), "array x", limits);
}
std::string parse_error(const std::string& bytes, const NpyLimits& limits = {}) {
  return message_of([&] { parse(bytes, limits); });
}

Tensor counted(DType dtype, Dims dims) {
  Tensor t = Tensor::allocate(dtype, std::move(dims));
  for (int64_t i = 0; i < t.size(); ++i) t.set(i, static_cast<double>(i % 2 == 0 ? i % 7 : 1));
  return t;
}

TEST_F(NpyTest, NumericTypesComeBackTheSame) {
  for (DType dtype : {DType::kFloat16, DType::kFloat32, DType::kFloat64, DType::kInt8, DType::kInt16, DType::kInt32,
                      DType::kInt64, DType::kUInt8, DType::kUInt16, DType::kUInt32, DType::kUInt64, DType::kBool}) {
    for (const Dims& dims : {Dims{}, Dims{1}, Dims{0, 3}, Dims{2, 3, 5}}) {
      Tensor t = counted(dtype, dims);
      write_npy(file("a.npy"), t);
      EXPECT_TRUE(identical(read_npy(file("a.npy")), t)) << name(dtype) << " " << dims_text(dims);
    }
  }
}

TEST_F(NpyTest, TypesWithoutANumpyNameTravelAsIntegers) {
  for (DType dtype : {DType::kBFloat16, DType::kFloat8E4M3FN, DType::kFloat8E5M2, DType::kFloat8E8M0, DType::kInt4,
                      DType::kUInt4, DType::kFloat4E2M1, DType::kInt2, DType::kUInt2}) {
    Tensor t = Tensor::allocate(dtype, {3, 3});
    for (int64_t i = 0; i < 9; ++i) t.set(i, is_floating(dtype) || bits(dtype) > 2 ? static_cast<double>(i % 3) : 1);
    write_npy(file("a.npy"), t);
    Tensor back = read_npy(file("a.npy"));
    EXPECT_EQ(bits(back.dtype()), dtype == DType::kBFloat16 ? 16 : 8);
    EXPECT_TRUE(identical(npy_view_as(back, dtype), t)) << name(dtype);
  }
  Tensor wide = Tensor::of<int8_t>({2}, std::vector<int8_t>{3, 9});
  EXPECT_THAT(message_of([&] { npy_view_as(wide, DType::kInt4); }),
              HasSubstr("value 9 at index 1 does not fit into int4"));
  EXPECT_THAT(message_of([&] { npy_view_as(wide, DType::kFloat32); }),
              HasSubstr("int8 was given where the model takes float32"));
}

TEST_F(NpyTest, StringsAsTextAndAsBytes) {
  std::vector<std::string> text = {"", "abc", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "b"};
  Tensor t = Tensor::of<std::string>({2, 2}, text);
  write_npy(file("a.npy"), t);
  EXPECT_THAT(bytes_of(file("a.npy")), HasSubstr("'<U3'"));
  EXPECT_TRUE(identical(read_npy(file("a.npy")), t));

  std::vector<std::string> bytes = {"\xff\xfe", "ab"};
  write_npy(file("b.npy"), Tensor::of<std::string>({2}, bytes));
  EXPECT_THAT(bytes_of(file("b.npy")), HasSubstr("'|S2'"));
  EXPECT_EQ(read_npy(file("b.npy")).data<std::string>()[0], "\xff\xfe");

  Tensor big = parse(image(header(">U2", "(1,)"), std::string("\0\0\0h\0\0\0\xe9", 8)));
  EXPECT_EQ(big.data<std::string>()[0], "h\xc3\xa9");
  EXPECT_EQ(parse(image(header("<U0", "(2,)"), "")).data<std::string>()[1], "");
}

TEST_F(NpyTest, ByteOrderFortranOrderAndVersions) {
  Tensor big = parse(image(header(">i2", "(2,)"), std::string("\x01\x02\xff\xfe", 4)));
  EXPECT_EQ(big.int_at(0), 0x102);
  EXPECT_EQ(big.int_at(1), -2);
  Tensor f = parse(image(header("|u1", "(2, 3)", true), std::string("\1\4\2\5\3\6", 6), 2));
  EXPECT_EQ(f.to_ints(), (std::vector<int64_t>{1, 2, 3, 4, 5, 6}));
  Tensor flag = parse(image(header("|b1", "(3,)"), std::string("\0\1\7", 3)));
  EXPECT_EQ(flag.to_ints(), (std::vector<int64_t>{0, 1, 1}));
  Tensor loose = parse(image("{ 'shape':(2,),'fortran_order':False,\"descr\":\"u1\"}", "\5\6", 3));
  EXPECT_EQ(loose.to_ints(), (std::vector<int64_t>{5, 6}));
  Tensor c = parse(image(header(">c8", "()"), std::string("\x3f\x80\0\0\x40\0\0\0", 8)));
  EXPECT_EQ(std::memcmp(c.raw(), "\0\0\x80\x3f\0\0\0\x40", 8), 0);
}

TEST_F(NpyTest, BadHeadersAreNamed) {
  EXPECT_THAT(parse_error(""), HasSubstr("array x is not an .npy array"));
  EXPECT_THAT(parse_error("PK\3\4 and so on, not numpy"), HasSubstr("does not begin with"));
  EXPECT_THAT(parse_error(image(header("<f4", "(1,)"), "1234", 9)), HasSubstr("version 9"));
  EXPECT_THAT(parse_error(image(header("<f4", "(2,)"), "1234")), HasSubstr("2 elements of 4 bytes, but holds 4"));
  EXPECT_THAT(parse_error(image(header("<f4", "(1,)"), "12345678")), HasSubstr("but holds 8"));
  EXPECT_THAT(parse_error(image(header("<f4", "(-1,)"), "")), HasSubstr("non-negative number"));
  EXPECT_THAT(parse_error(image(header("<f4", "(99999999999999999999,)"), "")), HasSubstr("too large"));
  EXPECT_THAT(parse_error(image(header("<f4", "(4294967296, 4294967296)"), "")),
              HasSubstr("more elements than 64 bits"));
  EXPECT_THAT(parse_error(image(header("<f8", "(2305843009213693952,)"), "")), HasSubstr("but holds 0"));
  EXPECT_THAT(parse_error(image(header("|O", "(1,)"), "12345678")), HasSubstr("Python objects"));
  EXPECT_THAT(parse_error(image(header("|V2", "(1,)"), "12")), HasSubstr(".view(uint16)"));
  EXPECT_THAT(parse_error(image("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "1234")),
              HasSubstr("records"));
  EXPECT_THAT(parse_error(image(header("<M8[ns]", "(1,)"), "12345678")), HasSubstr("no counterpart"));
  EXPECT_THAT(parse_error(image(header("<f3", "(1,)"), "123")), HasSubstr("'f3'"));
  EXPECT_THAT(parse_error(image(header("<f4", "(1,)") + "x", "1234")), HasSubstr("goes on after its end"));
  EXPECT_THAT(parse_error(image("{'descr': '<f4', 'shape': (1,)}", "1234")), HasSubstr("lacks"));
  EXPECT_THAT(parse_error(image("{'descr': '<f4', 'descr': '<f4'}", "1234")), HasSubstr("unknown or repeated"));
  std::string ranks = "(";
  for (int i = 0; i < 65; ++i) ranks += "1, ";
  EXPECT_THAT(parse_error(image(header("<f4", ranks + ")"), "1234")), HasSubstr("64 dimensions"));
  std::string huge = image(header("<f4", "(1,)"), "1234", 2);
  huge[10] = '\x7f';  // a header of 2 GiB
  huge[11] = '\x7f';
  EXPECT_THAT(parse_error(huge), HasSubstr("are allowed"));
}

TEST_F(NpyTest, MemoryIsBoundedBeforeItIsTaken) {
  NpyLimits small{.array_bytes = 100};
  EXPECT_THAT(parse_error(image(header("<f4", "(26,)"), std::string(104, 'x')), small),
              HasSubstr("more than the limit of 100"));
  EXPECT_EQ(parse(image(header("<f4", "(25,)"), std::string(100, 'x')), small).size(), 25);
  // Strings of no length: no bytes in the file, 32 in memory for each of 10^12.
  EXPECT_THAT(parse_error(image(header("<U0", "(1000000000000,)"), "")), HasSubstr("more than the limit"));
}

TEST_F(NpyTest, AnyTruncationOrFlipOfAnImageIsAnErrorOrAnArray) {
  write_npy(file("a.npy"), counted(DType::kFloat32, {2, 3}));
  std::string good = bytes_of(file("a.npy"));
  for (size_t n = 0; n < good.size(); ++n) EXPECT_NE(parse_error(good.substr(0, n)), "no error") << n;
  for (size_t i = 0; i < good.size() * 8; ++i) {
    std::string bad = good;
    bad[i / 8] = static_cast<char>(bad[i / 8] ^ (1 << (i % 8)));
    try {
      EXPECT_LE(parse(bad).bytes(), 64);
    } catch (const Error&) {
    }
  }
}

NamedTensors sample() {
  return {{"x", counted(DType::kFloat32, {2, 3})},
          {"a/b:0", counted(DType::kInt64, {4})},
          {"words", Tensor::of<std::string>({1}, std::vector<std::string>{"hi"})}};
}

TEST_F(NpyTest, ArchivesComeBackInOrder) {
  for (bool deflate : {false, true}) {
    write_npz(file("a.npz"), sample(), deflate);
    NamedTensors back = read_npz(file("a.npz"));
    ASSERT_EQ(back.size(), 3u);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(back[i].first, sample()[i].first);
      EXPECT_TRUE(identical(back[i].second, sample()[i].second));
    }
    std::string first = bytes_of(file("a.npz"));
    write_npz(file("a.npz"), sample(), deflate);
    EXPECT_EQ(bytes_of(file("a.npz")), first) << "the same tensors give the same bytes";
  }
  write_npz(file("empty.npz"), {});
  EXPECT_TRUE(read_npz(file("empty.npz")).empty());
}

TEST_F(NpyTest, ArchivesAreRefusedByWhatTheyDeclare) {
  // 64 MB of zeros deflate to 65 kB: refused by the declared size.
  write_npz(file("bomb.npz"), {{"zeros", Tensor::allocate(DType::kUInt8, {64 << 20})}}, true);
  EXPECT_LT(fs::file_size(file("bomb.npz")), 100000u);
  EXPECT_THAT(message_of([&] { read_npz(file("bomb.npz"), {.array_bytes = 1 << 20}); }),
              HasSubstr("more than the limit"));
  EXPECT_THAT(message_of([&] { read_npz(file("bomb.npz"), {.total_bytes = 1 << 20}); }),
              HasSubstr("more than the limit"));
  // A directory that claims more than deflate could have packed.
  std::string lie = bytes_of(file("bomb.npz"));
  size_t directory = lie.rfind("PK\1\2");
  lie.replace(directory + 24, 4, std::string("\0\0\0\x20", 4));  // 512 MB
  put(file("lie.npz"), lie);
  EXPECT_THAT(message_of([&] { read_npz(file("lie.npz")); }), HasSubstr("which cannot be"));
  write_npz(file("two.npz"), sample());
  EXPECT_THAT(message_of([&] { read_npz(file("two.npz"), {.entries = 2}); }), HasSubstr("3 entries; 2 are allowed"));
  std::string other = bytes_of(file("two.npz"));
  for (size_t at = 0; (at = other.find("x.npy", at)) != std::string::npos;) other.replace(at, 5, "x.txt");
  put(file("other.npz"), other);
  EXPECT_THAT(message_of([&] { read_npz(file("other.npz")); }), HasSubstr("is not an .npy array"));
  put(file("text.npz"), "hello");
  EXPECT_THAT(message_of([&] { read_npz(file("text.npz")); }), HasSubstr("cannot be opened as an .npz archive"));
  EXPECT_THAT(message_of([&] { read_npz(file("none.npz")); }), HasSubstr("none.npz"));
}

TEST_F(NpyTest, AnyTruncationOrFlipOfAnArchiveIsAnErrorOrArrays) {
  write_npz(file("a.npz"), sample(), true);
  std::string good = bytes_of(file("a.npz"));
  // Every place in the archive's directory at its end, and one in seven before it: each case is a file on disk.
  auto step = [&](size_t n) { return n + 200 < good.size() ? size_t{7} : size_t{1}; };
  for (size_t n = 0; n < good.size(); n += step(n)) {
    put(file("b.npz"), good.substr(0, n));
    EXPECT_NE(message_of([&] { read_npz(file("b.npz")); }), "no error") << n;
  }
  NpyLimits limits{.array_bytes = 1 << 20};
  for (size_t i = 0; i < good.size(); i += step(i)) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ (1 << (i % 8)));
    put(file("b.npz"), bad);
    try {
      EXPECT_LE(read_npz(file("b.npz"), limits).size(), 3u);
    } catch (const Error&) {
    }
  }
}

TEST_F(NpyTest, WritingReplacesWholeFilesOnly) {
  write_npy(file("a.npy"), counted(DType::kFloat32, {4}));
  std::string before = bytes_of(file("a.npy"));
  EXPECT_NE(message_of([&] { write_npy(file("a.npy"), Tensor()); }), "no error");
  EXPECT_EQ(bytes_of(file("a.npy")), before);
  EXPECT_THAT(message_of([&] { write_npy(file("no/such/folder.npy"), counted(DType::kInt8, {1})); }),
              HasSubstr("make the folder first"));
  fs::create_symlink("/dev/full", file("full"));  // a link, so that a mistake replaces the link only
  EXPECT_THAT(message_of([&] { write_npy(file("full"), counted(DType::kInt8, {1})); }), HasSubstr("free some space"));
  EXPECT_TRUE(fs::is_symlink(file("full")));
  fs::create_symlink("a.npy", file("link.npy"));
  write_npy(file("link.npy"), counted(DType::kInt8, {1}));
  EXPECT_TRUE(fs::is_symlink(file("link.npy")));
  EXPECT_EQ(read_npy(file("a.npy")).dtype(), DType::kInt8);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 3) << "no temporary files are left";
}

TEST_F(NpyTest, OnlyRegularFilesAreRead) {
  ASSERT_EQ(mkfifo(file("fifo").c_str(), 0600), 0);
  EXPECT_THAT(message_of([&] { read_npy(file("fifo")); }), HasSubstr("not a regular file"));
  EXPECT_THAT(message_of([&] { read_npz(file("fifo")); }), HasSubstr("not a regular file"));
  EXPECT_THAT(message_of([&] { read_npy("/dev/zero"); }), HasSubstr("not a regular file"));
  EXPECT_THAT(message_of([&] { read_npy(folder_.string()); }), HasSubstr("not a regular file"));
  EXPECT_THAT(message_of([&] { read_npy(file("none.npy")); }), HasSubstr("No such file"));
}

TEST_F(NpyTest, RawDumps) {
  Tensor t = counted(DType::kInt4, {5});
  write_raw(file("a.bin"), t);
  EXPECT_EQ(fs::file_size(file("a.bin")), 3u);
  EXPECT_TRUE(identical(read_raw(file("a.bin"), DType::kInt4, {5}), t));
  EXPECT_THAT(message_of([&] { read_raw(file("a.bin"), DType::kFloat32, {1}); }), HasSubstr("has 3 bytes"));
  EXPECT_THAT(message_of([&] { read_raw(file("a.bin"), DType::kString, {1}); }), HasSubstr("no raw form"));
}

}  // namespace
}  // namespace tenon
