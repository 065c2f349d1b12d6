// The compiled shaders, embedded in the program.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace quern::shaders {

// Whether the variant coopmat was compiled for VK_KHR_cooperative_matrix; else it is for
// VK_NV_cooperative_matrix.
extern const bool kKhrMatrices;

struct Module {
  std::string_view name;  // "select_rows", "matvec_q4_k"
  std::span<const uint32_t> words;
};

// All of them, ordered as they were compiled.
std::span<const Module> modules();

// nullptr: there is none of that name.
const Module* find_module(std::string_view name);

}  // namespace quern::shaders
