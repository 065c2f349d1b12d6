#include "bench/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace quern::bench {
namespace {

// In units of the view box, which is scaled to the width of the page.
constexpr double kWidth = 480, kHeight = 300;
constexpr double kLeft = 64, kRight = 16, kTop = 14, kBottom = 48;
constexpr size_t kColours = 6;

// One axis: values from low to high lie between pixels from and to.
struct Axis {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  double from = 0, to = 1;
  double step = 1;

  void include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  double at(double value) const { return from + (value - low) / (high - low) * (to - from); }

  // Widens to round numbers: about four steps of 1, 2 or 5 times a power of ten.
  void round() {
    if (!(low <= high)) low = high = 0;
    if (low == high) {
      low = low > 0 ? 0 : low - 1;
      high += high == 0 ? 1 : 0.1 * std::abs(high);
    }
    const double rough = (high - low) / 4;
    const double power = std::pow(10, std::floor(std::log10(rough)));
    const double lead = rough / power;
    step = power * (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10);
    low = std::floor(low / step + 1e-9) * step;
    high = std::ceil(high / step - 1e-9) * step;
  }

  template <typename Draw>
  void each_tick(Draw draw) const {
    const auto count = static_cast<int>(std::lround((high - low) / step));
    for (int i = 0; i <= count; ++i) draw(low + i * step);
  }
};

std::string tick_text(double value) {
  return fmt::format("{:.6g}", std::abs(value) < 1e-9 ? 0 : value);
}

std::string grid(const Axis& x, const Axis& y, const std::string& x_label,
                 const std::string& y_label) {
  std::string svg;
  y.each_tick([&](double value) {
    const double at = y.at(value);
    svg += fmt::format(
        "<line x1='{:.1f}' x2='{:.1f}' y1='{:.1f}' y2='{:.1f}' stroke='var(--grid)'/>"
        "<text x='{:.1f}' y='{:.1f}' text-anchor='end'>{}</text>\n",
        x.from, x.to, at, at, x.from - 6, at + 5, tick_text(value));
  });
  x.each_tick([&](double value) {
    svg += fmt::format("<text x='{:.1f}' y='{:.1f}' text-anchor='middle'>{}</text>\n", x.at(value),
                       kHeight - kBottom + 18, tick_text(value));
  });
  svg += fmt::format("<text x='{:.1f}' y='{:.1f}' text-anchor='middle'>{}</text>\n",
                     (x.from + x.to) / 2, kHeight - 8, escape_html(x_label));
  svg += fmt::format(
      "<text transform='translate(14 {:.1f}) rotate(-90)' text-anchor='middle'>{}</text>\n",
      (y.from + y.to) / 2, escape_html(y_label));
  return svg;
}

std::string draw_series(const PlotSeries& series, const Axis& x, const Axis& y,
                        const std::string& colour) {
  std::string line, marks;
  for (const PlotPoint& point : series.points) {
    const double px = x.at(point.x), py = y.at(point.y);
    line += fmt::format("{:.1f},{:.1f} ", px, py);
    if (point.low < point.high) {
      marks += fmt::format("<line x1='{:.1f}' x2='{:.1f}' y1='{:.1f}' y2='{:.1f}'/>", px, px,
                           y.at(point.low), y.at(point.high));
    }
    marks += fmt::format(
        "<circle cx='{:.1f}' cy='{:.1f}' r='4' fill='{}'><title>{}: {} at {}"
        "</title></circle>\n",
        px, py, colour, escape_html(series.name), tick_text(point.y), tick_text(point.x));
  }
  return fmt::format("<g stroke='{}' stroke-width='2' fill='none'><polyline points='{}'/>{}</g>\n",
                     colour, line, marks);
}

std::string colour(size_t index) { return fmt::format("var(--series{})", index % kColours); }

std::string legend(const std::vector<PlotSeries>& series) {
  std::string html = "<div class='legend'>";
  for (size_t i = 0; i < series.size(); ++i) {
    html += fmt::format("<span><i style='background:{}'></i>{}</span> ", colour(i),
                        escape_html(series[i].name));
  }
  return html + "</div>\n";
}

std::string figure(const std::string& title, double height, const std::string& svg,
                   const std::string& below) {
  return fmt::format(
      "<figure><figcaption>{0}</figcaption>\n<svg viewBox='0 0 {1} {2:.0f}' role='img' "
      "aria-label='{0}'>\n{3}</svg>\n{4}</figure>\n",
      escape_html(title), kWidth, height, svg, below);
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      case '\'':
        safe += "&#39;";
        break;
      default:
        safe += c;
    }
  }
  return safe;
}

std::string line_plot(const std::string& title, const std::string& x_label,
                      const std::string& y_label, const std::vector<PlotSeries>& series,
                      bool zoom) {
  Axis x{.from = kLeft, .to = kWidth - kRight}, y{.from = kHeight - kBottom, .to = kTop};
  for (const PlotSeries& one : series) {
    for (const PlotPoint& point : one.points) {
      x.include(point.x);
      y.include(point.low);
      y.include(point.high);
    }
  }
  if (!zoom) y.include(0);
  x.round();
  y.round();
  std::string svg = grid(x, y, x_label, y_label);
  for (size_t i = 0; i < series.size(); ++i) svg += draw_series(series[i], x, y, colour(i));
  return figure(title, kHeight, svg, legend(series));
}

std::string bar_plot(const std::string& title, const std::vector<Bar>& bars) {
  constexpr double kRow = 40, kBar = 14;
  double most = 0;
  for (const Bar& bar : bars) most = std::max(most, bar.value);
  std::string svg;
  for (size_t i = 0; i < bars.size(); ++i) {
    const double top = kRow * static_cast<double>(i);
    const double length = most > 0 ? bars[i].value / most * kWidth : 0;
    svg += fmt::format(
        "<text x='0' y='{:.0f}'>{}</text><text x='{}' y='{:.0f}' text-anchor='end'>{}</text>"
        "<rect x='0' y='{:.0f}' width='{:.1f}' height='{}' rx='2' fill='{}'/>\n",
        top + 16, escape_html(bars[i].label), kWidth, top + 16, escape_html(bars[i].note), top + 21,
        std::max(length, 1.0), kBar, colour(0));
  }
  return figure(title, kRow * static_cast<double>(bars.size()), svg, "");
}

}  // namespace quern::bench
