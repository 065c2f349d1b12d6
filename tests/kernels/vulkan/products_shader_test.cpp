// matvec and matmul with what goes before and after the product, and the norms, against plain C++.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numeric>
#include <random>

#include "kernels/cpu/reference.h"
#include "shaders/shared.h"
#include "tests/kernels/random_blocks.h"
#include "tests/kernels/vulkan/shader_test.h"

namespace quern::kernels::vulkan {
namespace {

using shaders::ExpertTile;
using shaders::MatmulPush;
using test::Floats;

constexpr uint32_t kIn = 288, kOut = 150;  // more than two tiles of 64 outputs
constexpr uint32_t kRows = 70, kExperts = 3;

double silu(double x) { return x / (1 + std::exp(-x)); }

double activate(uint32_t activation, double x) {
  switch (activation) {
    case shaders::kActivationSilu:
      return silu(x);
    case shaders::kActivationGelu:
      return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case shaders::kActivationReluSquared:
      return x > 0 ? x * x : 0;
    case shaders::kActivationSigmoid:
      return 1 / (1 + std::exp(-x));
    default:
      return x;
  }
}

double gated(uint32_t activation, double gate, double up) {
  if (activation != shaders::kActivationClampedSwiglu) return activate(activation, gate) * up;
  const double bounded = std::min(gate, 7.0);
  return bounded / (1 + std::exp(-1.702 * bounded)) * (std::clamp(up, -7.0, 7.0) + 1);
}

// A matrix for every expert, with the values that it holds.
struct Matrix {
  explicit Matrix(std::mt19937& random)
      : values(test::normal(kExperts * kOut * kIn, random, 0.1f)) {
    std::vector<uint16_t> halves;
    for (float& value : values) {
      const auto half = static_cast<_Float16>(value);
      value = static_cast<float>(half);
      halves.push_back(std::bit_cast<uint16_t>(half));
    }
    buffer = test::vulkan_buffer(halves);
  }
  double product(uint32_t expert, uint32_t r, const std::vector<double>& x) const {
    const float* w = &values[(size_t{expert} * kOut + r) * kIn];
    return std::inner_product(x.begin(), x.end(), w, 0.0);
  }
  Floats values;
  Buffer buffer;
};

// Floats on the device and here.
struct Values {
  Values(size_t count, std::mt19937& random, float deviation = 1)
      : values(test::normal(count, random, deviation)), buffer(test::vulkan_buffer(values)) {}
  float operator[](size_t i) const { return values[i]; }
  uint64_t address() const { return buffer.address(); }
  Floats values;
  Buffer buffer;
};

// How a test runs the products: as matvec of three rows at a time, or as matmul.
struct Kernel {
  std::string name;
  std::vector<uint32_t> constants;
  uint32_t rows;  // of one workgroup
};

class ShaderProducts : public ::testing::TestWithParam<Kernel> {
 protected:
  // `rows`: workgroups in the direction of the rows.
  void run(MatmulPush push, uint32_t rows = (kRows + 63) / 64) {
    push.weight = weight_.buffer.address();
    push.x = x_.address();
    push.out_rows = out_.address();
    push.in_width = kIn;
    push.out_width = kOut;
    push.rows = kRows;
    const bool matvec = GetParam().name == "matvec_f16";
    if (matvec && push.tiles == 0) rows = (kRows + GetParam().rows - 1) / GetParam().rows;
    const Groups groups = matvec ? Groups{.x = 10, .y = 2, .z = rows} : Groups{.x = 3, .y = rows};
    std::vector<uint32_t> constants = GetParam().constants;
    constants.push_back(push.up != 0);
    test::dispatch(GetParam().name, constants, push, groups);
  }

  // x of row t, with an RMS norm where `weight` is given.
  std::vector<double> input(uint32_t t, const Values* weight = nullptr) const {
    const float* x = &x_.values[t * kIn];
    std::vector<double> y(x, x + kIn);
    if (weight == nullptr) return y;
    const double squares = std::inner_product(y.begin(), y.end(), y.begin(), 0.0);
    const double factor = 1 / std::sqrt(squares / kIn + 1e-5);
    for (uint32_t i = 0; i < kIn; ++i) y[i] *= factor * (*weight)[i];
    return y;
  }

  void expect(const std::function<double(uint32_t t, uint32_t r)>& expected) const {
    const Floats out = test::vulkan_values<float>(out_.buffer, kRows * kOut);
    for (uint32_t i = 0; i < out.size(); ++i) {
      const double e = expected(i / kOut, i % kOut);
      ASSERT_NEAR(out[i], e, 2e-5 * (1 + std::abs(e))) << "row " << i / kOut << " " << i % kOut;
    }
  }

  std::mt19937 random_{11};
  const Matrix weight_{random_};
  const Values x_{kRows * kIn, random_}, out_{kRows * kOut, random_};
};

TEST_P(ShaderProducts, addBiasAndResidualInPlace) {
  const Values bias(kOut, random_), norm(kIn, random_), factors(kRows, random_);
  run({.norm = norm.address(),
       .bias = bias.address(),
       .add = out_.address(),
       .epsilon = 1e-5f,
       .scale = 0.5f,
       .row_scale = factors.address()});
  expect([&](uint32_t t, uint32_t r) {
    const double y = weight_.product(0, r, input(t, &norm)) + bias[r];
    return y * 0.5 * factors[t] + out_[t * kOut + r];
  });
}

TEST_P(ShaderProducts, readTheRowsThatIndicesName) {
  std::vector<uint32_t> indices(kRows);
  for (uint32_t t = 0; t < kRows; ++t) indices[t] = t * 7 % kRows;
  const Buffer buffer = test::vulkan_buffer(indices);
  run({.indices = buffer.address()});
  expect([&](uint32_t t, uint32_t r) { return weight_.product(0, r, input(indices[t])); });
}

TEST_P(ShaderProducts, gateWithAnotherMatrix) {
  const Matrix up(random_);
  const Values bias(kOut, random_), up_bias(kOut, random_), norm(kIn, random_);
  for (const uint32_t kind : {shaders::kActivationSilu, shaders::kActivationClampedSwiglu}) {
    run({.up = up.buffer.address(),
         .norm = norm.address(),
         .bias = bias.address(),
         .activation = kind,
         .epsilon = 1e-5f,
         .up_bias = up_bias.address()});
    expect([&](uint32_t t, uint32_t r) {
      const std::vector<double> x = input(t, &norm);
      return gated(kind, weight_.product(0, r, x) + bias[r], up.product(0, r, x) + up_bias[r]);
    });
  }
}

TEST_P(ShaderProducts, gateWithEarlierValues) {
  const Values gate(kRows * kOut, random_);
  run({.gate = gate.address(), .activation = shaders::kActivationGelu});
  expect([&](uint32_t t, uint32_t r) {
    return gated(shaders::kActivationGelu, gate[t * kOut + r], weight_.product(0, r, input(t)));
  });
}

TEST_P(ShaderProducts, activate) {
  for (const uint32_t kind : {shaders::kActivationSilu, shaders::kActivationGelu,
                              shaders::kActivationReluSquared, shaders::kActivationSigmoid}) {
    run({.activation = kind});
    expect([&](uint32_t t, uint32_t r) { return activate(kind, weight_.product(0, r, input(t))); });
  }
}

// Two experts per row, rows of x shared by the slots of a row; slots of expert 1 come last.
TEST_P(ShaderProducts, ofExpertsByTiles) {
  const auto expert_of = [](uint32_t slot) { return slot % 3; };
  const Values bias(kExperts * kOut, random_);
  std::vector<uint32_t> slots;
  std::vector<ExpertTile> tiles;
  const uint32_t limit = GetParam().rows;
  for (const uint32_t expert : {0u, 2u, 1u}) {
    for (uint32_t slot = 0; slot < kRows; ++slot) {
      if (expert_of(slot) != expert) continue;
      if (tiles.empty() || tiles.back().expert != expert || tiles.back().count == limit) {
        tiles.push_back({expert, static_cast<uint32_t>(slots.size()), 0});
      }
      slots.push_back(slot);
      ++tiles.back().count;
    }
  }
  tiles.push_back({0, 0, 0});
  const Buffer slot_buffer = test::vulkan_buffer(slots), tile_buffer = test::vulkan_buffer(tiles);
  run({.indices = slot_buffer.address(),
       .bias = bias.address(),
       .activation = shaders::kActivationSilu + 2 * shaders::kSlotsPerRow,
       .tiles = tile_buffer.address()},
      static_cast<uint32_t>(tiles.size()));
  expect([&](uint32_t slot, uint32_t r) {
    const uint32_t expert = expert_of(slot);
    return silu(weight_.product(expert, r, input(slot / 2)) + bias[expert * kOut + r]);
  });
}

INSTANTIATE_TEST_SUITE_P(Kernels, ShaderProducts,
                         ::testing::Values(Kernel{"matvec_f16", {32, 0, 3}, 3},
                                           Kernel{"matmul_f16", {shaders::kMatmulWidth, 0}, 64}),
                         [](const auto& test) { return test.param.name; });

class ShaderNorms : public ::testing::TestWithParam<bool> {};  // whether it is a layer norm

TEST_P(ShaderNorms, equalTheFormula) {
  constexpr uint32_t kWidth = 100, kNormRows = 3;
  std::mt19937 random(3);
  const Values x(kNormRows * kWidth, random), weight(kWidth, random), bias(kWidth, random);
  const Values out(kNormRows * kWidth, random);
  test::dispatch("norm", {64, 0},
                 shaders::NormPush{.in_rows = x.address(),
                                   .weight = weight.address(),
                                   .bias = bias.address(),
                                   .add = out.address(),
                                   .out_rows = out.address(),
                                   .width = kWidth,
                                   .layer = GetParam(),
                                   .epsilon = 1e-5f,
                                   .scale = 3},
                 {.x = kNormRows});
  const Floats result = test::vulkan_values<float>(out.buffer, kNormRows * kWidth);
  for (uint32_t row = 0; row < kNormRows; ++row) {
    const float* v = &x.values[row * kWidth];
    const double mean = GetParam() ? std::accumulate(v, v + kWidth, 0.0) / kWidth : 0;
    double squares = 0;
    for (uint32_t i = 0; i < kWidth; ++i) squares += (v[i] - mean) * (v[i] - mean);
    for (uint32_t i = 0; i < kWidth; ++i) {
      const double y = (v[i] - mean) / std::sqrt(squares / kWidth + 1e-5) * weight[i] + bias[i];
      EXPECT_NEAR(result[row * kWidth + i], 3 * y + out[row * kWidth + i], 1e-4);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, ShaderNorms, ::testing::Bool());

TEST(ShaderSoftCap, equalsTheFormula) {
  const Floats values = {-1000, -3, -0.5f, 0, 0.25f, 2, 7, 1e9f};
  const Buffer x = test::vulkan_buffer(values);
  const auto count = static_cast<uint32_t>(values.size());
  test::dispatch("soft_cap", {64, 0},
                 shaders::SoftCapPush{.x = x.address(), .count = count, .cap = 5}, {});
  const Floats result = test::vulkan_values<float>(x, count);
  for (uint32_t i = 0; i < count; ++i) {
    EXPECT_NEAR(result[i], 5 * std::tanh(double{values[i]} / 5), 2e-6);
  }
}

}  // namespace
}  // namespace quern::kernels::vulkan
