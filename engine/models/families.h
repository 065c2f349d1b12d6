// The entry points of the model families, one source file each.
#pragma once

#include "engine/model.h"

namespace quern::engine::models {

Result<Model> read_cohere2(const gguf::File& file);
Result<Model> read_deepseek2(const gguf::File& file);
Result<Model> read_falcon(const gguf::File& file);
Result<Model> read_gemma(const gguf::File& file);
Result<Model> read_gemma2(const gguf::File& file);
Result<Model> read_gemma3(const gguf::File& file);
Result<Model> read_gemma4(const gguf::File& file);
Result<Model> read_glm4(const gguf::File& file);
Result<Model> read_glm4moe(const gguf::File& file);
Result<Model> read_gpt2(const gguf::File& file);
Result<Model> read_gpt_oss(const gguf::File& file);
Result<Model> read_granite(const gguf::File& file);
Result<Model> read_granitehybrid(const gguf::File& file);
Result<Model> read_granitemoe(const gguf::File& file);
Result<Model> read_lfm2(const gguf::File& file);
Result<Model> read_lfm2moe(const gguf::File& file);
Result<Model> read_llama(const gguf::File& file);
Result<Model> read_mistral3(const gguf::File& file);
Result<Model> read_olmo2(const gguf::File& file);
Result<Model> read_phi3(const gguf::File& file);
Result<Model> read_qwen2(const gguf::File& file);
Result<Model> read_qwen2moe(const gguf::File& file);
Result<Model> read_qwen3(const gguf::File& file);
Result<Model> read_qwen35(const gguf::File& file);
Result<Model> read_qwen35moe(const gguf::File& file);
Result<Model> read_qwen3moe(const gguf::File& file);
Result<Model> read_smollm3(const gguf::File& file);
Result<Model> read_stablelm(const gguf::File& file);
Result<Model> read_starcoder2(const gguf::File& file);

}  // namespace quern::engine::models
