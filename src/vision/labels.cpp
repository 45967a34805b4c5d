#include "vision/labels.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "vision/image.hpp"

namespace tenon::vision {
namespace {

constexpr size_t kMaxLabelBytes = size_t{1} << 30;

// Ids of COCO's 91 categories that have no pictures.
constexpr std::array<int, 11> kUnusedCategories = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91};

std::string text_of(const std::string& path) {
  const auto bytes = read_file_bytes(path, kMaxLabelBytes);
  return {bytes.begin(), bytes.end()};
}

std::vector<double> numbers_of(std::string_view line, const std::string& what, int number) {
  std::vector<double> out;
  const char* at = line.data();
  const char* end = at + line.size();
  while (at < end) {
    if (std::isspace(static_cast<unsigned char>(*at))) {
      ++at;
      continue;
    }
    double value = 0;
    const auto [next, error] = std::from_chars(at, end, value);
    expect(error == std::errc{} && std::isfinite(value), "{}, line {}: '{}' is not a number", what, number,
           std::string_view(at, std::min<size_t>(static_cast<size_t>(end - at), 20)));
    out.push_back(value);
    at = next;
  }
  return out;
}

TruthBox box_of(const std::vector<double>& n, int64_t image, int image_width, int image_height) {
  double cx = n[1], cy = n[2], w = 0, h = 0;
  if (n.size() <= 6) {  // a sixth number is a score
    w = n[3], h = n[4];
  } else {
    double x0 = n[1], x1 = n[1], y0 = n[2], y1 = n[2];
    for (size_t i = 1; i + 1 < n.size(); i += 2) {
      x0 = std::min(x0, n[i]), x1 = std::max(x1, n[i]);
      y0 = std::min(y0, n[i + 1]), y1 = std::max(y1, n[i + 1]);
    }
    cx = (x0 + x1) / 2, cy = (y0 + y1) / 2, w = x1 - x0, h = y1 - y0;
  }
  TruthBox box;
  box.image = image;
  box.class_id = static_cast<int>(n[0]);
  box.width = w * image_width;
  box.height = h * image_height;
  box.x = cx * image_width - box.width / 2;
  box.y = cy * image_height - box.height / 2;
  box.area = box.width * box.height;
  return box;
}

/// Runs `read` and turns nlohmann's exceptions, which speak of types and keys, into ours, which name the
/// file.
template <class Read>
auto guarded(const std::string& what, Read read) {
  try {
    return read();
  } catch (const nlohmann::json::exception& e) {
    fail(Code::kInvalidArgument, "{} is not a COCO instances file: {}", what, e.what());
  }
}

TruthBox coco_box(const nlohmann::json& entry, const std::map<int64_t, int>& class_of, const std::string& what) {
  TruthBox box;
  box.image = entry.at("image_id").get<int64_t>();
  const auto category = entry.at("category_id").get<int64_t>();
  const auto found = class_of.find(category);
  expect(found != class_of.end(), "{}: an annotation of picture {} has category {}, which 'categories' does not list",
         what, box.image, category);
  box.class_id = found->second;
  const auto sides = entry.at("bbox").get<std::vector<double>>();
  expect(sides.size() == 4, "{}: a bbox of picture {} has {} numbers instead of 4", what, box.image, sides.size());
  box.x = sides[0], box.y = sides[1], box.width = sides[2], box.height = sides[3];
  box.area = entry.contains("area") ? entry.at("area").get<double>() : box.width * box.height;
  const auto crowd = entry.find("iscrowd");
  box.crowd = crowd != entry.end() && (crowd->is_boolean() ? crowd->get<bool>() : crowd->get<int>() != 0);
  return box;
}

double rounded(double value) { return std::round(value * 100) / 100; }

nlohmann::ordered_json json_of(const Detection& d, const Detector& detector) {
  nlohmann::ordered_json out = {{"class", d.class_id},
                                {"name", detector.class_name(d.class_id)},
                                {"score", std::round(d.score * 1e5) / 1e5},
                                {"box", {rounded(d.x0), rounded(d.y0), rounded(d.x1), rounded(d.y1)}}};
  if (!d.landmarks.empty()) {
    auto& points = out["landmarks"] = nlohmann::ordered_json::array();
    for (const Point& p : d.landmarks) points.push_back({rounded(p.x), rounded(p.y)});
  }
  return out;
}

}  // namespace

const std::array<std::string_view, 80>& coco_names() {
  static constexpr std::array<std::string_view, 80> kNames = {
      "person",         "bicycle",    "car",           "motorcycle",    "airplane",     "bus",           "train",
      "truck",          "boat",       "traffic light", "fire hydrant",  "stop sign",    "parking meter", "bench",
      "bird",           "cat",        "dog",           "horse",         "sheep",        "cow",           "elephant",
      "bear",           "zebra",      "giraffe",       "backpack",      "umbrella",     "handbag",       "tie",
      "suitcase",       "frisbee",    "skis",          "snowboard",     "sports ball",  "kite",          "baseball bat",
      "baseball glove", "skateboard", "surfboard",     "tennis racket", "bottle",       "wine glass",    "cup",
      "fork",           "knife",      "spoon",         "bowl",          "banana",       "apple",         "sandwich",
      "orange",         "broccoli",   "carrot",        "hot dog",       "pizza",        "donut",         "cake",
      "chair",          "couch",      "potted plant",  "bed",           "dining table", "toilet",        "tv",
      "laptop",         "mouse",      "remote",        "keyboard",      "cell phone",   "microwave",     "oven",
      "toaster",        "sink",       "refrigerator",  "book",          "clock",        "vase",          "scissors",
      "teddy bear",     "hair drier", "toothbrush"};
  return kNames;
}

int coco_category(int class_id) {
  expect(class_id >= 0 && class_id < 80, "class {} is not one of COCO's 80", class_id);
  int category = class_id + 1;
  for (int unused : kUnusedCategories)
    if (unused <= category) ++category;
  return category;
}

int coco_class(int category) {
  if (category < 1 || category > 90) return -1;
  if (std::find(kUnusedCategories.begin(), kUnusedCategories.end(), category) != kUnusedCategories.end()) return -1;
  return category - 1 -
         static_cast<int>(std::count_if(kUnusedCategories.begin(), kUnusedCategories.end(),
                                        [&](int unused) { return unused < category; }));
}

std::vector<TruthBox> parse_yolo_labels(std::string_view text, const std::string& what, int64_t image, int image_width,
                                        int image_height) {
  std::vector<TruthBox> boxes;
  int number = 0;
  while (!text.empty()) {
    const size_t stop = std::min(text.find('\n'), text.size());
    const auto values = numbers_of(text.substr(0, stop), what, ++number);
    text.remove_prefix(std::min(stop + 1, text.size()));
    if (values.empty()) continue;
    expect(values.size() >= 5, "{}, line {}: {} numbers instead of 'class cx cy w h'", what, number, values.size());
    expect(values[0] >= 0 && values[0] < 100'000 && values[0] == std::floor(values[0]),
           "{}, line {}: {} is not a class id", what, number, values[0]);
    boxes.push_back(box_of(values, image, image_width, image_height));
  }
  return boxes;
}

std::vector<TruthBox> read_yolo_labels(const std::string& path, int64_t image, int image_width, int image_height) {
  return parse_yolo_labels(text_of(path), "'" + path + "'", image, image_width, image_height);
}

CocoData parse_coco(std::string_view text, const std::string& what) {
  return guarded(what, [&] {
    const auto json = nlohmann::json::parse(text);
    CocoData data;
    for (const auto& entry : json.at("images"))
      data.images.push_back({entry.at("id").get<int64_t>(), entry.value("file_name", std::string()),
                             entry.value("width", 0), entry.value("height", 0)});
    std::map<int64_t, std::string> categories;
    for (const auto& entry : json.at("categories"))
      categories[entry.at("id").get<int64_t>()] = entry.value("name", std::string());
    std::map<int64_t, int> class_of;
    for (const auto& [id, name] : categories) {
      class_of[id] = static_cast<int>(data.names.size());
      data.names.push_back(name);
      data.category_ids.push_back(id);
    }
    for (const auto& entry : json.at("annotations")) data.boxes.push_back(coco_box(entry, class_of, what));
    return data;
  });
}

CocoData read_coco(const std::string& path) { return parse_coco(text_of(path), "'" + path + "'"); }

std::string to_yolo_text(const std::vector<Detection>& found, int image_width, int image_height, bool scores) {
  expect(image_width > 0 && image_height > 0, "a picture of {} x {} pixels has no boxes", image_width, image_height);
  std::string out;
  for (const Detection& d : found) {
    out += fmt::format("{} {:.6f} {:.6f} {:.6f} {:.6f}", d.class_id, (d.x0 + d.x1) / 2 / image_width,
                       (d.y0 + d.y1) / 2 / image_height, (d.x1 - d.x0) / image_width, (d.y1 - d.y0) / image_height);
    out += scores ? fmt::format(" {:.6f}\n", d.score) : "\n";
  }
  return out;
}

std::string to_json_line(const std::string& file, int image_width, int image_height,
                         const std::vector<Detection>& found, const Detector& detector) {
  nlohmann::ordered_json out = {{"file", file}, {"width", image_width}, {"height", image_height}};
  auto& list = out["detections"] = nlohmann::ordered_json::array();
  for (const Detection& d : found) list.push_back(json_of(d, detector));
  // File names need not be UTF-8; what is not becomes the replacement character instead of an exception.
  return out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string to_coco_results(int64_t image, const std::vector<Detection>& found,
                            const std::vector<int64_t>& category_ids) {
  std::string out;
  for (const Detection& d : found) {
    expect(d.class_id >= 0 && static_cast<size_t>(d.class_id) < category_ids.size(),
           "class {} has no category: the label file lists {}", d.class_id, category_ids.size());
    out += fmt::format(R"({}{{"image_id":{},"category_id":{},"bbox":[{:.3f},{:.3f},{:.3f},{:.3f}],"score":{:.5f}}})",
                       out.empty() ? "" : ",", image, category_ids[static_cast<size_t>(d.class_id)], d.x0, d.y0,
                       d.x1 - d.x0, d.y1 - d.y0, d.score);
  }
  return out;
}

}  // namespace tenon::vision
