// tenon detect --val: mean average precision against YOLO labels or COCO instances, by COCO's rules.
#include <fmt/core.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "cli/detect.hpp"
#include "vision/labels.hpp"
#include "vision/map.hpp"

namespace tenon::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct Task {
  int64_t id = 0;
  std::string file;
  std::string labels;  // YOLO label file; empty for COCO
};

struct Tasks {
  std::vector<Task> pictures;
  std::vector<vision::TruthBox> truths;
  std::vector<std::string> names;
};

// YOLO's rule: the label file of .../images/a/b.jpg is .../labels/a/b.txt; beside the picture is fine, too.
std::string label_file(const fs::path& picture) {
  fs::path beside = picture;
  beside.replace_extension(".txt");
  std::vector<fs::path> parts(beside.begin(), beside.end());
  for (size_t i = parts.size(); i-- > 0;) {
    if (parts[i] != "images") continue;
    fs::path swapped;
    for (size_t k = 0; k < parts.size(); ++k) swapped /= k == i ? fs::path("labels") : parts[k];
    if (fs::exists(swapped)) return swapped.string();
    break;
  }
  return fs::exists(beside) ? beside.string() : "";
}

Tasks yolo_tasks(const DetectVerb& o) {
  fs::path images = fs::path(o.val) / "images";
  PictureList list = find_pictures({fs::is_directory(images) ? images.string() : o.val});
  Tasks out;
  int labelled = 0;
  for (const std::string& file : list.files) {
    Task task{static_cast<int64_t>(out.pictures.size()), file, label_file(file)};
    labelled += task.labels.empty() ? 0 : 1;
    out.pictures.push_back(std::move(task));
  }
  expect(labelled > 0, "folder '{}' has {} pictures and no label files (labels/NAME.txt for images/NAME.jpg)", o.val,
         list.files.size());
  return out;
}

Tasks coco_tasks(const DetectVerb& o) {
  vision::CocoData data = vision::read_coco(o.val);
  std::vector<fs::path> roots(o.pictures.begin(), o.pictures.end());
  fs::path beside = fs::path(o.val).parent_path();
  if (roots.empty()) roots = {beside, beside / "images", beside.parent_path() / "images"};
  Tasks out;
  for (const vision::CocoImage& image : data.images) {
    fs::path file;
    for (const fs::path& root : roots) {
      if (file.empty() && fs::exists(root / image.file_name)) file = root / image.file_name;
    }
    if (file.empty()) {
      fail(Code::kNotFound, "picture '{}' of '{}' is not in '{}'; name its folder: tenon detect MODEL FOLDER --val {}",
           image.file_name, o.val, roots[0].string(), o.val);
    }
    out.pictures.push_back({image.id, file.string(), ""});
  }
  out.truths = std::move(data.boxes);
  out.names = std::move(data.names);
  return out;
}

Json as_json(const DetectVerb& o, const Tasks& tasks, const vision::Precision& p, const StageTimes& times,
             const vision::Detector& detector) {
  Json classes = Json::array();
  for (const vision::ClassPrecision& c : p.classes) {
    classes.push_back({{"class", c.class_id},
                       {"name", detector.class_name(c.class_id)},
                       {"objects", c.truths},
                       {"map50", c.ap50},
                       {"map75", c.ap75},
                       {"map50_95", c.ap}});
  }
  auto each = [&](double s) { return s * 1e3 / std::max(1, times.pictures); };
  return {{"model", o.model.model},
          {"data", o.val},
          {"family", vision::family_name(detector.family)},
          {"pictures", tasks.pictures.size()},
          {"objects", tasks.truths.size()},
          {"map50", p.map50},
          {"map75", p.map75},
          {"map50_95", p.map50_95},
          {"recall", p.recall},
          {"ms",
           {{"load", each(times.load)},
            {"preprocess", each(times.preprocess)},
            {"inference", each(times.inference)},
            {"postprocess", each(times.postprocess)}}},
          {"classes", classes}};
}

void print_table(const Tasks& tasks, const vision::Precision& p, const vision::Detector& detector) {
  fmt::print("{:<20} {:>8} {:>8} {:>8} {:>9}\n", "class", "objects", "mAP50", "mAP75", "mAP50-95");
  fmt::print("{:<20} {:>8} {:>8.4f} {:>8.4f} {:>9.4f}\n", "all", tasks.truths.size(), p.map50, p.map75, p.map50_95);
  for (const vision::ClassPrecision& c : p.classes) {
    fmt::print("{:<20} {:>8} {:>8.4f} {:>8.4f} {:>9.4f}\n", detector.class_name(c.class_id), c.truths, c.ap50, c.ap75,
               c.ap);
  }
}

}  // namespace

void validate_detector(const DetectVerb& o) {
  bool folder = fs::is_directory(o.val);
  if (!folder && !fs::exists(o.val)) fail(Code::kNotFound, "there is no folder or file '{}'", o.val);
  expect(!folder || o.pictures.empty(), "--val {} brings its own pictures; leave PICTURES out", o.val);
  expect(!o.txt && o.classes.empty(), "--txt and --classes do not go with --val");
  Tasks tasks = folder ? yolo_tasks(o) : coco_tasks(o);
  DetectRunner runner = open_detector(o);
  vision::Detector& detector = runner.detector();
  detector.input.scale_up = false;  // as the trainers validate
  vision::DecodeOptions options = detector.defaults;
  options.score_threshold = 0.001f;
  options.iou_threshold = 0.7f;
  options.multi_label = true;
  options.class_agnostic = false;
  options = decode_options(o, options);
  const bool coco_ids = detector.num_classes == 91;  // the network counts in COCO's own category ids
  std::vector<vision::ScoredBox> found;
  StageTimes times;
  for (const Task& task : tasks.pictures) {
    check_interrupted();
    double start = seconds_now();
    vision::Image image = vision::load_image(task.file);
    times.load += seconds_now() - start;
    if (!task.labels.empty()) {
      auto boxes = vision::read_yolo_labels(task.labels, task.id, image.width, image.height);
      tasks.truths.insert(tasks.truths.end(), boxes.begin(), boxes.end());
    }
    for (vision::Detection& d : runner.detect(image, options, times)) {
      if (coco_ids) d.class_id = vision::coco_class(d.class_id);
      if (d.class_id >= 0) found.push_back(vision::scored_box(task.id, d));
    }
    ++times.pictures;
    show_progress("validating", times.pictures, static_cast<int>(tasks.pictures.size()));
  }
  if (coco_ids) detector.names.assign(vision::coco_names().begin(), vision::coco_names().end());
  if (detector.names.empty()) detector.names = tasks.names;
  vision::Precision precision = vision::mean_average_precision(tasks.truths, found);
  if (o.json) {
    fmt::print("{}\n", as_json(o, tasks, precision, times, detector).dump(2));
    return;
  }
  fmt::print("{}\n", detector.reason);
  print_table(tasks, precision, detector);
  print_stages(times, detector.input);
}

}  // namespace tenon::cli
