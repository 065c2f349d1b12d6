// Tables, CSV, Markdown and the HTML page, the latter also in a real browser.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "bench/html.h"
#include "bench/plot.h"
#include "bench/tables.h"
#include "tests/bench/sample_report.h"
#include "tests/json_schema.h"
#include "tests/temporary_folder.h"

namespace quern::bench {
namespace {

using test::Json;
using test::sample_report;
using ::testing::HasSubstr;
using ::testing::Not;

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

TEST(SampleReport, followsTheSchema) {
  const test::JsonSchema schema(QUERN_SOURCE_DIR "/docs/bench-schema.json");
  EXPECT_EQ(schema.violation(sample_report()), "");
}

TEST(Tables, terminalShowsFiguresAndVerdict) {
  const std::string text = to_text(sample_report());
  for (const char* part : {"400.00", "396.00 to 404.00", "50.00", "10.5", "12.25", "2 threads"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  Json report = sample_report();
  report["results"][1]["repetitions_agree"] = false;
  judge(report);
  EXPECT_THAT(to_text(report), HasSubstr("decode 128 at depth 1024: repetitions gave different"));
}

TEST(Tables, showTheThreadsWhenTheyDiffer) {
  EXPECT_THAT(to_text(sample_report()), Not(HasSubstr("threads ")));
  Json report = sample_report();
  report["results"][1]["threads"] = 1;
  EXPECT_THAT(to_text(report), HasSubstr("threads "));
  EXPECT_EQ(title(report["results"][1], report), "decode 128 at depth 1024, 1 threads");
}

TEST(Tables, aRepeatedWarningIsSaidOnce) {
  Json report = sample_report();
  for (Json& result : report["results"]) result["repetitions_agree"] = false;
  judge(report);
  EXPECT_THAT(warnings(report), ::testing::Contains(HasSubstr("the same in 1 more tests")));
}

TEST(Tables, csvHasOneLinePerTestAndQuotesText) {
  std::istringstream csv(to_csv(sample_report()));
  std::string heading, first, second, rest;
  std::getline(csv, heading);
  std::getline(csv, first);
  std::getline(csv, second);
  EXPECT_FALSE(std::getline(csv, rest));
  EXPECT_THAT(heading,
              HasSubstr("model,device,threads,kv,test,tokens,depth,tokens_per_second_median"));
  EXPECT_TRUE(first.starts_with("\"a model, & <more>\",cpu,2,")) << first;
  EXPECT_THAT(second, HasSubstr("2,f16,decode,128,1024,50.00,49.5,50.5,"));
}

TEST(Tables, markdownHasTheTableAndEveryFact) {
  const std::string text = to_markdown(sample_report());
  EXPECT_THAT(text, HasSubstr("| ---"));
  EXPECT_THAT(text, HasSubstr("- speed mts: "));
  EXPECT_THAT(text, HasSubstr("- sha256: abcd"));
  EXPECT_THAT(text, HasSubstr("- load cold s: unavailable"));
  EXPECT_THAT(text, HasSubstr("- read bandwidth, all threads: 50.00 GB/s"));
}

TEST(Tables, llamaBenchLayout) {
  const std::string text = to_llama_bench(sample_report());
  std::string heading = text.substr(0, text.find('\n'));
  std::erase(heading, ' ');
  EXPECT_EQ(heading, "|model|size|params|backend|threads|test|t/s|");
  EXPECT_THAT(text, HasSubstr("pp512 |"));
  EXPECT_THAT(text, HasSubstr("tg128 @ d1024 |"));
  EXPECT_THAT(text, HasSubstr("400.00 ± 2.80"));
}

TEST(Tables, shareOfTheRoofline) {
  // 25 GB/s of 50 GB/s.
  EXPECT_DOUBLE_EQ(sample_report()["results"][1]["roofline"]["share"].get<double>(), 0.5);
  EXPECT_EQ(sample_report()["results"][1]["roofline"]["limit"], "memory");
}

TEST(Plot, ticksAreRoundAndMarksLieWithin) {
  const std::string svg = line_plot("t", "x", "y", {{"s", {{0, 48, 47, 49}, {4096, 43, 42, 44}}}});
  for (const char* tick : {">0<", ">20<", ">40<", ">60<", ">2000<", ">6000<"}) {
    EXPECT_THAT(svg, HasSubstr(tick));
  }
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(line_plot("t", "x", "y", {}), Not(HasSubstr("nan")));
  EXPECT_THAT(line_plot("t", "x", "y", {{"s", {{5, 0, 0, 0}}}}), Not(HasSubstr("nan")));
}

TEST(Html, isCompleteInItselfAndEscapesEveryText) {
  Json report = sample_report();
  report["models"][0]["source"] = "</script><script>alert(1)</script>.gguf";
  const std::string html = to_html(report);
  for (const char* part : {"Decode against depth", "Prefill against size", "Samples over time",
                           "Time by operation", "Memory", "unavailable", "width=device-width"}) {
    EXPECT_THAT(html, HasSubstr(part));
  }
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  EXPECT_THAT(html, Not(HasSubstr("http")));
  EXPECT_THAT(html, Not(HasSubstr("src=")));
  EXPECT_THAT(html, HasSubstr("&lt;2&gt;"));
}

TEST(Html, worksWithoutResults) {
  Json report = sample_report();
  report["results"] = Json::array();
  judge(report);
  EXPECT_THAT(to_html(report), HasSubstr("</html>"));
  EXPECT_THAT(to_text(report), HasSubstr("Nothing was measured"));
}

// A Chromium on the search path; empty if there is none.
std::string chromium() {
  std::istringstream path(std::getenv("PATH") ? std::getenv("PATH") : "");
  for (std::string folder; std::getline(path, folder, ':');) {
    for (const char* name : {"chromium", "chromium-browser", "google-chrome"}) {
      const std::filesystem::path program = std::filesystem::path(folder) / name;
      if (std::filesystem::exists(program)) return program;
    }
  }
  return "";
}

TEST(Html, opensInABrowserWithoutErrorsAndFitsAPhone) {
  const std::string browser = chromium();
  if (browser.empty()) GTEST_SKIP() << "there is no Chromium to open the page in";
  const test::TemporaryFolder folder;
  // The page itself has no script; this one only reports how wide it became.
  const std::string page =
      to_html(sample_report()) +
      "<script>document.title = document.documentElement.scrollWidth <= innerWidth ? 'fits' : "
      "'too wide'</script>";
  const std::string file = folder.write("page.html", std::as_bytes(std::span(page)));
  for (const char* size : {"390,844", "1280,800"}) {
    const std::string command = "HOME='" + folder.file("") + "' '" + browser +
                                "' --headless --no-sandbox --disable-gpu --enable-logging=stderr "
                                "--user-data-dir='" +
                                folder.file("profile") + "' --window-size=" + size +
                                " --dump-dom 'file://" + file + "' > '" + folder.file("dom") +
                                "' 2> '" + folder.file("log") + "'";
    ASSERT_EQ(std::system(command.c_str()), 0) << read_file(folder.file("log"));
    const std::string dom = read_file(folder.file("dom"));
    EXPECT_THAT(dom, HasSubstr("<title>fits</title>")) << size;
    EXPECT_THAT(dom, HasSubstr("<polyline"));
    EXPECT_THAT(read_file(folder.file("log")), Not(HasSubstr("CONSOLE")));
  }
}

}  // namespace
}  // namespace quern::bench
