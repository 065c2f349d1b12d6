// The tables that loading a model makes beside weights, cache and workspace: how large they will
// be, from the metadata alone. Each is an upper bound that the tests hold close to the truth.
#pragma once

#include <cstdint>

#include "engine/model.h"
#include "gguf/file.h"

namespace quern::engine {

// Index of the file: metadata entries, tensor descriptions, offsets of strings.
uint64_t file_table_bytes(const gguf::File& file);

// Vocabulary, its index, merges, special tokens and the chat template of the file.
uint64_t tokenizer_bytes(const gguf::File& file);

// The program and the views of its weights, in the engine and in the executable.
uint64_t model_bytes(const Model& model);

// Threads: descriptors and the part of their stacks that is used.
uint64_t thread_bytes(size_t threads);

}  // namespace quern::engine
