// What C++ and the shaders agree on: push constants and sizes. The same header compiles as both;
// structures hold only 4- and 8-byte scalars in an order without gaps, so that their layout is the
// same (GLSL: scalar block layout; a test compares the offsets with the compiled modules).
//
// Conventions of all shaders:
// - A buffer is a device address (uint64_t), cast to one of the buffer references of buffers.glsl.
// - Specialization constant 0 is the workgroup's width (local_size_x), 1 the subgroup size.
// - NAME.comp becomes the kernel NAME; NAME.format.comp includes "format.glsl", which the build
//   writes for each format, and becomes the kernels NAME_q4_k and so on.
// - The rows of a step come in arrays: tokens int32 [rows], positions uint32 [rows], sequences
//   uint32 [rows], and the cache blocks of each sequence, tables uint32 [sequences][table_stride].
//   A step may have fewer rows than a grid: the last one is repeated, so no shader need know.
// - A layer's cache is one range for keys and one for values, in blocks of 64 positions; block b
//   starts at the range's address + b * the bytes of a block.
#ifndef QUERN_SHADERS_SHARED_H
#define QUERN_SHADERS_SHARED_H
#ifdef __cplusplus
#include <cstdint>
namespace quern::shaders {
using uint = uint32_t;
#define QUERN_CONSTANT inline constexpr uint
#define QUERN_PUSH(type, bytes) static_assert(sizeof(type) == (bytes) && (bytes) <= kMaxPushBytes)
#else
#define QUERN_CONSTANT const uint
#define QUERN_PUSH(type, bytes)
#endif

QUERN_CONSTANT kMaxPushBytes = 128;  // the least that every device has

// select_rows: out[i] = in[rows[i]], f32 [count][width].
// Grid: x covers the values of a row, y is i.
struct SelectRowsPush {
  uint64_t in_rows;  // f32 [rows of the batch][width]
  uint64_t indices;  // uint32 [count]
  uint64_t out_rows;
  uint width;
  uint pad;
};
QUERN_PUSH(SelectRowsPush, 32);

#ifdef __cplusplus
#undef QUERN_CONSTANT
#undef QUERN_PUSH
}  // namespace quern::shaders
#endif
#endif
