#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "graph/text.hpp"

namespace tenon {
namespace {

bool plain_word(const std::string& name) {
  if (name.empty() || name == "_" || name == "graph" || name == "zeros" || name == "random") return false;
  if (!(std::isalpha(static_cast<unsigned char>(name[0])) || name[0] == '_')) return false;
  return std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return (c < 128 && std::isalnum(c)) || c == '_' || c == '.'; });
}

std::string quote(const std::string& s) {
  std::string out = "\"";
  for (unsigned char c : s) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c < 32 || c == 127) {
      out += fmt::format("\\x{:02x}", c);
    } else {
      out += static_cast<char>(c);
    }
  }
  return out + "\"";
}

std::string ident(const std::string& name) { return plain_word(name) ? name : "%" + quote(name); }

std::string number(double v) {
  if (std::isnan(v)) return "nan";
  if (std::isinf(v)) return v > 0 ? "inf" : "-inf";
  std::string s = fmt::format("{}", v);
  if (s.find_first_of(".en") == std::string::npos) s += ".0";
  return s;
}

std::string float_number(double v, DType dtype) {
  // float32 and narrower print the shortest text that reads back to the same float.
  if (dtype == DType::kFloat64 || std::isnan(v) || std::isinf(v)) return number(v);
  std::string s = fmt::format("{}", static_cast<float>(v));
  if (s.find_first_of(".en") == std::string::npos) s += ".0";
  return s;
}

class Printer {
 public:
  Printer(const PrintOptions& options, std::string& out) : options_(options), out_(out) {}

  void graph(const Graph& g, int indent) {
    out_ += "graph " + ident(g.name) + " (";
    for (size_t i = 0; i < g.inputs.size(); ++i) {
      if (i) out_ += ", ";
      const Value& v = g.value(g.inputs[i]);
      type_prefix(v);
      out_ += ident(v.name);
    }
    out_ += ") => (";
    for (size_t i = 0; i < g.outputs.size(); ++i) {
      if (i) out_ += ", ";
      out_ += ident(g.value(g.outputs[i]).name);
    }
    out_ += ") {\n";
    std::string pad(static_cast<size_t>(indent) + 2, ' ');
    constants(g, pad);
    for (NodeId id : g.order()) {
      out_ += pad;
      node(g, g.node(id), indent + 2);
      out_ += '\n';
    }
    out_ += std::string(static_cast<size_t>(indent), ' ') + "}";
  }

  void node(const Graph& g, const Node& n, int indent) {
    for (size_t i = 0; i < n.outputs.size(); ++i) {
      if (i) out_ += ", ";
      if (n.outputs[i] == kNone) {
        out_ += "_";
        continue;
      }
      type_prefix(g.value(n.outputs[i]));
      out_ += ident(g.value(n.outputs[i]).name);
    }
    out_ += " = " + n.op;
    if (!n.attrs.empty()) {
      out_ += '<';
      bool first = true;
      for (const auto& [name, attr] : n.attrs.items()) {
        if (!first) out_ += ", ";
        first = false;
        out_ += name + "=";
        value(attr, indent);
      }
      out_ += '>';
    }
    out_ += '(';
    for (size_t i = 0; i < n.inputs.size(); ++i) {
      if (i) out_ += ", ";
      out_ += n.inputs[i] == kNone ? "_" : ident(g.value(n.inputs[i]).name);
    }
    out_ += ')';
    if (options_.node_names && !n.name.empty()) out_ += " @" + quote(n.name);
  }

 private:
  void type_prefix(const Value& v) {
    if (options_.types && v.type.kind != Type::Kind::kUnknown) out_ += v.type.text() + " ";
  }

  void constants(const Graph& g, const std::string& pad) {
    // In order of first use, so that the text does not depend on ids. Outputs may be constants too.
    std::vector<char> done(static_cast<size_t>(g.value_count()), 0);
    auto emit = [&](ValueId v) {
      if (v == kNone || !g.value(v).is_constant() || done[static_cast<size_t>(v)]) return;
      done[static_cast<size_t>(v)] = 1;
      out_ += pad + ident(g.value(v).name) + " = ";
      tensor(g.value(v).constant);
      out_ += '\n';
    };
    for (NodeId id : g.order()) {
      for (ValueId v : g.node(id).inputs) emit(v);
    }
    for (ValueId v : g.outputs) emit(v);
  }

  void tensor(const Tensor& t) {
    out_ += Type::tensor(t).text() + " ";
    if (t.size() <= options_.inline_limit && bits(t.dtype()) < 1000) {
      elements(t);
    } else if (options_.blobs != nullptr && t.dtype() != DType::kString) {
      out_ += fmt::format("@{}", options_.blobs->size());
      options_.blobs->push_back(t);
    } else if (t.dtype() == DType::kString && options_.blobs != nullptr) {
      elements(t);
    } else {
      out_ += fmt::format("(... {} elements)", t.size());
    }
  }

  void elements(const Tensor& t) {
    out_ += '{';
    for (int64_t i = 0; i < t.size(); ++i) {
      if (i) out_ += ", ";
      if (t.dtype() == DType::kString) {
        out_ += quote(t.data<std::string>()[i]);
      } else if (t.dtype() == DType::kComplex64 || t.dtype() == DType::kComplex128) {
        bool wide = t.dtype() == DType::kComplex128;
        const auto* f = reinterpret_cast<const float*>(t.raw());
        const auto* d = reinterpret_cast<const double*>(t.raw());
        out_ += number(wide ? d[2 * i] : f[2 * i]) + " " + number(wide ? d[2 * i + 1] : f[2 * i + 1]);
      } else if (is_floating(t.dtype())) {
        out_ += float_number(t.at(i), t.dtype());
      } else if (t.dtype() == DType::kUInt64) {
        out_ += fmt::format("{}", static_cast<uint64_t>(t.int_at(i)));
      } else {
        out_ += fmt::format("{}", t.int_at(i));
      }
    }
    out_ += '}';
  }

  template <class T, class F>
  void list(const std::vector<T>& items, F&& one) {
    out_ += '[';
    for (size_t i = 0; i < items.size(); ++i) {
      if (i) out_ += ", ";
      out_ += one(items[i]);
    }
    out_ += ']';
  }

  void value(const Attr& attr, int indent) {
    struct Visitor {
      Printer& p;
      int indent;
      void operator()(int64_t v) { p.out_ += fmt::format("{}", v); }
      void operator()(double v) { p.out_ += number(v); }
      void operator()(const std::string& v) { p.out_ += quote(v); }
      void operator()(const Tensor& v) { p.tensor(v); }
      void operator()(const Ints& v) {
        p.list(v, [](int64_t x) { return fmt::format("{}", x); });
      }
      void operator()(const Floats& v) { p.list(v, number); }
      void operator()(const Strings& v) { p.list(v, quote); }
      void operator()(const GraphPtr& v) { p.graph(*v, indent); }
    };
    std::visit(Visitor{*this, indent}, attr);
  }

  const PrintOptions& options_;
  std::string& out_;
};

}  // namespace

std::string print(const Graph& graph, const PrintOptions& options) {
  std::string out;
  Printer(options, out).graph(graph, 0);
  return out + "\n";
}

std::string print_node(const Graph& graph, const Node& node, bool types) {
  std::string out;
  PrintOptions options;
  options.types = types;
  Printer(options, out).node(graph, node, 0);
  return out;
}

}  // namespace tenon
