// A tiny model with the logits that an independent float64 forward pass gave for it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "tests/golden_path.h"

namespace quern::test {

struct GoldenModel {
  std::string path;
  std::vector<int32_t> tokens;
  std::vector<float> exact;  // [tokens][vocabulary]
};

// `tensor`: which logits of the model at `path`.
inline GoldenModel golden_model(const std::string& path, const char* tensor = "exact") {
  const auto logits = gguf::File::open(own_golden(path + ".logits.gguf"));
  EXPECT_TRUE(logits) << logits.error().to_string();
  const auto copy = [](const auto& from, auto& values) {
    values.resize(from.elements());
    std::memcpy(values.data(), from.bytes.data(), from.bytes.size());
  };
  GoldenModel golden{own_golden(path + ".gguf"), {}, {}};
  copy(*logits->find_number_tensor("tokens"), golden.tokens);
  copy(*logits->find_tensor(tensor), golden.exact);
  return golden;
}

// How engines of tests open devices; empty: as the program does.
inline decltype(engine::EngineOptions::open_device) open_device = {};

inline std::unique_ptr<engine::Engine> load_engine(const std::string& path,
                                                   engine::EngineOptions options) {
  if (!options.open_device) options.open_device = open_device;
  auto file = gguf::File::open(path);
  EXPECT_TRUE(file) << file.error().to_string();
  auto engine = engine::Engine::load(std::move(*file), std::move(options));
  EXPECT_TRUE(engine) << engine.error().to_string();
  return std::move(*engine);
}

// Logits of tokens [sequence.length(), end), `chunk` tokens at a time.
inline std::vector<float> run(engine::Engine& engine, engine::Sequence& sequence,
                              const std::vector<int32_t>& tokens, size_t chunk) {
  std::vector<float> all;
  const engine::CancelToken never{false};
  while (sequence.length() < tokens.size()) {
    std::vector<engine::Row> rows;
    for (size_t i = sequence.length(); i < tokens.size() && rows.size() < chunk; ++i) {
      rows.push_back({&sequence, tokens[i], true});
    }
    const auto logits = engine.step(rows, never);
    EXPECT_TRUE(logits) << logits.error().to_string();
    if (!logits) break;
    all.insert(all.end(), logits->begin(), logits->end());
  }
  return all;
}

// The largest difference, as a share of the largest logit; infinite if something is NaN.
inline double relative_difference(const std::vector<float>& found,
                                  const std::vector<float>& exact) {
  EXPECT_EQ(found.size(), exact.size());
  double largest = 0, difference = 0;
  for (size_t i = 0; i < std::min(found.size(), exact.size()); ++i) {
    largest = std::max(largest, std::abs(double{exact[i]}));
    const double apart = std::abs(double{found[i]} - exact[i]);
    difference =
        std::isnan(apart) ? std::numeric_limits<double>::infinity() : std::max(difference, apart);
  }
  return difference / largest;
}

}  // namespace quern::test
