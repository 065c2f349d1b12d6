// What this program was built from and with.
#pragma once

#include <nlohmann/json.hpp>

namespace quern::bench {

// {"version", "commit", "compiler", "build", "instruction_set"}
nlohmann::ordered_json build_info();

// Whether figures of this build mean anything: optimized, without assertions.
bool is_release_build();

}  // namespace quern::bench
