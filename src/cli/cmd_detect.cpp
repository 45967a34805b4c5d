// tenon detect: objects on pictures, drawn, as JSON lines and as YOLO label files; with --val, mean average precision.
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "base/error.hpp"
#include "base/file.hpp"
#include "cli/detect.hpp"
#include "vision/draw.hpp"
#include "vision/labels.hpp"

namespace tenon::cli {
namespace {

namespace fs = std::filesystem;

// "4 persons, 1 bus".
std::string count_text(const std::vector<vision::Detection>& found, const vision::Detector& detector) {
  std::map<int, int> counts;
  for (const vision::Detection& d : found) ++counts[d.class_id];
  std::string out;
  for (const auto& [id, n] : counts) {
    std::string name = detector.class_name(id);
    bool hiss = name.ends_with("s") || name.ends_with("x") || name.ends_with("ch") || name.ends_with("sh");
    out += fmt::format("{}{} {}{}", out.empty() ? "" : ", ", n, name, n == 1 ? "" : hiss ? "es" : "s");
  }
  return out.empty() ? "nothing found" : out;
}

// Where the results of each picture go: as in its folder, names of their own where two pictures have the same.
std::vector<fs::path> output_names(const PictureList& pictures) {
  std::set<fs::path> taken;
  std::vector<fs::path> out;
  for (size_t i = 0; i < pictures.files.size(); ++i) {
    fs::path file = pictures.files[i];
    fs::path name = pictures.folders[i].empty() ? file.filename() : fs::relative(file, pictures.folders[i]);
    fs::path unique = name;
    for (int n = 2; taken.contains(unique); ++n) {
      unique = name.parent_path() / fmt::format("{}-{}{}", name.stem().string(), n, name.extension().string());
    }
    taken.insert(unique);
    out.push_back(unique);
  }
  return out;
}

void keep_classes(std::vector<vision::Detection>& found, const std::set<int>& classes) {
  if (classes.empty()) return;
  std::erase_if(found, [&](const vision::Detection& d) { return !classes.contains(d.class_id); });
}

class Detecting {
 public:
  explicit Detecting(const DetectVerb& o)
      : o_(o), runner_(open_detector(o)), options_(decode_options(o, runner_.detector().defaults)) {
    classes_ = parse_classes(o.classes, runner_.detector());
  }

  void all() {
    PictureList pictures = find_pictures(o_.pictures);
    std::vector<fs::path> names = output_names(pictures);
    const vision::Preprocess& how = runner_.detector().input;
    if (!o_.json) fmt::print("{}\n", runner_.detector().reason);
    for (size_t i = 0; i < pictures.files.size(); ++i) {
      check_interrupted();
      try {
        one(pictures.files[i], names[i], i, pictures.files.size());
      } catch (const Error& e) {
        if (pictures.files.size() == 1 || e.code() == Code::kCancelled) throw;
        fmt::print(stderr, "tenon: left out: {}\n", e.what());
        ++failed_;
      }
    }
    if (!o_.json) {
      print_stages(times_, how);
      print_summary(static_cast<int>(pictures.files.size()) - failed_);
    }
    expect(failed_ == 0, "{} of {} pictures could not be used; the reasons are above", failed_, pictures.files.size());
  }

 private:
  void one(const std::string& file, const fs::path& name, size_t index, size_t count) {
    double start = seconds_now();
    vision::Image image = vision::load_image(file);
    times_.load += seconds_now() - start;
    double before = times_.inference;
    std::vector<vision::Detection> found = runner_.detect(image, options_, times_);
    keep_classes(found, classes_);
    int width = image.width, height = image.height;
    for (const vision::Detection& d : found) {
      auto& [n, best] = totals_[d.class_id];
      ++n;
      best = std::max(best, d.score);
    }
    double drawing = seconds_now();
    if (!o_.no_draw) {
      fs::path target = fs::path(o_.output) / name;
      std::error_code error;
      expect(!fs::equivalent(target, file, error), "'{}' would be written over; name another folder with -o", file);
      make_folder(target.parent_path());
      vision::draw_detections(image, found, runner_.detector());
      vision::save_image(image, target.string());
    }
    if (o_.txt) write_txt(name, found, width, height);
    times_.draw += seconds_now() - drawing;
    ++times_.pictures;
    if (o_.json) {
      fmt::print("{}\n", vision::to_json_line(file, width, height, found, runner_.detector()));
      std::fflush(stdout);
    } else {
      fmt::print("picture {}/{} {}: {}x{} {}, {}\n", index + 1, count, file, width, height,
                 count_text(found, runner_.detector()), human_seconds(times_.inference - before));
    }
  }

  void write_txt(const fs::path& name, const std::vector<vision::Detection>& found, int width, int height) const {
    fs::path target = (fs::path(o_.output) / "labels" / name).replace_extension(".txt");
    make_folder(target.parent_path());
    AtomicFile file(target.string());
    file.write(vision::to_yolo_text(found, width, height));
    file.commit();
  }

  static void make_folder(const fs::path& folder) {
    std::error_code error;
    fs::create_directories(folder, error);
    expect(!error, "folder '{}' cannot be made: {}; name another with -o", folder.string(), error.message());
  }

  void print_summary(int pictures) const {
    if (totals_.empty()) {
      fmt::print("nothing found above confidence {:.2f}; lower it with --conf\n", options_.score_threshold);
    } else {
      fmt::print("{:>7}  {:>5}  {}\n", "objects", "best", "class");
      for (const auto& [id, total] : totals_) {
        fmt::print("{:>7}  {:>5.2f}  {}\n", total.first, total.second, runner_.detector().class_name(id));
      }
    }
    if (o_.no_draw) return;
    fmt::print("{} picture{} written to {}{}\n", pictures, pictures == 1 ? "" : "s", o_.output,
               o_.txt ? ", labels to " + (fs::path(o_.output) / "labels").string() : "");
  }

  const DetectVerb& o_;
  DetectRunner runner_;
  vision::DecodeOptions options_;
  std::set<int> classes_;
  StageTimes times_;
  std::map<int, std::pair<int, float>> totals_;
  int failed_ = 0;
};

void detect(const DetectVerb& o) {
  if (!o.val.empty()) {
    validate_detector(o);
    return;
  }
  expect(!o.pictures.empty(), "name pictures or folders: tenon detect MODEL PICTURE... -o FOLDER");
  Detecting(o).all();
}

}  // namespace

DetectRunner open_detector(const DetectVerb& o) {
  int width = 0, height = 0;
  if (!o.size.empty()) {
    Dims sides = parse_dims(o.size);
    if (sides.size() == 1) sides.push_back(sides[0]);
    expect(sides.size() == 2 && sides[0] >= 1 && sides[1] >= 1 && sides[0] <= 32768 && sides[1] <= 32768,
           "--size '{}' is not understood; write WIDTHxHEIGHT, such as 640x640", o.size);
    width = static_cast<int>(sides[0]);
    height = static_cast<int>(sides[1]);
  }
  DetectRunner runner(o.model, vision::parse_family(o.family), width, height);
  print_notes(runner.engine(), o.json);
  return runner;
}

vision::DecodeOptions decode_options(const DetectVerb& o, vision::DecodeOptions defaults) {
  if (o.conf >= 0) defaults.score_threshold = static_cast<float>(o.conf);
  if (o.iou >= 0) defaults.iou_threshold = static_cast<float>(o.iou);
  if (o.max_det > 0) defaults.max_detections = o.max_det;
  if (o.agnostic) defaults.class_agnostic = true;
  return defaults;
}

std::set<int> parse_classes(const std::vector<std::string>& wanted, const vision::Detector& detector) {
  std::set<int> out;
  for (const std::string& item : wanted) {
    bool number = !item.empty() && item.size() < 7 && item.find_first_not_of("0123456789") == std::string::npos;
    auto named = std::find(detector.names.begin(), detector.names.end(), item);
    if (!number && named == detector.names.end()) {
      std::string near = nearest(item, detector.names);
      fail(Code::kInvalidArgument, "the model knows no class '{}'{}", item,
           near.empty() ? fmt::format("; it has {} classes", detector.num_classes)
                        : fmt::format("; did you mean '{}'?", near));
    }
    int id = number ? std::stoi(item) : static_cast<int>(named - detector.names.begin());
    expect(detector.num_classes <= 0 || id < detector.num_classes, "class {} is too large; the model has {} classes",
           id, detector.num_classes);
    out.insert(id);
  }
  return out;
}

void print_stages(const StageTimes& t, const vision::Preprocess& how) {
  if (t.pictures == 0) return;
  auto each = [&](double s) { return s * 1e3 / t.pictures; };
  fmt::print("speed: {:.1f} ms load, {:.1f} ms preprocess, {:.1f} ms inference, {:.1f} ms postprocess", each(t.load),
             each(t.preprocess), each(t.inference), each(t.postprocess));
  if (t.draw > 0) fmt::print(", {:.1f} ms draw and save", each(t.draw));
  fmt::print(" per picture at {}x{}\n", how.width, how.height);
}

void add_detect(CLI::App& app) {
  auto o = std::make_shared<DetectVerb>();
  o->model.level = 1;
  CLI::App* sub = app.add_subcommand("detect", "Find objects on pictures: boxes drawn, JSON lines, YOLO labels, mAP");
  sub->add_option("model", o->model.model, "Detector: ONNX model or plan")->required();
  sub->add_option("pictures", o->pictures, "JPEG and PNG files, and folders of them");
  sub->add_option("--output,-o", o->output, "Folder for the annotated pictures and labels")->capture_default_str();
  sub->add_option("--family", o->family,
                  "What the outputs mean, where the model does not tell: " + vision::family_names())
      ->capture_default_str();
  sub->add_option("--conf", o->conf, "Least confidence (default: the family's, 0.25 for YOLO; 0.001 with --val)")
      ->check(number_in(0.0, 1.0));
  sub->add_option("--iou", o->iou, "Boxes that overlap more are one object (default: the family's, 0.7 with --val)")
      ->check(number_in(0.0, 1.0));
  sub->add_option("--max-det", o->max_det, "Objects a picture, at most (default 300)")->check(CLI::Range(1, 30000));
  sub->add_option("--size", o->size, "Input size WIDTHxHEIGHT (default: the model's, 640x640 where it is open)");
  sub->add_option("--classes", o->classes, "Keep these classes only: ids or names, separated by commas")
      ->delimiter(',')
      ->allow_extra_args(false);
  sub->add_flag("--agnostic", o->agnostic, "Suppress overlapping boxes of different classes too");
  sub->add_flag("--txt", o->txt, "Write YOLO labels to OUTPUT/labels: class cx cy w h confidence");
  sub->add_flag("--no-draw", o->no_draw, "Write no pictures");
  sub->add_option("--val", o->val,
                  "Measure mAP: a folder of images/ and labels/ (YOLO), or COCO instances JSON (pictures beside it, or "
                  "in the folder given as PICTURES)");
  sub->add_flag("--json", o->json, "One JSON object a line and picture on standard output (with --val: one in all)");
  add_device_options(*sub, o->model);
  add_tuning_options(*sub, o->model);
  sub->footer(
      "Examples:\n"
      "  tenon detect yolov8n.onnx street.jpg -o found\n"
      "  tenon detect yolov8n.plan pictures/ --conf 0.5 --classes person,bus --json --no-draw\n"
      "  tenon detect centerface.onnx crowd.jpg --size 1024x768\n"
      "  tenon detect yolov8n.onnx --val coco8");
  sub->callback([o] { detect(*o); });
}

}  // namespace tenon::cli
