#include "engine/placement.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "engine/tokenizer/regex.h"
#include "kernels/op_visit.h"
#include "kernels/split.h"

namespace quern::engine {
namespace {

// Names of the weights of a group.
std::vector<std::string_view> weight_names(const kernels::Program& program,
                                           const kernels::OpGroup& group) {
  struct Names : kernels::IdVisitor {
    explicit Names(const kernels::Program& of) : program(of) {}
    void weight(kernels::WeightId& id) override { names.push_back(program.weights[id].name); }
    const kernels::Program& program;
    std::vector<std::string_view> names;
  } visitor(program);
  for (size_t i = group.begin; i < group.end; ++i) {
    kernels::Op op = program.ops[i];
    visit_ids(op, visitor);
  }
  return std::move(visitor.names);
}

// The layer of a group: that of the first weight which has one.
std::optional<uint32_t> group_layer(std::span<const std::string_view> names) {
  for (const std::string_view name : names) {
    if (const auto layer = layer_of(name)) return layer;
  }
  return std::nullopt;
}

// Which device takes the layer `index` of the `taken` ones: that in whose share its start lies.
size_t device_of(uint32_t index, uint32_t taken, const Placement& placement) {
  const std::vector<double>& shares = placement.shares;
  const size_t devices = placement.devices.size();
  if (shares.size() != devices) return size_t{index} * devices / taken;
  const double whole = std::accumulate(shares.begin(), shares.end(), 0.0);
  size_t device = 0;
  for (double end = shares[0]; device + 1 < devices; end += shares[++device]) {
    if (std::round(end / whole * taken) > index) break;
  }
  return device;
}

// Where a group is without rules. `first`: it comes before all layers.
size_t usual_device(std::optional<uint32_t> layer, bool first, uint32_t layers,
                    const Placement& placement) {
  const size_t devices = placement.devices.size();
  if (devices == 0 || placement.layers == 0) return 0;
  if (!layer) return placement.layers <= layers ? 0 : first ? 1 : devices;
  const uint32_t taken = std::min(placement.layers, layers), begin = layers - taken;
  return *layer < begin ? 0 : 1 + device_of(*layer - begin, taken, placement);
}

struct CompiledRule {
  Regex regex;
  size_t device;
  bool used = false;
};

Result<std::vector<CompiledRule>> compile(const Placement& placement) {
  std::vector<CompiledRule> rules;
  for (const auto& [pattern, device] : placement.rules) {
    const auto found = std::ranges::find(placement.devices, device);
    if (device != "cpu" && found == placement.devices.end()) {
      return bad_input(
          "place-device",
          fmt::format("--place {}={}: name that device with --device too; there are: "
                      "cpu{}{}",
                      escape(pattern), escape(device), placement.devices.empty() ? "" : ", ",
                      fmt::join(placement.devices, ", ")));
    }
    Result<Regex> regex = Regex::compile(pattern);
    if (!regex) {
      return bad_input("place-pattern", fmt::format("--place {}: the pattern is not a regular "
                                                    "expression",
                                                    escape(pattern)));
    }
    const auto index = static_cast<size_t>(found - placement.devices.begin());
    rules.push_back({std::move(*regex), device == "cpu" ? 0 : index + 1});
  }
  return rules;
}

}  // namespace

std::optional<uint32_t> layer_of(std::string_view tensor) {
  uint32_t layer = 0;
  if (!tensor.starts_with("blk.")) return std::nullopt;
  const char* end = tensor.data() + tensor.size();
  if (std::from_chars(tensor.data() + 4, end, layer).ec != std::errc()) return std::nullopt;
  return layer;
}

Result<Placement::Rule> parse_rule(std::string_view text) {
  const size_t equals = text.rfind('=');
  if (equals == std::string_view::npos || equals == 0 || equals + 1 == text.size()) {
    return bad_input(
        "place-rule",
        fmt::format("--place {}: write PATTERN=DEVICE, for example ffn_.*_exps=cpu", escape(text)));
  }
  return Placement::Rule{std::string(text.substr(0, equals)), std::string(text.substr(equals + 1))};
}

Result<std::vector<size_t>> place(const kernels::Program& program, uint32_t layers,
                                  const Placement& placement) {
  QUERN_TRY(std::vector<CompiledRule> rules, compile(placement));
  Regex::Scratch scratch;
  std::vector<size_t> devices;
  bool first = true;  // no layer was met yet
  for (const kernels::OpGroup& group : op_groups(program)) {
    const std::vector<std::string_view> names = weight_names(program, group);
    const std::optional<uint32_t> layer = group_layer(names);
    first = first && !layer;
    const auto matches = [&](const CompiledRule& rule) {
      return std::ranges::any_of(names, [&](std::string_view name) {
        return rule.regex.find(name, 0, scratch).has_value();
      });
    };
    const auto rule = std::ranges::find_if(rules, matches);
    if (rule != rules.end()) rule->used = true;
    devices.push_back(rule != rules.end() ? rule->device
                                          : usual_device(layer, first, layers, placement));
  }
  for (size_t i = 0; i < rules.size(); ++i) {
    if (rules[i].used) continue;
    return bad_input("place-pattern",
                     fmt::format("--place {}={}: no tensor has such a name that an earlier rule "
                                 "has not placed",
                                 escape(placement.rules[i].pattern), placement.rules[i].device));
  }
  return devices;
}

}  // namespace quern::engine
