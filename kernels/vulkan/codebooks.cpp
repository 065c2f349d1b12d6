#include "kernels/vulkan/codebooks.h"

#include <cassert>
#include <cstring>

#include "kernels/cpu/codebooks.h"
#include "shaders/shared.h"

namespace quern::kernels::vulkan {

std::vector<std::byte> codebook_bytes() {
  std::vector<std::byte> bytes(shaders::kCodebookBytes);
  const auto put = [&](size_t start, const auto& table) {
    assert(start + sizeof table <= bytes.size());
    std::memcpy(bytes.data() + start, table.data(), sizeof table);
  };
  put(shaders::kCodebookIq2Xxs, cpu::kIq2XxsCodebook);
  put(shaders::kCodebookIq2Xs, cpu::kIq2XsCodebook);
  put(shaders::kCodebookIq2S, cpu::kIq2SCodebook);
  put(shaders::kCodebookIq3Xxs, cpu::kIq3XxsCodebook);
  put(shaders::kCodebookIq3S, cpu::kIq3SCodebook);
  put(shaders::kCodebookIq1, cpu::kIq1Codebook);
  put(shaders::kCodebookNl4, cpu::kNl4Codes);
  return bytes;
}

}  // namespace quern::kernels::vulkan
