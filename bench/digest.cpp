#include "bench/digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>

namespace quern::bench {

Result<std::string> sha256(std::span<const std::byte> bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned length = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, EVP_sha256(), nullptr) != 1) {
    return fail(ErrorKind::kFailure, "sha256", "the SHA-256 digest could not be computed");
  }
  return fmt::format("{:02x}", fmt::join(digest.begin(), digest.begin() + length, ""));
}

}  // namespace quern::bench
