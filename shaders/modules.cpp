#include "shaders/modules.h"

#include <algorithm>

#include "module_words.inc"

namespace quern::shaders {
namespace {

constexpr Module kModules[] = {
#define QUERN_SHADER(name) {#name, module_##name},
#include "modules.inc"
#undef QUERN_SHADER
};

}  // namespace

const bool kKhrMatrices = QUERN_KHR_MATRICES;

std::span<const Module> modules() { return kModules; }

const Module* find_module(std::string_view name) {
  const auto found = std::ranges::find(kModules, name, &Module::name);
  return found == std::end(kModules) ? nullptr : found;
}

}  // namespace quern::shaders
