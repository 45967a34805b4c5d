// tenon read: the text on pictures, line by line, with a network that finds lines and one that reads them.
#include <fmt/core.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/file.hpp"
#include "cli/detector.hpp"
#include "vision/ctc.hpp"
#include "vision/draw.hpp"
#include "vision/text.hpp"

namespace tenon::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// Lines are padded to multiples of this many pixels, so that few different widths need a program of their own.
constexpr int kWidthStep = 128;

struct ReadVerb {
  ModelOptions det, rec;
  std::vector<std::string> files;
  std::string keys, output;
  double conf = 0.5;
  bool json = false;
};

struct Line {
  vision::TextLine place;
  vision::Reading reading;
};

class Reader {
 public:
  explicit Reader(const ReadVerb& o)
      : o_(o),
        finder_(o.det, 736, 736),
        reader_(o.rec, 320, line_height(o.rec.model)),
        height_(line_height(o.rec.model)) {
    print_notes(finder_.engine(), o.json);
    print_notes(reader_.engine(), o.json);
    auto properties = reader_.properties();
    std::string text;
    if (!o.keys.empty()) {
      text = read_text_file(o.keys);
    } else if (auto entry = properties.find("character"); entry != properties.end()) {
      text = entry->second;
    } else {
      fail(Code::kInvalidArgument, "'{}' does not say which characters it reads; give the list with --keys FILE",
           o.rec.model);
    }
    characters_ = vision::parse_characters(text);
  }

  std::vector<Line> read(const vision::Image& image) {
    vision::Preprocess how = vision::text_detector_preprocess(image.width, image.height);
    vision::Placement placement = vision::preprocess(image, how, finder_.prepare(how.width, how.height));
    auto views = finder_.run();
    std::vector<Line> out;
    for (const vision::TextLine& place : vision::find_text(views[0], placement)) {
      check_interrupted();
      vision::Reading reading = read_line(vision::cut_line(image, place));
      if (!reading.text.empty() && reading.score >= o_.conf) out.push_back({place, std::move(reading)});
    }
    return out;
  }

 private:
  // The height that the network was made for; 48 where it is open.
  static int line_height(const std::string& model) {
    GraphPtr g = import_model(model);
    expect(g->inputs.size() == 1, "'{}' has {} inputs, a reader of lines has one", model, g->inputs.size());
    const Type& type = g->value(g->inputs[0]).type;
    if (!type.shape || type.shape->size() != 4) return 48;
    return static_cast<int>(std::clamp<int64_t>((*type.shape)[2].maybe().value_or(48), 1, 1024));
  }

  vision::Reading read_line(const vision::Image& line) {
    vision::Preprocess how = vision::text_recogniser_preprocess(line, height_);
    how.width = (how.width + kWidthStep - 1) / kWidthStep * kWidthStep;
    vision::write_line_tensor(line, how, reader_.prepare(how.width, how.height));
    auto views = reader_.run();
    const auto& shape = views[0].shape;
    expect(shape.size() == 3, "'{}' gives {}; a reader of lines gives N x steps x characters", o_.rec.model,
           dims_text(shape));
    if (alphabet_.empty()) alphabet_ = vision::make_alphabet(characters_, static_cast<int>(shape[2]));
    return vision::read_ctc(views[0], alphabet_);
  }

  const ReadVerb& o_;
  PictureNetwork finder_, reader_;
  int height_;
  std::vector<std::string> characters_, alphabet_;
};

Json as_json(const std::string& file, const std::vector<Line>& lines) {
  Json items = Json::array();
  for (const Line& line : lines) {
    Json corners = Json::array();
    for (const vision::Point& p : line.place.corners) {
      corners.push_back({std::round(p.x * 100.0) / 100, std::round(p.y * 100.0) / 100});
    }
    items.push_back({{"text", line.reading.text}, {"score", line.reading.score}, {"corners", corners}});
  }
  return {{"file", file}, {"lines", items}};
}

void draw(const ReadVerb& o, const std::string& file, vision::Image& image, const std::vector<Line>& lines) {
  fs::path target = fs::path(o.output) / fs::path(file).filename();
  std::error_code error;
  fs::create_directories(o.output, error);
  expect(!error, "folder '{}' cannot be made: {}; name another with -o", o.output, error.message());
  expect(!fs::equivalent(target, file, error), "'{}' would be written over; name another folder with -o", file);
  for (const Line& line : lines) {
    const auto& c = line.place.corners;
    for (size_t k = 0; k < 4; ++k) vision::draw_line(image, c[k], c[(k + 1) % 4], 2, vision::class_colour(0));
  }
  vision::save_image(image, target.string());
}

void read(ReadVerb o) {
  if (o.det.model.empty() && o.rec.model.empty() && o.files.size() >= 2) {
    o.det.model = o.files[0];
    o.rec.model = o.files[1];
    o.files.erase(o.files.begin(), o.files.begin() + 2);
  }
  expect(!o.det.model.empty() && !o.rec.model.empty() && !o.files.empty(),
         "name two networks and the pictures: tenon read FINDER READER PICTURE...");
  o.rec.threads = o.det.threads;
  o.rec.device = o.det.device;
  o.rec.level = o.det.level;
  o.rec.budget = o.det.budget;
  o.rec.timing_cache = o.det.timing_cache;
  o.rec.no_rebuild = o.det.no_rebuild;
  PictureList pictures = find_pictures(o.files);
  Reader reader(o);
  for (const std::string& file : pictures.files) {
    check_interrupted();
    vision::Image image = vision::load_image(file);
    std::vector<Line> lines = reader.read(image);
    if (!o.output.empty()) draw(o, file, image, lines);
    if (o.json) {
      fmt::print("{}\n", as_json(file, lines).dump());
    } else {
      if (pictures.files.size() > 1) fmt::print("== {}\n", file);
      for (const Line& line : lines) fmt::print("{}\n", line.reading.text);
      if (lines.empty()) fmt::print(stderr, "{}: no text found\n", file);
    }
    std::fflush(stdout);
  }
}

}  // namespace

void add_read(CLI::App& app) {
  auto o = std::make_shared<ReadVerb>();
  o->det.level = 1;
  CLI::App* sub = app.add_subcommand("read", "Read the text on pictures (OCR with PaddleOCR's networks)");
  sub->add_option("files", o->files, "FINDER READER PICTURE..., or pictures only with --det and --rec");
  sub->add_option("--det", o->det.model, "The network that finds lines of text (DB): ONNX model or plan");
  sub->add_option("--rec", o->rec.model, "The network that reads a line (CTC): ONNX model or plan");
  sub->add_option("--keys", o->keys, "Characters, one a line (default: those in the reader's metadata)");
  sub->add_option("--conf", o->conf, "Lines read with less confidence are left out")
      ->check(number_in(0.0, 1.0))
      ->capture_default_str();
  sub->add_option("--output,-o", o->output, "Folder for the pictures with the lines outlined (default: none)");
  sub->add_flag("--json", o->json, "One JSON object a line and picture: texts, scores, corners");
  add_device_options(*sub, o->det);
  add_tuning_options(*sub, o->det);
  sub->footer(
      "Lines come in reading order.\n"
      "Examples:\n"
      "  tenon read det.onnx rec.onnx page.png\n"
      "  tenon read --det det.onnx --rec rec.onnx --keys keys.txt scans/ --json");
  sub->callback([o] { read(*o); });
}

}  // namespace tenon::cli
