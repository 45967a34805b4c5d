#include "vision/image.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/error.hpp"

namespace tenon::vision {
namespace {

using ::testing::HasSubstr;
using Bytes = std::vector<uint8_t>;

Image pattern(int width, int height) {
  Image image(width, height);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < 3; ++c) image.row(y)[x * 3 + c] = static_cast<uint8_t>(x * 37 + y * 91 + c * 53 + x * y * 7);
  return image;
}

/// Four quarters of plain colour: survives JPEG and shows every orientation.
Image quarters() {
  Image image(32, 16);
  for (int y = 0; y < 16; ++y)
    for (int x = 0; x < 32; ++x) {
      const uint8_t value = static_cast<uint8_t>(x < 16 ? (y < 8 ? 20 : 90) : (y < 8 ? 160 : 230));
      std::memset(image.row(y) + x * 3, value, 3);
    }
  return image;
}

template <class Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

uint32_t crc32(const uint8_t* data, size_t size) {
  uint32_t crc = 0xffffffff;
  for (size_t i = 0; i < size; ++i) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0u);
  }
  return ~crc;
}

void put_be32(uint8_t* at, uint32_t value) {
  for (int i = 0; i < 4; ++i) at[i] = static_cast<uint8_t>(value >> (24 - 8 * i));
}

/// Inserts an EXIF segment with the given orientation behind the start marker.
Bytes with_orientation(Bytes jpeg, int orientation, bool little) {
  Bytes tiff = little ? Bytes{'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0}
                      : Bytes{'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1};
  const auto value = static_cast<uint8_t>(orientation);
  const Bytes tail = little ? Bytes{value, 0, 0, 0, 0, 0, 0, 0} : Bytes{0, value, 0, 0, 0, 0, 0, 0};
  tiff.insert(tiff.end(), tail.begin(), tail.end());
  Bytes segment = {0xff, 0xe1, 0, static_cast<uint8_t>(tiff.size() + 8), 'E', 'x', 'i', 'f', 0, 0};
  segment.insert(segment.end(), tiff.begin(), tiff.end());
  jpeg.insert(jpeg.begin() + 2, segment.begin(), segment.end());
  return jpeg;
}

TEST(Image, PngKeepsEveryPixel) {
  for (auto [w, h] : {std::pair{1, 1}, {7, 3}, {64, 33}}) {
    const Image in = pattern(w, h);
    const Image out = decode_image(encode_png(in));
    EXPECT_EQ(out.width, w);
    EXPECT_EQ(out.height, h);
    EXPECT_EQ(out.pixels, in.pixels);
  }
}

TEST(Image, JpegIsCloseToWhatWasWritten) {
  const Image in = quarters();
  const Image out = decode_image(encode_jpeg(in, 95));
  ASSERT_EQ(out.pixels.size(), in.pixels.size());
  for (size_t i = 0; i < in.pixels.size(); ++i) ASSERT_NEAR(out.pixels[i], in.pixels[i], 4) << i;
}

TEST(Image, ContentDecidesNotTheName) {
  EXPECT_EQ(image_format(encode_png(pattern(2, 2))), ImageFormat::kPng);
  EXPECT_EQ(image_format(encode_jpeg(pattern(2, 2))), ImageFormat::kJpeg);
  EXPECT_EQ(image_format(Bytes{'G', 'I', 'F', '8'}), ImageFormat::kUnknown);
  EXPECT_THAT(error_of([] {
                decode_image(Bytes{'G', 'I', 'F', '8'}, "'a.png'");
              }),
              HasSubstr("'a.png' is neither JPEG nor PNG (it begins with 47 49 46 38)"));
  EXPECT_THAT(error_of([] { decode_image(Bytes{}); }), HasSubstr("empty"));
}

TEST(Image, EveryTruncationIsAnError) {
  for (const Bytes& whole : {encode_png(pattern(40, 30)), encode_jpeg(pattern(40, 30))}) {
    for (size_t size = 0; size + 2 < whole.size(); size += 1 + size / 40) {
      const Bytes part(whole.begin(), whole.begin() + static_cast<long>(size));
      EXPECT_THROW(decode_image(part), Error) << size << " of " << whole.size();
    }
  }
}

TEST(Image, DamagedFilesNeverCrash) {
  for (const Bytes& whole : {encode_png(pattern(24, 24)), encode_jpeg(pattern(24, 24))}) {
    for (size_t at = 2; at < whole.size(); ++at) {
      for (uint8_t flip : {0x01, 0x80, 0xff}) {
        Bytes bad = whole;
        bad[at] ^= flip;
        try {
          const Image image = decode_image(bad);
          EXPECT_EQ(image.pixels.size(), static_cast<size_t>(image.width) * image.height * 3);
        } catch (const Error&) {
        }
      }
    }
  }
}

TEST(Image, HugeHeadersAreRefusedBeforeMemoryIsAsked) {
  Bytes png = encode_png(pattern(4, 4));
  put_be32(&png[16], 50'000);
  put_be32(&png[20], 50'000);
  put_be32(&png[29], crc32(&png[12], 17));
  EXPECT_THAT(error_of([&] { decode_image(png); }), HasSubstr("50000 x 50000 pixels, more than the limit"));

  Bytes jpeg = encode_jpeg(pattern(8, 8));
  const uint8_t frame[] = {0xff, 0xc0};
  auto at = std::search(jpeg.begin(), jpeg.end(), frame, frame + 2);
  ASSERT_NE(at, jpeg.end());
  for (int i = 5; i < 9; ++i) at[i] = 0xf0;
  EXPECT_THAT(error_of([&] { decode_image(jpeg); }), HasSubstr("61680 x 61680 pixels, more than the limit"));
  EXPECT_THROW(Image(20'000, 20'000), Error);
}

TEST(Image, OrientationIsReadFromBothByteOrders) {
  const Bytes plain = encode_jpeg(quarters(), 95);
  EXPECT_EQ(exif_orientation(plain), 1);
  for (int orientation = 1; orientation <= 8; ++orientation)
    for (bool little : {true, false})
      EXPECT_EQ(exif_orientation(with_orientation(plain, orientation, little)), orientation);
  EXPECT_EQ(exif_orientation(with_orientation(plain, 9, true)), 1) << "nine is not an orientation";
}

TEST(Image, OrientationTurnsThePicture) {
  // Grey of the four quarters (top left, top right, bottom left, bottom right), upright.
  const int wanted[9][4] = {{},
                            {20, 160, 90, 230},
                            {160, 20, 230, 90},
                            {230, 90, 160, 20},
                            {90, 230, 20, 160},
                            {20, 90, 160, 230},
                            {90, 20, 230, 160},
                            {230, 160, 90, 20},
                            {160, 230, 20, 90}};
  const Bytes plain = encode_jpeg(quarters(), 95);
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const Image image = decode_image(with_orientation(plain, orientation, false));
    EXPECT_EQ(image.width, orientation >= 5 ? 16 : 32);
    EXPECT_EQ(image.height, orientation >= 5 ? 32 : 16);
    for (int q = 0; q < 4; ++q) {
      const int x = q % 2 ? image.width - 2 : 1, y = q / 2 ? image.height - 2 : 1;
      EXPECT_NEAR(image.row(y)[x * 3], wanted[orientation][q], 5) << orientation << " quarter " << q;
    }
  }
}

TEST(Image, DamagedExifIsIgnored) {
  const Bytes whole = with_orientation(encode_jpeg(quarters()), 6, true);
  for (size_t at = 2; at < 40; ++at)
    for (int value : {0, 0x7f, 0xff}) {
      Bytes bad = whole;
      bad[at] = static_cast<uint8_t>(value);
      const int seen = exif_orientation(bad);
      EXPECT_GE(seen, 1);
      EXPECT_LE(seen, 8);
    }
}

class Folder : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = std::filesystem::temp_directory_path() / ("tenon_vision_" + std::to_string(::getpid()));
    std::filesystem::create_directories(path_);
  }
  void TearDown() override { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name) const { return (path_ / name).string(); }
  std::filesystem::path path_;
};

TEST_F(Folder, SaveThenLoad) {
  const Image in = pattern(20, 10);
  save_image(in, file("a.PNG"));
  EXPECT_EQ(load_image(file("a.PNG")).pixels, in.pixels);
  save_image(in, file("a.jpeg"));
  std::filesystem::rename(file("a.jpeg"), file("b.png"));
  EXPECT_EQ(load_image(file("b.png")).width, 20) << "a JPEG file called .png still loads";
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(path_), {}), 2) << "no temporary file stays";
}

TEST_F(Folder, ErrorsNameTheFile) {
  EXPECT_THAT(error_of([&] { load_image(file("none.jpg")); }), HasSubstr("none.jpg"));
  EXPECT_THAT(error_of([&] { load_image(path_.string()); }), HasSubstr("not a regular file"));
  EXPECT_THAT(error_of([&] { save_image(pattern(2, 2), file("a.bmp")); }), HasSubstr("end the name in"));
  EXPECT_THAT(error_of([&] { save_image(pattern(2, 2), file("no/such/a.png")); }), HasSubstr("make the folder first"));
  EXPECT_THROW(save_image(Image(), file("a.png")), Error);
  EXPECT_THROW(encode_jpeg(pattern(2, 2), 0), Error);
  write_file_atomically(file("x"), Bytes{1, 2, 3});
  EXPECT_THAT(error_of([&] { read_file_bytes(file("x"), 2); }), HasSubstr("more than the limit of 2"));
}

}  // namespace
}  // namespace tenon::vision
