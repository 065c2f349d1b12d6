#include "bench/build_info.h"

#include "kernels/cpu/matmul.h"

namespace quern::bench {
namespace {

#ifdef __clang__
constexpr const char* kCompiler = "clang " __clang_version__;
#else
constexpr const char* kCompiler = "g++ " __VERSION__;
#endif

#ifdef NDEBUG
constexpr bool kAssertions = false;
#else
constexpr bool kAssertions = true;
#endif

}  // namespace

nlohmann::ordered_json build_info() {
  return {{"version", QUERN_VERSION},
          {"commit", QUERN_COMMIT},
          {"compiler", kCompiler},
          {"build", QUERN_BUILD_TYPE},
          {"instruction_set", kernels::cpu::instruction_set()}};
}

bool is_release_build() { return !kAssertions; }

}  // namespace quern::bench
