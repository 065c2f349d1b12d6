// Unpacking of panels: one function per format, SIMD where an unpack_*-inl.h has an Unpacker for
// it, otherwise the scalar reference, which is correct for every format and slow.
#include <array>
#include <cstring>

#include "kernels/cpu/panel.h"
#include "kernels/cpu/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/unpack.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/unpack_iq-inl.h"
#include "kernels/cpu/unpack_k-inl.h"
#include "kernels/cpu/unpack_lanes-inl.h"
#include "kernels/cpu/unpack_simple-inl.h"

HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

using gguf::Format;
using gguf::Traits;

// One block of one row, without SIMD.
template <Format F>
void UnpackScalar(const std::byte* block, size_t row, size_t k, Panel& panel) {
  reference::UnpackedBlock unpacked;
  reference::unpack(F, block, unpacked);
  for (size_t i = 0; i < Traits<F>::kValues; ++i) {
    panel.codes[(k + i) / 4][row][(k + i) % 4] =
        static_cast<uint8_t>(unpacked.codes[i] + kPanelBias);
  }
  for (size_t i = 0; i < Traits<F>::kValues; i += Traits<F>::kScaleGroup) {
    panel.scale[(k + i) / Traits<F>::kScaleGroup][row] = unpacked.scale[i / 16];
    panel.min[(k + i) / Traits<F>::kScaleGroup][row] = unpacked.min[i / 16];
  }
}

template <Format F>
concept HasUnpacker = requires {
  Unpacker<F>::Block;
};

// One block of 16 rows.
template <Format F>
HWY_INLINE void UnpackBlocks(const std::byte* block, size_t stride, size_t k, Panel& panel) {
#if HWY_TARGET != HWY_SCALAR
  if constexpr (HasUnpacker<F>) {
    const size_t group = k / Traits<F>::kScaleGroup;
    for (size_t row = 0; row < kPanelRows; row += hn::MaxLanes(D32())) {
      const RowBlocks rows{reinterpret_cast<const uint8_t*>(block) + row * stride, stride};
      Unpacker<F>::Block(
          rows, {&panel.codes[k / 4][row][0], &panel.scale[group][row], &panel.min[group][row]});
    }
    return;
  }
#endif
  for (size_t row = 0; row < kPanelRows; ++row) {
    UnpackScalar<F>(block + row * stride, row, k, panel);
  }
}

template <Format F>
void UnpackFormat(const std::byte* blocks, size_t stride, size_t values, Panel& panel) {
  if constexpr (Traits<F>::kScaleGroup > 0) {
    for (size_t k = 0; k < values; k += Traits<F>::kValues, blocks += Traits<F>::kBytes) {
      UnpackBlocks<F>(blocks, stride, k, panel);
    }
  }
}

void UnpackPanel(Format format, const std::byte* blocks, size_t stride, size_t values,
                 Panel& panel) {
  using Function = void (*)(const std::byte*, size_t, size_t, Panel&);
  static constexpr Function kTable[] = {
#define QUERN_FORMAT(name, ...) UnpackFormat<Format::name>,
#include "gguf/formats.def"
#undef QUERN_FORMAT
  };
  kTable[static_cast<size_t>(format)](blocks, stride, values, panel);
}

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quern::kernels::cpu {

HWY_EXPORT(UnpackPanel);

void unpack_panel(gguf::Format format, const std::byte* blocks, size_t stride, size_t values,
                  Panel& panel) {
  HWY_DYNAMIC_DISPATCH(UnpackPanel)(format, blocks, stride, values, panel);
}

}  // namespace quern::kernels::cpu
#endif
