#include "tactic/onednn_conv.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "tactic/problem_window.hpp"

namespace tenon {
namespace {

namespace dnn = cpu::onednn;
using Geometry = OnednnConv;
using Dims64 = OnednnConv::Dims64;

// Of one piece: images [n0, n1), and along the cut axis results [r0, r1).
struct Range {
  int64_t n0, n1, r0, r1;
};

// A 1x1 convolution without strides is one row of pixels, which cuts evenly.
void flatten(Geometry& g) {
  auto all = [](const Dims64& v, dnn::Dim value) {
    return std::all_of(v.begin(), v.end(), [&](dnn::Dim x) { return x == value; });
  };
  Dims64 kernel(g.weights.end() - static_cast<int64_t>(g.strides.size()), g.weights.end());
  if (!all(kernel, 1) || !all(g.strides, 1) || !all(g.begins, 0) || !all(g.ends, 0)) return;
  for (Dims64* d : {&g.source, &g.result}) {
    dnn::Dim pixels = 1;
    for (size_t i = 2; i < d->size(); ++i) pixels *= (*d)[i];
    *d = {(*d)[0], (*d)[1], 1, pixels};
  }
  g.weights.resize(g.weights.size() - g.strides.size());
  g.weights.insert(g.weights.end(), 2, 1);
  g.strides = {1, 1};
  g.dilations = g.begins = g.ends = {0, 0};
  g.cut = 3;
}

std::vector<Range> cut(const Geometry& g, int threads) {
  int64_t images = g.result[0], rows = g.result[g.cut];
  std::vector<Range> out;
  if (images % threads == 0 || images >= 4 * threads) {
    int64_t parts = std::min<int64_t>(images, threads);
    for (int64_t i = 0; i < parts; ++i) out.push_back({images * i / parts, images * (i + 1) / parts, 0, rows});
    return out;
  }
  int64_t parts = std::min<int64_t>(rows, threads);
  for (int64_t n = 0; n < images; ++n) {
    for (int64_t i = 0; i < parts; ++i) out.push_back({n, n + 1, rows * i / parts, rows * (i + 1) / parts});
  }
  return out;
}

// The geometry of one piece, and the first row that it reads.
Geometry part_of(const Geometry& g, const Range& r, int64_t& first_row) {
  Geometry part = g;
  size_t axis = g.cut - 2;
  int64_t reach = (g.weights[g.weights.size() - g.strides.size() + axis] - 1) * (g.dilations[axis] + 1) + 1;
  int64_t begin = r.r0 * g.strides[axis] - g.begins[axis];
  int64_t end = (r.r1 - 1) * g.strides[axis] - g.begins[axis] + reach;
  int64_t rows = g.source[g.cut];
  part.begins[axis] = std::max<int64_t>(0, -begin);
  part.ends[axis] = std::max<int64_t>(0, end - rows);
  first_row = std::clamp<int64_t>(begin, 0, rows);
  part.source[g.cut] = std::clamp<int64_t>(end, 0, rows) - first_row;
  part.result[g.cut] = r.r1 - r.r0;
  part.source[0] = part.result[0] = r.n1 - r.n0;
  return part;
}

dnn::Desc channels_last(const Dims64& dims, DType dtype) {
  return dnn::Desc::strided(dims, dtype, format_strides(dims, Format::kChannelsLast));
}

// `result`: of the piece; an operand of the whole result's shape is cut as the result is.
dnn::Desc operand_desc(const Problem& p, size_t index, const Dims64& result) {
  Spread spread = *spread_of(p.in[index], p.out[0].dims, 1);
  if (spread == Spread::kFull) return channels_last(result, DType::kFloat32);
  Dims64 dims(result.size(), 1);
  if (spread == Spread::kChannel) dims[1] = result[1];
  return dnn::Desc::dense(dims, DType::kFloat32);
}

dnn::PrimitiveDesc describe(const Problem& p, const Geometry& g, const dnn::DescHandle* weights, std::string& why) {
  auto attributes = attributes_of(g.steps, [&](size_t index) { return operand_desc(p, index, g.result); });
  if (g.zero_point >= 0) attributes.zero_points.emplace_back(dnn::kSource, 0);
  dnn::Desc source = channels_last(g.source, g.source_type), result = channels_last(g.result, g.result_type);
  dnn::Desc any = dnn::Desc::any(g.weights, g.weights_type);
  dnn::Desc bias = g.bias != nullptr ? dnn::Desc::dense({g.result[1]}, DType::kFloat32) : dnn::Desc();
  auto made = dnn::PrimitiveDesc::make(
      attributes,
      [&](const dnn::Api& f, dnn::PrimitiveDescHandle** to, dnn::EngineHandle* engine, const dnn::AttrHandle* attr) {
        return f.convolution_forward_primitive_desc_create(to, engine, dnn::kForwardInference, dnn::kConvolutionDirect,
                                                           source.get(), weights != nullptr ? weights : any.get(),
                                                           bias.get(), result.get(), g.strides.data(),
                                                           g.dilations.data(), g.begins.data(), g.ends.data(), attr);
      },
      why);
  if (made && made.slow()) {
    why = "oneDNN has only a slow implementation for it: " + made.implementation();
    return {};
  }
  return made;
}

struct Piece {
  Range range;
  Geometry geometry;
  int64_t first_row = 0;
  dnn::PrimitiveDesc desc;
};

// All pieces described; those behind the first take the first's weights as they are where they can.
std::vector<Piece> pieces_for(const Problem& p, const Geometry& g, int threads, std::string& why) {
  std::vector<Piece> out;
  for (const Range& r : cut(g, threads)) {
    Piece piece{r, {}, 0, {}};
    piece.geometry = part_of(g, r, piece.first_row);
    if (piece.geometry.source[g.cut] < 1) {
      why = "a part of it would read only padding";
      return {};
    }
    std::string shared;
    if (!out.empty()) piece.desc = describe(p, piece.geometry, out[0].desc.argument(dnn::kWeights), shared);
    if (!piece.desc) piece.desc = describe(p, piece.geometry, nullptr, why);
    if (!piece.desc) return {};
    out.push_back(std::move(piece));
  }
  return out;
}

// What cannot be cut is left whole, so that a plan runs with any number of threads.
std::vector<Piece> pieces_of(const Problem& p, const Geometry& g, std::string& why) {
  std::vector<Piece> pieces = pieces_for(p, g, p.threads, why);
  return pieces.empty() && p.threads > 1 ? pieces_for(p, g, 1, why) : std::move(pieces);
}

OnednnPiece placed(const Problem& p, const Geometry& g, const Piece& piece, const void* weights,
                   std::shared_ptr<const dnn::Call> call) {
  using Of = OnednnPiece::Address::Of;
  auto offset = [&](const Dims64& dims, int64_t row) {
    Ints strides = format_strides(dims, Format::kChannelsLast);
    return piece.range.n0 * strides[0] + row * strides[g.cut];
  };
  int64_t to = offset(g.result, piece.range.r0);
  OnednnPiece out;
  out.call = std::move(call);
  out.addresses.push_back({Of::kInput, 0, byte_size(g.source_type, offset(g.source, piece.first_row)), nullptr});
  out.addresses.push_back({Of::kFixed, 0, 0, weights});
  if (g.bias != nullptr) out.addresses.push_back({Of::kFixed, 0, 0, g.bias->raw()});
  for (const FusedStep& s : g.steps) {
    if (s.extra < 0) continue;
    auto index = static_cast<size_t>(s.extra);
    bool full = spread_of(p.in[index], p.out[0].dims, 1) == Spread::kFull;
    out.addresses.push_back({Of::kInput, index, full ? 4 * to : 0, nullptr});
  }
  out.addresses.push_back({Of::kOutput, 0, byte_size(g.result_type, to), nullptr});
  if (g.zero_point >= 0) {
    Of as = p.in[static_cast<size_t>(g.zero_point)].dtype == DType::kInt8 ? Of::kSignedByte : Of::kByte;
    out.addresses.push_back({as, static_cast<size_t>(g.zero_point), 0, nullptr});
  }
  return out;
}

}  // namespace

std::optional<OnednnConv> onednn_conv_of(const Problem& p, const Dims& weights_dims, std::string& why) {
  auto refuse = [&](const char* text) {
    why = text;
    return std::nullopt;
  };
  if (dnn::library() == nullptr) return refuse("there is no oneDNN library here");
  const Operand &x = p.in[0], &y = p.out[0];
  if (x.rank() < 3 || x.rank() > 5) return refuse("not a 1-D, 2-D or 3-D convolution");
  for (const Operand* o : {&x, &y}) {
    if (o->format != Format::kChannelsLast && !formats_agree(o->dims)) return refuse("only channels-last");
    if (o->size() == 0) return refuse("an empty operand");
  }
  Window window = problem_window(p, {weights_dims.begin() + 2, weights_dims.end()});
  OnednnConv g;
  g.source = x.dims;
  g.weights = weights_dims;
  g.result = y.dims;
  int64_t groups = p.attrs().integer("group", 1);
  if (groups > 1) {
    g.weights[0] /= groups;
    g.weights.insert(g.weights.begin(), groups);
  }
  g.strides = window.strides;
  g.begins = window.begins;
  g.ends = window.ends;
  for (int64_t d : window.dilations) g.dilations.push_back(d - 1);
  if (*std::min_element(g.begins.begin(), g.begins.end()) < 0 || *std::min_element(g.ends.begin(), g.ends.end()) < 0)
    return refuse("negative pads");
  flatten(g);
  return g;
}

Verdict judge_onednn_conv(const Problem& p, const OnednnConv& g) {
  std::string why;
  if (pieces_of(p, g, why).empty()) return Verdict::no("{}", why);
  return Verdict::yes();
}

std::unique_ptr<Kernel> prepare_onednn_conv(const Problem& p, const OnednnConv& g, WeightStore& store) {
  std::string why;
  std::vector<Piece> pieces = pieces_of(p, g, why);
  expect(!pieces.empty(), "oneDNN does not take this convolution any more: {}", why);
  std::vector<int> arguments = arguments_of(g.steps, g.bias != nullptr);
  std::vector<std::pair<int, dnn::Desc>> described;
  if (g.zero_point >= 0) arguments.push_back(dnn::kZeroPointsOf | dnn::kSource);
  dnn::Desc plain = dnn::Desc::dense(g.weights, g.weights_type);
  std::vector<OnednnPiece> bound;
  for (const Piece& piece : pieces) {
    // What is not seen in a layout's strides and blocks: sums over the weights that some types of source need.
    std::string key = fmt::format("{} {} {}", piece.desc.implementation(), name(g.source_type), g.zero_point >= 0);
    const void* weights = onednn_packed(store, g.constant, plain, piece.desc.argument(dnn::kWeights), key);
    described.clear();
    if (g.zero_point >= 0) {
      described.emplace_back(dnn::kZeroPointsOf | dnn::kSource, dnn::Desc::dense({1}, DType::kInt32));
    }
    std::shared_ptr<const dnn::Call> call = dnn::Call::make(piece.desc, arguments, std::move(described), why);
    expect(call != nullptr, "{}", why);
    bound.push_back(placed(p, g, piece, weights, std::move(call)));
  }
  return make_onednn_kernel(std::move(bound), p.threads, pieces[0].desc.implementation());
}

}  // namespace tenon
