#include "tools/run_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "engine/devices.h"
#include "engine/utf8.h"
#include "kernels/system_memory.h"
#include "kernels/vulkan.h"
#include "tools/plan_report.h"
#include "tools/sizes.h"

namespace quern::tools {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

constexpr std::string_view kVulkan = "vulkan:";

bool is_vulkan(const engine::HeapPlan& heap) { return heap.name.starts_with(kVulkan); }

// "; vulkan:0 planned 467.8 MiB, measured 464.1 MiB": own accounting, peak; nothing for other
// heaps.
std::string device_memory(const engine::HeapPlan& heap) {
  if (!is_vulkan(heap) || heap.terms.empty()) return {};
  const auto gpus = kernels::list_vulkan_devices();
  if (!gpus) return {};
  const auto index = kernels::find_vulkan_device(*gpus, heap.name.substr(kVulkan.size()));
  if (!index) return {};
  const auto usage = kernels::vulkan_usage(*index);
  if (!usage) return {};
  return fmt::format("; {} planned {}, measured {}", heap.name, size_text(heap.peak()),
                     size_text(usage->peak));
}

// A system that refuses to lock the file does not keep it from being used: `open` then says how it
// was opened.
Result<gguf::File> open_file(const std::string& path, gguf::OpenOptions& open,
                             std::vector<std::string>& warnings) {
  Result<gguf::File> file = gguf::File::open(path, open);
  if (file || file.error().code != "lock") return file;
  warnings.push_back(file.error().to_string() + "; it is mapped, but not locked");
  open.access = gguf::OpenOptions::Access::kMap;
  return gguf::File::open(path, open);
}

// The plan of what the engine does, where a device has failed and less is left to devices.
Status plan_as_loaded(const engine::Engine& engine, const PlanRequest& request, engine::Fit& fit) {
  const engine::EngineOptions& options = engine.options();
  if (options.placement.layers == fit.plan.options.placement.layers) return {};
  QUERN_TRY(fit.plan,
            plan_memory(engine.file(), engine.model(), options, request.access, request.devices));
  return {};
}

}  // namespace

RunModel::RunModel(RunModelOptions options, const engine::CancelToken& cancel, Loaded loaded,
                   engine::Tokenizer tokenizer, std::optional<engine::ChatTemplate> chat_template)
    : options_(std::move(options)),
      cancel_(cancel),
      engine_(std::move(loaded.engine)),
      request_(std::move(loaded.request)),
      fit_(std::move(loaded.fit)),
      load_warnings_(std::move(loaded.warnings)),
      tokenizer_(std::move(tokenizer)),
      template_(std::move(chat_template)),
      session_(new_session(engine::Sampler())),
      planned_peak_(fit_.plan.host_peak()) {}

Result<RunModel::Loaded> RunModel::load_engine(const RunModelOptions& options, gguf::File file,
                                               uint64_t held) {
  std::vector<std::string> warnings;
  QUERN_TRY(const engine::Model model, engine::read_model(file));
  engine::EngineOptions asked = options.engine;
  QUERN_TRY(std::string missing, engine::leave_out_missing(asked.placement));
  if (!missing.empty()) warnings.push_back(std::move(missing));
  PlanRequest request{.engine = std::move(asked),
                      .access = options.open.access,
                      .freedom = options.freedom,
                      .budget = memory_budget(options.ram),
                      .force = options.force};
  if (request.budget && options.ram == 0) request.budget->bytes += held;
  QUERN_CHECK(find_devices(request, options.vram));
  QUERN_CHECK(find_speeds(request, model));
  QUERN_TRY(engine::Fit fit, plan_within_budget(file, model, request));
  QUERN_TRY(std::unique_ptr<engine::Engine> engine,
            engine::Engine::load(std::move(file), fit.plan.options));
  QUERN_CHECK(plan_as_loaded(*engine, request, fit));
  return Loaded{std::move(engine), std::move(request), std::move(fit), std::move(warnings)};
}

Result<std::unique_ptr<RunModel>> RunModel::load(RunModelOptions options,
                                                 const engine::CancelToken& cancel) {
  std::vector<std::string> warnings;
  options.engine.pack_while_running = true;
  QUERN_TRY(gguf::File opened, open_file(options.path, options.open, warnings));
  QUERN_TRY(Loaded loaded, load_engine(options, std::move(opened), 0));
  loaded.warnings.insert(loaded.warnings.begin(), warnings.begin(), warnings.end());
  const gguf::File& file = loaded.engine->file();
  // Only the first load looks at the weights and shows how far it is.
  options.engine.check_weights = false;
  options.engine.progress = [&cancel](double) { return !cancel; };
  QUERN_TRY(engine::Tokenizer tokenizer, engine::Tokenizer::from_file(file));
  if (tokenizer.size() == 0) {
    return bad_input("tokenizer-none", fmt::format("{} has no tokenizer, so it cannot read text",
                                                   escape(options.path, 256)));
  }
  std::optional<engine::ChatTemplate> chat_template;
  if (!options.raw) {
    QUERN_TRY(chat_template, engine::ChatTemplate::from_file(file, tokenizer));
  }
  return std::unique_ptr<RunModel>(new RunModel(std::move(options), cancel, std::move(loaded),
                                                std::move(tokenizer), std::move(chat_template)));
}

engine::Session RunModel::new_session(engine::Sampler sampler) const {
  return engine::Session(*engine_, std::move(sampler), static_cast<uint32_t>(tokenizer_.size()));
}

std::vector<std::string> RunModel::warnings() const {
  std::vector<std::string> all;
  const auto add = [&](std::span<const std::string> some) {
    all.insert(all.end(), some.begin(), some.end());
  };
  add(load_warnings_);
  add(engine_->file().warnings());
  add(engine_->model().warnings);
  add(tokenizer_.warnings());
  if (template_) add(template_->warnings());
  add(fit_.changes);
  return all;
}

Status RunModel::set_context(uint32_t positions) {
  if (positions > RunModelOptions::kMostContext) {
    return bad_input("option-range", fmt::format("ctx must be from 0 to {} (0: the model's)",
                                                 RunModelOptions::kMostContext));
  }
  RunModelOptions options = options_;
  options.engine.context = positions;
  options.freedom.context = false;
  // The file is the same: a copy of it (--no-mmap) need not be made again.
  const bool copied = options.open.access == gguf::OpenOptions::Access::kRead;
  const gguf::File& file = engine_->file();
  QUERN_TRY(Loaded loaded, load_engine(options, file.share(), copied ? file.size_bytes() : 0));
  options_ = std::move(options);
  request_ = std::move(loaded.request);
  // Until here there were both engines.
  planned_peak_ = std::max(planned_peak_, fit_.plan.host_peak() + loaded.fit.plan.host_peak());
  fit_ = std::move(loaded.fit);
  load_warnings_ = std::move(loaded.warnings);
  // The old session goes before the engine that it uses.
  std::swap(engine_, loaded.engine);
  session_ = new_session(session_.sampler());
  use_ = {};
  return {};
}

Status RunModel::set_sampling(engine::SamplerOptions options) {
  if (options.dry_multiplier > 0 && options.dry_breakers.empty()) {
    options.dry_breakers = dry_breakers();
  }
  return session_.sampler().set_options(std::move(options));
}

std::string RunModel::plan() const { return plan_table(fit_.plan, request_) + memory() + "\n"; }

std::string RunModel::memory() const {
  const engine::HeapPlan& host = fit_.plan.host();
  std::string text = fmt::format("memory planned {} + {} mapped",
                                 size_text(host.bytes(engine::Backing::kAnonymous)),
                                 size_text(host.bytes(engine::Backing::kFile)));
  const uint64_t left = engine_->bytes_to_pack();
  if (const auto used = used_bytes(engine_->model(), fit_.plan, use_)) {
    text += fmt::format(" ({} as far as it is used)", size_text(*used - std::min(*used, left)));
  }
  if (const auto usage = kernels::memory_usage()) {
    text += fmt::format(", measured {} + {} mapped", size_text(usage->anonymous),
                        size_text(usage->mapped));
    if (left > 0) text += fmt::format(" ({} of it until it is packed)", size_text(left));
    text += fmt::format("; peak {} of {}", size_text(usage->peak), size_text(planned_peak_));
  }
  for (const engine::HeapPlan& heap : fit_.plan.heaps) text += device_memory(heap);
  return text;
}

void RunModel::work_ahead(const engine::CancelToken& stop) {
  static_cast<void>(engine_->pack(stop));  // what is left is packed during the answer
}

std::string RunModel::above_plan() const {
  // What a driver takes for itself is not in the plan.
  if (std::ranges::any_of(fit_.plan.heaps, is_vulkan)) return {};
  const auto usage = kernels::memory_usage();
  if (!usage || usage->peak <= planned_peak_) return {};
  return fmt::format("this took {} of memory at its peak, and {} were planned",
                     size_text(usage->peak), size_text(planned_peak_));
}

void RunModel::note_use(size_t rows) {
  const size_t tokens = session_.tokens().size();
  const size_t blocks = (tokens + kernels::kBlockPositions - 1) / kernels::kBlockPositions;
  use_ = {std::max<uint64_t>(use_.blocks, blocks),
          std::max(use_.positions, static_cast<uint32_t>(tokens)),
          std::max(use_.rows, static_cast<uint32_t>(rows)),
          use_.steps + (rows + options_.engine.batch_rows - 1) / options_.engine.batch_rows};
}

// Every token that contains one of the texts, and each text as a sequence of tokens.
std::set<std::vector<int32_t>> RunModel::dry_breakers() const {
  std::set<std::vector<int32_t>> breakers;
  for (const std::string& text : options_.dry_breakers) {
    const std::vector<int32_t> sequence = tokenizer_.encode(text, false, false);
    if (!sequence.empty()) breakers.insert(sequence);
    for (int32_t id = 0; id < static_cast<int32_t>(tokenizer_.size()); ++id) {
      if (tokenizer_.piece(id).find(text) != std::string::npos) breakers.insert({id});
    }
  }
  return breakers;
}

Result<engine::Prompt> RunModel::prompt(std::span<const engine::Message> messages,
                                        bool for_answer) const {
  if (template_) return chat_prompt(*template_, tokenizer_, messages, for_answer);
  std::string text;
  for (const engine::Message& message : messages) text += message.content;
  return raw_prompt(tokenizer_, std::move(text), options_.raw_special);
}

size_t RunModel::known(std::span<const int32_t> ids) const {
  const auto common = std::ranges::mismatch(ids, session_.tokens()).in1 - ids.begin();
  // The last token is always computed: its logits give the first token of the answer.
  return std::min(static_cast<size_t>(common), ids.size() - 1);
}

size_t RunModel::read_again(const engine::Prompt& prompt) const {
  const size_t common = known(prompt.ids);
  return common - session_.kept(common);
}

Result<size_t> RunModel::prefill(std::span<const int32_t> ids) {
  const size_t common = known(ids), kept = session_.kept(common);
  session_.rewind(common);
  const Status computed = session_.prefill(ids.subspan(common), cancel_);
  note_use(ids.size() - kept);
  QUERN_CHECK(computed);
  return kept;
}

Result<Answer> RunModel::answer(const engine::Prompt& prompt, size_t limit,
                                const OnToken& on_token) {
  if (prompt.ids.empty()) return bad_input("prompt-empty", "the prompt is empty");
  if (prompt.ids.size() >= context()) {
    return bad_input("context-full",
                     fmt::format("the prompt has {} tokens, but the context only {} with the "
                                 "answer; --ctx makes it larger",
                                 prompt.ids.size(), context()));
  }
  Answer answer;
  answer.statistics.prompt_tokens = prompt.ids.size();
  const auto start = Clock::now();
  const Result<size_t> kept = prefill(prompt.ids);
  if (!kept && kept.error().kind == ErrorKind::kCancelled) {
    answer.stop = Stop::kCancelled;
    return answer;
  }
  if (!kept) return tl::unexpected(kept.error());
  answer.statistics.cached_tokens = *kept;
  answer.statistics.prefill_s = seconds_since(start);
  QUERN_TRY(answer.stop, decode(limit, on_token, start, answer));
  QUERN_CHECK(plan_as_loaded(*engine_, request_, fit_));
  planned_peak_ = std::max(planned_peak_, fit_.plan.host_peak());
  answer.statistics.decode_s = seconds_since(start) - answer.statistics.first_token_s;
  return answer;
}

Result<Stop> RunModel::decode(size_t limit, const OnToken& on_token, Clock::time_point start,
                              Answer& answer) {
  engine::utf8::Stream characters;
  // A SentencePiece model that puts a space before text also begins its answers with one.
  bool strip_space = template_ && tokenizer_.vocabulary().add_space_prefix();
  const auto show = [&](int32_t id, std::string text) {
    if (strip_space && text.starts_with(' ')) text.erase(0, 1);
    strip_space = strip_space && text.empty();
    answer.text += text;
    on_token(id, text);
  };
  Stop stop = Stop::kLimit;
  size_t& count = answer.statistics.answer_tokens;
  while (limit == 0 || count < limit) {
    if (session_.tokens().size() >= context()) {
      stop = Stop::kContextFull;
      break;
    }
    const Result<int32_t> token = session_.decode(cancel_);
    note_use(1);
    if (cancel_ || (!token && token.error().kind == ErrorKind::kCancelled)) {
      stop = Stop::kCancelled;
      break;
    }
    if (!token) return tl::unexpected(token.error());
    if (count == 0) answer.statistics.first_token_s = seconds_since(start);
    if (tokenizer_.is_end_of_generation(*token)) {
      stop = Stop::kEnd;
      break;
    }
    ++count;
    show(*token, characters.push(tokenizer_.piece(*token)));
  }
  if (std::string rest = characters.finish(); !rest.empty()) show(kNoToken, std::move(rest));
  return stop;
}

}  // namespace quern::tools
