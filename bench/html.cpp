#include "bench/html.h"

#include <fmt/format.h>

#include <map>
#include <string>
#include <vector>

#include "bench/plot.h"
#include "bench/tables.h"

namespace quern::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kHead = R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Quern benchmark</title>
<style>
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --faint: #59636e; --grid: #d9dee3;
  --good: #e7f5ea; --bad: #fff3d6; --series0: #2563a8; --series1: #b45309; --series2: #15803d;
  --series3: #9d174d; --series4: #6d28d9; --series5: #475569; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --ink: #e6eaee; --faint: #9aa5b1;
  --grid: #333b44; --good: #14351f; --bad: #3d2f0c; --series0: #6ba4e7; --series1: #f0a04b;
  --series2: #5cc27d; --series3: #ec7fb0; --series4: #b197fc; --series5: #a3b1c2; } }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { margin: .3rem 0; } .faint { color: var(--faint); }
.verdict { padding: .7rem 1rem; border-radius: .5rem; margin: 1rem 0; background: var(--bad); }
.verdict.good { background: var(--good); } .verdict ul { margin: .3rem 0 0; padding-left: 1.2rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--grid); } th:first-child, td:first-child { text-align: left; }
.grid { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
figure { margin: 0; } figcaption { font-weight: 600; margin-bottom: .4rem; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--ink); font-size: 15px; }
svg g text { stroke: none; }
.legend { font-size: .85rem; color: var(--faint); } .legend i { display: inline-block; width: .7em;
  height: .7em; border-radius: 50%; margin: 0 .35em 0 .6em; }
dl { display: grid; grid-template-columns: minmax(8rem, 14rem) 1fr; gap: .1rem 1rem; margin: 0; }
dt { color: var(--faint); } dd { margin: 0; } summary { cursor: pointer; font-weight: 600; }
</style>
</head>
<body>
)";

// Results in groups that are drawn as one line; the name says what a group has in common.
template <typename Name, typename Point>
std::vector<PlotSeries> series_of(const Json& report, const char* test, Name name, Point point) {
  std::vector<PlotSeries> all;
  std::map<std::string, size_t> index;
  for (const Json& result : report["results"]) {
    if (result["test"] != test) continue;
    const auto [found, is_new] = index.try_emplace(name(result), all.size());
    if (is_new) all.push_back({found->first, {}});
    all[found->second].points.push_back(point(result));
  }
  return all;
}

PlotPoint speed_point(const Json& result, const char* x) {
  const Json& speed = result["tokens_per_second"];
  return {result[x].get<double>(), speed["median"], speed["ci95"][0], speed["ci95"][1]};
}

std::string speed_plots(const Json& report) {
  const auto decode = series_of(
      report, "decode",
      [&](const Json& r) {
        return fmt::format("{} tokens{}", r["tokens"].dump(), own_setting(r, report));
      },
      [](const Json& r) { return speed_point(r, "depth"); });
  const auto prefill = series_of(
      report, "prefill",
      [&](const Json& r) {
        return fmt::format("depth {}{}", r["depth"].dump(), own_setting(r, report));
      },
      [](const Json& r) { return speed_point(r, "tokens"); });
  std::string html;
  if (!decode.empty()) {
    html += line_plot("Decode against depth", "positions in the cache", "tokens/s", decode);
  }
  if (!prefill.empty()) {
    html += line_plot("Prefill against size", "tokens of the prompt", "tokens/s", prefill);
  }
  return html;
}

// Speed of every repetition in percent of its test's median, and the clock beside it.
std::string time_plots(const Json& report) {
  std::vector<PlotSeries> speeds, clocks;
  for (const Json& result : report["results"]) {
    const Json& samples = result["tokens_per_second"]["samples"];
    const double median = result["tokens_per_second"]["median"];
    const Json& clock = result["conditions"]["core_mhz_trace"];
    PlotSeries speed{title(result, report), {}}, megahertz{title(result, report), {}};
    for (size_t i = 0; i < samples.size(); ++i) {
      const double at = result["started_s"][i], percent = 100 * samples[i].get<double>() / median;
      speed.points.push_back({at, percent, percent, percent});
      megahertz.points.push_back({at, clock[i], clock[i], clock[i]});
    }
    speeds.push_back(std::move(speed));
    clocks.push_back(std::move(megahertz));
  }
  return line_plot("Samples over time", "seconds since the start", "% of the median", speeds,
                   true) +
         line_plot("Clock of the core over time", "seconds since the start", "MHz", clocks, true);
}

std::string memory_plot(const Json& report) {
  std::vector<Bar> bars;
  const auto add = [&](std::string label, const Json& bytes) {
    if (!bytes.is_number()) return;
    const double mebibytes = bytes.get<double>() / (1 << 20);
    bars.push_back({std::move(label), fmt::format("{:.1f} MiB", mebibytes), mebibytes});
  };
  for (const Json& model : report["models"]) add("file of " + fact(model["name"]), model["bytes"]);
  for (const Json& result : report["results"]) {
    add("peak, " + title(result, report), result["memory"]["peak_bytes"]);
    add("of it keys and values", result["memory"]["kv_bytes"]);
  }
  return bar_plot("Memory", bars);
}

std::string waterfall(const Json& result, const Json& report) {
  double total = 0;
  for (const Json& row : result["waterfall"]) total += row["seconds"].get<double>();
  std::vector<Bar> bars;
  for (const Json& row : result["waterfall"]) {
    const double seconds = row["seconds"];
    bars.push_back({fact(row["op"]),
                    fmt::format("{:.1f} ms, {:.0f} %, {:.0f} % of {}", 1000 * seconds,
                                100 * seconds / total, 100 * row["share"].get<double>(),
                                row["limit"] == "memory" ? "bandwidth" : "peak"),
                    seconds});
  }
  return bar_plot("Time by operation: " + title(result, report), bars);
}

std::string verdict(const Json& report) {
  if (report["publishable"].get<bool>()) {
    return "<div class='verdict good'>Nothing speaks against publishing these figures.</div>\n";
  }
  std::string html = "<div class='verdict'>Not publishable as it is:<ul>\n";
  for (const std::string& warning : warnings(report)) {
    html += "<li>" + escape_html(warning) + "</li>\n";
  }
  return html + "</ul></div>\n";
}

std::string results_table(const Json& report) {
  const auto rows = result_rows(report);
  std::string html = "<div class='scroll'><table>\n";
  for (size_t i = 0; i < rows.size(); ++i) {
    html += "<tr>";
    const char* cell = i == 0 ? "th" : "td";
    for (const std::string& text : rows[i]) {
      html += fmt::format("<{0}>{1}</{0}>", cell, escape_html(text));
    }
    html += "</tr>\n";
  }
  return html + "</table></div>\n";
}

std::string disclosures(const Json& report) {
  std::string html;
  for (const FactGroup& group : facts(report)) {
    html += fmt::format("<details open><summary>{}</summary><dl>\n", escape_html(group.name));
    for (const auto& [name, value] : group.facts) {
      html += fmt::format("<dt>{}</dt><dd>{}</dd>\n", escape_html(name), escape_html(value));
    }
    html += "</dl></details>\n";
  }
  return html;
}

}  // namespace

std::string to_html(const Json& report) {
  std::string html = kHead;
  html += fmt::format("<h1>Quern benchmark</h1>\n<p class='faint'>{} · {} · Quern {} ({})</p>\n",
                      escape_html(fact(report["machine"]["processor"]["model"])),
                      escape_html(fact(report["started"])),
                      escape_html(fact(report["quern"]["version"])),
                      escape_html(fact(report["quern"]["commit"])));
  html += verdict(report) + "<h2>Results</h2>\n<p>" + escape_html(common_setting(report)) +
          "</p>\n" + results_table(report);
  html += "<h2>Speed</h2>\n<div class='grid'>\n" + speed_plots(report) + time_plots(report) +
          "</div>\n<h2>Where the time goes</h2>\n<div class='grid'>\n";
  for (const Json& result : report["results"]) html += waterfall(result, report);
  html += "</div>\n<h2>Memory</h2>\n<div class='grid'>\n" + memory_plot(report) + "</div>\n";
  html += "<h2>Everything about this run</h2>\n" + disclosures(report);
  return html + "</body>\n</html>\n";
}

}  // namespace quern::bench
