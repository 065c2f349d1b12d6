// Activations and gated units (shared.h, kActivation…).

// tanh without overflow of the exponential.
float bounded_tanh(float x) { return 1 - 2 / (exp(2 * min(x, 40)) + 1); }

// silu(x) = x / (1 + exp(-x)); gelu by tanh (Hendrycks and Gimpel 2016).
float activate(uint activation, float x) {
  switch (activation) {
    case kActivationSilu:
      return x / (1 + exp(-x));
    case kActivationGelu:
      return 0.5 * x * (1 + bounded_tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
    case kActivationReluSquared:
      return max(x, 0) * max(x, 0);
    case kActivationSigmoid:
      return 1 / (1 + exp(-x));
    default:
      return x;
  }
}

// A gated unit. The clamped kind (gpt-oss) bounds both sides.
float gated(uint activation, float gate, float up) {
  if (activation != kActivationClampedSwiglu) return activate(activation, gate) * up;
  const float bounded = min(gate, 7);
  return bounded / (1 + exp(-1.702 * bounded)) * (clamp(up, -7, 7) + 1);
}
