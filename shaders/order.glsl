// A total order of floats as unsigned keys: larger numbers have larger keys, both zeros the same
// one, NaN the lowest.
uint order_key(float x) {
  const uint bits = x == 0 ? 0 : floatBitsToUint(x);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return 0;
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
