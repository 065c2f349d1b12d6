// The tiles of matmul.format.comp as half-precision matrices for the matrix units of a subgroup
// (GL_NV_cooperative_matrix, or GL_KHR_cooperative_matrix where the build's compiler knows it).
// Values beyond half precision's range are cut off: variants.def. The software driver has no matrix
// units, so tests only compile and validate this source; a device uses it once its own self-test
// has found it right.
#ifdef KHR_MATRICES
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#define WeightMatrix coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA>
#define XMatrix coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseB>
#define SumMatrix coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>
#define LOAD_ROWS(matrix, tile, start) \
  coopMatLoad(matrix, tile, start, kStride, gl_CooperativeMatrixLayoutRowMajor)
#define LOAD_COLUMNS(matrix, tile, start) \
  coopMatLoad(matrix, tile, start, kStride, gl_CooperativeMatrixLayoutColumnMajor)
#define STORE_SUMS(matrix, tile, start) \
  coopMatStore(matrix, tile, start, 16, gl_CooperativeMatrixLayoutRowMajor)
#define MULTIPLY_ADD coopMatMulAdd
#else
#extension GL_NV_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#define WeightMatrix fcoopmatNV<16, gl_ScopeSubgroup, 16, 16>
#define XMatrix fcoopmatNV<16, gl_ScopeSubgroup, 16, 16>
#define SumMatrix fcoopmatNV<32, gl_ScopeSubgroup, 16, 16>
#define LOAD_ROWS(matrix, tile, start) coopMatLoadNV(matrix, tile, start, kStride, false)
#define LOAD_COLUMNS(matrix, tile, start) coopMatLoadNV(matrix, tile, start, kStride, true)
#define STORE_SUMS(matrix, tile, start) coopMatStoreNV(matrix, tile, start, 16, false)
#define MULTIPLY_ADD coopMatMulAddNV
#endif
#extension GL_KHR_shader_subgroup_basic : require

layout(constant_id = 1) const uint kSubgroup = 32;  // at least 32

const uint kColumns = 8 * kUnits;    // values of a step
const uint kStride = kColumns + 8;   // binary16 numbers from a row of a tile to the next
const uint kBands = kMatmulTile / 16;
const uint kSubgroups = kMatmulWidth / kSubgroup;
// Matrices of sums, 16 values r by 16 rows t, that a subgroup computes.
const uint kMatrices = kBands * kBands / kSubgroups;
const uint kMostSubgroups = 8;

// [tile row][column]
shared float16_t weight_tile[kMatmulTile * kStride], x_tile[kMatmulTile * kStride];
shared float16_t up_tile[kGated ? kMatmulTile * kStride : 1];
// Of each subgroup a matrix of sums, [r][t].
shared float product_sums[kMostSubgroups * 256], up_sums[kGated ? kMostSubgroups * 256 : 1];

SumMatrix products[kMatrices], ups[kGated ? kMatrices : 1];

void clear_products() {
  for (uint i = 0; i < kMatrices; ++i) {
    products[i] = SumMatrix(0.0);
    if (kGated) ups[i] = SumMatrix(0.0);
  }
}

f16vec4 half_values(vec4 x) { return f16vec4(clamp(x, vec4(-65504), vec4(65504))); }

#define STORE_UNIT(tile, u, row, first, second)                      \
  {                                                                  \
    const f16vec4 h0 = half_values(first), h1 = half_values(second); \
    for (uint c = 0; c < 4; ++c) {                                   \
      tile[row * kStride + 8 * u + c] = h0[c];                       \
      tile[row * kStride + 8 * u + 4 + c] = h1[c];                   \
    }                                                                \
  }

#include "matmul_loads.glsl"

// Where matrix i of this subgroup begins in the tile: r and t.
uvec2 matrix_start(uint i) {
  const uint matrix = gl_SubgroupID * kMatrices + i;
  return 16 * uvec2(matrix % kBands, matrix / kBands);
}

void multiply_step() {
  for (uint k = 0; k < kColumns; k += 16) {
    for (uint i = 0; i < kMatrices; ++i) {
      const uvec2 start = matrix_start(i);
      WeightMatrix w;
      XMatrix x;
      LOAD_COLUMNS(x, x_tile, start.y * kStride + k);
      LOAD_ROWS(w, weight_tile, start.x * kStride + k);
      products[i] = MULTIPLY_ADD(w, x, products[i]);
      if (kGated) {
        LOAD_ROWS(w, up_tile, start.x * kStride + k);
        ups[i] = MULTIPLY_ADD(w, x, ups[i]);
      }
    }
  }
}

// Hands all products of the tile on, by way of shared memory.
void store_products() {
  const uint mine = gl_SubgroupID * 256;
  for (uint i = 0; i < kMatrices; ++i) {
    subgroupBarrier();  // the matrix before has been read
    STORE_SUMS(products[i], product_sums, mine);
    if (kGated) STORE_SUMS(ups[i], up_sums, mine);
    subgroupMemoryBarrierShared();
    subgroupBarrier();
    const uvec2 start = matrix_start(i);
    for (uint k = gl_SubgroupInvocationID; k < 256; k += gl_SubgroupSize) {
      store_tile_value(start.x + k / 16, start.y + k % 16, product_sums[mine + k],
                       kGated ? up_sums[mine + k] : 0);
    }
  }
}
