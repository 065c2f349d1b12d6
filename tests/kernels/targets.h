// Runs a test body under every instruction set that was built and that this machine has.
#pragma once

#include <gtest/gtest.h>
#include <hwy/targets.h>

namespace quern::test {

// `body(exact)`: whether this instruction set has FMA (or is plain C++), so that results must be
// equal to the bit.
template <typename Body>
void for_each_instruction_set(Body&& body) {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    SCOPED_TRACE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    body(target != HWY_SSE4);
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace quern::test
