// Packed rows: the layout that kernels read fastest. The file has rows one after the other, so that
// 16 rows are 16 streams; packed, a tile of 16 rows is one stream of 64-byte lines, and a line
// holds one 32-bit word of every row. Rows are packed by runs of blocks that fill whole words;
// inside a run the bytes are in the order in which the kernels read them (formats/unpacker-inl.h).
#pragma once

#include <cstddef>

#include "kernels/cpu/panel.h"

namespace quern::kernels::cpu {

// Blocks of a run.
constexpr size_t packed_run(gguf::Format format) {
  const size_t bytes = gguf::info(format).block_bytes;
  return bytes % 4 == 0 ? 1 : bytes % 2 == 0 ? 2 : 4;
}

// Bytes of a packed tile of 16 rows of `values` values: rows are padded to whole runs.
constexpr size_t packed_tile_bytes(gguf::Format format, size_t values) {
  const gguf::FormatInfo& facts = gguf::info(format);
  const size_t run = packed_run(format) * facts.block_values;
  return (values + run - 1) / run * packed_run(format) * facts.block_bytes * kPanelRows;
}
// Bytes of a packed matrix: its last tile is padded with zero rows.
constexpr size_t packed_bytes(gguf::Format format, size_t rows, size_t values) {
  return (rows + kPanelRows - 1) / kPanelRows * packed_tile_bytes(format, values);
}

}  // namespace quern::kernels::cpu
