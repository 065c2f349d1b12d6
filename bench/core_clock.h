// The clock of the core that runs this, measured: what /proc and /sys tell of it is a wish on many
// machines, and wrong on virtual ones.
#pragma once

namespace quern::bench {

// Hertz, from a chain of dependent one-cycle instructions; the best of a few tries, which together
// take about a millisecond.
double core_hertz();

}  // namespace quern::bench
