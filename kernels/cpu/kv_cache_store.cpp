// Writes keys and values into the cache: rounds them to its type, 32 values at a time.
#include <algorithm>
#include <limits>

#include "kernels/cpu/kv_cache.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/kv_cache_store.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, 16>;
using Words = hn::RebindToUnsigned<Floats>;

// binary32 to binary16, to nearest even; too large becomes infinity, NaN stays NaN. (Highway's own
// conversion truncates where there is no instruction for it.)
HWY_INLINE hn::Vec<Words> HalfBits(hn::Vec<Floats> x) {
  const Floats d;
  const Words dw;
  const auto word = [dw](uint32_t value) HWY_ATTR { return hn::Set(dw, value); };
  const auto bits = hn::BitCast(dw, x);
  const auto magnitude = hn::And(bits, word(0x7FFFFFFF));
  const auto odd = hn::And(hn::ShiftRight<13>(magnitude), word(1));
  const auto normal =
      hn::ShiftRight<13>(hn::Add(hn::Add(magnitude, odd), word(0xFFF - 0x38000000)));
  // Added to one half, a subnormal's units of 2^-24 are the lowest bits.
  const auto shifted = hn::Add(hn::BitCast(d, magnitude), hn::Set(d, 0.5f));
  const auto subnormal = hn::Sub(hn::BitCast(dw, shifted), word(0x3F000000));
  const hn::RebindToSigned<Words> di;
  const auto above = [&](uint32_t limit) HWY_ATTR {
    return hn::RebindMask(dw, hn::Gt(hn::BitCast(di, magnitude), hn::BitCast(di, word(limit))));
  };
  auto half = hn::IfThenElse(above(0x387FFFFF), normal, subnormal);
  half = hn::IfThenElse(above(0x477FEFFF), word(0x7C00), half);
  half = hn::IfThenElse(above(0x7F800000), word(0x7E00), half);
  return hn::Or(half, hn::And(hn::ShiftRight<16>(bits), word(0x8000)));
}

void StoreHalves(const float* x, uint16_t* out) {
  const hn::Rebind<uint16_t, Floats> d16;
  const hn::RebindToSigned<Words> di;
  for (size_t i = 0; i < kScaleGroup; i += hn::Lanes(Floats())) {
    const auto half = hn::BitCast(di, HalfBits(hn::LoadU(Floats(), x + i)));
    hn::StoreU(hn::DemoteTo(d16, half), d16, out + i);
  }
}

// x = codes * scale, scale = max|x| / 127. Returns the scale as f16; it is NaN if a value is not
// finite, so that the result shows it.
uint16_t StoreCodes(const float* x, int8_t* codes) {
  const Floats d;
  const hn::Rebind<int8_t, Floats> d8;
  auto largest = hn::Zero(d), poison = hn::Zero(d);  // 0, or NaN
  for (size_t i = 0; i < kScaleGroup; i += hn::Lanes(d)) {
    const auto v = hn::LoadU(d, x + i);
    largest = hn::Max(largest, hn::Abs(v));
    poison = hn::Add(poison, hn::Mul(v, hn::Zero(d)));
  }
  const bool finite = hn::AllTrue(d, hn::Eq(poison, poison));
  const float scale = finite ? hn::GetLane(hn::MaxOfLanes(d, largest)) / 127.0f
                             : std::numeric_limits<float>::quiet_NaN();
  const auto inverse = hn::Set(d, scale >= 0x1p-126f ? 1.0f / scale : 0.0f);
  for (size_t i = 0; i < kScaleGroup; i += hn::Lanes(d)) {
    const auto scaled = hn::Mul(hn::LoadU(d, x + i), inverse);
    const auto code = hn::NearestInt(hn::IfThenElseZero(hn::Eq(scaled, scaled), scaled));
    hn::StoreU(hn::DemoteTo(d8, code), d8, codes + i);
  }
  return static_cast<uint16_t>(hn::GetLane(HalfBits(hn::Set(d, scale))));
}

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quern::kernels::cpu {
namespace {

HWY_EXPORT(StoreHalves);
HWY_EXPORT(StoreCodes);

// Stores x[count] with element i at data[i * stride], the scale of elements 32 g … at
// scales[g * kTilePositions].
void store_vector(CacheType type, const float* x, uint32_t count, std::byte* data, size_t stride,
                  std::byte* scales) {
  for (uint32_t first = 0; first < count; first += kScaleGroup) {
    const uint32_t used = std::min(count - first, kScaleGroup);
    float group[kScaleGroup] = {};
    std::copy_n(x + first, used, group);
    const auto scatter = [&](const auto* codes) {
      auto* out = reinterpret_cast<std::remove_cvref_t<decltype(*codes)>*>(data) + first * stride;
      for (uint32_t i = 0; i < used; ++i) out[i * stride] = codes[i];
    };
    if (type == CacheType::kF32) {
      scatter(group);
    } else if (type == CacheType::kF16) {
      uint16_t halves[kScaleGroup];
      HWY_DYNAMIC_DISPATCH(StoreHalves)(group, halves);
      scatter(halves);
    } else {
      int8_t codes[kScaleGroup];
      reinterpret_cast<uint16_t*>(scales)[first / kScaleGroup * kTilePositions] =
          HWY_DYNAMIC_DISPATCH(StoreCodes)(group, codes);
      scatter(codes);
    }
  }
}

}  // namespace

void store_key(const TileLayout& layout, std::byte* keys, uint32_t position, const float* key) {
  store_vector(layout.type, key, layout.key_width, keys + position * layout.code_bytes(),
               kTilePositions, keys + layout.key_scales + position * sizeof(uint16_t));
}

void store_value(const TileLayout& layout, std::byte* values, uint32_t position,
                 const float* value) {
  const size_t row = static_cast<size_t>(position) * layout.value_stride;
  store_vector(layout.type, value, layout.value_width, values + row * layout.code_bytes(), 1,
               values + layout.value_scales + position * sizeof(uint16_t));
}

}  // namespace quern::kernels::cpu
#endif  // HWY_ONCE
