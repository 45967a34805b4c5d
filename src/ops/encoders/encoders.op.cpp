// Features made ready by ai.onnx.ml: OneHotEncoder, Imputer, FeatureVectorizer, CategoryMapper and CastMap.
#include <cmath>
#include <map>

#include "base/checked.hpp"
#include "ops/support.hpp"

namespace tenon {
namespace {

// --- OneHotEncoder -------------------------------------------------------------------------------------------------

template <class Context>
int64_t category_count(const Context& ctx) {
  size_t numbers = ctx.attrs().ints("cats_int64s").size(), texts = ctx.attrs().strings("cats_strings").size();
  ctx.require((numbers > 0) != (texts > 0), "either cats_int64s or cats_strings must be given");
  return static_cast<int64_t>(numbers + texts);
}

void infer_one_hot(InferContext& ctx) {
  int64_t width = category_count(ctx);
  if (!ctx.shape(0)) return ctx.output(0, DType::kFloat32);
  Shape out = *ctx.shape(0);
  out.emplace_back(width);
  ctx.output(0, DType::kFloat32, out);
}

void one_hot(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  int64_t width = category_count(ctx);
  Ints numbers = ctx.attrs().ints("cats_int64s");
  Strings texts = ctx.attrs().strings("cats_strings");
  bool zeros = ctx.attrs().integer("zeros", 1) != 0, text = x.dtype() == DType::kString;
  ctx.require(text != texts.empty(), "the input is {}, the categories are {}", name(x.dtype()),
              texts.empty() ? "numbers" : "texts");
  std::map<int64_t, int64_t> by_number;
  std::map<std::string, int64_t> by_text;
  for (size_t i = numbers.size(); i-- > 0;) by_number[numbers[i]] = static_cast<int64_t>(i);
  for (size_t i = texts.size(); i-- > 0;) by_text[texts[i]] = static_cast<int64_t>(i);
  Dims dims = x.dims();
  dims.push_back(width);
  Tensor& out = make_output(ctx, 0, DType::kFloat32, dims);
  for (int64_t i = 0; i < x.size(); ++i) {
    int64_t place = -1;
    if (text) {
      auto at = by_text.find(x.data<std::string>()[i]);
      if (at != by_text.end()) place = at->second;
    } else {
      auto at = by_number.find(x.int_at(i));
      if (at != by_number.end()) place = at->second;
    }
    ctx.require(place >= 0 || zeros, "element {} is of no known category", i);
    if (place >= 0) out.set(i * width + place, 1);
  }
}

// --- Imputer -------------------------------------------------------------------------------------------------------

void imputer(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  bool real = is_floating(x.dtype());
  Floats values = real ? ctx.attrs().numbers("imputed_value_floats") : Floats();
  Ints whole = real ? Ints() : ctx.attrs().ints("imputed_value_int64s");
  size_t count = values.size() + whole.size();
  int64_t width = x.rank() == 0 ? 1 : x.dims().back();
  ctx.require(count == 1 || static_cast<int64_t>(count) == width, "{} values are given for {} features of type {}",
              count, width, name(x.dtype()));
  auto bad = static_cast<float>(ctx.attrs().number("replaced_value_float", 0));
  int64_t bad_whole = ctx.attrs().integer("replaced_value_int64", 0);
  Tensor out = x.clone();
  for (int64_t i = 0; i < x.size(); ++i) {
    size_t k = count == 1 ? 0 : static_cast<size_t>(i % width);
    if (real) {
      double v = x.at(i);
      if (std::isnan(bad) ? std::isnan(v) : v == static_cast<double>(bad)) out.set(i, values[k]);
    } else if (x.int_at(i) == bad_whole) {
      out.set_int(i, whole[k]);
    }
  }
  ctx.set(0, std::move(out));
}

// --- FeatureVectorizer ---------------------------------------------------------------------------------------------

template <class Context>
Ints feature_widths(const Context& ctx, size_t inputs) {
  Ints widths = ctx.attrs().ints("inputdimensions");
  ctx.require(widths.size() == inputs, "inputdimensions has {} entries for {} inputs", widths.size(), inputs);
  int64_t total = 0;
  for (int64_t w : widths) {
    ctx.require(w >= 0 && w <= (int64_t{1} << 31), "inputdimensions has an entry of {}", w);
    total = checked_add(total, w);
  }
  return widths;
}

void infer_feature_vectorizer(InferContext& ctx) {
  int64_t total = 0;
  for (int64_t w : feature_widths(ctx, ctx.input_count())) total += w;
  Dim rows = !ctx.shape(0) ? ctx.unknown(0, 0) : ctx.rank(0) == 1 ? Dim(1) : (*ctx.shape(0))[0];
  ctx.output(0, DType::kFloat32, Shape{rows, Dim(total)});
}

// Rows shorter than their width are filled up with zeros, longer ones are cut.
void feature_vectorizer(RefContext& ctx) {
  Ints widths = feature_widths(ctx, ctx.inputs.size());
  int64_t total = 0, begin = 0;
  for (int64_t w : widths) total += w;
  auto rows_of = [](const Tensor& t) { return t.rank() <= 1 ? 1 : t.dims()[0]; };
  int64_t rows = rows_of(ctx.in(0));
  Tensor& out = make_output(ctx, 0, DType::kFloat32, {rows, total});
  for (size_t k = 0; k < widths.size(); ++k) {
    const Tensor& x = ctx.in(k);
    ctx.require(rows_of(x) == rows, "inputs of {} and {} rows cannot be joined", rows, rows_of(x));
    int64_t width = rows == 0 ? 0 : x.size() / rows;
    for (int64_t i = 0; i < rows * std::min(width, widths[k]); ++i) {
      int64_t w = std::min(width, widths[k]);
      out.set(i / w * total + begin + i % w, x.at(i / w * width + i % w));
    }
    begin += widths[k];
  }
}

// --- CategoryMapper ------------------------------------------------------------------------------------------------

void infer_category_mapper(InferContext& ctx) {
  DType in = ctx.dtype(0);
  ctx.output(0, in == DType::kUndefined ? in : in == DType::kString ? DType::kInt64 : DType::kString, ctx.shape(0));
}

void category_mapper(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  Strings texts = ctx.attrs().strings("cats_strings");
  Ints numbers = ctx.attrs().ints("cats_int64s");
  ctx.require(texts.size() == numbers.size(), "{} texts are given for {} numbers", texts.size(), numbers.size());
  bool text = x.dtype() == DType::kString;
  int64_t other = ctx.attrs().integer("default_int64", -1);
  std::string other_text = ctx.attrs().string("default_string", "_Unused");
  Tensor& out = make_output(ctx, 0, text ? DType::kInt64 : DType::kString, x.dims());
  for (int64_t i = 0; i < x.size(); ++i) {
    size_t k = 0;
    while (k < texts.size() && !(text ? texts[k] == x.data<std::string>()[i] : numbers[k] == x.int_at(i))) ++k;
    if (text) {
      out.set_int(i, k < numbers.size() ? numbers[k] : other);
    } else {
      out.mutable_data<std::string>()[i] = k < texts.size() ? texts[k] : other_text;
    }
  }
}

// --- CastMap -------------------------------------------------------------------------------------------------------

struct CastMapPlan {
  DType to;
  bool sparse;
  int64_t width;
};

template <class Context>
CastMapPlan cast_map_plan(const Context& ctx) {
  std::string to = ctx.attrs().string("cast_to", "TO_FLOAT"), form = ctx.attrs().string("map_form", "DENSE");
  ctx.require(to == "TO_FLOAT" || to == "TO_INT64" || to == "TO_STRING", "cast_to '{}' is not known", to);
  ctx.require(form == "DENSE" || form == "SPARSE", "map_form '{}' is not known (DENSE and SPARSE are)", form);
  int64_t width = ctx.attrs().integer("max_map", 1);
  ctx.require(width >= 1 && width <= (int64_t{1} << 31), "max_map is {}", width);
  DType type = to == "TO_FLOAT" ? DType::kFloat32 : to == "TO_INT64" ? DType::kInt64 : DType::kString;
  return {type, form == "SPARSE", width};
}

void infer_cast_map(InferContext& ctx) {
  const Type& type = ctx.type(0);
  ctx.require(type.kind == Type::Kind::kMap || type.kind == Type::Kind::kUnknown, "the input must be a map, not {}",
              type.text());
  CastMapPlan p = cast_map_plan(ctx);
  ctx.output(0, p.to, Shape{Dim(1), p.sparse ? Dim(p.width) : ctx.unknown(0, 1)});
}

void cast_map(RefContext& ctx) {
  CastMapPlan p = cast_map_plan(ctx);
  ctx.require(ctx.has(0) && ctx.inputs[0]->kind == Type::Kind::kMap, "the input must be a map");
  const Tensor &keys = ctx.inputs[0]->keys, &values = ctx.inputs[0]->tensor;
  ctx.require(is_integer(keys.dtype()), "the keys are {}, integers are needed", name(keys.dtype()));
  std::map<int64_t, int64_t> order;
  for (int64_t i = 0; i < keys.size(); ++i) order[keys.int_at(i)] = i;
  int64_t width = p.sparse ? p.width : static_cast<int64_t>(order.size()), next = 0;
  Tensor& out = make_output(ctx, 0, p.to, {1, width});
  bool from_text = values.dtype() == DType::kString;
  for (auto [key, i] : order) {
    int64_t at = p.sparse ? key : next++;
    ctx.require(at >= 0 && at < width, "key {} is outside a map of {}", key, width);
    if (p.to == DType::kString) {
      out.mutable_data<std::string>()[at] =
          from_text ? values.data<std::string>()[i] : fmt::format("{:f}", values.at(i));
    } else if (from_text) {
      char* end = nullptr;
      const std::string& s = values.data<std::string>()[i];
      double v = std::strtod(s.c_str(), &end);
      ctx.require(!s.empty() && *end == '\0', "'{}' is no number", s);
      out.set(at, v);
    } else {
      out.set(at, values.at(i));
    }
  }
}

}  // namespace

void define_encoders_ops(OpTable& table) {
  auto add = [&](const char* name, std::string_view doc, int most, auto infer, auto reference, Strings attrs) {
    table.add({.name = std::string("ai.onnx.ml.") + name,
               .doc = doc,
               .max_inputs = most,
               .infer = infer,
               .reference = reference,
               .attrs = std::move(attrs)});
  };
  add("OneHotEncoder", "Ones at the place of each element's category.", 1, infer_one_hot, one_hot,
      {"cats_int64s", "cats_strings", "zeros"});
  add("Imputer", "Missing values replaced.", 1, infer_same, imputer,
      {"imputed_value_floats", "imputed_value_int64s", "replaced_value_float", "replaced_value_int64"});
  add("FeatureVectorizer", "Features joined to one row of floats.", -1, infer_feature_vectorizer, feature_vectorizer,
      {"inputdimensions"});
  add("CategoryMapper", "Texts to numbers by a list, or back.", 1, infer_category_mapper, category_mapper,
      {"cats_int64s", "cats_strings", "default_int64", "default_string"});
  add("CastMap", "The values of a map in the order of its keys.", 1, infer_cast_map, cast_map,
      {"cast_to", "map_form", "max_map"});
}

}  // namespace tenon
