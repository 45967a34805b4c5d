// Ops on strings: StringNormalizer, StringSplit, StringConcat, RegexFullMatch and TfIdfVectorizer.
#include <re2/re2.h>
#include <wctype.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <variant>

#include "base/utf8.hpp"
#include "ops/support.hpp"

namespace tenon {
namespace {

// --- StringNormalizer ----------------------------------------------------------------------------------------------

enum class Case { kKeep, kLower, kUpper };

// Each code point by itself, in whatever language; the C library's tables for UTF-8, or ASCII where it has none or the
// text is no UTF-8.
std::string with_case(const std::string& text, Case to) {
  static const locale_t locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  auto points = decode_utf8(text);
  bool ascii = locale == nullptr || !points;
  if (!points) points.emplace(text.begin(), text.end());
  std::string out;
  for (char32_t c : *points) {
    auto w = static_cast<wint_t>(c);
    bool lower = c >= 'a' && c <= 'z', upper = c >= 'A' && c <= 'Z';
    if (to == Case::kLower) w = ascii ? (upper ? w + 32 : w) : towlower_l(w, locale);
    if (to == Case::kUpper) w = ascii ? (lower ? w - 32 : w) : towupper_l(w, locale);
    if (ascii) out += static_cast<char>(w);
    if (!ascii) append_utf8(out, static_cast<char32_t>(w));
  }
  return out;
}

void infer_normalizer(InferContext& ctx) {
  Shape out;
  if (ctx.rank(0) == 2) out.emplace_back(1);
  out.push_back(ctx.unknown(0, out.size()));
  ctx.output(0, DType::kString, ctx.rank(0) < 0 ? std::nullopt : std::optional(out));
}

void string_normalizer(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  ctx.require(x.rank() == 1 || (x.rank() == 2 && x.dims()[0] == 1), "texts of shape {} are not (C) or (1, C)",
              dims_text(x.dims()));
  std::string action = ctx.attrs().string("case_change_action", "NONE");
  ctx.require(action == "NONE" || action == "LOWER" || action == "UPPER",
              "case_change_action '{}' is not known (NONE, LOWER and UPPER are)", action);
  Case to = action == "LOWER" ? Case::kLower : action == "UPPER" ? Case::kUpper : Case::kKeep;
  bool exact = ctx.attrs().integer("is_case_sensitive", 0) != 0;
  std::set<std::string> stops;
  for (const std::string& s : ctx.attrs().strings("stopwords")) stops.insert(exact ? s : with_case(s, Case::kLower));
  Strings kept;
  for (const std::string& s : x.values<std::string>()) {
    if (stops.contains(exact ? s : with_case(s, Case::kLower))) continue;
    kept.push_back(to == Case::kKeep ? s : with_case(s, to));
  }
  if (kept.empty()) kept.emplace_back();
  Dims dims{static_cast<int64_t>(kept.size())};
  if (x.rank() == 2) dims.insert(dims.begin(), 1);
  ctx.set(0, Tensor::of<std::string>(dims, std::span<const std::string>(kept)));
}

// --- StringSplit, StringConcat -------------------------------------------------------------------------------------

void infer_split(InferContext& ctx) {
  ctx.output(1, DType::kInt64, ctx.shape(0));
  if (!ctx.shape(0)) return ctx.output(0, DType::kString);
  Shape out = *ctx.shape(0);
  out.push_back(ctx.unknown(0, out.size()));
  ctx.output(0, DType::kString, out);
}

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Runs of white space part words; `most` cuts at most, then the rest as it is.
Strings split_at_spaces(const std::string& text, int64_t most) {
  Strings out;
  size_t at = 0;
  for (;;) {
    while (at < text.size() && is_space(text[at])) ++at;
    if (at == text.size()) return out;
    size_t end = at;
    if (static_cast<int64_t>(out.size()) == most) {
      end = text.size();
      while (is_space(text[end - 1])) --end;
      out.push_back(text.substr(at, end - at));
      return out;
    }
    while (end < text.size() && !is_space(text[end])) ++end;
    out.push_back(text.substr(at, end - at));
    at = end;
  }
}

Strings split_at(const std::string& text, const std::string& delimiter, int64_t most) {
  if (delimiter.empty()) return split_at_spaces(text, most);
  Strings out;
  size_t at = 0;
  while (static_cast<int64_t>(out.size()) < most) {
    size_t end = text.find(delimiter, at);
    if (end == std::string::npos) break;
    out.push_back(text.substr(at, end - at));
    at = end + delimiter.size();
  }
  out.push_back(text.substr(at));
  return out;
}

void string_split(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  std::string delimiter = ctx.attrs().string("delimiter", "");
  int64_t most = ctx.attrs().integer("maxsplit", -1);
  if (most < 0) most = std::numeric_limits<int64_t>::max();
  std::vector<Strings> parts;
  size_t longest = 0;
  for (const std::string& s : x.values<std::string>()) {
    parts.push_back(split_at(s, delimiter, most));
    longest = std::max(longest, parts.back().size());
  }
  Dims dims = x.dims();
  dims.push_back(static_cast<int64_t>(longest));
  Tensor& out = make_output(ctx, 0, DType::kString, dims);
  Tensor counts = Tensor::allocate(DType::kInt64, x.dims());
  for (size_t i = 0; i < parts.size(); ++i) {
    std::copy(parts[i].begin(), parts[i].end(), out.mutable_data<std::string>() + i * longest);
    counts.set_int(static_cast<int64_t>(i), static_cast<int64_t>(parts[i].size()));
  }
  ctx.set(1, std::move(counts));
}

void infer_concat(InferContext& ctx) {
  if (!ctx.shape(0) || !ctx.shape(1)) return ctx.output(0, DType::kString);
  auto shape = broadcast_shapes(*ctx.shape(0), *ctx.shape(1));
  ctx.require(shape.has_value(), "shapes {} and {} do not broadcast", shape_text(*ctx.shape(0)),
              shape_text(*ctx.shape(1)));
  ctx.output(0, DType::kString, *shape);
}

void string_concat(RefContext& ctx) {
  const Tensor &a = ctx.in(0), &b = ctx.in(1);
  Dims dims = broadcast_dims(a.dims(), b.dims(), "StringConcat");
  Tensor& out = make_output(ctx, 0, DType::kString, dims);
  auto* to = out.mutable_data<std::string>();
  const auto *first = a.data<std::string>(), *second = b.data<std::string>();
  walk<2>(dims, {broadcast_strides(a.dims(), dims), broadcast_strides(b.dims(), dims)},
          [&](const std::array<int64_t, 2>& at) { *to++ = first[at[0]] + second[at[1]]; });
}

// --- RegexFullMatch ------------------------------------------------------------------------------------------------

void infer_regex(InferContext& ctx) { ctx.output(0, DType::kBool, ctx.shape(0)); }

void regex_full_match(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  RE2 regex(ctx.attrs().string("pattern", ""), RE2::Quiet);  // takes time linear in the text, whatever the pattern
  ctx.require(regex.ok(), "the pattern is not one of RE2's: {}", regex.error());
  Tensor& out = ctx.make(0, DType::kBool, x.dims());
  for (int64_t i = 0; i < x.size(); ++i) out.set_int(i, RE2::FullMatch(x.data<std::string>()[i], regex) ? 1 : 0);
}

// --- TfIdfVectorizer -----------------------------------------------------------------------------------------------

template <class Context>
int64_t tf_idf_width(const Context& ctx) {
  Ints at = ctx.attrs().ints("ngram_indexes");
  ctx.require(!at.empty(), "attribute ngram_indexes is missing");
  int64_t width = 0;
  for (int64_t i : at) {
    ctx.require(i >= 0 && i < (int64_t{1} << 31), "ngram_indexes holds {}", i);
    width = std::max(width, i + 1);
  }
  return width;
}

void infer_tf_idf(InferContext& ctx) {
  int64_t width = tf_idf_width(ctx);
  if (!ctx.shape(0)) return ctx.output(0, DType::kFloat32);
  ctx.require(ctx.rank(0) <= 2, "the input has {} axes, two at most are understood", ctx.rank(0));
  Shape out{Dim(width)};
  if (ctx.rank(0) == 2) out.insert(out.begin(), (*ctx.shape(0))[0]);
  ctx.output(0, DType::kFloat32, out);
}

using Word = std::variant<int64_t, std::string>;
using Gram = std::vector<Word>;

// The n-grams looked for, with their places in the attributes.
std::map<Gram, std::vector<size_t>> read_pool(const RefContext& ctx, int64_t least, int64_t most) {
  Ints starts = ctx.attrs().ints("ngram_counts");
  Strings words = ctx.attrs().strings("pool_strings");
  Ints numbers = ctx.attrs().ints("pool_int64s");
  ctx.require(words.empty() != numbers.empty(), "either pool_strings or pool_int64s must be given");
  size_t total = words.empty() ? numbers.size() : words.size(), place = 0;
  size_t known = ctx.attrs().ints("ngram_indexes").size();
  std::map<Gram, std::vector<size_t>> out;
  for (size_t n = 1; n <= starts.size(); ++n) {
    int64_t from = starts[n - 1], to = n < starts.size() ? starts[n] : static_cast<int64_t>(total);
    ctx.require(
        from >= 0 && from <= to && to <= static_cast<int64_t>(total) && (to - from) % static_cast<int64_t>(n) == 0,
        "ngram_counts puts {}-grams from {} to {} of a pool of {}", n, from, to, total);
    for (auto at = static_cast<size_t>(from); at < static_cast<size_t>(to); at += n, ++place) {
      ctx.require(place < known, "ngram_indexes has {} entries, the pool more n-grams", known);
      if (static_cast<int64_t>(n) < least || static_cast<int64_t>(n) > most) continue;
      Gram gram;
      for (size_t k = at; k < at + n; ++k) gram.push_back(words.empty() ? Word(numbers[k]) : Word(words[k]));
      out[gram].push_back(place);
    }
  }
  return out;
}

void tf_idf(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  const Attrs& a = ctx.attrs();
  int64_t width = tf_idf_width(ctx), least = a.integer("min_gram_length", 1), most = a.integer("max_gram_length", 1);
  int64_t skips = a.integer("max_skip_count", 0);
  std::string mode = a.string("mode", "TF");
  ctx.require(mode == "TF" || mode == "IDF" || mode == "TFIDF", "mode '{}' is not known (TF, IDF and TFIDF are)", mode);
  ctx.require(least >= 1 && most >= least && most <= 1000 && skips >= 0 && x.rank() <= 2,
              "n-grams of {} to {} with {} skips cannot be taken from shape {}", least, most, skips,
              dims_text(x.dims()));
  auto pool = read_pool(ctx, least, most);
  Ints places = a.ints("ngram_indexes");
  Floats weights = a.numbers("weights");
  ctx.require(weights.empty() || weights.size() == places.size(), "{} weights are given for {} n-grams", weights.size(),
              places.size());
  int64_t rows = x.rank() == 2 ? x.dims()[0] : 1, length = x.rank() == 0 ? 1 : x.dims().back();
  Tensor& out = make_output(ctx, 0, DType::kFloat32, x.rank() == 2 ? Dims{rows, width} : Dims{width});
  auto word = [&](int64_t i) {
    return x.dtype() == DType::kString ? Word(x.data<std::string>()[i]) : Word(x.int_at(i));
  };
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<double> found(places.size(), 0.0);
    for (int64_t n = least; n <= most; ++n) {
      // Words of one gram are all `step` apart; single words do not depend on it.
      for (int64_t step = 1; step <= (n == 1 ? 1 : std::min(skips, length) + 1); ++step) {
        for (int64_t at = 0; at + (n - 1) * step < length; ++at) {
          Gram gram;
          for (int64_t k = 0; k < n; ++k) gram.push_back(word(r * length + at + k * step));
          auto hit = pool.find(gram);
          if (hit == pool.end()) continue;
          for (size_t p : hit->second) ++found[p];
        }
      }
    }
    for (size_t p = 0; p < places.size(); ++p) {
      double count = mode == "IDF" ? std::min(found[p], 1.0) : found[p];
      double weight = mode == "TF" || weights.empty() ? 1 : weights[p];
      int64_t to = r * width + places[p];
      out.set(to, out.at(to) + count * weight);
    }
  }
}

}  // namespace

void define_text_ops(OpTable& table) {
  auto add = [&](const char* name, std::string_view doc, int inputs, int outputs, auto infer, auto reference,
                 Strings attrs, bool data_shapes = false) {
    table.add({.name = name,
               .doc = doc,
               .min_inputs = inputs,
               .max_inputs = inputs,
               .max_outputs = outputs,
               .infer = infer,
               .reference = reference,
               .data_shapes = data_shapes,
               .attrs = std::move(attrs)});
  };
  add("StringNormalizer", "Texts without stop words, in lower or upper case.", 1, 1, infer_normalizer,
      string_normalizer, {"case_change_action", "is_case_sensitive", "locale", "stopwords"}, true);
  add("StringSplit", "Each text cut at a delimiter, and the number of its parts.", 1, 2, infer_split, string_split,
      {"delimiter", "maxsplit"}, true);
  add("StringConcat", "Texts joined element by element.", 2, 1, infer_concat, string_concat, {});
  add("RegexFullMatch", "Whether each text matches a regular expression of RE2's syntax as a whole.", 1, 1, infer_regex,
      regex_full_match, {"pattern"});
  add("TfIdfVectorizer", "How often each n-gram of a pool occurs, weighted.", 1, 1, infer_tf_idf, tf_idf,
      {"max_gram_length", "max_skip_count", "min_gram_length", "mode", "ngram_counts", "ngram_indexes", "pool_int64s",
       "pool_strings", "weights"});
}

}  // namespace tenon
