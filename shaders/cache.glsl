// Where keys and values lie in a layer's cache, and how they are read and written (shared.h).
layout(constant_id = 2) const uint kCacheType = kCacheF32;

// Bytes of one key or value of `width` values, with its scales.
uint entry_bytes(uint width) {
  if (kCacheType == kCacheF32) return 4 * width;
  if (kCacheType == kCacheF16) return 2 * width;
  return width + (width + 31) / 32 * 2;
}

// What head `head` keeps of block `block`; `base` is the range of keys, or of values.
uint64_t tile_address(uint64_t base, uint block, uint head, uint heads, uint width) {
  return base + (uint64_t(block) * heads + head) * (kCacheBlock * entry_bytes(width));
}

// Quad `index` of a tile, whose scale is number `scale` of those behind its codes.
vec4 load_quad(uint64_t tile, uint width, uint index, uint scale) {
  if (kCacheType == kCacheF32) return Vec4s(tile).at[index];
  if (kCacheType == kCacheF16) {
    const uvec2 words = WordPairs(tile).at[index];
    return vec4(unpackHalf2x16(words.x), unpackHalf2x16(words.y));
  }
  const uint16_t d = Halves(tile + kCacheBlock * width).at[scale];
  return unpackHalf2x16(uint(d)).x * vec4(ivec4(unpack8(int(Words(tile).at[index]))));
}

// Stores a quad; `d` is the scale of its 32 values (q8_0), stored by whoever has the first of them.
void store_quad(uint64_t tile, uint width, uint index, uint scale, vec4 x, float d, bool first) {
  if (kCacheType == kCacheF32) {
    Vec4s(tile).at[index] = x;
  } else if (kCacheType == kCacheF16) {
    WordPairs(tile).at[index] = uvec2(packHalf2x16(x.xy), packHalf2x16(x.zw));
  } else {
    const ivec4 codes = d > 0 ? ivec4(roundEven(x / d)) : ivec4(0);
    Words(tile).at[index] = uint(pack32(i8vec4(codes)));
    if (first) Halves(tile + kCacheBlock * width).at[scale] = uint16_t(packHalf2x16(vec2(d, 0)));
  }
}

// Index of a quad of a key or a value at one position of a block, and of its scale.
uint key_index(uint quad, uint position) { return quad * kCacheBlock + position; }
uint key_scale(uint quad, uint position) { return quad / 8 * kCacheBlock + position; }
uint value_index(uint width, uint quad, uint position) { return position * (width / 4) + quad; }
uint value_scale(uint width, uint quad, uint position) {
  return position * ((width + 31) / 32) + quad / 8;
}
