// Conditions: what else happened on the machine while something was measured.
#pragma once

#include <nlohmann/json.hpp>

#include "bench/os_system.h"

namespace quern::bench {

// Between two moments: {"seconds", "others_processors" (processors that other processes kept busy
// on average), "busiest_other" {name, processors} or null, "steal_processors", "joules",
// "major_faults"}. Null for what the system does not tell.
nlohmann::ordered_json conditions(const Moment& before, const Moment& after);

}  // namespace quern::bench
