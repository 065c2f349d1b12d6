// Sampling that the author of a model recommends: the `general.sampling.*` keys of its file.
#pragma once

#include <string>
#include <vector>

#include "engine/sampler/options.h"
#include "gguf/file.h"

namespace quern::engine {

// Sets the options that the file has keys for. Returns one sentence for each key that is of the
// wrong type or out of range, and therefore ignored.
std::vector<std::string> apply_recommended(SamplerOptions& options, const gguf::File& file);

}  // namespace quern::engine
