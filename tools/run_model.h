// RunModel: a loaded model that answers prompts; the Generator of `quern run`.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/plan_fit.h"
#include "engine/prompt.h"
#include "engine/session.h"
#include "gguf/file.h"
#include "tools/chat_generator.h"
#include "tools/plan_budget.h"

namespace quern::tools {

struct RunModelOptions {
  static constexpr uint32_t kMostContext = 1u << 24;

  std::string path;
  gguf::OpenOptions open;
  engine::EngineOptions engine;
  uint64_t ram = 0, vram = 0;              // bytes that the model may take; 0: what is free
  bool force = false;                      // run even what does not fit
  engine::Freedom freedom = {true, true};  // what may be changed to make it fit
  bool raw = false;          // no chat template: messages follow each other as they are
  bool raw_special = false;  // in raw prompts, texts of control tokens become those tokens
  // Texts that a repetition does not extend across (DRY).
  std::vector<std::string> dry_breakers = {"\n", ":", "\"", "*"};
};

class RunModel : public Generator {
 public:
  // `cancel` stops an answer and must outlive the model. Errors: those of gguf::File, Tokenizer,
  // ChatTemplate and Engine, "tokenizer-none"; "memory-budget" before anything is allocated.
  static Result<std::unique_ptr<RunModel>> load(RunModelOptions options,
                                                const engine::CancelToken& cancel);

  Result<engine::Prompt> prompt(std::span<const engine::Message> messages,
                                bool for_answer) const override;
  void work_ahead(const engine::CancelToken& stop) override;
  Result<Answer> answer(const engine::Prompt& prompt, size_t limit,
                        const OnToken& on_token) override;
  size_t read_again(const engine::Prompt& prompt) const override;
  bool uses_system() const override { return !template_ || template_->uses_system(); }
  std::string piece(int32_t id) const override { return tokenizer_.piece(id, true); }
  uint32_t context() const override { return engine_->context(); }
  uint32_t trained_context() const override { return engine_->model().config.context; }
  Status set_context(uint32_t positions) override;
  const engine::SamplerOptions& sampling() const override { return session_.sampler().options(); }
  Status set_sampling(engine::SamplerOptions options) override;
  std::string plan() const override;
  std::string memory() const override;
  // One sentence if the process has taken more memory than was planned, else nothing.
  std::string above_plan() const;

  const gguf::File& file() const { return engine_->file(); }
  // One sentence each: what file, tokenizer and template say that was ignored or replaced, and what
  // was changed to make the model fit.
  std::vector<std::string> warnings() const;

 private:
  struct Loaded {
    std::unique_ptr<engine::Engine> engine;
    PlanRequest request;
    engine::Fit fit;
    std::vector<std::string> warnings;
  };
  // `file`: opened as the options say. `held`: bytes of it that are in anonymous memory already.
  static Result<Loaded> load_engine(const RunModelOptions& options, gguf::File file, uint64_t held);
  RunModel(RunModelOptions options, const engine::CancelToken& cancel, Loaded loaded,
           engine::Tokenizer tokenizer, std::optional<engine::ChatTemplate> chat_template);

  // How many tokens, from the first on, the session has in common with the prompt.
  size_t known(std::span<const int32_t> ids) const;
  // Keeps what the session has in common with the prompt and computes the rest. Returns how many
  // tokens were kept.
  Result<size_t> prefill(std::span<const int32_t> ids);
  using Clock = std::chrono::steady_clock;
  // Draws tokens until something ends the answer. `start`: when it was asked for.
  Result<Stop> decode(size_t limit, const OnToken& on_token, Clock::time_point start,
                      Answer& answer);
  engine::Session new_session(engine::Sampler sampler) const;
  void note_use(size_t rows);  // of a step that has been computed
  std::set<std::vector<int32_t>> dry_breakers() const;

  RunModelOptions options_;
  const engine::CancelToken& cancel_;
  std::unique_ptr<engine::Engine> engine_;
  PlanRequest request_;
  engine::Fit fit_;
  std::vector<std::string> load_warnings_;
  engine::Tokenizer tokenizer_;
  std::optional<engine::ChatTemplate> template_;  // none: raw prompts
  engine::Session session_;
  engine::Use use_ = {};       // the most so far
  uint64_t planned_peak_ = 0;  // of the host: the largest plan so far
};

}  // namespace quern::tools
