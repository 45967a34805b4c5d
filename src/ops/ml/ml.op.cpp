// Small ops of ai.onnx.ml: features in, labels out.
#include <cmath>
#include <map>

#include "ops/support.hpp"

namespace tenon {
namespace {

// --- DictVectorizer --------------------------------------------------------------------------------------------

void infer_dict_vectorizer(InferContext& ctx) {
  const Type& type = ctx.type(0);
  ctx.require(type.kind == Type::Kind::kMap || type.kind == Type::Kind::kUnknown, "the input must be a map, not {}",
              type.text());
  auto width = static_cast<int64_t>(ctx.attrs().strings("string_vocabulary").size() +
                                    ctx.attrs().ints("int64_vocabulary").size());
  ctx.output(0, type.element ? type.element->dtype : DType::kUndefined, Shape{1, width});
}

void dict_vectorizer(RefContext& ctx) {
  ctx.require(ctx.has(0) && ctx.inputs[0]->kind == Type::Kind::kMap, "the input must be a map");
  const Tensor &keys = ctx.inputs[0]->keys, &values = ctx.inputs[0]->tensor;
  Strings words = ctx.attrs().strings("string_vocabulary");
  Ints numbers = ctx.attrs().ints("int64_vocabulary");
  bool text = !words.empty();
  ctx.require(text != !numbers.empty(), "either string_vocabulary or int64_vocabulary must be given");
  ctx.require((keys.dtype() == DType::kString) == text, "the keys are {}", name(keys.dtype()));
  size_t count = text ? words.size() : numbers.size();
  Tensor& out = ctx.make(0, values.dtype(), {1, static_cast<int64_t>(count)});
  with_mover(out, values, [&](auto move) {
    for (size_t i = 0; i < count; ++i) {
      for (int64_t k = 0; k < keys.size(); ++k) {
        bool same = text ? keys.data<std::string>()[k] == words[i] : keys.int_at(k) == numbers[i];
        if (same) move(static_cast<int64_t>(i), k);
      }
    }
  });
}

// --- features --------------------------------------------------------------------------------------------------

void infer_float(InferContext& ctx) { ctx.output(0, DType::kFloat32, ctx.shape(0)); }

// An attribute list of one number for all features, or one for each.
double feature(const RefContext& ctx, const Floats& list, int64_t i, int64_t width, double otherwise) {
  if (list.empty()) return otherwise;
  ctx.require(list.size() == 1 || static_cast<int64_t>(list.size()) == width, "{} numbers are given for {} features",
              list.size(), width);
  return list[list.size() == 1 ? 0 : static_cast<size_t>(i % width)];
}

int64_t width_of(const Tensor& x) { return x.rank() == 0 ? 1 : x.dims().back(); }

void scaler(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  Floats offset = ctx.attrs().numbers("offset"), scale = ctx.attrs().numbers("scale");
  Tensor& out = ctx.make(0, DType::kFloat32, x.dims());
  int64_t width = width_of(x);
  for (int64_t i = 0; i < x.size(); ++i) {
    out.set(i, (x.at(i) - feature(ctx, offset, i, width, 0)) * feature(ctx, scale, i, width, 1));
  }
}

void infer_binarizer(InferContext& ctx) { ctx.output(0, ctx.type(0)); }

void binarizer(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  double threshold = ctx.attrs().number("threshold", 0);
  Tensor& out = ctx.make(0, x.dtype(), x.dims());
  for (int64_t i = 0; i < x.size(); ++i) out.set(i, x.at(i) > threshold ? 1 : 0);
}

void normalizer(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  std::string norm = ctx.attrs().string("norm", "MAX");
  ctx.require(norm == "MAX" || norm == "L1" || norm == "L2", "norm '{}' is not known (MAX, L1 and L2 are)", norm);
  Tensor& out = ctx.make(0, DType::kFloat32, x.dims());
  int64_t width = width_of(x);
  for (int64_t row = 0; width > 0 && row < x.size(); row += width) {
    double size = norm == "MAX" ? -INFINITY : 0;
    for (int64_t i = row; i < row + width; ++i) {
      double v = x.at(i);
      size = norm == "MAX" ? std::max(size, v) : size + (norm == "L1" ? std::fabs(v) : v * v);
    }
    if (norm == "L2") size = std::sqrt(size);
    for (int64_t i = row; i < row + width; ++i) out.set(i, size == 0 ? x.at(i) : x.at(i) / size);
  }
}

void infer_array_feature_extractor(InferContext& ctx) {
  if (!ctx.shape(0) || !ctx.shape(1)) return ctx.output(0, ctx.dtype(0));
  Shape out = *ctx.shape(0);
  ctx.require(!out.empty(), "the input is a scalar");
  if (out.size() == 1) out.insert(out.begin(), 1);
  out.back() = product(*ctx.shape(1), 0, ctx.shape(1)->size());
  ctx.output(0, ctx.dtype(0), out);
}

void array_feature_extractor(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  Ints at = ctx.in(1).to_ints();
  ctx.require(x.rank() >= 1, "the input is a scalar");
  Dims dims = x.dims();
  int64_t width = dims.back(), rows = product(dims, 0, dims.size() - 1);
  if (dims.size() == 1) dims.insert(dims.begin(), 1);
  dims.back() = static_cast<int64_t>(at.size());
  Tensor& out = make_output(ctx, 0, x.dtype(), dims);
  with_mover(out, x, [&](auto move) {
    int64_t to = 0;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i : at) {
        ctx.require(i >= 0 && i < width, "feature {} is asked for of {}", i, width);
        move(to++, r * width + i);
      }
    }
  });
}

// --- LabelEncoder ----------------------------------------------------------------------------------------------

// The list attribute given among the typed ones (`keys_strings`, ...), as a tensor.
Tensor typed_list(const Attrs& a, const std::string& stem) {
  if (const Tensor* t = a.tensor(stem + "_tensor")) return *t;
  auto sized = [](size_t n) { return Dims{static_cast<int64_t>(n)}; };
  if (Strings s = a.strings(stem + "_strings"); !s.empty()) {
    return Tensor::of<std::string>(sized(s.size()), std::span<const std::string>(s));
  }
  if (Ints i = a.ints(stem + "_int64s"); !i.empty())
    return Tensor::of<int64_t>(sized(i.size()), std::span<const int64_t>(i));
  Floats f = a.numbers(stem + "_floats");
  Tensor out = Tensor::allocate(DType::kFloat32, sized(f.size()));
  store_doubles(out, f);
  return out;
}

Tensor encoder_default(const Attrs& a, DType dtype) {
  if (const Tensor* t = a.tensor("default_tensor")) return *t;
  if (dtype == DType::kString) return Tensor::scalar<std::string>(a.string("default_string", "_Unused"));
  if (dtype == DType::kFloat32) return Tensor::scalar<float>(static_cast<float>(a.number("default_float", -0.0)));
  return Tensor::scalar<int64_t>(a.integer("default_int64", -1));
}

void infer_label_encoder(InferContext& ctx) { ctx.output(0, typed_list(ctx.attrs(), "values").dtype(), ctx.shape(0)); }

void label_encoder(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  Tensor keys = typed_list(ctx.attrs(), "keys"), values = typed_list(ctx.attrs(), "values");
  ctx.require(keys.size() == values.size(), "{} keys and {} values are given", keys.size(), values.size());
  ctx.require(keys.dtype() == x.dtype(), "the input is {} and the keys are {}", name(x.dtype()), name(keys.dtype()));
  Tensor otherwise = encoder_default(ctx.attrs(), values.dtype());
  ctx.require(otherwise.size() == 1 && otherwise.dtype() == values.dtype(), "the default must be one {}",
              name(values.dtype()));
  Tensor& out = ctx.make(0, values.dtype(), x.dims());
  auto same = [&](int64_t i, int64_t k) {
    if (x.dtype() == DType::kString) return x.data<std::string>()[i] == keys.data<std::string>()[k];
    if (!is_floating(x.dtype())) return x.int_at(i) == keys.int_at(k);
    double a = x.at(i), b = keys.at(k);
    return a == b || (std::isnan(a) && std::isnan(b));
  };
  with_mover(out, values, [&](auto move) {
    with_mover(out, otherwise, [&](auto fill) {
      for (int64_t i = 0; i < x.size(); ++i) {
        int64_t k = 0;
        while (k < keys.size() && !same(i, k)) ++k;
        k < keys.size() ? move(i, k) : fill(i, 0);
      }
    });
  });
}

// --- ZipMap ----------------------------------------------------------------------------------------------------

void infer_zip_map(InferContext& ctx) {
  bool text = !ctx.attrs().strings("classlabels_strings").empty();
  Type map =
      Type::container(Type::Kind::kMap, Type::tensor(DType::kFloat32, Shape{}), text ? DType::kString : DType::kInt64);
  ctx.output(0, Type::container(Type::Kind::kSequence, map));
}

void zip_map(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  Tensor keys = typed_list(ctx.attrs(), "classlabels");
  int64_t width = width_of(x);
  ctx.require(keys.size() == width, "{} labels are given for {} columns", keys.size(), width);
  std::vector<Datum> rows;
  for (int64_t at = 0; width > 0 && at < x.size(); at += width) {
    Datum row;
    row.kind = Type::Kind::kMap;
    row.keys = keys;
    row.tensor = Tensor::allocate(DType::kFloat32, {width});
    for (int64_t i = 0; i < width; ++i) row.tensor.set(i, x.at(at + i));
    rows.push_back(row);
  }
  ctx.set(0, Datum::sequence(rows));
}

}  // namespace

void define_ml_ops(OpTable& table) {
  auto add = [&](const char* name, std::string_view doc, int inputs, auto infer, auto reference, Strings attrs) {
    table.add({.name = std::string("ai.onnx.ml.") + name,
               .doc = doc,
               .min_inputs = inputs,
               .max_inputs = inputs,
               .infer = infer,
               .reference = reference,
               .attrs = std::move(attrs)});
  };
  add("DictVectorizer", "A row of a map's values in the order of a vocabulary.", 1, infer_dict_vectorizer,
      dict_vectorizer, {"int64_vocabulary", "string_vocabulary"});
  add("Scaler", "(x - offset) * scale, each feature its own.", 1, infer_float, scaler, {"offset", "scale"});
  add("Binarizer", "1 above a threshold, else 0.", 1, infer_binarizer, binarizer, {"threshold"});
  add("Normalizer", "Each row divided by its norm.", 1, infer_float, normalizer, {"norm"});
  add("ArrayFeatureExtractor", "Columns at indices.", 2, infer_array_feature_extractor, array_feature_extractor, {});
  add("LabelEncoder", "Looks each element up in a list of keys.", 1, infer_label_encoder, label_encoder,
      {"default_float", "default_int64", "default_string", "default_tensor", "keys_floats", "keys_int64s",
       "keys_strings", "keys_tensor", "values_floats", "values_int64s", "values_strings", "values_tensor"});
  add("ZipMap", "A map from labels to scores for each row.", 1, infer_zip_map, zip_map,
      {"classlabels_int64s", "classlabels_strings"});
}

}  // namespace tenon
