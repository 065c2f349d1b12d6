#include "tests/kernels/vulkan/faults.h"

#include <type_traits>
#include <utility>

namespace quern::test {
namespace {

using kernels::vulkan::Api;

Fault g_fault = Fault::kNone;
int g_remaining = 0;  // calls before the fault
bool g_struck = false;

// Whether a call of this kind fails now. Memory runs out once; a lost device stays lost.
bool strikes(Fault kind) {
  if (kind != g_fault) return false;
  const bool now = kind == Fault::kLost ? --g_remaining < 0 : g_remaining-- == 0;
  g_struck |= now;
  return now;
}

// Replaces Api::*Member; a call that strikes returns the error of its kind. A lost device is
// noticed by a wait after the work was done, so that nothing runs on.
template <auto Member, Fault Kind>
struct Hook {
  using Function = std::remove_reference_t<decltype(std::declval<Api&>().*Member)>;
  static inline Function original;

  template <typename... Args>
  static VKAPI_ATTR VkResult VKAPI_CALL call(Args... args) {
    if (!strikes(Kind)) return original(args...);
    if constexpr (std::is_same_v<Function, PFN_vkWaitSemaphores>) original(args...);
    return Kind == Fault::kLost ? VK_ERROR_DEVICE_LOST : VK_ERROR_OUT_OF_DEVICE_MEMORY;
  }
  template <typename... Args>
  static auto replacement(VkResult(VKAPI_PTR*)(Args...)) {
    return &call<Args...>;
  }
  static void install(Api& api) {
    original = api.*Member;
    api.*Member = replacement(original);
  }
};

}  // namespace

void inject_faults(Api& api) {
  Hook<&Api::vkAllocateMemory, Fault::kNoMemory>::install(api);
  Hook<&Api::vkBindBufferMemory, Fault::kNoMemory>::install(api);
  Hook<&Api::vkMapMemory, Fault::kNoMemory>::install(api);
  Hook<&Api::vkCreateBuffer, Fault::kNoMemory>::install(api);
  Hook<&Api::vkCreateSemaphore, Fault::kNoMemory>::install(api);
  Hook<&Api::vkCreateCommandPool, Fault::kNoMemory>::install(api);
  Hook<&Api::vkAllocateCommandBuffers, Fault::kNoMemory>::install(api);
  Hook<&Api::vkBeginCommandBuffer, Fault::kNoMemory>::install(api);
  Hook<&Api::vkEndCommandBuffer, Fault::kNoMemory>::install(api);
  Hook<&Api::vkCreatePipelineLayout, Fault::kNoMemory>::install(api);
  Hook<&Api::vkCreatePipelineCache, Fault::kNoMemory>::install(api);
  Hook<&Api::vkCreateShaderModule, Fault::kNoMemory>::install(api);
  Hook<&Api::vkCreateComputePipelines, Fault::kNoMemory>::install(api);
  Hook<&Api::vkCreateQueryPool, Fault::kNoMemory>::install(api);
  Hook<&Api::vkQueueSubmit, Fault::kLost>::install(api);
  Hook<&Api::vkWaitSemaphores, Fault::kLost>::install(api);
}

void arm_fault(Fault fault, int calls) {
  g_fault = fault;
  g_remaining = calls;
  g_struck = false;
}

bool fault_struck() { return g_struck; }

}  // namespace quern::test
