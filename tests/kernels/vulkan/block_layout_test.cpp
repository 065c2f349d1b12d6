// The blocks of block_layout.h as the compiled shaders see them: packed as C++ packs them.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cctype>
#include <map>
#include <span>
#include <vector>

#include "gguf/format.h"
#include "shaders/modules.h"

namespace quern::kernels::vulkan {
namespace {

// The structures of a SPIR-V module whose members are numbers of 8 or 16 bits, or arrays of them.
class SmallStructs {
 public:
  explicit SmallStructs(std::span<const uint32_t> words) {
    constexpr size_t kHeader = 5;  // words before the first instruction
    for (size_t at = kHeader; at < words.size(); at += words[at] >> 16) {
      read(words[at] & 0xFFFF, words.subspan(at + 1, (words[at] >> 16) - 1));
    }
  }

  // Bytes of each one; members and array elements must follow each other without gaps.
  std::vector<uint32_t> sizes() const {
    std::vector<uint32_t> result;
    for (const auto& [id, members] : structs_) {
      uint32_t end = 0;
      for (size_t i = 0; i < members.size(); ++i) {
        const auto member = sizes_.find(members[i]);
        if (member == sizes_.end()) {
          end = 0;
          break;
        }
        EXPECT_EQ(offsets_.at({id, static_cast<uint32_t>(i)}), end);
        end += member->second;
      }
      if (end > 0) result.push_back(end);
    }
    return result;
  }

 private:
  enum : uint32_t {  // SPIR-V 1.5, sections 3.32 and 3.20
    kTypeInt = 21,
    kTypeArray = 28,
    kTypeStruct = 30,
    kConstant = 43,
    kDecorate = 71,
    kMemberDecorate = 72,
    kArrayStride = 6,
    kOffset = 35
  };

  void read(uint32_t code, std::span<const uint32_t> operands) {
    if (code == kTypeInt && operands[1] <= 16) {
      sizes_[operands[0]] = operands[1] / 8;
    } else if (code == kConstant) {
      constants_[operands[1]] = operands[2];
    } else if (code == kTypeArray && sizes_.contains(operands[1])) {
      EXPECT_EQ(strides_[operands[0]], sizes_[operands[1]]);
      sizes_[operands[0]] = constants_[operands[2]] * sizes_[operands[1]];
    } else if (code == kTypeStruct) {
      structs_[operands[0]].assign(operands.begin() + 1, operands.end());
    } else if (code == kDecorate && operands[1] == kArrayStride) {
      strides_[operands[0]] = operands[2];
    } else if (code == kMemberDecorate && operands[2] == kOffset) {
      offsets_[{operands[0], operands[1]}] = operands[3];
    }
  }

  std::map<uint32_t, uint32_t> sizes_, constants_, strides_;  // by id
  std::map<uint32_t, std::vector<uint32_t>> structs_;         // types of the members
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> offsets_;
};

class BlockLayout : public ::testing::TestWithParam<gguf::FormatInfo> {};

TEST_P(BlockLayout, hasTheSizeThatCppSees) {
  for (const std::string_view shader : {"gather", "matvec", "matmul"}) {
    std::string name = fmt::format("{}_{}", shader, GetParam().name);
    for (char& c : name) c = static_cast<char>(std::tolower(c));
    const shaders::Module* module = shaders::find_module(name);
    ASSERT_NE(module, nullptr) << name;
    const std::vector<uint32_t> expected = {GetParam().block_bytes};
    EXPECT_EQ(SmallStructs(module->words).sizes(), expected) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(AllFormats, BlockLayout, ::testing::ValuesIn(gguf::kFormats),
                         [](const auto& format) { return std::string(format.param.name); });

}  // namespace
}  // namespace quern::kernels::vulkan
