// Conformance: everything that a format and its kernels must get right, checked on this machine.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gguf/format.h"
#include "gguf/result.h"
#include "kernels/backend.h"

namespace quern::kernels {

// Blocks and the values that they stand for, from an independent decoder.
struct GoldenBlocks {
  std::string name;
  std::span<const std::byte> blocks;
  std::span<const std::byte> values;  // f32, perhaps unaligned
};

// A check and, if it failed, what and where: block and value, or row and token, and the file.
struct Finding {
  std::string check;
  std::string problem;   // empty: passed
  bool missing = false;  // nothing is wrong, but there is nothing to check: a gap in the evidence
  std::optional<Error> error = {};  // what kept a device from an answer

  bool failed() const { return !problem.empty() && !missing; }
};

// Scalar decode against golden blocks; decode, dot products (mapped and packed) and packing on
// every instruction set of this machine against the scalar reference, on edge and random blocks;
// dot products against double precision; the encoder on ordinary and difficult rows. `format` must
// be quantized.
std::vector<Finding> check_format(gguf::Format format, std::span<const GoldenBlocks> golden);

// A device against the scalar reference on the same blocks: row gathers equal to the bit (but for
// subnormal numbers, which a device may flush to zero), products of one row and of many close to
// double precision. The device is one that decodes with shaders/decode/.
std::vector<Finding> check_device(gguf::Format format, Backend& device);

// The two products of check_device, which may differ from double precision by the bound of the
// variant that the device uses, too; rows with weights beyond half precision are left out.
std::vector<Finding> check_products(gguf::Format format, Backend& device,
                                    const ProductVariant& variant);

// Relative rms error of the encoder on fixed rows of 8 * 1024 values.
struct EncoderErrors {
  double normal, heavy_tail;
};
EncoderErrors encoder_errors(gguf::Format format);

}  // namespace quern::kernels
