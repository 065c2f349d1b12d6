// Plots as inline SVG. Colours are CSS variables of the page (--ink, --faint, --series0 …), sizes
// such that the text is readable on a phone.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace quern::bench {

std::string escape_html(std::string_view text);

struct PlotPoint {
  double x, y;
  double low, high;  // error bar; equal to y for none
};
struct PlotSeries {
  std::string name;
  std::vector<PlotPoint> points;
};
// Lines with marks, both axes linear and labelled; y starts at 0 unless `zoom`.
std::string line_plot(const std::string& title, const std::string& x_label,
                      const std::string& y_label, const std::vector<PlotSeries>& series,
                      bool zoom = false);

struct Bar {
  std::string label, note;  // the note stands at the right
  double value;
};
std::string bar_plot(const std::string& title, const std::vector<Bar>& bars);

}  // namespace quern::bench
