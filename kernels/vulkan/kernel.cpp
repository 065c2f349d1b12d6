// Reads the few instructions of a SPIR-V module that lay out its push constants (SPIR-V 1.5, 3.42).
#include "kernels/vulkan/kernel.h"

#include <algorithm>
#include <map>

namespace quern::kernels::vulkan {
namespace {

// Numbers of the SPIR-V specification that are needed here.
enum : uint32_t {
  kOpTypeInt = 21,
  kOpTypeFloat = 22,
  kOpTypeStruct = 30,
  kOpTypePointer = 32,
  kOpMemberDecorate = 72,
  kDecorationOffset = 35,
  kStoragePushConstant = 9,
  kHeaderWords = 5,
};

struct Layout {
  std::map<uint32_t, std::vector<uint32_t>> structs;         // id: member types
  std::map<uint32_t, std::map<uint32_t, uint32_t>> offsets;  // id: member: byte offset
  std::map<uint32_t, uint32_t> scalars;                      // id: bytes
  uint32_t push = 0;                                         // the structure behind the pointer

  explicit Layout(std::span<const uint32_t> words) {
    for (size_t at = kHeaderWords; at < words.size();) {
      const size_t count = std::max<size_t>(words[at] >> 16, 1);
      if (at + count > words.size()) return;
      read(words[at] & 0xFFFF, words.subspan(at + 1, count - 1));
      at += count;
    }
  }

  void read(uint32_t code, std::span<const uint32_t> operands) {
    if (code == kOpTypeInt || code == kOpTypeFloat) {
      scalars[operands[0]] = operands[1] / 8;
    } else if (code == kOpTypeStruct) {
      structs[operands[0]].assign(operands.begin() + 1, operands.end());
    } else if (code == kOpMemberDecorate && operands[2] == kDecorationOffset) {
      offsets[operands[0]][operands[1]] = operands[3];
    } else if (code == kOpTypePointer && operands[1] == kStoragePushConstant &&
               structs.contains(operands[2])) {
      push = operands[2];
    }
  }

  void collect(uint32_t type, uint32_t start, std::vector<PushMember>& members) {
    const auto& types = structs[type];
    for (uint32_t i = 0; i < types.size(); ++i) {
      const uint32_t offset = start + offsets[type][i];
      if (structs.contains(types[i])) {
        collect(types[i], offset, members);
      } else {
        members.push_back({offset, scalars[types[i]]});
      }
    }
  }
};

}  // namespace

std::vector<PushMember> push_members(std::span<const uint32_t> words) {
  Layout layout(words);
  std::vector<PushMember> members;
  if (layout.push) layout.collect(layout.push, 0, members);
  return members;
}

uint32_t push_bytes(std::span<const uint32_t> words) {
  uint32_t bytes = 0;
  for (const PushMember& member : push_members(words)) {
    bytes = std::max(bytes, member.offset + member.bytes);
  }
  return bytes;
}

}  // namespace quern::kernels::vulkan
