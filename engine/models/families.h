// The entry points of the model families, one source file each.
#pragma once

#include "engine/model.h"

namespace quern::engine::models {

Result<Model> read_llama(const gguf::File& file);
Result<Model> read_qwen2(const gguf::File& file);
Result<Model> read_qwen3(const gguf::File& file);

}  // namespace quern::engine::models
