// OpRecorder: turns the operations of a program into dispatches, for steps of one shape.
#pragma once

#include "kernels/backend.h"
#include "kernels/vulkan/batch_rows.h"
#include "kernels/vulkan/cache.h"
#include "kernels/vulkan/experts.h"
#include "kernels/vulkan/recorder.h"
#include "kernels/vulkan/weights.h"
#include "kernels/vulkan/workspace.h"
#include "shaders/shared.h"

namespace quern::kernels::vulkan {

// What the dispatches of one executable refer to.
struct Binding {
  Device& device;
  const Program& program;
  const Weights& weights;
  const VulkanCache& cache;
  const BatchRows& rows;
  const Workspace& workspace;
  uint64_t codebooks;  // address of codebook_bytes()
};

uint32_t activation_code(Activation activation);  // shaders::kActivation…

class OpRecorder {
 public:
  OpRecorder(const Binding& binding, const Shape& shape, Recorder& recorder)
      : b_(binding), shape_(shape), recorder_(recorder) {}

  // Operations on the rows whose logits are wanted are left out where there are none. Errors:
  // "vulkan-op" for what the shaders cannot do, those of Device::kernel.
  Status record(const Op& op);

 private:
  Status operate(const Embed& op);
  Status operate(const Projection& op);
  Status operate(const AddNormed& op);
  Status operate(const SoftCap& op);
  Status operate(const CacheAppend& op);
  Status operate(const Attention& op);
  Status operate(const SelectLogitRows& op);
  Status operate(const Experts& op);
  Status operate(const GatedNorm& op);
  Status operate(const Arrange& op);
  Status operate(const HeadProduct& op);
  Status operate(const CausalConv& op);
  Status operate(const GatedDelta& op);
  Status operate(const SelectiveScan& op);

  // out = scale * rows of the table by token; or adds rows by position to out.
  Status gather(WeightId id, float scale, bool by_position, ValueId out);

  // One matrix product, with its prologue and epilogue.
  struct Product {
    WeightId weight;
    uint32_t rows;
    uint32_t tiles = 0;             // of experts: how many tiles `push.tiles` has
    shaders::MatmulPush push = {};  // without what follows from `weight` and `rows`
    Access access = {};
  };
  Status multiply(const Product& product);
  // With what multiply() has filled in, of a matrix whose width 8 does not divide.
  Status multiply_odd(const Product& product, const shaders::MatmulPush& push);
  bool offers_tiled(WeightId weight) const;

  // An RMS norm is part of the products that read the value; a layer norm comes before them, and
  // is recorded by normed_input, which returns what they read.
  void fuse_norm(const Norm& norm, shaders::MatmulPush& push) const;
  Result<Range> normed_input(ValueId id, const Norm& norm, uint64_t width);

  Product product_of(const Projection& op, const Range& in, const Linear& linear) const;
  void add_epilogue(const Linear& linear, uint64_t width, Product& product) const;
  Status gated_unit(const Projection& op, const Range& in);
  // out = scale * norm(in) (+ add), `count` rows of `width` values.
  Status normalize(const Norm& norm, uint32_t width, uint32_t count, const Range& in,
                   const Range& out, const Range* add, float scale);

  // scale * norm(x), in place, of heads of `width` values; weights and biases are optional. For
  // what the kernels that do more cannot: biases, and layer norms.
  Status normalize_heads(const HeadNorm& norm, uint32_t heads, uint32_t width, uint32_t count,
                         const Range& x, float scale);

  Status gate_heads(const GatedNorm& op);
  Status normalize_biased(const CacheAppend& op, const Heads& heads, uint32_t keys);

  // Which head's matrix multiplies what, for rows of `heads` heads: ExpertTile [count * heads].
  Result<Range> head_tiles(uint32_t heads, uint32_t count);

  struct Mixture;
  Range part_of(const Mixture& mixture, ExpertPart part) const;
  Status choose_experts(const Mixture& mixture);
  Product expert_product(const Mixture& mixture, WeightId weight, const Range& x, uint32_t sharing,
                         const Range& out) const;
  Status double_tiles(const Mixture& mixture);
  uint64_t fused_bytes(const Experts& op) const;
  Status multiply_experts(const Mixture& mixture);
  Status sum_experts(const Mixture& mixture);

  static Status unsupported(std::string_view what);

  uint32_t rows_of(ValueId id) const {
    const bool batch = b_.program.values[id].rows == ValueInfo::Rows::kBatch;
    return batch ? shape_.rows : shape_.logit_rows;
  }
  // The first `rows` rows of a value, packed at `width`.
  Range rows(ValueId id, uint32_t count, uint64_t width) const {
    return {b_.workspace.address(id), count * width * sizeof(float)};
  }

  const Binding& b_;
  const Shape shape_;
  Recorder& recorder_;
};

}  // namespace quern::kernels::vulkan
