#include <algorithm>
#include <optional>

#include "base/error.hpp"
#include "vision/detect.hpp"
#include "vision/labels.hpp"
#include "vision/literal.hpp"

namespace tenon::vision {
namespace {

struct FamilyName {
  Family family;
  std::string_view name;
};
constexpr FamilyName kFamilies[] = {
    {Family::kAuto, "auto"},
    {Family::kYoloV5, "yolov5"},
    {Family::kYoloV8, "yolov8"},
    {Family::kYoloV8Seg, "yolov8-seg"},
    {Family::kYoloEnd2End, "yolo-e2e"},
    {Family::kYoloX, "yolox"},
    {Family::kNanoDet, "nanodet"},
    {Family::kPicoDet, "picodet"},
    {Family::kSsd, "ssd"},
    {Family::kSsdFinal, "ssd-final"},
    {Family::kUltraFace, "ultraface"},
    {Family::kCenterFace, "centerface"},
    {Family::kDetr, "detr"},
};

using Shape = std::vector<int64_t>;

std::string describe(std::span<const PortInfo> ports) {
  std::string out;
  for (const PortInfo& port : ports) {
    out += out.empty() ? "" : ", ";
    out += port.name + " [";
    for (size_t i = 0; i < port.shape.size(); ++i)
      out += (i ? "," : "") + (port.shape[i] < 0 ? std::string("?") : std::to_string(port.shape[i]));
    out += "]";
  }
  return out.empty() ? "none" : out;
}

/// All that the rules look at.
struct Seen {
  std::span<const PortInfo> outputs;
  int classes = 0;    // from 'names', 0 = unknown
  int keypoints = 0;  // from 'kpt_shape'
  int keypoint_dims = 0;
  bool end_to_end = false;
  bool ultralytics = false;  // has 'stride' and 'names'
  int width = 0, height = 0;

  const Shape& shape(size_t i) const { return outputs[i].shape; }
  bool ranks(std::initializer_list<size_t> wanted) const {
    return outputs.size() == wanted.size() &&
           std::equal(wanted.begin(), wanted.end(), outputs.begin(),
                      [](size_t rank, const PortInfo& port) { return port.shape.size() == rank; });
  }
  /// Cells of the grids with these strides.
  int64_t cells(std::initializer_list<int> strides) const {
    int64_t sum = 0;
    for (int s : strides) sum += int64_t{width / s} * (height / s);
    return sum;
  }
};

/// What a rule fills in when it fits.
struct Match {
  std::vector<int> roles;
  int classes = 0;
  int mask_coefficients = 0;
  bool background = false;
};
using Rule = std::optional<Match> (*)(const Seen&, bool forced);

int channels_of(const Shape& shape) {
  const int64_t a = shape[1], b = shape[2];
  if (a < 0 || b < 0) return static_cast<int>(std::max(a, b));
  return static_cast<int>(std::min(std::min(a, b), int64_t{1} << 30));
}

std::optional<Match> match_end_to_end(const Seen& s, bool forced) {
  if (s.outputs.empty() || s.shape(0).size() != 3) return {};
  const int64_t rows = s.shape(0)[1], columns = s.shape(0)[2];
  const int64_t extra = int64_t{s.keypoints} * s.keypoint_dims;
  if (s.outputs.size() == 2 && s.shape(1).size() == 4 && (s.end_to_end || forced)) {
    const int64_t masks = s.shape(1)[1];
    if (masks > 0 && columns == 6 + masks) return Match{{0, 1}, s.classes, static_cast<int>(masks), false};
  }
  if (s.outputs.size() != 1 || columns != 6 + extra) return {};
  if (forced || s.end_to_end || (rows > 0 && rows <= 1000)) return Match{{0}, s.classes, 0, false};
  return {};
}

std::optional<Match> match_v8(const Seen& s, bool forced) {
  if (!s.ranks({3})) return {};
  const int extra = s.keypoints * s.keypoint_dims;
  const int64_t a = s.shape(0)[1], b = s.shape(0)[2];
  if (s.classes > 0) {
    const int wanted = 4 + s.classes + extra;
    if (a == wanted || b == wanted) return Match{{0}, s.classes, 0, false};
    return {};
  }
  const int channels = channels_of(s.shape(0));
  if (channels <= 4 + extra) return {};
  const bool channels_first = a == channels;
  // Without names, boxes-last with 4 + 80 columns can only be a transposed export of COCO.
  if (channels_first || forced || channels == 84) return Match{{0}, channels - 4 - extra, 0, false};
  return {};
}

std::optional<Match> match_v8_seg(const Seen& s, bool) {
  if (!s.ranks({3, 4})) return {};
  const int64_t masks = s.shape(1)[1];
  const int channels = channels_of(s.shape(0));
  if (masks <= 0 || channels <= 4 + masks) return {};
  const int classes = channels - 4 - static_cast<int>(masks);
  if (s.classes > 0 && s.classes != classes) return {};
  return Match{{0, 1}, classes, static_cast<int>(masks), false};
}

std::optional<Match> match_objectness(const Seen& s) {
  if (!s.ranks({3}) || s.shape(0)[2] < 6) return {};
  const int classes = static_cast<int>(std::min<int64_t>(s.shape(0)[2] - 5, 1 << 30));
  if (s.classes > 0 && s.classes != classes) return {};
  return Match{{0}, classes, 0, false};
}

std::optional<Match> match_v5(const Seen& s, bool forced) {
  auto match = match_objectness(s);
  if (!match || forced) return match;
  const int64_t rows = s.shape(0)[1];
  if (s.ultralytics || rows == 3 * s.cells({8, 16, 32}) || rows == 3 * s.cells({8, 16, 32, 64})) return match;
  return {};
}

std::optional<Match> match_yolox(const Seen& s, bool forced) {
  auto match = match_objectness(s);
  if (!match || forced) return match;
  // Without names, 84 columns are a transposed v8 export of COCO rather than a YOLOX of 79 classes.
  const bool transposed = s.classes == 0 && s.shape(0)[2] == 84;
  if (!transposed && s.shape(0)[1] == s.cells({8, 16, 32})) return match;
  return {};
}

/// Scores [N,cells,classes] and distributions [N,cells,4*8], one pair a level.
std::optional<Match> match_levels(const Seen& s, size_t levels) {
  if (s.outputs.size() != 2 * levels) return {};
  std::vector<int> scores, boxes;
  for (size_t i = 0; i < s.outputs.size(); ++i) {
    if (s.shape(i).size() != 3) return {};
    // With 32 classes the widths tell nothing; then the file's order (scores first) decides.
    const bool is_box = s.shape(i)[2] == 32 && (s.classes != 32 || scores.size() == levels);
    (is_box ? boxes : scores).push_back(static_cast<int>(i));
  }
  if (scores.size() != levels || boxes.size() != levels) return {};
  const auto finer = [&](int a, int b) { return s.shape(a)[1] > s.shape(b)[1]; };
  std::stable_sort(scores.begin(), scores.end(), finer);
  std::stable_sort(boxes.begin(), boxes.end(), finer);
  const int64_t classes = s.shape(scores[0])[2];
  for (size_t i = 0; i < levels; ++i)
    if (s.shape(scores[i])[2] != classes || s.shape(scores[i])[1] != s.shape(boxes[i])[1]) return {};
  if (classes <= 0 || classes > 100'000) return {};
  Match match{scores, static_cast<int>(classes), 0, false};
  match.roles.insert(match.roles.end(), boxes.begin(), boxes.end());
  return match;
}
std::optional<Match> match_nanodet(const Seen& s, bool) { return match_levels(s, 3); }
std::optional<Match> match_picodet(const Seen& s, bool) { return match_levels(s, 4); }

/// Scores with a background class first, and boxes of four numbers.
std::optional<Match> match_ssd(const Seen& s, bool) {
  if (!s.ranks({3, 3})) return {};
  for (int boxes : {1, 0}) {
    const int scores = 1 - boxes;
    const int64_t columns = s.shape(scores)[2];
    if (s.shape(boxes)[2] == 4 && columns >= 2 && columns <= 100'000 && s.shape(scores)[1] == s.shape(boxes)[1])
      return Match{{scores, boxes}, static_cast<int>(columns) - 1, 0, true};
  }
  return {};
}
std::optional<Match> match_ultraface(const Seen& s, bool forced) {
  auto match = match_ssd(s, forced);
  if (match && match->classes == 1) return match;
  return {};
}

std::optional<Match> match_detr(const Seen& s, bool forced) {
  if (!s.ranks({3, 3})) return {};
  for (int boxes : {1, 0}) {
    const int logits = 1 - boxes;
    const std::string &b = s.outputs[boxes].name, &l = s.outputs[logits].name;
    const bool named = (b.find("pred_boxes") != b.npos && l.find("logits") != l.npos) || (b == "dets" && l == "labels");
    if (s.shape(boxes)[2] != 4 || !(named || forced) || s.shape(logits)[2] < 1) continue;
    return Match{{logits, boxes}, static_cast<int>(std::min<int64_t>(s.shape(logits)[2], 1 << 30)), 0, false};
  }
  return {};
}

std::optional<Match> match_ssd_final(const Seen& s, bool) {
  int boxes = -1, classes = -1, scores = -1;
  for (size_t i = 0; i < s.outputs.size(); ++i) {
    const std::string& name = s.outputs[i].name;
    const size_t rank = s.shape(i).size();
    const auto has = [&](const char* part) { return name.find(part) != name.npos; };
    if (rank == 3 && s.shape(i)[2] == 4 && has("box")) boxes = static_cast<int>(i);
    if (rank == 2 && (has("label") || has("class"))) classes = static_cast<int>(i);
    if (rank == 2 && has("score")) scores = static_cast<int>(i);
  }
  if (boxes < 0 || classes < 0 || scores < 0) return {};
  return Match{{boxes, classes, scores}, s.classes, 0, true};
}

std::optional<Match> match_centerface(const Seen& s, bool) {
  if (!s.ranks({4, 4, 4, 4})) return {};
  std::vector<int> roles(4, -1);  // heat, size, offset, landmarks
  for (int i = 0; i < 4; ++i) {
    const int64_t channels = s.shape(i)[1];
    const int role = channels == 1 ? 0 : channels == 10 ? 3 : channels == 2 ? (roles[1] < 0 ? 1 : 2) : -1;
    if (role < 0 || roles[role] >= 0) return {};
    roles[role] = i;
  }
  return Match{roles, 1, 0, false};
}

struct RuleOf {
  Family family;
  Rule rule;
  const char* why;
};
// Order matters: the first that fits wins, so the narrow ones come first.
constexpr RuleOf kRules[] = {
    {Family::kCenterFace, match_centerface, "a heat map, sizes, offsets and 10 landmark planes"},
    {Family::kDetr, match_detr, "logits and boxes of queries"},
    {Family::kUltraFace, match_ultraface, "two scores and four box numbers an anchor"},
    {Family::kSsd, match_ssd, "scores with background and four box numbers an anchor"},
    {Family::kSsdFinal, match_ssd_final, "boxes, classes and scores"},
    {Family::kNanoDet, match_nanodet, "three levels of scores and box distributions"},
    {Family::kPicoDet, match_picodet, "four levels of scores and box distributions"},
    {Family::kYoloEnd2End, match_end_to_end, "rows of x0 y0 x1 y1 score class"},
    {Family::kYoloV8Seg, match_v8_seg, "boxes with mask coefficients, and mask prototypes"},
    {Family::kYoloX, match_yolox, "5 + classes numbers for each grid cell"},
    {Family::kYoloV8, match_v8, "4 + classes numbers an anchor"},
    {Family::kYoloV5, match_v5, "5 + classes numbers for each of three anchors a cell"},
};

std::string value_of(const std::map<std::string, std::string>& metadata, const char* key) {
  const auto found = metadata.find(key);
  return found == metadata.end() ? std::string() : found->second;
}

/// A list of integers such as "[640, 640]", or one integer; empty when the text is something else.
std::vector<int> integers(const std::string& text) {
  if (text.empty()) return {};
  const Literal literal = parse_literal(text);
  std::vector<int> out;
  const auto add = [&](const Literal& item) {
    if (item.kind == Literal::Kind::kNumber && item.number >= 0 && item.number < 1e6)
      out.push_back(static_cast<int>(item.number));
  };
  add(literal);
  for (const Literal& item : literal.items) add(item);
  return out;
}

/// The picture input: rank 4 with three channels somewhere sensible.
void read_input(std::span<const PortInfo> inputs, const std::map<std::string, std::string>& metadata,
                const RecogniseOptions& options, Preprocess& how) {
  const auto port = std::find_if(inputs.begin(), inputs.end(), [](const PortInfo& p) {
    return p.shape.size() == 4 && (p.shape[1] == 3 || p.shape[3] == 3);
  });
  if (port == inputs.end())
    fail(Code::kUnsupported,
         "no input takes pictures of three channels (N,3,H,W or N,H,W,3); the model's inputs are: {}",
         describe(inputs));
  how.layout = port->shape[1] == 3 ? Layout::kNchw : Layout::kNhwc;
  how.dtype = port->dtype;
  const bool nchw = how.layout == Layout::kNchw;
  int64_t height = port->shape[nchw ? 2 : 1], width = port->shape[nchw ? 3 : 2];
  const auto imgsz = integers(value_of(metadata, "imgsz"));
  if (height <= 0) height = imgsz.empty() ? 640 : imgsz.front();
  if (width <= 0) width = imgsz.empty() ? 640 : imgsz.back();
  if (options.height > 0) height = options.height;
  if (options.width > 0) width = options.width;
  expect(width <= 32768 && height <= 32768 && width > 0 && height > 0, "an input of {} x {} pixels is out of range",
         width, height);
  how.width = static_cast<int>(width);
  how.height = static_cast<int>(height);
}

/// What each family was trained on, and its customary thresholds.
void set_family_recipe(Detector& d) {
  Preprocess& how = d.input;
  switch (d.family) {
    case Family::kYoloV5: d.defaults.iou_threshold = 0.45f; break;
    case Family::kYoloX:
      how.fit = Fit::kLetterboxTopLeft;
      how.order = ChannelOrder::kBgr;
      how.scale = 1;
      d.defaults.iou_threshold = 0.45f;
      d.defaults.class_agnostic = true;
      break;
    case Family::kNanoDet:  // BGR 0..255 with ImageNet's mean and deviation, aspect kept
      how.order = ChannelOrder::kBgr;
      how.scale = 1;
      how.mean = {103.53, 116.28, 123.675};
      how.std = {57.375, 57.12, 58.395};
      d.defaults.score_threshold = 0.4f;
      d.defaults.iou_threshold = 0.6f;
      break;
    case Family::kPicoDet:
      how.fit = Fit::kStretch;
      how.mean = imagenet_preprocess().mean;
      how.std = imagenet_preprocess().std;
      d.defaults.score_threshold = 0.4f;
      d.defaults.iou_threshold = 0.6f;
      break;
    case Family::kUltraFace:
    case Family::kSsd:
      how.fit = Fit::kStretch;
      how.scale = 1;
      how.mean = {127, 127, 127};
      how.std = {128, 128, 128};
      d.defaults.score_threshold = d.family == Family::kSsd ? 0.4f : 0.7f;
      d.defaults.iou_threshold = d.family == Family::kSsd ? 0.45f : 0.3f;
      break;
    case Family::kCenterFace:
      how.fit = Fit::kStretch;
      how.scale = 1;
      d.defaults.score_threshold = 0.5f;
      d.defaults.iou_threshold = 0.3f;
      break;
    case Family::kSsdFinal:
    case Family::kDetr: how.fit = Fit::kStretch; break;
    default: break;
  }
  const bool imagenet = d.family == Family::kSsdFinal || (d.family == Family::kDetr && d.num_classes == 91);
  if (imagenet) how.mean = imagenet_preprocess().mean, how.std = imagenet_preprocess().std;
  if (how.dtype == DType::kUInt8) how.scale = 1, how.mean = {0, 0, 0}, how.std = {1, 1, 1};
}

void set_names(Detector& d) {
  if (!d.names.empty()) return;
  if (d.family == Family::kUltraFace || d.family == Family::kCenterFace) d.names = {"face"};
  if (d.num_classes == 80) d.names.assign(coco_names().begin(), coco_names().end());
  if (d.family == Family::kDetr && d.num_classes == 91) {  // COCO's own ids
    d.names.resize(91);
    for (int i = 0; i < 80; ++i) d.names[static_cast<size_t>(coco_category(i))] = coco_names()[static_cast<size_t>(i)];
  }
}

Seen look(std::span<const PortInfo> outputs, const std::map<std::string, std::string>& metadata, Detector& d) {
  Seen seen;
  seen.outputs = outputs;
  seen.width = d.input.width;
  seen.height = d.input.height;
  if (const std::string names = value_of(metadata, "names"); !names.empty()) d.names = parse_names(names);
  seen.classes = static_cast<int>(d.names.size());
  seen.ultralytics = seen.classes > 0 && metadata.count("stride") != 0;
  const auto points = integers(value_of(metadata, "kpt_shape"));
  if (points.size() == 2 && points[0] <= 1000 && (points[1] == 2 || points[1] == 3))
    seen.keypoints = points[0], seen.keypoint_dims = points[1];
  seen.end_to_end =
      value_of(metadata, "end2end") == "True" || value_of(metadata, "args").find("'nms': True") != std::string::npos;
  const std::string task = value_of(metadata, "task");
  if (!task.empty() && task != "detect" && task != "segment" && task != "pose")
    fail(Code::kUnsupported,
         "the model's metadata says task '{}'; boxes can be read from the tasks detect, segment and pose", task);
  return seen;
}

}  // namespace

std::string_view family_name(Family family) {
  for (const auto& entry : kFamilies)
    if (entry.family == family) return entry.name;
  return "unknown";
}

std::string family_names() {
  std::string out;
  for (const auto& entry : kFamilies) out += (out.empty() ? "" : ", ") + std::string(entry.name);
  return out;
}

Family parse_family(std::string_view name) {
  for (const auto& entry : kFamilies)
    if (entry.name == name) return entry.family;
  fail(Code::kInvalidArgument, "'{}' is not a detector family; the families are {}", name, family_names());
}

std::string Detector::class_name(int class_id) const {
  if (class_id >= 0 && static_cast<size_t>(class_id) < names.size() && !names[static_cast<size_t>(class_id)].empty())
    return names[static_cast<size_t>(class_id)];
  return fmt::format("class {}", class_id);
}

Detector recognise(std::span<const PortInfo> inputs, std::span<const PortInfo> outputs,
                   const std::map<std::string, std::string>& metadata, const RecogniseOptions& options) {
  Detector d;
  read_input(inputs, metadata, options, d.input);
  const Seen seen = look(outputs, metadata, d);
  const bool forced = options.family != Family::kAuto;
  for (const RuleOf& entry : kRules) {
    if (forced && entry.family != options.family) continue;
    const auto match = entry.rule(seen, forced);
    if (!match) continue;
    d.family = entry.family;
    d.roles = match->roles;
    d.num_classes = match->classes;
    d.mask_coefficients = match->mask_coefficients;
    d.first_class_is_background = match->background;
    if (entry.family == Family::kYoloV8 || entry.family == Family::kYoloEnd2End)
      d.keypoints = seen.keypoints, d.keypoint_dims = seen.keypoint_dims;
    if (entry.family == Family::kCenterFace) d.keypoints = 5, d.keypoint_dims = 2;
    d.reason = fmt::format("{} ({}): {}", family_name(d.family), forced ? "as told" : entry.why, describe(outputs));
    set_family_recipe(d);
    set_names(d);
    return d;
  }
  if (forced)
    fail(Code::kInvalidArgument, "the model does not have the outputs of {}; it has: {}{}", family_name(options.family),
         describe(outputs), seen.classes ? fmt::format(" ({} class names in its metadata)", seen.classes) : "");
  fail(Code::kUnsupported,
       "no known detector has these outputs: {}{}; input {} x {}. If you know what it is, name the family: {}",
       describe(outputs), seen.classes ? fmt::format(" ({} class names in the metadata)", seen.classes) : "",
       seen.width, seen.height, family_names());
}

}  // namespace tenon::vision
