// The roles that tokens can have in a model file, and the texts by which files without the keys are
// understood.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace quern::engine {

enum class Role : uint8_t {
  kBos,  // beginning of sequence
  kEos,  // end of sequence
  kEot,  // end of turn
  kEom,  // end of message (the turn goes on, for example with a tool's answer)
  kUnknown,
  kSeparator,
  kPadding,
  kMask,
  kFimPrefix,  // infill (fill in the middle)
  kFimSuffix,
  kFimMiddle,
  kFimPad,
  kFimRepository,
  kFimSeparator,
};
inline constexpr size_t kRoleCount = 14;

struct RoleInfo {
  Role role;
  std::string_view key;      // the metadata key that gives its id
  std::string_view old_key;  // its former name, or empty
  // Texts that reveal the token when the key is absent, most specific first.
  std::span<const std::string_view> texts;
};

// One row per role, in the order of Role.
std::span<const RoleInfo> role_table();

// Generation stops after a token with one of these texts, whatever the keys say.
std::span<const std::string_view> end_of_generation_texts();

}  // namespace quern::engine
