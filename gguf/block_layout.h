// The byte layout of every quantized block, once, for C++ and GLSL alike: only uint8_t, uint16_t
// and arrays of them, so that no compiler inserts padding (GLSL: scalar block layout,
// GL_EXT_shader_explicit_arithmetic_types). Multi-byte integers that would not be naturally aligned
// are byte arrays. `d`, `dmin`, `m` are binary16 bits. How codes become numbers: the scalar
// unpack functions in kernels/cpu/reference.cpp.
#ifdef __cplusplus
#pragma once
#include <cstdint>
namespace quern::gguf {
#pragma pack(push, 1)  // files may store tensors at odd addresses: never assume alignment
#endif

// One line per format reads best here.
// clang-format off
struct BlockQ4_0 { uint16_t d; uint8_t qs[16]; };
struct BlockQ4_1 { uint16_t d; uint16_t m; uint8_t qs[16]; };
struct BlockQ5_0 { uint16_t d; uint8_t qh[4]; uint8_t qs[16]; };
struct BlockQ5_1 { uint16_t d; uint16_t m; uint8_t qh[4]; uint8_t qs[16]; };
struct BlockQ8_0 { uint16_t d; uint8_t qs[32]; };  // qs: int8
struct BlockQ2_K { uint8_t scales[16]; uint8_t qs[64]; uint16_t d; uint16_t dmin; };
struct BlockQ3_K { uint8_t hmask[32]; uint8_t qs[64]; uint8_t scales[12]; uint16_t d; };
struct BlockQ4_K { uint16_t d; uint16_t dmin; uint8_t scales[12]; uint8_t qs[128]; };
struct BlockQ5_K { uint16_t d; uint16_t dmin; uint8_t scales[12]; uint8_t qh[32]; uint8_t qs[128]; };
struct BlockQ6_K { uint8_t ql[128]; uint8_t qh[64]; uint8_t scales[16]; uint16_t d; };  // scales: int8
struct BlockIQ2_XXS { uint16_t d; uint16_t qs[32]; };
struct BlockIQ2_XS { uint16_t d; uint16_t qs[32]; uint8_t scales[8]; };
struct BlockIQ2_S { uint16_t d; uint8_t qs[32]; uint8_t signs[32]; uint8_t qh[8]; uint8_t scales[8]; };
struct BlockIQ3_XXS { uint16_t d; uint8_t qs[64]; uint16_t signs_scales[16]; };
struct BlockIQ3_S { uint16_t d; uint8_t qs[64]; uint8_t qh[8]; uint8_t signs[32]; uint8_t scales[4]; };
struct BlockIQ1_S { uint16_t d; uint8_t qs[32]; uint16_t qh[8]; };
struct BlockIQ1_M { uint8_t qs[32]; uint8_t qh[16]; uint16_t scales[4]; };
struct BlockIQ4_NL { uint16_t d; uint8_t qs[16]; };
struct BlockIQ4_XS { uint16_t d; uint16_t scales_h; uint8_t scales_l[4]; uint8_t qs[128]; };
struct BlockTQ1_0 { uint8_t qs[48]; uint8_t qh[4]; uint16_t d; };
struct BlockTQ2_0 { uint8_t qs[64]; uint16_t d; };
struct BlockMXFP4 { uint8_t e; uint8_t qs[16]; };
struct BlockNVFP4 { uint8_t scales[4]; uint8_t qs[32]; };
struct BlockQ1_0 { uint16_t d; uint8_t qs[16]; };
struct BlockQ2_0 { uint16_t d; uint8_t qs[16]; };
struct BlockF32 { uint8_t bytes[4]; };
struct BlockF16 { uint16_t bits; };
struct BlockBF16 { uint16_t bits; };
// clang-format on

#ifdef __cplusplus
#pragma pack(pop)
}  // namespace quern::gguf
#endif
