// Generator: what a chat needs from a model. The real one is RunModel; tests use a fake.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "engine/prompt.h"
#include "engine/sampler/options.h"
#include "gguf/result.h"

namespace quern::tools {

// Why an answer ended.
enum class Stop {
  kEnd,          // the model said so
  kLimit,        // the number of tokens asked for
  kContextFull,  // no position is left
  kCancelled,    // the user stopped it
};
std::string_view name(Stop stop);  // "end", "limit", "context-full", "cancelled"

struct Statistics {
  size_t prompt_tokens = 0;
  size_t cached_tokens = 0;     // of the prompt, already computed in an earlier turn
  size_t answer_tokens = 0;     // without the end-of-generation token
  double prefill_s = 0;         // computing the rest of the prompt, seconds
  double first_token_s = 0;     // from the request to the first token, seconds
  double decode_s = 0;          // from the first token to the end, seconds
  double prefill_rate() const;  // tokens per second; 0 if nothing was measured
  double decode_rate() const;
};
std::string to_string(const Statistics& statistics);  // one line for people

struct Answer {
  std::string text;
  Stop stop = Stop::kEnd;
  Statistics statistics;
};

// Called after each token with its id and the text that can be shown since the last call: complete
// characters only, perhaps none. When an answer ends within a character, what stands for the rest
// comes with kNoToken.
inline constexpr int32_t kNoToken = -1;
using OnToken = std::function<void(int32_t id, std::string_view text)>;

class Generator {
 public:
  virtual ~Generator() = default;

  // The prompt for these messages; with `for_answer` it ends where an answer begins.
  virtual Result<engine::Prompt> prompt(std::span<const engine::Message> messages,
                                        bool for_answer) const = 0;
  // Generates at most `limit` tokens (0: no limit) after the prompt, which must leave at least one
  // position of the context free. Errors: those of Session.
  virtual Result<Answer> answer(const engine::Prompt& prompt, size_t limit,
                                const OnToken& on_token) = 0;

  // Work that makes the next answer faster, until `stop`; on another thread, while the user types.
  virtual void work_ahead(const engine::CancelToken& stop) = 0;

  // How many tokens of the prompt were read in an earlier turn, and are read again all the same:
  // the model has not kept what it needs to go on from so far back.
  virtual size_t read_again(const engine::Prompt& prompt) const = 0;

  // Whether system messages reach the model: some templates drop them.
  virtual bool uses_system() const = 0;

  // The token's text, special tokens included.
  virtual std::string piece(int32_t id) const = 0;

  virtual uint32_t context() const = 0;          // positions
  virtual uint32_t trained_context() const = 0;  // positions the model was trained for
  virtual Status set_context(uint32_t positions) = 0;
  virtual const engine::SamplerOptions& sampling() const = 0;
  virtual Status set_sampling(engine::SamplerOptions options) = 0;

  virtual std::string plan() const = 0;    // what takes how much memory, as a table
  virtual std::string memory() const = 0;  // planned against measured, one line
};

}  // namespace quern::tools
