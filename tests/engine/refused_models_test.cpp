// Models that a family does not understand are refused in one sentence that names what it is.
#include <gtest/gtest.h>

#include <functional>

#include "engine/engine.h"
#include "gguf/writer.h"
#include "tests/golden_path.h"
#include "tests/temporary_folder.h"

namespace quern::engine {
namespace {

using gguf::Writer;

// Reads a golden model after `change` has added to it; tensors named `without` are left out.
Result<Model> read_changed(const std::string& name, const std::function<void(Writer&)>& change,
                           std::string_view without = {}) {
  const std::string folder_of = name.find('/') == std::string::npos ? "models/" : "";
  const auto golden = gguf::File::open(test::own_golden(folder_of + name + ".gguf"));
  EXPECT_TRUE(golden) << golden.error().to_string();
  Writer writer;
  for (const gguf::MetadataEntry& entry : golden->metadata()) writer.copy(entry);
  for (const gguf::TensorView& tensor : golden->tensors()) {
    if (tensor.name == without) continue;
    writer.add_tensor(std::string(tensor.name), tensor.format,
                      {tensor.shape.begin(), tensor.shape.begin() + tensor.dims},
                      {tensor.bytes.begin(), tensor.bytes.end()});
  }
  if (change) change(writer);
  const test::TemporaryFolder folder;
  const auto written = writer.write(folder.file("model.gguf"));
  EXPECT_TRUE(written) << written.error().to_string();
  const auto file = gguf::File::open(folder.file("model.gguf"));
  EXPECT_TRUE(file) << file.error().to_string();
  return read_model(*file);
}

void expect_refused(const Result<Model>& model, const char* code, const char* named) {
  ASSERT_FALSE(model) << named;
  EXPECT_EQ(model.error().code, code);
  EXPECT_NE(model.error().message.find(named), std::string::npos) << model.error().message;
  EXPECT_EQ(model.error().message.find('\n'), std::string::npos);
}

std::function<void(Writer&)> with_tensor(const char* name) {
  return [name](Writer& writer) {
    writer.add_tensor(name, gguf::Format::F32, {64}, std::vector<std::byte>(64 * 4));
  };
}

template <typename Value>
std::function<void(Writer&)> with_key(const char* key, Value value) {
  return [key, value](Writer& writer) { writer.set(key, Writer::Scalar(value)); };
}

TEST(ReadModel, refusesTensorsOfALayerThatItDoesNotKnow) {
  expect_refused(read_changed("llama", with_tensor("blk.1.attn_q_norm.weight")), "tensor-unknown",
                 "blk.1.attn_q_norm.weight");
  expect_refused(read_changed("olmo2", with_tensor("blk.0.attn_norm.weight")), "tensor-unknown",
                 "blk.0.attn_norm.weight");
  expect_refused(read_changed("llama", with_tensor("blk.0.ffn_norm.bias")), "tensor-unknown",
                 "blk.0.ffn_norm.bias");
}

TEST(ReadModel, refusesHybridsAndLatentsThatDoNotFitTogether) {
  const auto sections = [](Writer& writer) {
    writer.set("qwen35.rope.dimension_sections", Writer::Array(std::vector<int32_t>{2, 0, 0, 0}));
  };
  expect_refused(read_changed("families/qwen35", sections), "key-range", "dimension_sections");
  expect_refused(read_changed("families/qwen35", with_key("qwen35.ssm.group_count", uint32_t{3})),
                 "key-range", "group_count");
  expect_refused(read_changed("families/granitehybrid",
                              with_key("granitehybrid.ssm.time_step_rank", uint32_t{5})),
                 "key-range", "time_step_rank");
  expect_refused(read_changed("families/gemma4-inputs",
                              with_key("gemma4.attention.shared_kv_layers", uint32_t{5})),
                 "key-range", "cache of layer");
  expect_refused(read_changed("families/deepseek2", with_tensor("blk.1.attn_kv_b.weight"),
                              "blk.1.attn_k_b.weight"),
                 "tensor-shape", "attn_kv_b");
}

TEST(ReadModel, warnsOfTensorsOutsideOfTheLayersOnly) {
  for (const char* name : {"v.patch_embd.weight", "blk.3.nextn.eh_proj.weight"}) {
    const auto model = read_changed("llama", with_tensor(name));  // which has three layers
    ASSERT_TRUE(model) << model.error().to_string();
    ASSERT_EQ(model->warnings.size(), 1u);
    EXPECT_NE(model->warnings[0].find(name), std::string::npos);
  }
  const auto idle = read_changed("llama", with_tensor("blk.0.attn_rot_embd.weight"));
  EXPECT_TRUE(idle) << idle.error().to_string();
}

TEST(ReadModel, refusesMissingTensorsByName) {
  for (const auto& [model, tensor] :
       {std::pair("gpt-oss", "blk.2.attn_sinks.weight"),
        std::pair("gemma2", "blk.0.post_ffw_norm.weight"),
        std::pair("gpt2", "position_embd.weight"), std::pair("phi3", "blk.1.ffn_up.weight"),
        std::pair("qwen3moe", "blk.2.ffn_gate_inp.weight")}) {
    expect_refused(read_changed(model, {}, tensor), "tensor-missing", tensor);
  }
}

TEST(ReadModel, refusesKeysThatItWouldHaveToIgnore) {
  expect_refused(read_changed("llama", with_key("llama.attention.sliding_window", uint32_t{16})),
                 "key-unsupported", "llama.attention.sliding_window");
  expect_refused(read_changed("qwen2", with_key("qwen2.residual_scale", 0.5f)), "key-unsupported",
                 "qwen2.residual_scale");
  expect_refused(read_changed("gemma3", with_key("gemma3.attn_logit_softcapping", 50.0f)),
                 "key-unsupported", "gemma3.attn_logit_softcapping");
  // Without effect, or known to the family.
  EXPECT_TRUE(read_changed("llama", with_key("llama.attention.sliding_window", uint32_t{0})));
  EXPECT_TRUE(read_changed("gemma3", with_key("gemma3.final_logit_softcapping", 30.0f)));
  EXPECT_TRUE(read_changed("phi3", with_key("phi3.attention.sliding_window", uint32_t{16})));
}

TEST(ReadModel, refusesRoutingThatHasNoMeaning) {
  expect_refused(read_changed("qwen3moe", with_key("qwen3moe.expert_gating_func", uint32_t{4})),
                 "key-range", "expert_gating_func");
  // Three of eight experts, and three groups.
  expect_refused(read_changed("qwen3moe", with_key("qwen3moe.expert_group_count", uint32_t{3})),
                 "key-range", "groups");
}

TEST(Engine, refusesAContextBeyondTheLearnedPositions) {
  auto file = gguf::File::open(test::own_golden("models/gpt2.gguf"));
  ASSERT_TRUE(file);
  const auto engine = Engine::load(std::move(*file), {.threads = 1, .context = 513});
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code, "context-range");
}

}  // namespace
}  // namespace quern::engine
