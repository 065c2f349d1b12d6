// Runs of four numbers in few bits, for the variants that multiply with codes. Weights are the
// format's own codes, activations are scaled by their largest magnitude, so that neither can
// overflow; scales and sums are f32. int8: four bytes in a word, multiplied by OpSDot
// (SPV_KHR_integer_dot_product). fp16: four binary16 numbers, their products summed in f32.
#ifdef VARIANT_int8
#extension GL_EXT_spirv_intrinsics : require
// The compiler of this source may be too old to know the extension; 6019 DotProduct, 6018
// DotProductInput4x8BitPacked, 4450 OpSDot; format 0: PackedVectorFormat4x8Bit.
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6019, 6018],
                  id = 4450) int dot_packed(int a, int b, spirv_literal int format);

#define Run int
#define RunSum int
const float kRunTop = 127;  // the largest activation's code

Run make_run(ivec4 codes) {
  const ivec4 bytes = (codes & 255) << ivec4(0, 8, 16, 24);
  return bytes.x | bytes.y | bytes.z | bytes.w;
}
Run quantize(vec4 x, float factor) { return make_run(ivec4(roundEven(x * factor))); }
RunSum dot_runs(Run a, Run b) { return dot_packed(a, b, 0); }
RunSum sum_run(Run x) { return dot_packed(x, 0x01010101, 0); }
#else
#define Run f16vec4
#define RunSum float
const float kRunTop = 1;

Run make_run(ivec4 codes) { return Run(codes); }
Run quantize(vec4 x, float factor) { return Run(x * factor); }
// Codes are at most 128 and activations 1: half precision holds the sum of four products.
RunSum dot_runs(Run a, Run b) { return float(dot(a, b)); }
RunSum sum_run(Run x) { return dot(vec4(x), vec4(1)); }
#endif

float largest(vec4 first, vec4 second) {
  const vec4 most = max(abs(first), abs(second));
  return max(max(most.x, most.y), max(most.z, most.w));
}

// What activations up to `top` are multiplied with to become codes; so small ones become zeros.
float quantize_factor(float top) { return top > 1e-30 ? kRunTop / top : 0; }
