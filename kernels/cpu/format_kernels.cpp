#include "kernels/cpu/format_kernels.h"

#include <cassert>

#include "kernels/cpu/reference.h"

namespace quern::kernels::cpu {

// formats.inc lists the files of formats/, one QUERN_FORMAT_FILE(NAME) each; the build writes it.
#define QUERN_FORMAT_FILE(name) FormatKernels kernels_##name();
#include "formats.inc"
#undef QUERN_FORMAT_FILE

FormatKernels format_kernels(gguf::Format format) {
  switch (format) {
#define QUERN_FORMAT_FILE(name) \
  case gguf::Format::name:      \
    return kernels_##name();
#include "formats.inc"
#undef QUERN_FORMAT_FILE
    default:
      return {};
  }
}

namespace {

void unpack_reference(const gguf::FormatInfo& format, const WeightTile& tile, size_t k,
                      size_t values, Panel& panel) {
  for (size_t row = 0; row < kPanelRows; ++row) {
    for (size_t v = 0; v < values; v += format.block_values) {
      reference::UnpackedBlock unpacked;
      reference::unpack(format.format, tile.bytes + row * tile.stride + format.row_bytes(k + v),
                        unpacked);
      for (size_t i = 0; i < format.block_values; ++i) {
        const int code = unpacked.codes[i] + code_bias(format.format);
        panel.codes[(v + i) / 4][row][(v + i) % 4] = static_cast<uint8_t>(code);
      }
      for (size_t i = 0; i < format.block_values; i += format.scale_group) {
        panel.scale[(v + i) / format.scale_group][row] = unpacked.scale[i / 16];
        panel.min[(v + i) / format.scale_group][row] = unpacked.min[i / 16];
      }
    }
  }
}

void unpack_product_reference(const gguf::FormatInfo& format, const WeightTile& tile, size_t k,
                              Panel& panel) {
  const size_t group = format.scale_group;
  for (size_t row = 0; row < kPanelRows; ++row) {
    reference::UnpackedBlock block;
    reference::unpack(format.format, tile.bytes + row * tile.stride + format.row_bytes(k), block);
    for (size_t i = 0; i < kPanelValues && scales_codes(format.format); ++i) {
      const int code = block.codes[i] * block.scale_codes[i / 16] + scaled_bias(format.format);
      panel.codes[i / 4][row][i % 4] = static_cast<uint8_t>(code);
    }
    if (scales_codes(format.format)) panel.scale[0][row] = block.block_scale;
    panel.min[0][row] = block.block_min;
    for (size_t g = 0; g < kPanelValues / group; ++g) {
      const int32_t code = block.min_codes[g * group / 16];
      panel.min_codes[g / 2][row][g % 2] = static_cast<int16_t>(code);
    }
  }
}

}  // namespace

void unpack_product_panel(gguf::Format format, const WeightTile& tile, size_t k, size_t values,
                          Panel& panel) {
  const FormatKernels kernels = format_kernels(format);
  if (kernels.unpack_product) {
    assert(values == kPanelValues);
    return kernels.unpack_product(tile, k, panel);
  }
  unpack_panel(format, tile, k, values, panel);
  if (kernels.unpack || !(scales_codes(format) || codes_minimums(format))) return;
  unpack_product_reference(gguf::info(format), tile, k, panel);
}

void unpack_panel(gguf::Format format, const WeightTile& tile, size_t k, size_t values,
                  Panel& panel) {
  if (const FormatKernels kernels = format_kernels(format); kernels.unpack) {
    kernels.unpack(tile, k, values, panel);
  } else {
    assert(tile.stride != WeightTile::kPacked);
    unpack_reference(gguf::info(format), tile, k, values, panel);
  }
}

}  // namespace quern::kernels::cpu
