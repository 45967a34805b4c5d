// Tensors of every type, sparse tensors, external data.
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "onnx/proto_io.hpp"
#include "onnx_testing.hpp"

namespace tenon::onnx_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Datum read(const std::string& bytes, const Type& type = {}) {
  return onnx::read_tensor_pb(std::as_bytes(std::span(bytes.data(), bytes.size())), nullptr, type);
}

std::string read_error(const std::string& bytes, const Type& type = {}) {
  try {
    read(bytes, type);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

std::string packed_varints(int field, const std::vector<uint64_t>& values) {
  std::string out;
  for (uint64_t v : values) out += varint(v);
  return blob(field, out);
}

TEST(OnnxWeights, TypedFields) {
  auto f32 = read(tensor_head("", 1, {2}) + blob(4, raw<float>({1.5f, -2}))).tensor;
  EXPECT_THAT(f32.values<float>(), ElementsAre(1.5f, -2));
  auto unpacked = read(tensor_head("", 1, {2}) + fixed32(4, 3) + fixed32(4, 4)).tensor;
  EXPECT_THAT(unpacked.values<float>(), ElementsAre(3, 4));
  auto f64 = read(tensor_head("", 11, {1}) + blob(10, raw<double>({0.1}))).tensor;
  EXPECT_EQ(f64.at(0), 0.1);
  auto i64 = read(tensor_head("", 7, {2}) + packed_varints(7, {static_cast<uint64_t>(-5), 6})).tensor;
  EXPECT_THAT(i64.values<int64_t>(), ElementsAre(-5, 6));
  auto u32 = read(tensor_head("", 12, {1}) + packed_varints(11, {0xffffffffu})).tensor;
  EXPECT_EQ(u32.int_at(0), 0xffffffff);
  auto u64 = read(tensor_head("", 13, {1}) + packed_varints(11, {UINT64_MAX})).tensor;
  EXPECT_EQ(u64.values<uint64_t>()[0], UINT64_MAX);
  for (int type : {3, 5, 6}) {  // int8, int16, int32
    auto t = read(tensor_head("", type, {2}) + packed_varints(5, {static_cast<uint64_t>(-7), 8})).tensor;
    EXPECT_THAT(t.to_ints(), ElementsAre(-7, 8)) << type;
  }
  auto half = read(tensor_head("", 10, {1}) + packed_varints(5, {0x3c00})).tensor;
  EXPECT_EQ(half.at(0), 1);
  auto bf16 = read(tensor_head("", 16, {1}) + packed_varints(5, {0x3f80})).tensor;
  EXPECT_EQ(bf16.at(0), 1);
  auto truth = read(tensor_head("", 9, {2}) + packed_varints(5, {0, 1})).tensor;
  EXPECT_THAT(truth.to_ints(), ElementsAre(0, 1));
  auto complex = read(tensor_head("", 14, {1}) + blob(4, raw<float>({1, 2}))).tensor;
  EXPECT_EQ(complex.bytes(), 8);
  auto text = read(tensor_head("", 8, {2}) + blob(6, "a") + blob(6, std::string("\0b", 2))).tensor;
  EXPECT_THAT(text.values<std::string>(), ElementsAre("a", std::string("\0b", 2)));
}

TEST(OnnxWeights, NarrowTypesKeepTheirWidth) {
  auto u4 = read(tensor("", 21, {3}, "\x21\x03")).tensor;
  EXPECT_EQ(u4.bytes(), 2);
  EXPECT_THAT(u4.to_ints(), ElementsAre(1, 2, 3));
  auto i4 = read(tensor_head("", 22, {3}) + packed_varints(5, {0xf1, 0x08})).tensor;
  EXPECT_THAT(i4.to_ints(), ElementsAre(1, -1, -8));
  auto i2 = read(tensor("", 26, {5}, "\xe4\x02")).tensor;
  EXPECT_THAT(i2.to_ints(), ElementsAre(0, 1, -2, -1, -2));
  auto f4 = read(tensor("", 23, {2}, "\x72")).tensor;
  EXPECT_EQ(f4.at(0), 1);
  EXPECT_EQ(f4.at(1), 6);
  auto f8 = read(tensor("", 17, {1}, "\x38")).tensor;
  EXPECT_EQ(f8.at(0), 1);
  auto e8 = read(tensor("", 24, {1}, "\x7f")).tensor;
  EXPECT_EQ(e8.at(0), 1);
}

TEST(OnnxWeights, OddBoolsAreNormalised) {
  auto t = read(tensor("", 9, {3}, std::string("\0\xff\2", 3))).tensor;
  EXPECT_EQ(t.raw()[1], std::byte{1});
  EXPECT_THAT(t.to_ints(), ElementsAre(0, 1, 1));
}

TEST(OnnxWeights, SizesAreBelievedOnlyWithTheBytes) {
  EXPECT_THAT(read_error(tensor("", 1, {3}, "12345678")), HasSubstr("8 bytes where shape 3"));
  EXPECT_THAT(read_error(tensor("", 1, {1}, "12345")), HasSubstr("raw_data"));
  EXPECT_THAT(read_error(tensor_head("", 1, {1000000000}) + fixed32(4, 1)), HasSubstr("1 entries"));
  EXPECT_THAT(read_error(tensor_head("", 8, {1000000000}) + blob(6, "a")), HasSubstr("entries"));
  EXPECT_THAT(read_error(tensor("", 1, {int64_t{1} << 32, int64_t{1} << 32}, "1234")), HasSubstr("elements"));
  EXPECT_THAT(read_error(tensor("", 1, {-1}, "1234")), HasSubstr("negative"));
  EXPECT_THAT(read_error(tensor("", 1, Dims(100, 1), "1234")), HasSubstr("dims"));
  for (int type : {0, 99, -1})
    EXPECT_THAT(read_error(tensor("", type, {1}, "1234")), HasSubstr("element type")) << type;
  EXPECT_THAT(read_error(tensor("", 1, {1}, "1234") + fixed32(4, 1)), HasSubstr("both"));
  EXPECT_THAT(read_error(tensor_head("", 1, {1}) + packed_varints(7, {1})), HasSubstr("int64_data"));
  EXPECT_THAT(read_error(tensor("", 8, {1}, "a")), HasSubstr("strings"));
  EXPECT_THAT(read_error(tensor_head("", 1, {1}) + blob(3, number(1, 0))), HasSubstr("segments"));
}

TEST(OnnxWeights, ViewsShareTheModelsBytes) {
  // Once the data are aligned, the tensor points into the owner's memory.
  for (int pad = 0; pad < 4; ++pad) {
    std::string bytes = model(line({node("Add", {"x", "w"}, {"y"})}, {floats("w", {2}, {1, 2})}), 21,
                              blob(6, std::string(static_cast<size_t>(pad), 'd')));
    bytes = blob(6, std::string(static_cast<size_t>(pad), 'd')) + bytes;
    auto owner = std::make_shared<std::string>(bytes);
    auto graph = onnx::import_bytes(std::as_bytes(std::span(owner->data(), owner->size())), owner);
    const Tensor& w = constant(*graph, only(*graph, "Add").inputs[1]);
    EXPECT_THAT(w.values<float>(), ElementsAre(1, 2));
    size_t at = owner->find(raw<float>({1, 2}));
    bool inside = reinterpret_cast<const char*>(w.raw()) == owner->data() + at;
    EXPECT_EQ(inside, reinterpret_cast<uintptr_t>(owner->data() + at) % 4 == 0);
  }
}

G with_sparse(const std::string& indices, const Dims& dims) {
  G g = line({node("Relu", {"s"}, {"y"})});
  std::string sparse = blob(1, floats("s", {2}, {5, 6})) + blob(2, indices);
  for (int64_t d : dims) sparse += number(3, d);
  g.sparse = {sparse};
  return g;
}

TEST(OnnxWeights, SparseTensorsAreMadeDense) {
  auto dense = [](const G& g) {
    auto graph = import(model(g));
    auto values = constant(*graph, only(*graph, "Relu").inputs[0]).values<float>();
    return std::vector<float>(values.begin(), values.end());
  };
  EXPECT_THAT(dense(with_sparse(int64s("", {1, 3}), {2, 2})), ElementsAre(0, 5, 0, 6));
  EXPECT_THAT(dense(with_sparse(tensor("", 7, {2, 2}, raw<int64_t>({0, 1, 1, 0})), {2, 2})), ElementsAre(0, 5, 6, 0));
  EXPECT_THAT(error_of(model(with_sparse(int64s("", {1, 4}), {2, 2}))), HasSubstr("outside"));
  EXPECT_THAT(error_of(model(with_sparse(int64s("", {-1, 3}), {2, 2}))), HasSubstr("outside"));
  EXPECT_THAT(error_of(model(with_sparse(int64s("", {3, 3}), {2, 2}))), HasSubstr("increasing"));
  EXPECT_THAT(error_of(model(with_sparse(int64s("", {1}), {2, 2}))), HasSubstr("fit"));
  EXPECT_THAT(error_of(model(with_sparse(int64s("", {1, 3}), {1 << 20, 1 << 15}))), HasSubstr("dense"));
}

class OnnxExternal : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/tenon-onnx-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
    std::filesystem::create_directories(folder_ / "home" / "sub");
    put("home/w.bin", raw<float>({9, 9, 1, 2}));
    put("home/sub/w.bin", raw<float>({3, 4}));
    put("outside.bin", raw<float>({6, 6}));
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void put(const std::string& path, const std::string& bytes) {
    std::ofstream(folder_ / path, std::ios::binary) << bytes;
  }
  using Entries = std::vector<std::pair<std::string, std::string>>;

  static std::string external(const Entries& entries) {
    std::string t = tensor_head("w", 1, {2});
    for (const auto& [key, text] : entries) t += blob(13, blob(1, key) + blob(2, text));
    return t + number(14, 1);
  }
  GraphPtr load(const Entries& entries) {
    put("home/m.onnx", model(line({node("Add", {"x", "w"}, {"y"})}, {external(entries)})));
    return onnx::import_file((folder_ / "home" / "m.onnx").string());
  }
  std::string error(const Entries& entries) {
    try {
      load(entries);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }
  std::filesystem::path folder_;
};

TEST_F(OnnxExternal, ReadsBeneathTheModel) {
  auto values = [&](const Entries& entries) {
    auto graph = load(entries);
    auto v = constant(*graph, only(*graph, "Add").inputs[1]).values<float>();
    return std::vector<float>(v.begin(), v.end());
  };
  EXPECT_THAT(values({{"location", "w.bin"}, {"offset", "8"}, {"length", "8"}}), ElementsAre(1, 2));
  EXPECT_THAT(values({{"location", "w.bin"}}), ElementsAre(9, 9));
  EXPECT_THAT(values({{"location", "./sub//w.bin"}, {"checksum", "x"}}), ElementsAre(3, 4));
}

TEST_F(OnnxExternal, LocationsStayInside) {
  for (const char* bad : {"../outside.bin", "sub/../../outside.bin", "/etc/hostname", "C:\\x", "\\\\host\\x", "c:x",
                          "file:///etc/hostname", "http://x/y", "", ".", "sub/", "sub\\w.bin"})
    EXPECT_THAT(error({{"location", bad}}), HasSubstr("external data location")) << bad;
  EXPECT_THAT(error({{"location", std::string("w.bin\0x", 7)}}), HasSubstr("NUL"));
  EXPECT_THAT(error({{"location", "missing.bin"}}), HasSubstr("No such file"));
  EXPECT_THAT(error({{"location", "sub"}}), HasSubstr("regular file"));
}

TEST_F(OnnxExternal, LinksAndSpecialFilesAreRefused) {
  std::filesystem::create_symlink("../outside.bin", folder_ / "home" / "link.bin");
  std::filesystem::create_directory_symlink("..", folder_ / "home" / "up");
  std::filesystem::create_hard_link(folder_ / "outside.bin", folder_ / "home" / "hard.bin");
  ASSERT_EQ(::mkfifo((folder_ / "home" / "pipe.bin").c_str(), 0600), 0);
  EXPECT_THAT(error({{"location", "link.bin"}}), HasSubstr("symbolic link"));
  EXPECT_THAT(error({{"location", "up/outside.bin"}}), HasSubstr("symbolic link"));
  EXPECT_THAT(error({{"location", "hard.bin"}}), HasSubstr("hard links"));
  EXPECT_THAT(error({{"location", "pipe.bin"}}), HasSubstr("regular file"));
}

TEST_F(OnnxExternal, NumbersAreChecked) {
  for (const char* bad : {"-1", "1e3", "abc", "", "0x10", " 8", "99999999999999999999", "+8"})
    EXPECT_THAT(error({{"location", "w.bin"}, {"offset", bad}}), HasSubstr("not a count")) << bad;
  EXPECT_THAT(error({{"location", "w.bin"}, {"offset", "12"}}), HasSubstr("outside"));
  EXPECT_THAT(error({{"location", "w.bin"}, {"offset", "9223372036854775807"}}), HasSubstr("outside"));
  EXPECT_THAT(error({{"location", "w.bin"}, {"length", "4"}}), HasSubstr("needs 8"));
  EXPECT_THAT(error({{"location", "w.bin"}, {"colour", "red"}}), HasSubstr("colour"));
  EXPECT_THAT(error({{"location", "w.bin"}, {"location", "w.bin"}}), HasSubstr("twice"));
}

TEST_F(OnnxExternal, RefusedForModelsGivenAsBytes) {
  std::string bytes = model(line({node("Add", {"x", "w"}, {"y"})}, {external({{"location", "w.bin"}})}));
  EXPECT_THAT(error_of(bytes), HasSubstr("given as bytes"));
}

TEST(OnnxProtoIo, SequencesOptionalsAndMaps) {
  Type list = Type::container(Type::Kind::kSequence, Type::tensor(DType::kFloat32));
  auto s = read(number(2, 1) + blob(3, floats("", {1}, {1})) + blob(3, floats("", {2}, {2, 3})), list);
  ASSERT_EQ(s.items.size(), 2u);
  EXPECT_EQ(s.items[1].tensor.at(1), 3);
  Type optional = Type::container(Type::Kind::kOptional, Type::tensor(DType::kFloat32));
  EXPECT_EQ(read("", optional).items.size(), 0u);
  EXPECT_EQ(read(number(2, 1) + blob(3, floats("", {1}, {7})), optional).items.at(0).tensor.at(0), 7);
  Type map = Type::container(Type::Kind::kMap, Type::tensor(DType::kFloat32), DType::kInt64);
  auto m = read(number(2, 7) + number(3, 5) + number(3, 6) +
                    blob(5, blob(3, floats("", {}, {0.5f})) + blob(3, floats("", {}, {1.5f}))),
                map);
  EXPECT_THAT(m.keys.to_ints(), ElementsAre(5, 6));
  EXPECT_THAT(m.tensor.values<float>(), ElementsAre(0.5f, 1.5f));
  EXPECT_THAT(read_error(blob(5, ""), list), HasSubstr("another kind"));
  EXPECT_THAT(read_error(number(2, 7) + number(3, 5), map), HasSubstr("1 keys and 0 values"));
}

}  // namespace
}  // namespace tenon::onnx_test
