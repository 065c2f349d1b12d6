#include "engine/tokenizer/special_roles.h"

#include <array>

namespace quern::engine {
namespace {

constexpr std::string_view kEotTexts[] = {
    "<|eot_id|>",        "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>",
    "<|end_of_text|>",   "<EOT>",      "_<EOT>",  "[EOT]",         "<｜end▁of▁sentence｜>",
    "<end_of_utterance>"};
constexpr std::string_view kEomTexts[] = {"<|eom_id|>"};
constexpr std::string_view kFimPrefixTexts[] = {"<|fim_prefix|>",  "<fim-prefix>", "<fim_prefix>",
                                                "<｜fim▁begin｜>", "<PRE>",        "▁<PRE>",
                                                "<|code_prefix|>", "<|prefix|>"};
constexpr std::string_view kFimSuffixTexts[] = {"<|fim_suffix|>",  "<fim-suffix>", "<fim_suffix>",
                                                "<｜fim▁hole｜>",  "<SUF>",        "▁<SUF>",
                                                "<|code_suffix|>", "<|suffix|>"};
constexpr std::string_view kFimMiddleTexts[] = {"<|fim_middle|>",  "<fim-middle>", "<fim_middle>",
                                                "<｜fim▁end｜>",   "<MID>",        "▁<MID>",
                                                "<|code_middle|>", "<|middle|>"};
constexpr std::string_view kFimPadTexts[] = {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>",
                                             "[PAD]"};
constexpr std::string_view kFimRepositoryTexts[] = {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>",
                                                    "<REPO>", "<reponame>"};
constexpr std::string_view kFimSeparatorTexts[] = {"<|file_sep|>"};

constexpr std::array<RoleInfo, kRoleCount> kRoles = {{
    {Role::kBos, "tokenizer.ggml.bos_token_id", {}, {}},
    {Role::kEos, "tokenizer.ggml.eos_token_id", {}, {}},
    {Role::kEot, "tokenizer.ggml.eot_token_id", {}, kEotTexts},
    {Role::kEom, "tokenizer.ggml.eom_token_id", {}, kEomTexts},
    {Role::kUnknown, "tokenizer.ggml.unknown_token_id", {}, {}},
    // "seperator" is how the format has always spelled it.
    {Role::kSeparator, "tokenizer.ggml.seperator_token_id", {}, {}},
    {Role::kPadding, "tokenizer.ggml.padding_token_id", {}, {}},
    {Role::kMask, "tokenizer.ggml.mask_token_id", {}, {}},
    {Role::kFimPrefix, "tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id",
     kFimPrefixTexts},
    {Role::kFimSuffix, "tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.suffix_token_id",
     kFimSuffixTexts},
    {Role::kFimMiddle, "tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.middle_token_id",
     kFimMiddleTexts},
    {Role::kFimPad, "tokenizer.ggml.fim_pad_token_id", {}, kFimPadTexts},
    {Role::kFimRepository, "tokenizer.ggml.fim_rep_token_id", {}, kFimRepositoryTexts},
    {Role::kFimSeparator, "tokenizer.ggml.fim_sep_token_id", {}, kFimSeparatorTexts},
}};

constexpr std::string_view kEndOfGenerationTexts[] = {"<|eot_id|>",
                                                      "<|im_end|>",
                                                      "<|end|>",
                                                      "<|return|>",
                                                      "<|call|>",
                                                      "<|flush|>",
                                                      "<|calls|>",
                                                      "<end_of_turn>",
                                                      "<|endoftext|>",
                                                      "</s>",
                                                      "<|eom_id|>",
                                                      "<EOT>",
                                                      "_<EOT>",
                                                      "[EOT]",
                                                      "[EOS]",
                                                      "<|end_of_text|>",
                                                      "<end_of_utterance>",
                                                      "<eos>",
                                                      "<turn|>",
                                                      "<|tool_response>",
                                                      "<｜end▁of▁sentence｜>",
                                                      "[e~["};

}  // namespace

std::span<const RoleInfo> role_table() { return kRoles; }

std::span<const std::string_view> end_of_generation_texts() { return kEndOfGenerationTexts; }

}  // namespace quern::engine
