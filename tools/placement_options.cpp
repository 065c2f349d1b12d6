#include "tools/placement_options.h"

#include <string>
#include <vector>

#include "tools/machine_file.h"

namespace quern::tools {
namespace {

// Throws what CLI11 turns into a line for the user.
void set_layers(const std::string& text, engine::Placement& placement) {
  using Choice = engine::Placement::Choice;
  placement.layers = engine::Placement::kEverything;
  placement.choice = text == "auto" ? Choice::kFastest : Choice::kAsked;
  if (text == "all" || text == "auto") return;
  if (!CLI::detail::lexical_cast(text, placement.layers)) {
    throw CLI::ValidationError("--gpu-layers", "write a number of layers, auto or all");
  }
}

void add_rule(const std::string& text, engine::Placement& placement) {
  Result<engine::Placement::Rule> rule = engine::parse_rule(text);
  if (!rule) throw CLI::ValidationError("--place", rule.error().message);
  placement.rules.push_back(std::move(*rule));
}

}  // namespace

void add_placement_options(CLI::App& command, engine::Placement& placement) {
  placement.cache_folder = cache_folder();
  placement.choice = engine::Placement::Choice::kWhatFits;
  command
      .add_option_function<std::vector<std::string>>(
          "--device",
          [&placement](const std::vector<std::string>& names) {
            placement.devices.clear();
            for (const std::string& name : names) {
              if (name != "cpu") placement.devices.push_back(name);
            }
          },
          "where to compute: cpu (default), vulkan:N or vulkan:NAME (see `quern doctor`), several\n"
          "with commas; reference: slow scalar arithmetic to compare with")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->option_text("NAME");
  command
      .add_option_function<std::string>(
          "--gpu-layers", [&placement](const std::string& text) { set_layers(text, placement); },
          "layers on these devices, the last ones of the model; more than it has: also its "
          "embedding\n"
          "and output; auto: as many as fit and help (default: all, fewer if memory is short)")
      ->option_text("N");
  command
      .add_option_function<std::vector<std::string>>(
          "--place",
          [&placement](const std::vector<std::string>& texts) {
            placement.rules.clear();
            for (const std::string& text : texts) add_rule(text, placement);
          },
          "compute what uses tensors of matching names elsewhere, for example\n"
          "'ffn_.*_exps=cpu'; may be repeated, the first match counts")
      ->allow_extra_args(false)
      ->option_text("PATTERN=DEVICE");
  command
      .add_option("--variant", placement.variant,
                  "how GPUs compute products of matrices: coopmat, int8, fp16 or fp32 (default: "
                  "the fastest "
                  "that\ncomputes right; see `quern doctor`)")
      ->option_text("NAME");
  // After --gpu-layers: of options that were given, those that were added first are told first.
  command.add_flag_callback(
      "--strict",
      [&placement] {
        placement.strict = true;
        if (placement.choice == engine::Placement::Choice::kWhatFits) {
          placement.choice = engine::Placement::Choice::kAsked;
        }
      },
      "stop when a device is missing, computes wrong (see `quern doctor`), fails, or cannot hold\n"
      "all layers; otherwise the CPU does its part");
}

}  // namespace quern::tools
