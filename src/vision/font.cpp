#include "vision/font.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/error.hpp"

namespace tenon::vision {
namespace {

// One glyph a line, strokes separated by blanks. A stroke is '-' (straight), '~' (curve that starts and ends
// at its first and last point) or '@' (closed curve), then points of one x and one y digit each (a = 10, b =
// 11). Curves are quadratic B-splines: they touch the middle of every edge of the drawn polygon.
constexpr std::string_view kStrokes[95] = {
    /*   */ "",
    /* ! */ "-0005 -0808",
    /* " */ "-0002 -2022",
    /* # */ "-2018 -5048 -0262 -0565",
    /* $ */ "~6250000464681806 -3039",
    /* % */ "-6008 @00303303 @35656838",
    /* & */ "~68120030510508586854",
    /* ' */ "-0002",
    /* ( */ "~20020628",
    /* ) */ "~00222608",
    /* * */ "-2024 -0143 -0341",
    /* + */ "-2226 -0444",
    /* , */ "-180a",
    /* - */ "-0535",
    /* . */ "-0808",
    /* / */ "-4008",
    /* 0 */ "@00505808",
    /* 1 */ "-022028",
    /* 2 */ "~0200505408 -0858",
    /* 3 */ "~0200505424 ~2454580806",
    /* 4 */ "-48400666",
    /* 5 */ "-500004 ~042353580806",
    /* 6 */ "~51400005 @03535808",
    /* 7 */ "-005028",
    /* 8 */ "@00505404 @04545808",
    /* 9 */ "@00505505 ~53581807",
    /* : */ "-0404 -0808",
    /* ; */ "-1414 -180a",
    /* < */ "-420446",
    /* = */ "-0343 -0646",
    /* > */ "-024406",
    /* ? */ "~0200505424 -2425 -2828",
    /* @ */ "~790900808656525253 @23535626",
    /* A */ "-083068 -1555",
    /* B */ "-0800 ~003050543404 ~043464683808",
    /* C */ "~625000085866",
    /* D */ "-0800 ~003060683808",
    /* E */ "-50000858 -0444",
    /* F */ "-500008 -0444",
    /* G */ "~625000086865 -656434",
    /* H */ "-0008 -6068 -0464",
    /* I */ "-0008",
    /* J */ "~4045480806",
    /* K */ "-0008 -5005 -2368",
    /* L */ "-000858",
    /* M */ "-0800457078",
    /* N */ "-08006860",
    /* O */ "@00606808",
    /* P */ "-0800 ~003060643404 -0434",
    /* Q */ "@00606808 -4669",
    /* R */ "-0800 ~003060643404 -3468",
    /* S */ "~6250000464681806",
    /* T */ "-0060 -3038",
    /* U */ "~000508686560",
    /* V */ "-003860",
    /* W */ "-0028426880",
    /* X */ "-0068 -6008",
    /* Y */ "-003460 -3438",
    /* Z */ "-00600868",
    /* [ */ "-20000828",
    /* \ */ "-0048",
    /* ] */ "-00202808",
    /* ^ */ "-032043",
    /* _ */ "-0a5a",
    /* ` */ "-0022",
    /* a */ "@03535808 -5358",
    /* b */ "-0008 @03535808",
    /* c */ "~545303085857",
    /* d */ "@03535808 -5058",
    /* e */ "-0555 ~555303085857",
    /* f */ "~40101418 -0333",
    /* g */ "@03535808 -5359 ~595b0b0a",
    /* h */ "-0008 ~0503535558",
    /* i */ "-0308 -0000",
    /* j */ "~23292b0b -2020",
    /* k */ "-0008 -4306 -1548",
    /* l */ "~00070818",
    /* m */ "-0308 ~0503434548 ~4543838588",
    /* n */ "-0308 ~0503535558",
    /* o */ "@03535808",
    /* p */ "-030b @03535808",
    /* q */ "@03535808 -535b",
    /* r */ "-0308 ~05033343",
    /* s */ "~4443030546480807",
    /* t */ "~11161848 -0333",
    /* u */ "~030608585653 -5358",
    /* v */ "-032843",
    /* w */ "-0328446883",
    /* x */ "-0348 -4308",
    /* y */ "-0328 -430b",
    /* z */ "-03430848",
    /* { */ "~20101404 ~04141828",
    /* | */ "-000a",
    /* } */ "~00101424 ~24141808",
    /* ~ */ "~05133643",
};

double digit(char c) { return c >= 'a' ? c - 'a' + 10 : c - '0'; }

/// Cuts the corners again and again (Chaikin), which tends to the quadratic B-spline.
Stroke smooth(Stroke in, bool closed) {
  for (int round = 0; round < 3; ++round) {
    Stroke out;
    const size_t n = in.x.size(), edges = closed ? n : n - 1;
    const auto put = [&](double x, double y) { out.x.push_back(x), out.y.push_back(y); };
    if (!closed) put(in.x[0], in.y[0]);
    for (size_t i = 0; i < edges; ++i) {
      const size_t j = (i + 1) % n;
      put(in.x[i] * 0.75 + in.x[j] * 0.25, in.y[i] * 0.75 + in.y[j] * 0.25);
      put(in.x[i] * 0.25 + in.x[j] * 0.75, in.y[i] * 0.25 + in.y[j] * 0.75);
    }
    if (!closed) put(in.x[n - 1], in.y[n - 1]);
    in = std::move(out);
  }
  if (closed) in.x.push_back(in.x[0]), in.y.push_back(in.y[0]);
  return in;
}

Stroke parse_stroke(std::string_view text) {
  Stroke stroke;
  for (size_t i = 1; i + 1 < text.size(); i += 2) {
    stroke.x.push_back(digit(text[i]));
    stroke.y.push_back(digit(text[i + 1]));
  }
  TENON_CHECK(text.size() % 2 == 1 && stroke.x.size() >= 2);
  return text[0] == '-' ? stroke : smooth(std::move(stroke), text[0] == '@');
}

Glyph parse_glyph(std::string_view text) {
  Glyph out;
  double right = 1;
  while (!text.empty()) {
    const size_t stop = std::min(text.find(' '), text.size());
    out.strokes.push_back(parse_stroke(text.substr(0, stop)));
    for (double x : out.strokes.back().x) right = std::max(right, x);
    text.remove_prefix(std::min(stop + 1, text.size()));
  }

  if (std::all_of(out.strokes.begin(), out.strokes.end(),
                  [](const Stroke& s) { return *std::max_element(s.x.begin(), s.x.end()) == 0; }))
    right = out.strokes.empty() ? 1.5 : 0.3;  // a blank, or a single stem
  out.advance = right + 2.4;
  return out;
}

std::array<Glyph, 95> parse_all() {
  std::array<Glyph, 95> out;
  for (size_t i = 0; i < out.size(); ++i) out[i] = parse_glyph(kStrokes[i]);
  return out;
}

}  // namespace

const Glyph& glyph(char c) {
  static const std::array<Glyph, 95> glyphs = parse_all();
  return glyphs[c >= 32 && c <= 126 ? static_cast<size_t>(c - 32) : static_cast<size_t>('?' - 32)];
}

}  // namespace tenon::vision
