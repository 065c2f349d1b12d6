// Times the prebuilt llama.cpp (release 0.5.0) that the npm package @node-llama-cpp/linux-x64
// ships:
//   llama_driver MODEL.gguf PREFILL DECODE THREADS REPETITIONS     one line of JSON: tokens/s,
//   medians
// Only the public C API is used. The package has no headers: its parameter structs are opaque
// memory here (512 bytes, more than any has), and the fields in use are at offsets that were read
// off that release's defaults.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

struct Parameters {
  unsigned char bytes[512];

  void set(size_t offset, int32_t value) { std::memcpy(bytes + offset, &value, sizeof value); }
};
// Context parameters: offsets of 32-bit fields.
constexpr size_t kContext = 0, kBatch = 4, kMicroBatch = 8, kThreads = 28, kBatchThreads = 32;

struct TokenBatch {
  int32_t count;
  int32_t* tokens;
  float* embeddings;
  int32_t* positions;
  int32_t* sequence_counts;
  int32_t** sequences;
  int8_t* logits;
};

}  // namespace

extern "C" {
Parameters llama_model_default_params();
Parameters llama_context_default_params();
void* llama_model_load_from_file(const char* path, Parameters parameters);
void* llama_init_from_model(void* model, Parameters parameters);
const void* llama_model_get_vocab(const void* model);
int32_t llama_vocab_n_tokens(const void* vocabulary);
TokenBatch llama_batch_get_one(int32_t* tokens, int32_t count);
int32_t llama_decode(void* context, TokenBatch batch);
float* llama_get_logits_ith(void* context, int32_t index);
void* llama_get_memory(void* context);
void llama_memory_clear(void* memory, bool data);
void llama_log_set(void (*log)(int, const char*, void*), void* data);
void llama_backend_init();
void ggml_backend_load_all_from_path(const char* path);
}

namespace {

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  return values[values.size() / 2];
}

double seconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    return std::fprintf(stderr, "usage: llama_driver MODEL PREFILL DECODE THREADS REPETITIONS\n"),
           2;
  }
  const int prefill = std::atoi(argv[2]), decode = std::atoi(argv[3]), threads = std::atoi(argv[4]),
            repetitions = std::atoi(argv[5]);
  llama_log_set([](int, const char*, void*) {}, nullptr);
  ggml_backend_load_all_from_path(PEER_FOLDER);
  llama_backend_init();
  void* model = llama_model_load_from_file(argv[1], llama_model_default_params());
  if (!model) return std::fprintf(stderr, "cannot load %s\n", argv[1]), 1;
  const int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
  Parameters parameters = llama_context_default_params();
  parameters.set(kContext, prefill + decode + 64);
  parameters.set(kBatch, 2048);
  parameters.set(kMicroBatch, 512);
  parameters.set(kThreads, threads);
  parameters.set(kBatchThreads, threads);
  void* context = llama_init_from_model(model, parameters);
  if (!context) return std::fprintf(stderr, "cannot make a context\n"), 1;

  std::vector<int32_t> tokens(static_cast<size_t>(prefill));
  for (int i = 0; i < prefill; ++i) tokens[static_cast<size_t>(i)] = (i * 7919 + 13) % vocabulary;
  std::vector<double> prefilled, decoded;
  for (int repetition = 0; repetition <= repetitions; ++repetition) {  // the first warms up
    llama_memory_clear(llama_get_memory(context), true);
    const double start = seconds();
    for (int i = 0; i < prefill; i += 512) {
      const int count = prefill - i < 512 ? prefill - i : 512;
      if (llama_decode(context, llama_batch_get_one(tokens.data() + i, count)) != 0) return 1;
    }
    const double middle = seconds();
    int32_t token = 1;
    for (int i = 0; i < decode; ++i) {
      if (llama_decode(context, llama_batch_get_one(&token, 1)) != 0) return 1;
      const float* logits = llama_get_logits_ith(context, -1);
      token = static_cast<int32_t>((i * 31 + 7 + static_cast<int>(logits[0] > 0)) % vocabulary);
    }
    if (repetition == 0) continue;
    prefilled.push_back(prefill / (middle - start));
    decoded.push_back(decode / (seconds() - middle));
  }
  std::printf("{\"prefill\": %.3f, \"decode\": %.3f}\n", median(prefilled), median(decoded));
}
