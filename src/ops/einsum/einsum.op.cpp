// Einsum: sums of products over named axes.
#include <algorithm>
#include <map>

#include "ops/support.hpp"

namespace tenon {
namespace {

// The axes of each operand and of the output as letters. The axes of an ellipsis are '0', '1', ... counted from the
// right, so that operands of different ranks broadcast.
struct Equation {
  std::vector<std::string> inputs;
  std::string output;
};

template <class Context>
std::string expand(const Context& ctx, const std::string& term, int64_t rank) {
  std::string out;
  size_t dots = term.find("...");
  auto letters = static_cast<int64_t>(term.size()) - (dots == std::string::npos ? 0 : 3);
  ctx.require(dots == std::string::npos ? rank == letters : rank >= letters && rank - letters <= 10,
              "term '{}' does not fit an operand of rank {}", term, rank);
  for (size_t i = 0; i < term.size(); ++i) {
    if (i == dots) {
      for (int64_t k = rank - letters; k-- > 0;) out += static_cast<char>('0' + k);
      i += 2;
      continue;
    }
    char c = term[i];
    ctx.require((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'), "term '{}' has the character '{}'", term, c);
    out += c;
  }
  return out;
}

template <class Context>
Equation parse(const Context& ctx, const std::vector<int64_t>& ranks) {
  std::string text = ctx.attrs().string("equation", "");
  text.erase(std::remove(text.begin(), text.end(), ' '), text.end());
  ctx.require(!text.empty() && text.size() < 1000, "the equation '{}' is empty or too long", text.substr(0, 50));
  size_t arrow = text.find("->");
  std::string left = text.substr(0, arrow);
  Equation e;
  size_t begin = 0;
  for (size_t i = 0; i < ranks.size(); ++i) {
    size_t end = std::min(left.find(',', begin), left.size());
    ctx.require(begin <= left.size(), "the equation has {} terms for {} operands", i, ranks.size());
    e.inputs.push_back(expand(ctx, left.substr(begin, end - begin), ranks[i]));
    begin = end + 1;
  }
  ctx.require(begin == left.size() + 1, "the equation has more terms than the {} operands", ranks.size());
  std::map<char, int> counts;
  int64_t dots = 0;
  for (const std::string& term : e.inputs) {
    for (char c : term) {
      ++counts[c];
      if (c >= '0' && c <= '9') dots = std::max<int64_t>(dots, c - '0' + 1);
    }
  }
  std::string all_dots;
  for (int64_t k = dots; k-- > 0;) all_dots += static_cast<char>('0' + k);
  if (arrow == std::string::npos) {  // the ellipsis, then what occurs once, in alphabetical order
    e.output = all_dots;
    for (auto [c, n] : counts) {
      if (n == 1 && c > '9') e.output += c;
    }
    return e;
  }
  std::string right = text.substr(arrow + 2);
  size_t at = right.find("...");
  if (at != std::string::npos) right.replace(at, 3, all_dots);
  for (size_t i = 0; i < right.size(); ++i) {
    ctx.require(counts.count(right[i]) == 1 && right.find(right[i], i + 1) == std::string::npos,
                "the output term names '{}' twice or names what no operand has", right[i]);
  }
  e.output = right;
  return e;
}

void infer_einsum(InferContext& ctx) {
  std::vector<int64_t> ranks;
  for (size_t i = 0; i < ctx.input_count(); ++i) {
    if (!ctx.shape(i)) return ctx.output(0, ctx.dtype(0));
    ranks.push_back(ctx.rank(i));
  }
  Equation e = parse(ctx, ranks);
  std::map<char, Dim> extents;
  for (size_t i = 0; i < e.inputs.size(); ++i) {
    for (size_t k = 0; k < e.inputs[i].size(); ++k) {
      const Dim& d = (*ctx.shape(i))[k];
      auto [known, fresh] = extents.emplace(e.inputs[i][k], d);
      if (fresh || d == Dim(1) || d == known->second) continue;
      bool differ = known->second.is_const() && d.is_const() && !(known->second == Dim(1));
      ctx.require(!differ, "axis '{}' has both {} and {} elements", e.inputs[i][k], known->second.text(), d.text());
      if (d.is_const() || known->second == Dim(1)) known->second = d;
    }
  }
  Shape out;
  for (char c : e.output) out.push_back(extents.at(c));
  ctx.output(0, ctx.dtype(0), out);
}

// One operand's strides over the axes in `names`: an axis that it has twice is a diagonal.
Ints strides_over(const std::string& names, const std::string& term, const Dims& dims) {
  Ints own = strides_of(dims), out(names.size(), 0);
  for (size_t i = 0; i < names.size(); ++i) {
    for (size_t k = 0; k < term.size(); ++k) {
      if (term[k] == names[i] && dims[k] != 1) out[i] += own[k];
    }
  }
  return out;
}

// Multiplies two operands over all axes of both and sums the axes that neither the output nor a later operand needs.
struct Operand {
  std::string axes;
  Dims dims;
  std::vector<double> values;
};

Operand combine(const RefContext& ctx, const Operand& a, const Operand& b, const std::string& needed,
                const std::map<char, int64_t>& extents) {
  std::string kept, summed;
  Dims kept_dims, summed_dims;
  for (auto [c, n] : extents) {
    if (a.axes.find(c) == std::string::npos && b.axes.find(c) == std::string::npos) continue;
    bool keep = needed.find(c) != std::string::npos;
    (keep ? kept : summed) += c;
    (keep ? kept_dims : summed_dims).push_back(n);
  }
  Operand out{kept, kept_dims, {}};
  check_output_size(ctx, kept_dims);
  std::array<Ints, 2> outer{strides_over(kept, a.axes, a.dims), strides_over(kept, b.axes, b.dims)};
  std::array<Ints, 2> inner{strides_over(summed, a.axes, a.dims), strides_over(summed, b.axes, b.dims)};
  walk<2>(kept_dims, outer, [&](const std::array<int64_t, 2>& base) {
    double sum = 0;
    walk<2>(summed_dims, inner, [&](const std::array<int64_t, 2>& at) {
      sum += a.values[static_cast<size_t>(base[0] + at[0])] * b.values[static_cast<size_t>(base[1] + at[1])];
    });
    out.values.push_back(sum);
  });
  return out;
}

void einsum(RefContext& ctx) {
  std::vector<int64_t> ranks;
  for (size_t i = 0; i < ctx.inputs.size(); ++i) ranks.push_back(ctx.in(i).rank());
  Equation e = parse(ctx, ranks);
  std::map<char, int64_t> extents;
  for (size_t i = 0; i < e.inputs.size(); ++i) {
    for (size_t k = 0; k < e.inputs[i].size(); ++k) {
      int64_t n = ctx.in(i).dims()[k];
      auto [known, fresh] = extents.emplace(e.inputs[i][k], n);
      if (fresh || n == 1) continue;
      ctx.require(known->second == n || known->second == 1, "axis '{}' has both {} and {} elements", e.inputs[i][k],
                  known->second, n);
      known->second = n;
    }
  }
  Operand result{"", {}, {1.0}};
  for (size_t i = 0; i < e.inputs.size(); ++i) {
    std::string needed = e.output;
    for (size_t later = i + 1; later < e.inputs.size(); ++later) needed += e.inputs[later];
    Operand next{e.inputs[i], ctx.in(i).dims(), to_doubles(ctx.in(i))};
    result = combine(ctx, result, next, needed, extents);
  }
  Dims dims;
  for (char c : e.output) dims.push_back(extents.at(c));
  Tensor& out = make_output(ctx, 0, ctx.in(0).dtype(), dims);
  std::vector<double> ordered;
  walk<1>(dims, {strides_over(e.output, result.axes, result.dims)},
          [&](const std::array<int64_t, 1>& i) { ordered.push_back(result.values[static_cast<size_t>(i[0])]); });
  store_doubles(out, ordered);
}

}  // namespace

void define_einsum_ops(OpTable& table) {
  table.add({.name = "Einsum",
             .doc = "Sums of products of operands over axes named in an equation.",
             .max_inputs = -1,
             .infer = infer_einsum,
             .reference = einsum,
             .attrs = {"equation"}});
}

}  // namespace tenon
