#include "engine/mix.h"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace quern::engine {
namespace {

using F = gguf::Format;

constexpr std::array kMixes = {
    Mix{"F32", 0, F::F32, F::F32, F::F32},
    Mix{"F16", 1, F::F16, F::F16, F::F16},
    Mix{"BF16", 32, F::BF16, F::BF16, F::BF16},
    Mix{"Q4_0", 2, F::Q4_0, F::Q4_0, F::Q6_K},
    Mix{"Q4_1", 3, F::Q4_1, F::Q4_1, F::Q6_K},
    Mix{"Q5_0", 8, F::Q5_0, F::Q5_0, F::Q6_K},
    Mix{"Q5_1", 9, F::Q5_1, F::Q5_1, F::Q6_K},
    Mix{"Q8_0", 7, F::Q8_0, F::Q8_0, F::Q8_0},
    Mix{"Q2_K", 10, F::Q2_K, F::Q2_K, F::Q6_K},
    Mix{"Q2_K_S", 21, F::Q2_K, F::Q2_K, F::Q6_K},
    Mix{"Q3_K_S", 11, F::Q3_K, F::Q3_K, F::Q6_K},
    Mix{"Q3_K_M", 12, F::Q3_K, F::Q3_K, F::Q6_K},
    Mix{"Q3_K_L", 13, F::Q3_K, F::Q3_K, F::Q6_K},
    Mix{"Q4_K_S", 14, F::Q4_K, F::Q4_K, F::Q6_K},
    Mix{"Q4_K_M", 15, F::Q4_K, F::Q4_K, F::Q6_K},
    Mix{"Q5_K_S", 16, F::Q5_K, F::Q5_K, F::Q6_K},
    Mix{"Q5_K_M", 17, F::Q5_K, F::Q5_K, F::Q6_K},
    Mix{"Q6_K", 18, F::Q6_K, F::Q6_K, F::Q6_K},
    Mix{"IQ1_S", 24, F::IQ1_S, F::Q2_K, F::Q5_K},
    Mix{"IQ1_M", 31, F::IQ1_M, F::Q2_K, F::Q5_K},
    Mix{"IQ2_XXS", 19, F::IQ2_XXS, F::Q2_K, F::Q5_K},
    Mix{"IQ2_XS", 20, F::IQ2_XS, F::Q2_K, F::Q5_K},
    Mix{"IQ2_S", 28, F::IQ2_XS, F::IQ3_S, F::Q5_K},
    Mix{"IQ2_M", 29, F::IQ2_S, F::IQ3_S, F::Q5_K},
    Mix{"IQ3_XXS", 23, F::IQ3_XXS, F::IQ3_S, F::Q5_K},
    Mix{"IQ3_XS", 22, F::IQ3_S, F::IQ3_S, F::Q6_K},
    Mix{"IQ3_S", 26, F::IQ3_S, F::IQ3_S, F::Q6_K},
    Mix{"IQ3_M", 27, F::IQ3_S, F::IQ3_S, F::Q6_K},
    Mix{"IQ4_NL", 25, F::IQ4_NL, F::IQ4_NL, F::Q6_K},
    Mix{"IQ4_XS", 30, F::IQ4_XS, F::IQ4_XS, F::Q6_K},
    Mix{"TQ1_0", 36, F::TQ1_0, F::Q4_K, F::Q6_K},
    Mix{"TQ2_0", 37, F::TQ2_0, F::Q4_K, F::Q6_K},
    Mix{"MXFP4_MOE", 38, F::Q8_0, F::Q8_0, F::Q8_0},
    Mix{"NVFP4", 39, F::NVFP4, F::NVFP4, F::Q6_K},
    Mix{"Q1_0", 40, F::Q1_0, F::Q1_0, F::Q6_K},
    Mix{"Q2_0", 41, F::Q2_0, F::Q4_K, F::Q6_K},
};

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

bool is_quantized_at_all(const MixTensor& tensor) {
  static constexpr std::string_view kNever[] = {"_norm.weight",
                                                "ffn_gate_inp.weight",
                                                "position_embd",
                                                "token_types",
                                                "attn_rel_b",
                                                "ssm_conv1d",
                                                "shortconv.conv",
                                                "time_mix_",
                                                "altup",
                                                "laurel",
                                                "per_layer_model_proj",
                                                "indexer.",
                                                "patch_embd"};
  const bool matrix = tensor.shape[1] > 1 || tensor.shape[2] > 1 || tensor.shape[3] > 1;
  return matrix && tensor.name.ends_with("weight") &&
         std::ranges::none_of(kNever, [&](auto part) { return contains(tensor.name, part); });
}

enum class Role { kValue, kKey, kQuery, kAttentionOutput, kDown, kGateUp, kOther };

Role role_of(std::string_view name) {
  if (contains(name, "attn_v.weight") || contains(name, "attn_qkv.weight") ||
      contains(name, "attn_kv_b.weight")) {
    return Role::kValue;
  }
  if (contains(name, "attn_k.weight")) return Role::kKey;
  if (contains(name, "attn_q.weight")) return Role::kQuery;
  if (contains(name, "attn_output.weight")) return Role::kAttentionOutput;
  if (contains(name, "ffn_down")) return Role::kDown;
  if (contains(name, "ffn_gate") || contains(name, "ffn_up")) return Role::kGateUp;
  return Role::kOther;
}

// The layer of "blk.N.…", 0 for other tensors.
uint32_t layer_of(std::string_view name) {
  uint32_t layer = 0;
  if (name.starts_with("blk.")) std::from_chars(name.data() + 4, name.data() + name.size(), layer);
  return layer;
}

// Where a tensor stands among `count` of its kind.
struct Place {
  uint32_t index, count;

  bool first_eighth() const { return index < count / 8; }
  bool first_sixteenth() const { return index < count / 16; }
  // The first and last eighth, and every third one between.
  bool more() const {
    return first_eighth() || index >= 7 * count / 8 || (index - count / 8) % 3 == 2;
  }
};

enum class Kind { kOneOrTwoBits, kOther };

Kind kind_of(const Mix& mix) {
  const bool low = mix.name.starts_with("IQ1") || mix.name.starts_with("IQ2");
  return low ? Kind::kOneOrTwoBits : Kind::kOther;
}

F value_format(const Mix& mix, const MixSubject& subject, const Place& place) {
  const bool grouped = subject.queries_per_key >= 4;
  const std::string_view m = mix.name;
  if (m == "Q2_K") return grouped ? F::Q4_K : F::Q3_K;
  if (m == "Q3_K_M") return place.index < 2 ? F::Q5_K : F::Q4_K;
  if (m == "Q3_K_L") return F::Q5_K;
  if (m == "Q4_K_S") return place.index < 4 ? F::Q5_K : mix.base;
  if (m == "Q4_K_M" || m == "Q5_K_M") return place.more() ? F::Q6_K : mix.base;
  if (m == "IQ3_M") return F::Q4_K;
  if (m == "IQ4_NL" || m == "IQ4_XS") return grouped ? F::Q5_K : mix.base;
  if (m == "IQ3_XXS" && !grouped) return subject.has_importance ? mix.base : F::IQ3_S;
  if (m == "Q2_K_S" || m == "IQ3_XXS" || m == "IQ3_XS" || m == "IQ3_S") {
    return grouped ? F::Q4_K : mix.base;
  }
  if (kind_of(mix) == Kind::kOneOrTwoBits) {
    if (grouped || subject.experts >= 4) return F::Q4_K;
    return m == "IQ2_S" || m == "IQ2_M" ? F::IQ3_S : F::Q2_K;
  }
  return mix.base;
}

F attention_output_format(const Mix& mix) {
  const std::string_view m = mix.name;
  if (m == "Q2_K") return F::Q3_K;
  if (m == "Q3_K_M" || m == "IQ3_M") return F::Q4_K;
  if (m == "Q3_K_L") return F::Q5_K;
  if (m == "IQ3_XXS" || m == "IQ2_S" || m == "IQ2_M") return F::IQ3_S;
  if (m == "IQ1_S" || m == "IQ1_M") return F::IQ2_XXS;
  return mix.base;
}

F down_format(const Mix& mix, const MixSubject& subject, const Place& place) {
  const std::string_view m = mix.name;
  const bool early = place.first_eighth();
  if (m == "Q2_K") return F::Q3_K;
  if (m == "Q2_K_S") return early ? F::Q4_K : mix.base;
  if (m == "Q3_K_M") return place.first_sixteenth() ? F::Q5_K : F::Q4_K;
  if (m == "Q3_K_L") return F::Q5_K;
  if (m == "Q4_K_S") return early ? F::Q5_K : mix.base;
  if (m == "Q4_K_M" || m == "Q5_K_M") return place.more() ? F::Q6_K : mix.base;
  if (m == "Q4_0") return subject.has_importance && early ? F::Q4_1 : mix.base;
  if (m == "Q5_0") return subject.has_importance && early ? F::Q5_1 : mix.base;
  if (m == "IQ4_NL" || m == "IQ4_XS") return early && !subject.has_importance ? F::Q5_K : mix.base;
  if (m == "IQ3_XXS" && !subject.has_importance) return early ? F::Q4_K : F::Q3_K;
  if (m == "IQ3_M") return early ? F::Q4_K : mix.base;
  if (m == "IQ2_S" || m == "IQ2_M") return early ? F::IQ3_S : mix.base;
  if (kind_of(mix) == Kind::kOneOrTwoBits) return early ? F::Q2_K : mix.base;
  return mix.base;
}

F falcon_down_format(const Mix& mix, const Place& place, F usual) {
  const std::string_view m = mix.name;
  if (m == "Q3_K_M") {
    if (place.first_sixteenth()) return F::Q5_K;
    return place.more() ? F::Q4_K : F::Q3_K;
  }
  if (m == "Q3_K_L") return F::Q4_K;
  if (m == "Q4_K_M") {
    if (place.first_sixteenth()) return F::Q6_K;
    return place.more() ? F::Q5_K : F::Q4_K;
  }
  return m == "Q4_K_S" ? mix.base : usual;
}

F usual_format(const Mix& mix, const MixSubject& subject, Role role, const Place& place) {
  const bool falcon = subject.architecture == "falcon";
  switch (role) {
    case Role::kValue:
      return value_format(mix, subject, place);
    case Role::kKey:
    case Role::kQuery:
      if (mix.name == "IQ3_XXS") return F::IQ2_S;
      return mix.name == "IQ3_XS" ? F::IQ3_XXS : mix.base;
    case Role::kAttentionOutput:
      if (falcon) return mix.name == "Q3_K_L" ? F::Q4_K : mix.base;
      return attention_output_format(mix);
    case Role::kDown: {
      const F usual = down_format(mix, subject, place);
      return falcon ? falcon_down_format(mix, place, usual) : usual;
    }
    case Role::kGateUp:
      return mix.name == "IQ3_XS" && !place.first_eighth() && place.index < 7 * place.count / 8
                 ? F::IQ3_XXS
                 : mix.base;
    case Role::kOther:
      return mix.base;
  }
  return mix.base;
}

// What models with exactly 8 experts and 80-layer models with grouped heads change.
F adjust(const Mix& mix, const MixSubject& subject, Role role, const Place& place, F format) {
  const bool low = kind_of(mix) == Kind::kOneOrTwoBits;
  const std::string_view m = mix.name;
  if (subject.layers == 80 && subject.queries_per_key > 1 && subject.architecture == "llama" &&
      !low && role == Role::kValue && (format == F::Q3_K || format == F::Q4_K)) {
    format = F::Q5_K;
  }
  if (subject.experts != 8) return format;
  if (low) {
    if (role == Role::kKey) return F::Q4_K;
    return role == Role::kAttentionOutput ? F::Q5_K : format;
  }
  if (role == Role::kValue || role == Role::kKey) return F::Q8_0;
  if (role == Role::kAttentionOutput) {
    const bool small = m == "Q2_K" || m == "Q3_K_S" || m == "Q3_K_M" || m == "Q4_K_S" ||
                       m == "Q4_K_M" || m.starts_with("IQ");
    return small ? F::Q5_K : mix.base;
  }
  if (role == Role::kDown && m == "IQ3_M" && place.more()) return F::Q4_K;
  return format;
}

// The format used instead when rows do not hold whole blocks.
F fit_rows(F format, uint64_t row_values) {
  const auto fits = [&](F f) { return row_values % gguf::info(f).block_values == 0; };
  if (fits(format)) return format;
  F substitute = F::F16;
  switch (format) {
    case F::IQ1_S:
    case F::IQ1_M:
    case F::IQ2_XXS:
    case F::IQ2_XS:
    case F::IQ2_S:
    case F::IQ3_XXS:
    case F::IQ3_S:
    case F::IQ4_XS:
      substitute = F::IQ4_NL;
      break;
    case F::Q2_K:
    case F::Q3_K:
    case F::TQ1_0:
    case F::TQ2_0:
    case F::Q2_0:
      substitute = F::Q4_0;
      break;
    case F::Q4_K:
      substitute = F::Q5_0;
      break;
    case F::Q5_K:
      substitute = F::Q5_1;
      break;
    case F::Q6_K:
      substitute = F::Q8_0;
      break;
    default:
      break;
  }
  return fits(substitute) ? substitute : F::F16;
}

}  // namespace

std::span<const Mix> mixes() { return kMixes; }

const Mix* find_mix(std::string_view name) {
  const auto same = [](char a, char b) {
    return std::toupper(static_cast<unsigned char>(a)) ==
           std::toupper(static_cast<unsigned char>(b));
  };
  const auto mix = std::ranges::find_if(
      kMixes, [&](const Mix& m) { return std::ranges::equal(m.name, name, same); });
  return mix == kMixes.end() ? nullptr : &*mix;
}

std::vector<std::optional<F>> apply_mix(const Mix& mix, const MixSubject& subject,
                                        std::span<const MixTensor> tensors) {
  // Value-like tensors are counted among themselves, in layer order whatever the file's order.
  const auto values_before = [&](uint32_t layer) {
    return static_cast<uint32_t>(std::ranges::count_if(tensors, [&](const MixTensor& t) {
      return role_of(t.name) == Role::kValue && layer_of(t.name) < layer;
    }));
  };
  const uint32_t values = values_before(UINT32_MAX);
  const bool has_output =
      std::ranges::find(tensors, "output.weight", &MixTensor::name) != tensors.end();
  const bool is_float = gguf::info(mix.base).is_float();
  std::vector<std::optional<F>> formats;
  for (const MixTensor& tensor : tensors) {
    const Role role = role_of(tensor.name);
    const uint32_t layer = layer_of(tensor.name);
    const Place place =
        role == Role::kValue ? Place{values_before(layer), values} : Place{layer, subject.layers};
    if (!is_quantized_at_all(tensor)) {
      formats.push_back(std::nullopt);
      continue;
    }
    F format;
    const bool embedding =
        tensor.name == "token_embd.weight" || tensor.name == "per_layer_token_embd.weight";
    if (tensor.name == "output.weight" || (embedding && !has_output)) {
      const bool awkward = tensor.shape[0] % gguf::info(mix.base).block_values != 0;
      format = !is_float && (subject.architecture == "falcon" || awkward) ? F::Q8_0 : mix.output;
    } else if (embedding) {
      format = mix.embedding;
    } else if (is_float) {
      format = mix.base;
    } else if (mix.name == "MXFP4_MOE") {
      format = tensor.shape[2] > 1 ? F::MXFP4 : F::Q8_0;
    } else {
      format = adjust(mix, subject, role, place, usual_format(mix, subject, role, place));
    }
    formats.push_back(fit_rows(format, tensor.shape[0]));
  }
  return formats;
}

}  // namespace quern::engine
