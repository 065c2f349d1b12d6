// Twice the E2M1 numbers that four nibbles stand for; both zeros are +0.
ivec4 fp4(ivec4 nibbles) {
  const ivec4 exponent = nibbles >> 1 & 3, mantissa = nibbles & 1;
  const ivec4 magnitude = (2 * min(exponent, 1) + mantissa) << max(exponent - 1, 0);
  return magnitude * (1 - (nibbles >> 2 & 2));
}
