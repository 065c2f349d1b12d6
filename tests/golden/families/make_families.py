#!/usr/bin/env python3
"""Writes tiny seeded models of families that have no exact logits, and what a peer computes for them.

usage: make_families.py FOLDER [PEER]

PEER is a program that is called as `PEER logits MODEL OUT.f32 ID...` and writes float32 logits
[tokens, vocabulary] (llama.cpp, f32 cache, plain attention). Each model NAME.gguf gets a file
NAME.logits.gguf with the tensors `tokens` and `logits`. Without PEER only models are written.
"""
import math
import random
import struct
import subprocess
import sys

E, F, V, H, HK, D, L = 32, 48, 96, 4, 2, 8, 4
TOKENS = [(i * 37 + 11) % V for i in range(48)]
U32, F32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def value(v):
    if isinstance(v, bool):
        return BOOL, struct.pack("<?", v)
    if isinstance(v, int):
        return U32, struct.pack("<I", v)
    if isinstance(v, float):
        return F32, struct.pack("<f", v)
    if isinstance(v, list):
        parts = [value(part) for part in v]
        head = struct.pack("<IQ", parts[0][0], len(parts))
        return ARRAY, head + b"".join(data for _, data in parts)
    return STRING, text(v)


def write_gguf(path, keys, tensors):
    """tensors: (name, shape innermost first, type id, bytes)."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(keys))
    for key, v in keys.items():
        type_id, data = value(v)
        head += text(key) + struct.pack("<I", type_id) + data
    offset, body = 0, b""
    for name, shape, type_id, data in tensors:
        head += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        head += struct.pack("<IQ", type_id, offset)
        padded = data + b"\0" * (-len(data) % 32)
        offset, body = offset + len(padded), body + padded
    with open(path, "wb") as out:
        out.write(head + b"\0" * (-len(head) % 32) + body)


class Family:
    """Tensors of one model, drawn from a generator that is seeded by its name."""

    def __init__(self, name, architecture, **keys):
        self.name, self.architecture = name, architecture
        self.random, self.tensors = random.Random(name), []
        defaults = {
            "block_count": L, "context_length": 512, "embedding_length": E,
            "feed_forward_length": F, "vocab_size": V, "attention.head_count": H,
            "attention.head_count_kv": HK, "attention.key_length": D, "attention.value_length": D,
            "attention.layer_norm_rms_epsilon": 1e-6, "rope.dimension_count": D,
            "rope.freq_base": 10000.0}
        self.keys = {"general.architecture": architecture, "general.name": f"tiny {name}"}
        for key, v in (defaults | {k.replace("__", "."): v for k, v in keys.items()}).items():
            self.keys[f"{architecture}.{key}"] = v
        self.keys["tokenizer.ggml.model"] = "no_vocab"

    def add(self, name, *shape, mean=0.0, deviation=None):
        count = math.prod(shape)
        deviation = 1.5 / math.sqrt(shape[0]) if deviation is None else deviation
        data = [self.random.gauss(mean, deviation) for _ in range(count)]
        self.tensors.append((name, shape, 0, struct.pack(f"<{count}f", *data)))

    def norm(self, stem, width, bias=False):
        self.add(f"{stem}.weight", width, mean=1.0, deviation=0.2)
        if bias:
            self.add(f"{stem}.bias", width, deviation=0.2)

    def matrix(self, stem, *shape, bias=False):
        self.add(f"{stem}.weight", *shape)
        if bias:
            self.add(f"{stem}.bias", *shape[1:], deviation=0.3)

    def ends(self, bias=False, tied=False):
        self.matrix("token_embd", E, V)
        self.norm("output_norm", E, bias)
        if not tied:
            self.matrix("output", E, V)

    def attention(self, blk, bias=False, fused=False):
        if fused:
            self.matrix(f"{blk}.attn_qkv", E, (H + 2 * HK) * D, bias=bias)
        else:
            for part, heads in (("q", H), ("k", HK), ("v", HK)):
                self.matrix(f"{blk}.attn_{part}", E, heads * D, bias=bias)
        self.matrix(f"{blk}.attn_output", H * D, E)

    def feed_forward(self, blk, gated=True, fused=False, width=F, suffix=""):
        if gated and not fused:
            self.matrix(f"{blk}.ffn_gate{suffix}", E, width)
        self.matrix(f"{blk}.ffn_up{suffix}", E, 2 * width if fused else width)
        self.matrix(f"{blk}.ffn_down{suffix}", width, E)

    def experts(self, blk, count, width, fused=False):
        self.matrix(f"{blk}.ffn_gate_inp", E, count)
        if fused:
            self.matrix(f"{blk}.ffn_gate_up_exps", E, 2 * width, count)
        else:
            self.matrix(f"{blk}.ffn_gate_exps", E, width, count)
            self.matrix(f"{blk}.ffn_up_exps", E, width, count)
        self.matrix(f"{blk}.ffn_down_exps", width, E, count)


def plain(model, norms=("attn_norm", "ffn_norm"), bias=False, fused=False):
    """Llama's tensors with the norms of a family."""
    model.ends()
    for layer in range(L):
        blk = f"blk.{layer}"
        for norm in norms:
            model.norm(f"{blk}.{norm}", E)
        model.attention(blk, bias=bias)
        model.feed_forward(blk, fused=fused)
    return model


def mixture(model, count, width, shared, bias=False, gate=False, norms=("attn_norm", "ffn_norm"),
            dense=0, selection_bias=False):
    model.ends()
    for layer in range(L):
        blk = f"blk.{layer}"
        for norm in norms:
            model.norm(f"{blk}.{norm}", E)
        model.attention(blk, bias=bias)
        if layer < dense:
            model.feed_forward(blk)
            continue
        model.experts(blk, count, width)
        if selection_bias:
            model.add(f"{blk}.exp_probs_b.bias", count, deviation=0.1)
        model.feed_forward(blk, width=shared, suffix="_shexp")
        if gate:
            model.add(f"{blk}.ffn_gate_inp_shexp.weight", E, deviation=0.3)
    return model


def gemma():
    model = Family("gemma", "gemma")
    model.ends(tied=True)
    for layer in range(L):
        model.norm(f"blk.{layer}.attn_norm", E)
        model.norm(f"blk.{layer}.ffn_norm", E)
        model.attention(f"blk.{layer}")
        model.feed_forward(f"blk.{layer}")
    return model


def falcon(name, two_norms):
    model = Family(name, "falcon", attention__layer_norm_epsilon=1e-5)
    model.ends(bias=True)
    for layer in range(L):
        blk = f"blk.{layer}"
        for norm in ("attn_norm", "attn_norm_2")[: 1 + two_norms]:
            model.norm(f"{blk}.{norm}", E, bias=True)
        model.attention(blk, fused=True)
        model.feed_forward(blk, gated=False)
    return model


def stablelm(name, parallel):
    model = Family(name, "stablelm", attention__layer_norm_epsilon=1e-5, rope__dimension_count=4,
                   use_parallel_residual=parallel)
    model.ends(bias=True)
    for layer in range(L):
        blk = f"blk.{layer}"
        model.norm(f"{blk}.attn_norm", E, bias=True)
        if not parallel:
            model.norm(f"{blk}.ffn_norm", E, bias=True)
        model.attention(blk, bias=not parallel)
        if parallel:
            model.add(f"{blk}.attn_q_norm.weight", D, H, mean=1.0, deviation=0.2)
            model.add(f"{blk}.attn_k_norm.weight", D, HK, mean=1.0, deviation=0.2)
        model.feed_forward(blk)
    return model


def cohere2():
    model = Family("cohere2", "cohere2", attention__layer_norm_epsilon=1e-5, logit_scale=0.25,
                   attention__sliding_window=8)
    model.ends(tied=True)
    for layer in range(L):
        model.norm(f"blk.{layer}.attn_norm", E)
        model.attention(f"blk.{layer}")
        model.feed_forward(f"blk.{layer}")
    return model


def olmo3():
    model = Family("olmo3", "olmo2", attention__sliding_window=8, rope__scaling__type="yarn",
                   rope__scaling__factor=4.0, rope__scaling__original_context_length=16)
    model.ends()
    for layer in range(L):
        blk = f"blk.{layer}"
        model.attention(blk)
        model.norm(f"{blk}.attn_q_norm", H * D)
        model.norm(f"{blk}.attn_k_norm", HK * D)
        model.norm(f"{blk}.post_attention_norm", E)
        model.feed_forward(blk)
        model.norm(f"{blk}.post_ffw_norm", E)
    return model


def phi3(name, original, **more):
    model = Family(name, "phi3", rope__dimension_count=4,
                   rope__scaling__original_context_length=original,
                   rope__scaling__attn_factor=1.19, **more)
    model.ends()
    for kind, low in (("short", 1.0), ("long", 4.0)):
        model.add(f"rope_factors_{kind}.weight", 2, mean=low, deviation=0.1)
    for layer in range(L):
        blk = f"blk.{layer}"
        model.norm(f"{blk}.attn_norm", E)
        model.norm(f"{blk}.ffn_norm", E)
        model.attention(blk, fused=True)
        model.feed_forward(blk, fused=True)
    return model


def norm_heads(model, blk):
    model.norm(f"{blk}.attn_q_norm", D)
    model.norm(f"{blk}.attn_k_norm", D)


def lfm2(name, experts=0):
    keys = dict(expert_count=experts, expert_used_count=3, expert_feed_forward_length=24,
                leading_dense_block_count=1, expert_gating_func=2) if experts else {}
    model = Family(name, name, attention__head_count_kv=[0, HK, 0, HK], shortconv__l_cache=3,
                   **keys)
    model.matrix("token_embd", E, V)
    model.norm("token_embd_norm", E)
    for layer in range(L):
        blk = f"blk.{layer}"
        model.norm(f"{blk}.attn_norm", E)
        if layer % 2:
            model.attention(blk)
            norm_heads(model, blk)
        else:
            model.matrix(f"{blk}.shortconv.in_proj", E, 3 * E)
            model.matrix(f"{blk}.shortconv.conv", 3, E)
            model.matrix(f"{blk}.shortconv.out_proj", E, E)
        model.norm(f"{blk}.ffn_norm", E)
        if experts and layer > 0:
            model.experts(blk, experts, 24)
            model.add(f"{blk}.exp_probs_b.bias", experts, deviation=0.1)
        else:
            model.feed_forward(blk)
    return model


def qwen35(name, experts=0, fused=False):
    d, keys_heads, value_heads, taps = 8, 2, 4, 4
    inner, mixed = value_heads * d, (2 * keys_heads + value_heads) * d
    keys = dict(expert_count=experts, expert_used_count=3, expert_feed_forward_length=24,
                expert_shared_feed_forward_length=40) if experts else {}
    model = Family(name, "qwen35moe" if experts else name, ssm__state_size=d, ssm__group_count=keys_heads,
                   ssm__time_step_rank=value_heads, ssm__inner_size=inner, ssm__conv_kernel=taps,
                   full_attention_interval=4, rope__dimension_count=4,
                   rope__dimension_sections=[1, 1, 0, 0], **keys)
    model.ends()
    for layer in range(L):
        blk = f"blk.{layer}"
        model.norm(f"{blk}.attn_norm", E)
        model.norm(f"{blk}.post_attention_norm", E)
        if layer == 3:
            model.matrix(f"{blk}.attn_q", E, 2 * H * D)
            model.matrix(f"{blk}.attn_k", E, HK * D)
            model.matrix(f"{blk}.attn_v", E, HK * D)
            model.matrix(f"{blk}.attn_output", H * D, E)
            norm_heads(model, blk)
        else:
            model.matrix(f"{blk}.attn_qkv", E, mixed)
            model.matrix(f"{blk}.attn_gate", E, inner)
            model.matrix(f"{blk}.ssm_conv1d", taps, mixed)
            model.matrix(f"{blk}.ssm_alpha", E, value_heads)
            model.matrix(f"{blk}.ssm_beta", E, value_heads)
            model.add(f"{blk}.ssm_dt.bias", value_heads, mean=-1.0, deviation=1.0)
            model.add(f"{blk}.ssm_a", value_heads, mean=-1.0, deviation=0.2)
            model.norm(f"{blk}.ssm_norm", d)
            model.matrix(f"{blk}.ssm_out", inner, E)
        if experts:
            model.experts(blk, experts, 24, fused)
            model.feed_forward(blk, width=40, suffix="_shexp")
            model.add(f"{blk}.ffn_gate_inp_shexp.weight", E, deviation=0.3)
        else:
            model.feed_forward(blk)
    return model


def granitehybrid(name, experts=0):
    heads, groups, size, inner, taps = 8, 2, 16, 64, 4
    mixed = inner + 2 * groups * size
    keys = dict(expert_count=experts, expert_used_count=2,
                expert_shared_feed_forward_length=40) if experts else {}
    model = Family(name, "granitehybrid", attention__head_count_kv=[0, HK, 0, 0],
                   ssm__conv_kernel=taps, ssm__inner_size=inner, ssm__state_size=size,
                   ssm__time_step_rank=heads, ssm__group_count=groups, embedding_scale=6.0,
                   residual_scale=0.3, attention__scale=0.2, logit_scale=4.0,
                   rope__scaling__finetuned=bool(experts), **keys)
    model.ends()
    for layer in range(L):
        blk = f"blk.{layer}"
        model.norm(f"{blk}.attn_norm", E)
        model.norm(f"{blk}.ffn_norm", E)
        if layer == 1:
            model.attention(blk)
        else:
            model.matrix(f"{blk}.ssm_in", E, inner + mixed + heads)
            model.add(f"{blk}.ssm_conv1d.weight", taps, mixed, deviation=0.7)
            model.add(f"{blk}.ssm_conv1d.bias", mixed, deviation=0.3)
            model.add(f"{blk}.ssm_dt.bias", heads, mean=-1.0, deviation=1.0)
            model.add(f"{blk}.ssm_a", 1, heads, mean=-1.0, deviation=0.2)
            model.add(f"{blk}.ssm_d", 1, heads, mean=1.0, deviation=0.2)
            model.add(f"{blk}.ssm_norm.weight", inner // groups, groups, mean=1.0, deviation=0.2)
            model.matrix(f"{blk}.ssm_out", inner, E)
        if experts:
            model.experts(blk, experts, F)
            model.feed_forward(blk, width=40, suffix="_shexp")
        else:
            model.feed_forward(blk)
    return model


def fuse_latent(model, blk, plain, latent, dv):
    """attn_kv_b of old conversions, with the values of the attn_k_b and attn_v_b added last."""
    k, v = (struct.unpack(f"<{len(t[3]) // 4}f", t[3]) for t in model.tensors[-2:])
    del model.tensors[-2:]
    rows = []
    for h in range(H):
        rows += [k[(h * latent + j) * plain + i] for i in range(plain) for j in range(latent)]
        rows += v[h * dv * latent:(h + 1) * dv * latent]
    model.tensors.append((f"{blk}.attn_kv_b.weight", (latent, H * (plain + dv)), 0,
                          struct.pack(f"<{len(rows)}f", *rows)))


def deepseek2(name, rank, fused=False, **more):
    """`fused`: the weights of "deepseek2" as old conversions have them."""
    latent, turned, d, dv = 16, 4, 12, 8
    lengths = dict(attention__head_count_kv=H, attention__key_length=d,
                   attention__value_length=dv) if fused else \
        dict(attention__head_count_kv=1, attention__key_length=latent + turned,
             attention__value_length=latent, attention__key_length_mla=d,
             attention__value_length_mla=dv)
    model = Family(name, "deepseek2", **lengths, attention__kv_lora_rank=latent, rope__dimension_count=turned,
                   leading_dense_block_count=1, expert_count=8, expert_used_count=3,
                   expert_feed_forward_length=24, expert_shared_count=2, **more)
    model.random = random.Random("deepseek2" if fused else name)
    model.ends()
    for layer in range(L):
        blk = f"blk.{layer}"
        model.norm(f"{blk}.attn_norm", E)
        model.norm(f"{blk}.ffn_norm", E)
        if rank:
            model.matrix(f"{blk}.attn_q_a", E, rank)
            model.norm(f"{blk}.attn_q_a_norm", rank)
            model.matrix(f"{blk}.attn_q_b", rank, H * d)
        else:
            model.matrix(f"{blk}.attn_q", E, H * d)
        model.matrix(f"{blk}.attn_kv_a_mqa", E, latent + turned)
        model.norm(f"{blk}.attn_kv_a_norm", latent)
        model.matrix(f"{blk}.attn_k_b", d - turned, latent, H)
        model.matrix(f"{blk}.attn_v_b", latent, dv, H)
        if fused:
            fuse_latent(model, blk, d - turned, latent, dv)
        model.matrix(f"{blk}.attn_output", H * dv, E)
        if layer == 0:
            model.feed_forward(blk)
            continue
        model.experts(blk, 8, 24)
        if rank:
            model.add(f"{blk}.exp_probs_b.bias", 8, deviation=0.1)
        model.feed_forward(blk, width=48, suffix="_shexp")
    return model


def gemma4(name, inputs=0, shared=0, experts=0):
    wide, layers = 12, 6  # one layer of three has no window
    full = [layer % 3 == 2 for layer in range(layers)]
    keys = dict(embedding_length_per_layer_input=inputs, attention__shared_kv_layers=shared)
    if experts:
        keys |= dict(expert_count=experts, expert_used_count=3, expert_feed_forward_length=24)
    model = Family(name, "gemma4", block_count=layers, attention__key_length=wide,
                   attention__value_length=wide, attention__key_length_swa=D,
                   attention__value_length_swa=D, rope__dimension_count=wide,
                   rope__dimension_count_swa=D, rope__freq_base=1000000.0,
                   rope__freq_base_swa=10000.0, attention__sliding_window=8,
                   attention__sliding_window_pattern=[not f for f in full],
                   attention__head_count_kv=[1 if f and not shared else HK for f in full],
                   final_logit_softcapping=30.0, **keys)
    model.ends(tied=True)
    model.add("rope_freqs.weight", wide // 2, mean=1.0, deviation=0.0)
    if inputs:
        model.matrix("per_layer_token_embd", inputs * layers, V)
        model.matrix("per_layer_model_proj", E, inputs * layers)
        model.norm("per_layer_proj_norm", inputs)
    for layer in range(layers):
        blk, d = f"blk.{layer}", wide if full[layer] else D
        keys_out = d * (1 if full[layer] and not shared else HK)
        for norm in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            model.norm(f"{blk}.{norm}", E)
        model.matrix(f"{blk}.attn_q", E, H * d)
        model.norm(f"{blk}.attn_q_norm", d)
        if layer < layers - shared:
            model.matrix(f"{blk}.attn_k", E, keys_out)
            model.norm(f"{blk}.attn_k_norm", d)
            if shared or not full[layer]:
                model.matrix(f"{blk}.attn_v", E, keys_out)
        model.matrix(f"{blk}.attn_output", H * d, E)
        model.feed_forward(blk)
        if experts:
            for norm in ("post_ffw_norm_1", "pre_ffw_norm_2", "post_ffw_norm_2"):
                model.norm(f"{blk}.{norm}", E)
            model.experts(blk, experts, 24, fused=True)
            model.add(f"{blk}.ffn_gate_inp.scale", E, mean=1.0, deviation=0.2)
            model.add(f"{blk}.ffn_down_exps.scale", experts, mean=1.0, deviation=0.3)
        if inputs:
            model.matrix(f"{blk}.inp_gate", E, inputs)
            model.matrix(f"{blk}.proj", inputs, E)
            model.norm(f"{blk}.post_norm", E)
        model.add(f"{blk}.layer_output_scale.weight", 1, mean=0.8, deviation=0.1)
    return model


def models():
    sandwich = ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
    yield gemma()
    yield mixture(Family("qwen2moe", "qwen2moe", expert_count=8, expert_used_count=3,
                         expert_feed_forward_length=24, expert_shared_feed_forward_length=40),
                  8, 24, 40, bias=True, gate=True)
    yield mixture(Family("granitemoe", "granitemoe", expert_count=8, expert_used_count=2,
                         expert_shared_feed_forward_length=40, embedding_scale=6.0,
                         residual_scale=0.3, attention__scale=0.2, logit_scale=4.0),
                  8, F, 40)
    yield plain(Family("granite-nope", "granite", embedding_scale=6.0, residual_scale=0.3,
                       attention__scale=0.2, logit_scale=4.0, rope__scaling__finetuned=False))
    yield plain(Family("mistral3", "mistral3", rope__scaling__type="yarn",
                       rope__scaling__factor=4.0, rope__scaling__original_context_length=16,
                       rope__scaling__yarn_log_multiplier=1.0,
                       attention__temperature_scale=0.1))
    yield plain(Family("glm4", "glm4", rope__dimension_count=4), norms=sandwich, bias=True,
                fused=True)
    yield mixture(Family("glm4moe", "glm4moe", expert_count=8, expert_used_count=3,
                         expert_feed_forward_length=24, expert_shared_count=1,
                         leading_dense_block_count=1, expert_weights_norm=True,
                         expert_weights_scale=1.5, expert_gating_func=2,
                         nextn_predict_layers=0, rope__dimension_count=4),
                  8, 24, 24, bias=True, norms=("attn_norm", "post_attention_norm"), dense=1,
                  selection_bias=True)
    yield cohere2()
    yield falcon("falcon", False)
    yield falcon("falcon-two-norms", True)
    yield stablelm("stablelm", False)
    yield stablelm("stablelm-parallel", True)
    yield olmo3()
    yield phi3("phi3-short", 512)
    yield phi3("phi3-long", 64)
    yield phi3("phi3-window", 512, attention__sliding_window=8)
    yield deepseek2("deepseek2-yarn", 24, attention__q_lora_rank=24, expert_weights_scale=1.0,
                    rope__scaling__type="yarn", rope__scaling__factor=4.0,
                    rope__scaling__original_context_length=16,
                    rope__scaling__yarn_log_multiplier=0.0707)
    for name, fused in (("deepseek2", False), ("deepseek2-fused", True)):
        yield deepseek2(name, 24, fused, attention__q_lora_rank=24, expert_weights_norm=True,
                        expert_weights_scale=2.5, expert_gating_func=2, expert_group_count=4,
                        expert_group_used_count=2)
    yield gemma4("gemma4")
    yield gemma4("gemma4-inputs", inputs=8, shared=3)
    yield gemma4("gemma4-experts", experts=8)
    yield lfm2("lfm2")
    yield lfm2("lfm2moe", 8)
    yield qwen35("qwen35")
    yield qwen35("qwen35moe", 8)
    yield qwen35("qwen35moe-fused", 8, fused=True)
    yield granitehybrid("granitehybrid")
    yield granitehybrid("granitehybrid-moe", 8)


def main():
    folder = sys.argv[1]
    for model in models():
        path = f"{folder}/{model.name}.gguf"
        write_gguf(path, model.keys, model.tensors)
        if len(sys.argv) < 3:
            continue
        out = f"{folder}/{model.name}.f32"
        done = subprocess.run([sys.argv[2], "logits", path, out, *map(str, TOKENS)],
                              capture_output=True, text=True)
        if done.returncode:
            print(f"{model.name}: the peer says {done.stderr.strip()[-300:]}")
            continue
        with open(out, "rb") as data:
            logits = data.read()
        subprocess.run(["rm", out], check=True)
        tokens = struct.pack(f"<{len(TOKENS)}i", *TOKENS)
        write_gguf(f"{folder}/{model.name}.logits.gguf", {"general.architecture": "golden"},
                   [("tokens", (len(TOKENS),), 26, tokens),
                    ("logits", (V, len(TOKENS)), 0, logits)])
        print(model.name, max(abs(x) for x in struct.unpack(f"<{V * len(TOKENS)}f", logits)))


main()
