// A unit of eight values, of weights and of activations, as a variant multiplies them (variants.def).
#if defined(VARIANT_int8) || defined(VARIANT_fp16)
#include "runs.glsl"

struct WeightUnit {
  Run first, second;
  vec2 scale, minimum;
};

// Activations share a scale: all of one unit here.
struct XUnit {
  Run first, second;
  float scale;
};

WeightUnit load_weights(uint64_t row, uint unit) {
  const Codes codes = unit_codes(row, push.codebooks, unit);
  return WeightUnit(make_run(codes.first), make_run(codes.second), codes.scale, codes.minimum);
}

XUnit make_x(vec4 first, vec4 second) {
  const float top = largest(first, second);
  const float factor = quantize_factor(top);
  return XUnit(quantize(first, factor), quantize(second, factor), top / kRunTop);
}

// Σ w x = a * Σ (scale * code - minimum) * x_code, with the scale a of x.
float product(WeightUnit w, XUnit x) {
  vec2 sums = w.scale * vec2(dot_runs(w.first, x.first), dot_runs(w.second, x.second));
#ifdef MINIMUMS
  sums -= w.minimum * vec2(sum_run(x.first), sum_run(x.second));
#endif
  return x.scale * (sums.x + sums.y);
}
#else
struct WeightUnit {
  vec4 first, second;
};
#define XUnit WeightUnit

WeightUnit load_weights(uint64_t row, uint unit) {
  WeightUnit w;
  decode_unit(row, push.codebooks, unit, w.first, w.second);
  return w;
}

XUnit make_x(vec4 first, vec4 second) { return XUnit(first, second); }

float product(WeightUnit w, XUnit x) { return dot(w.first, x.first) + dot(w.second, x.second); }
#endif
