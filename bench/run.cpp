#include "bench/run.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <numeric>

#include "bench/build_info.h"
#include "bench/core_clock.h"
#include "bench/judge.h"
#include "bench/model_source.h"
#include "bench/result.h"
#include "kernels/os_machine.h"
#include "kernels/vulkan.h"

namespace quern::bench {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Tokens of the repetition that only warms up, and of the one whose operations are timed.
constexpr uint32_t kWarmUpDecode = 16, kTimedDecode = 32;
constexpr double kLook = 0.15;  // seconds at the memory, before and after each repetition

Json options_json(const Options& options) {
  Json caches = Json::array(), tests = Json::array();
  for (const kernels::CacheType type : options.caches) caches.push_back(name(type));
  for (const Test& test : options.tests) {
    tests.push_back({{"test", name(test.kind)}, {"tokens", test.tokens}, {"depth", test.depth}});
  }
  const engine::Placement& placement = options.placement;
  Json rules = Json::array();
  for (const auto& [pattern, device] : placement.rules) rules.push_back(pattern + "=" + device);
  const bool everything = placement.layers == engine::Placement::kEverything;
  return {{"models", options.models},
          {"tests", std::move(tests)},
          {"devices", placement.devices},
          {"gpu_layers", everything ? Json(nullptr) : Json(placement.layers)},
          {"place", std::move(rules)},
          {"threads", options.threads},
          {"kv", std::move(caches)},
          {"repetitions", options.repetitions},
          {"sustained_minutes", options.sustained_minutes},
          {"threads_pinned", false}};  // the system places the engine's threads
}

// Estimates the time left: what is done took so long, what is left is so much more work.
class Estimate {
 public:
  void expect(double work) { left_ += work; }
  void done(double work, double seconds) {
    left_ -= work;
    done_ += work;
    spent_ += seconds;
  }
  double seconds_left() const { return done_ > 0 ? std::max(0.0, left_) * spent_ / done_ : 0; }

 private:
  double left_ = 0, done_ = 0, spent_ = 0;  // of work, in any unit; seconds
};

// A repetition more.
ProcessMemory most(const ProcessMemory& before, const ProcessMemory& now) {
  return {std::max(before.resident, now.resident), std::max(before.peak, now.peak)};
}

// Whether the run computes on a device that Vulkan knows.
bool uses_vulkan(const engine::Placement& placement) {
  return std::ranges::any_of(placement.devices,
                             [](const std::string& name) { return name.starts_with("vulkan:"); });
}

// All that Vulkan knows: number, name, kind, driver and UUID.
std::string vulkan_devices() {
  const auto devices = kernels::list_vulkan_devices();
  if (!devices) return devices.error().message;
  std::string text;
  for (size_t i = 0; i < devices->size(); ++i) {
    const kernels::VulkanDevice& device = (*devices)[i];
    text += fmt::format("{}{}: {} ({}), driver {}, UUID {}", i > 0 ? "; " : "", i, device.name,
                        device.kind, device.driver, device.uuid);
  }
  return text;
}

class Run {
 public:
  Run(const Options& options, const engine::CancelToken& cancel,
      const std::function<void(const Progress&)>& on_progress)
      : options_(options), cancel_(cancel), on_progress_(on_progress) {
    for (uint32_t& threads : options_.threads) {
      if (threads == 0) threads = static_cast<uint32_t>(kernels::usable_processors().size());
    }
    report_ = {{"schema", "quern-bench"},
               {"schema_version", kSchemaVersion},
               {"quern", build_info()},
               {"started", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)))},
               {"options", options_json(options_)},
               {"machine", describe_machine()},
               {"rooflines", Json::array()},
               {"models", Json::array()},
               {"results", Json::array()}};
    if (uses_vulkan(options_.placement)) {
      report_["machine"]["graphics"]["vulkan"] = vulkan_devices();
    }
  }

  Outcome finish(Status status) {
    report_["seconds"] = since(start_);
    report_["complete"] = status.has_value();
    add_roofline_shares(report_);
    judge(report_);
    return {std::move(report_), std::move(status)};
  }

  Status measure() {
    std::vector<ModelSource> sources;
    for (const std::string& model : options_.models) {
      QUERN_TRY(ModelSource source, ModelSource::parse(model));
      // A wrong path is reported before anything long begins.
      if (!source.synthetic()) QUERN_CHECK(source.open());
      sources.push_back(std::move(source));
    }
    QUERN_CHECK(probe("before"));
    Status status;
    for (size_t i = 0; status && i < sources.size(); ++i) status = measure_model(sources[i]);
    // An interrupted run ends with what it has; it is not made to wait.
    return status ? probe("after") : status;
  }

 private:
  Status check_cancelled() const {
    if (cancel_) return fail(ErrorKind::kCancelled, "cancelled", "stopped");
    return {};
  }

  void say(std::string what) { on_progress_({std::move(what), estimate_.seconds_left()}); }

  Status probe(const char* when) {
    for (const uint32_t threads : options_.threads) {
      QUERN_CHECK(check_cancelled());
      say(fmt::format("probing the machine with {} threads", threads));
      const kernels::MachineProfile found = kernels::probe(threads, options_.probe);
      report_["rooflines"].push_back({{"when", when},
                                      {"threads", threads},
                                      {"read_bandwidth_one", found.read_bandwidth_one},
                                      {"read_bandwidth", found.read_bandwidth_all},
                                      {"int8_peak", found.int8_peak},
                                      {"fp32_peak", found.fp32_peak}});
    }
    return {};
  }

  struct Load {
    double seconds;
    Json memory;
  };

  // Loads the model the way a user would.
  Result<Load> load(const ModelSource& source) {
    const Clock::time_point start = Clock::now();
    QUERN_TRY(gguf::File file, source.open());
    engine::EngineOptions options = engine_options(options_.threads[0], options_.caches[0]);
    options.progress = [&](double) {
      say("loading");
      return !cancel_;
    };
    QUERN_TRY(const auto engine, engine::Engine::load(std::move(file), options));
    return Load{since(start), memory_json(process_memory(), *engine)};
  }

  // Cold: from disk; warm: from the page cache.
  Result<Json> load_json(const ModelSource& source) {
    std::vector<std::string> paths;
    {
      QUERN_TRY(const gguf::File file, source.open());
      for (const auto& part : file.parts()) paths.emplace_back(part.path);
    }
    const bool cold = drop_from_page_cache(paths);
    reset_peak_memory();
    QUERN_TRY(const Load first, load(source));
    QUERN_TRY(const Load second, load(source));
    Json json = {{"cold_s", cold ? Json(first.seconds) : Json(nullptr)},
                 {"warm_s", second.seconds}};
    json.update(second.memory);
    return json;
  }

  engine::EngineOptions engine_options(uint32_t threads, kernels::CacheType cache) const {
    engine::EngineOptions options;
    options.threads = threads;
    options.context = needed_context(options_.tests);
    options.cache = cache;
    options.forks = 1;  // repetitions go on from the same past
    options.placement = options_.placement;
    return options;
  }

  Status measure_model(ModelSource& source) {
    say("preparing " + escape(source.source()));
    QUERN_CHECK(source.write());
    QUERN_CHECK(check_cancelled());
    QUERN_TRY(Json load, load_json(source));
    {
      QUERN_TRY(const gguf::File file, source.open());
      QUERN_TRY(Json model, describe(source, file));
      model["load"] = std::move(load);
      report_["models"].push_back(std::move(model));
    }
    for (const uint32_t threads : options_.threads) {
      for (const kernels::CacheType cache : options_.caches) {
        QUERN_TRY(gguf::File file, source.open());
        engine::EngineOptions options = engine_options(threads, cache);
        options.check_weights = false;  // load_json() did
        QUERN_TRY(const auto engine, engine::Engine::load(std::move(file), options));
        QUERN_CHECK(measure_engine(*engine));
      }
    }
    return {};
  }

  // What a repetition costs, for the estimate.
  double cost(const Test& test, const engine::Engine& engine) const {
    const Json& probe = report_["rooflines"][0];
    kernels::MachineProfile machine;
    machine.read_bandwidth_all = probe["read_bandwidth"];
    machine.int8_peak = probe["int8_peak"];
    machine.fp32_peak = probe["fp32_peak"];
    return roofline(work_of(test, engine), machine).seconds();
  }

  Status measure_engine(engine::Engine& engine) {
    const std::vector<Test>& all = options_.tests;
    estimate_ = {};
    for (const Test& test : all) estimate_.expect(options_.repetitions * cost(test, engine));
    std::optional<Workload> workload;
    for (size_t i = 0; i < all.size(); ++i) {
      if (i == 0 || all[i].depth != all[i - 1].depth) {
        if (all[i].depth > 0) say(fmt::format("filling the cache to depth {}", all[i].depth));
        workload.reset();
        QUERN_TRY(workload, Workload::make(engine, all[i].depth, cancel_));
      }
      QUERN_CHECK(measure_test(engine, *workload, all[i]));
    }
    return {};
  }

  // Whether the planner has a model of the test, and speeds for it.
  bool plans(const engine::Engine& engine, const Test& test) const {
    const bool decode = test.kind == Test::Kind::kDecode;
    return options_.speeds && (decode || test.depth == 0) &&
           options_.speeds->peaks.threads == engine.options().threads;
  }

  // Keeps what memory gives now, for a prediction. The reader goes again: what it takes is not the
  // test's.
  void look(const engine::Engine& engine, const Test& test, std::vector<double>& reads) const {
    if (!plans(engine, test)) return;
    const double read = kernels::MemoryReader(engine.options().threads).look(kLook);
    if (read > 0) reads.push_back(read);
  }

  // The speed of a test by the planner's model, with memory as it was in `reads`.
  std::optional<engine::Speed> plan(const engine::Engine& engine, const Test& test,
                                    const std::vector<double>& reads) const {
    if (!plans(engine, test)) return std::nullopt;
    engine::MachineSpeeds speeds = *options_.speeds;
    if (!reads.empty()) {
      speeds.reads = reads;
      const double sum = std::accumulate(reads.begin(), reads.end(), 0.0);
      speeds.reads.push_back(sum / static_cast<double>(reads.size()));  // what is then expected
    }
    return predict_speed(
        engine.model(), engine.options(), speeds,
        test.kind == Test::Kind::kDecode ? test.depth + test.tokens / 2 : test.tokens);
  }

  Result<Repetition> repeat(const Workload& workload, const Test& test, uint32_t tokens) const {
    return test.kind == Test::Kind::kPrefill ? workload.prefill(tokens, cancel_)
                                             : workload.decode(tokens, cancel_);
  }

  Status measure_test(engine::Engine& engine, const Workload& workload, const Test& test) {
    const bool decode = test.kind == Test::Kind::kDecode;
    const std::string what =
        fmt::format("{} {} at depth {}", name(test.kind), test.tokens, test.depth);
    say(what + ", warming up");
    const uint32_t warm_up = decode ? kWarmUpDecode : engine.options().batch_rows;
    QUERN_CHECK(repeat(workload, test, std::min(test.tokens, warm_up)));

    Measured measured;
    measured.test = test;
    std::vector<double> reads;  // of memory, in turns with the repetitions
    look(engine, test, reads);
    reset_peak_memory();
    const Clock::time_point start = Clock::now();
    const auto stamp = [&] {
      measured.core_hertz.push_back(core_hertz());
      measured.moments.push_back(now());
    };
    stamp();
    const auto more = [&] {
      return measured.repetitions.size() < options_.repetitions ||
             since(start) < 60 * options_.sustained_minutes;
    };
    while (more()) {
      say(fmt::format("{}, repetition {} of {}", what, measured.repetitions.size() + 1,
                      options_.repetitions));
      measured.starts.push_back(since(start_));
      QUERN_TRY(Repetition repetition, repeat(workload, test, test.tokens));
      estimate_.done(cost(test, engine), repetition.seconds);
      measured.repetitions.push_back(std::move(repetition));
      stamp();
      measured.memory = most(measured.memory, process_memory());
      look(engine, test, reads);
      reset_peak_memory();
    }
    measured.planned = plan(engine, test, reads);
    measured.op_seconds.resize(engine.model().program.ops.size());
    engine.time_operations(measured.op_seconds);
    Result<Repetition> timed =
        repeat(workload, test, decode ? std::min(test.tokens, kTimedDecode) : test.tokens);
    engine.time_operations({});
    QUERN_TRY(measured.op_repetition, std::move(timed));
    Json result = {{"model", report_["models"].size() - 1}};
    result.update(result_json(measured, engine));
    report_["results"].push_back(std::move(result));
    return {};
  }

  Options options_;
  const engine::CancelToken& cancel_;
  const std::function<void(const Progress&)>& on_progress_;
  const Clock::time_point start_ = Clock::now();
  Estimate estimate_;  // of the engine that is being measured
  Json report_;
};

}  // namespace

Outcome run(const Options& options, const engine::CancelToken& cancel,
            const std::function<void(const Progress&)>& on_progress) {
  Run run(options, cancel, on_progress);
  Status status = run.measure();
  return run.finish(std::move(status));
}

}  // namespace quern::bench
