#include "kernels/cpu/reference_recurrent.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace quern::kernels::cpu::reference {
namespace {

double softplus(double x) { return x > 20 ? x : std::log1p(std::exp(x)); }

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// x / max(|x|, epsilon).
std::vector<double> unit(const float* x, size_t count, double epsilon) {
  double squares = 0;
  for (size_t i = 0; i < count; ++i) squares += double{x[i]} * x[i];
  std::vector<double> y(x, x + count);
  for (double& value : y) value /= std::max(std::sqrt(squares), epsilon);
  return y;
}

}  // namespace

void conv_step(const CausalConv& op, size_t width, const float* weight, const float* bias,
               const float* u, float* state, float* out) {
  const size_t past = op.taps - 1;
  for (size_t i = 0; i < width; ++i) {
    const float* taps = weight + i * op.taps;
    double sum = double{taps[past]} * u[i] + (bias ? bias[i] : 0);
    for (size_t j = 0; j < past; ++j) sum += double{taps[j]} * state[j * width + i];
    out[i] = static_cast<float>(sum);
  }
  std::copy(state + width, state + past * width, state);
  std::copy_n(u, width, state + (past - 1) * width);
}

void delta_step(const GatedDelta& op, const float* a, const float* decay_bias, const float* mixed,
                const float* decay, const float* beta, float* state, float* out) {
  const size_t width = op.width, keys = size_t{op.key_heads} * width;
  for (size_t i = 0; i < op.value_heads; ++i) {
    const size_t j = i % op.key_heads;
    const std::vector<double> q = unit(mixed + j * width, width, op.epsilon);
    const std::vector<double> k = unit(mixed + keys + j * width, width, op.epsilon);
    const float* v = mixed + 2 * keys + i * width;
    const double forget = std::exp(a[i] * softplus(double{decay[i]} + decay_bias[i]));
    float* s = state + i * width * width;
    for (size_t c = 0; c < width; ++c) {
      double recalled = 0, sum = 0;
      for (size_t r = 0; r < width; ++r) recalled += forget * s[r * width + c] * k[r];
      const double u = sigmoid(beta[i]) * (v[c] - recalled);
      for (size_t r = 0; r < width; ++r) {
        const double updated = forget * s[r * width + c] + k[r] * u;
        s[r * width + c] = static_cast<float>(updated);
        sum += updated * q[r] / std::sqrt(static_cast<double>(width));
      }
      out[i * width + c] = static_cast<float>(sum);
    }
  }
}

void scan_step(const SelectiveScan& op, const float* a, const float* step_bias, const float* skip,
               const float* mixed, const float* step, float* state, float* out) {
  const size_t width = op.width, size = op.state_width;
  for (size_t i = 0; i < op.heads; ++i) {
    const size_t group = i / (op.heads / op.groups);
    const float* x = mixed + i * width;
    const float* b = mixed + op.heads * width + group * size;
    const float* c = b + op.groups * size;
    const double delta = softplus(double{step[i]} + step_bias[i]), forget = std::exp(delta * a[i]);
    float* s = state + i * size * width;
    for (size_t p = 0; p < width; ++p) {
      double sum = double{skip[i]} * x[p];
      for (size_t n = 0; n < size; ++n) {
        const double updated = forget * s[n * width + p] + b[n] * (delta * x[p]);
        s[n * width + p] = static_cast<float>(updated);
        sum += updated * c[n];
      }
      out[i * width + p] = static_cast<float>(sum);
    }
  }
}

}  // namespace quern::kernels::cpu::reference
