// One repetition of a test: the work of a Session, with a time stamp after every token.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/session.h"
#include "gguf/result.h"

namespace quern::bench {

struct Repetition {
  double seconds = 0;                 // prefill: of the whole prompt; decode: of all tokens
  double first_token_seconds = 0;     // prefill: until the first token is chosen
  std::vector<double> token_seconds;  // decode: between one token and the next
  std::vector<int32_t> ids;           // tokens that came out
};

// Repetitions at one depth. Prompts are arbitrary but always the same; tokens are chosen greedily.
// Errors: those of engine::Session.
class Workload {
 public:
  // Fills `depth` positions of the cache; the engine must outlive the workload.
  static Result<Workload> make(engine::Engine& engine, uint32_t depth,
                               const engine::CancelToken& cancel);

  Result<Repetition> prefill(uint32_t tokens, const engine::CancelToken& cancel) const;
  Result<Repetition> decode(uint32_t tokens, const engine::CancelToken& cancel) const;

 private:
  explicit Workload(engine::Engine& engine) : engine_(&engine) {}

  engine::Engine* engine_;
  std::optional<engine::Session> past_;  // what every repetition starts from; none at depth 0
};

}  // namespace quern::bench
