#!/usr/bin/env python3
"""Tiny random checkpoints of every architecture, and what transformers computes from them.

    tests/model/make_golden.py                 writes tests/model/golden/, which is committed
    tests/model/make_golden.py --more SEED DIR fresh cases of the same kinds, anywhere else

Needs torch and transformers (any build for CPUs will do). Weights are values of bf16 whatever type they are stored in,
so that all precisions start from the same model. One folder a case:

    config.json, *.safetensors   the checkpoint, as transformers saves it; some with a config in the words of version 4
    case.json                    prompt, greedy continuation, its margins, and how far bf16 is from f32
    logits.npy                   float32 (positions, vocabulary), transformers in f32
    logits_bf16.npy              uint16 (positions, vocabulary), the bits of transformers' logits in bf16
"""
import argparse
import json
import pathlib
import shutil
import sys
import zlib

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

NEW_TOKENS = 64
BASE = dict(vocab_size=128, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=6,
            num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-5)
WIDE = dict(hidden_size=112, intermediate_size=48, num_attention_heads=14, num_key_value_heads=2)


def rope(kind, theta=10000.0, **more):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=theta, **more))


# name -> (configuration class, its arguments, how it is stored)
# dtype: of the file; old: config.json in the words of version 4; shard: bytes a file; prompt: tokens; inner: as the
# text part of a model for texts and images
CASES = {
    "llama-plain": ("LlamaConfig", dict(num_key_value_heads=6), dict(dtype="float32", old=True)),
    "llama-llama3": ("LlamaConfig", dict(WIDE, tie_word_embeddings=True, num_hidden_layers=3, **rope(
        "llama3", 500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=32)), dict(old=True, prompt=90)),
    "llama-linear": ("LlamaConfig", dict(attention_bias=True, mlp_bias=True, **rope("linear", factor=4.0)), dict()),
    "llama-dynamic": ("LlamaConfig", dict(max_position_embeddings=48, **rope("dynamic", factor=2.0)),
                      dict(prompt=80, dtype="float16")),
    "llama-yarn": ("LlamaConfig", dict(rope("yarn", factor=4.0, original_max_position_embeddings=32)),
                   dict(old=True, prompt=90, shard=40000)),
    "mistral": ("MistralConfig", dict(head_dim=16, sliding_window=17, **rope("default", 1000000.0)), dict(prompt=70)),
    "qwen2": ("Qwen2Config", dict(WIDE, tie_word_embeddings=True, **rope("default", 1000000.0)), dict(old=True)),
    "qwen2-window": ("Qwen2Config", dict(use_sliding_window=True, sliding_window=11, max_window_layers=1,
                                         **rope("yarn", factor=4.0, original_max_position_embeddings=32)),
                     dict(prompt=70)),
    "qwen3": ("Qwen3Config", dict(head_dim=16, tie_word_embeddings=True, **rope("default", 1000000.0)), dict()),
    "gemma2": ("Gemma2Config", dict(head_dim=16, sliding_window=13, query_pre_attn_scalar=24,
                                    attn_logit_softcapping=5.0, final_logit_softcapping=8.0), dict(old=True, prompt=60)),
    "gemma3": ("Gemma3TextConfig", dict(head_dim=16, num_hidden_layers=3, sliding_window=9, query_pre_attn_scalar=20,
                                        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
                                        rope_parameters=dict(
                                            full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1000000.0),
                                            sliding_attention=dict(rope_type="default", rope_theta=10000.0))),
               dict(prompt=60)),
    "gemma3-inner": ("Gemma3TextConfig", dict(head_dim=8, sliding_window=9, query_pre_attn_scalar=8,
                                              layer_types=["sliding_attention", "full_attention"]),
                     dict(old=True, inner=True)),
    "phi3": ("Phi3Config", dict(num_key_value_heads=6, sliding_window=15, pad_token_id=0), dict(old=True, prompt=60)),
    "phi3-longrope": ("Phi3Config", dict(num_attention_heads=3, num_key_value_heads=1, tie_word_embeddings=True,
                                         pad_token_id=0, original_max_position_embeddings=32, **rope(
                                             "longrope", partial_rotary_factor=0.75,
                                             short_factor=[1.0, 1.1, 1.25, 1.5, 1.75, 2.0],
                                             long_factor=[1.0, 2.0, 3.5, 6.0, 9.0, 12.0])), dict(prompt=70)),
    "phi3-short": ("Phi3Config", dict(pad_token_id=0, original_max_position_embeddings=128, **rope(
        "longrope", short_factor=[1.0, 1.5, 2.0, 2.5], long_factor=[1.0, 4.0, 8.0, 16.0])), dict(old=True)),
    "mixtral": ("MixtralConfig", dict(num_local_experts=4, num_experts_per_tok=2, intermediate_size=32,
                                      **rope("default", 1000000.0)), dict(old=True)),
    "qwen3-moe": ("Qwen3MoeConfig", dict(num_hidden_layers=3, head_dim=16, num_experts=6, num_experts_per_tok=3,
                                         moe_intermediate_size=24, mlp_only_layers=[1], norm_topk_prob=True), dict()),
    "qwen3-moe-raw": ("Qwen3MoeConfig", dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24,
                                             norm_topk_prob=False), dict(old=True)),
    "gpt-oss": ("GptOssConfig", dict(head_dim=16, num_local_experts=4, num_experts_per_tok=2, intermediate_size=32,
                                     sliding_window=12, **rope("yarn", 150000.0, factor=32.0, beta_fast=32.0,
                                                               beta_slow=1.0, truncate=False,
                                                               original_max_position_embeddings=32)),
                dict(prompt=70)),
}


def randomize(model):
    """Weights that give lively logits; all of them values of bf16."""
    gemma = "gemma" in model.config.model_type
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape)
            if name == "model.norm.weight" and model.config.tie_word_embeddings:
                value = noise + (9.0 if gemma else 10.0)  # an embedding as head gives small logits
            elif "norm" in name:
                value = 0.2 * noise + (0.0 if gemma else 1.0)
            elif weight.ndim == 1 or "bias" in name:
                value = 0.5 * noise
            elif "embed_tokens" in name:
                value = noise * (0.04 if model.config.tie_word_embeddings else 1.0)
            elif "lm_head" in name:
                value = noise * 2.0 * weight.shape[-1] ** -0.5
            else:
                value = noise * 1.3 * weight.shape[-1] ** -0.5
            weight.copy_(value.to(torch.bfloat16).to(weight.dtype))


def in_old_words(config):
    """A config.json as version 4 of transformers wrote it."""
    config = dict(config)
    parameters = config.pop("rope_parameters", None) or {}
    config["torch_dtype"] = config.pop("dtype", None)
    config["transformers_version"] = "4.46.0"
    for gone in ("layer_types",):
        if config["model_type"] in ("qwen2", "gemma2", "gemma3_text"):
            config.pop(gone, None)
    if "full_attention" in parameters:
        config["rope_local_base_freq"] = parameters["sliding_attention"]["rope_theta"]
        config["sliding_window_pattern"] = 2
        parameters = parameters["full_attention"]
    parameters = dict(parameters)
    config["rope_theta"] = parameters.pop("rope_theta", 10000.0)
    part = parameters.pop("partial_rotary_factor", 1.0)
    if config["model_type"] == "phi3":
        config["partial_rotary_factor"] = part
        parameters.pop("original_max_position_embeddings", None)
    if parameters.get("rope_type", "default") == "default":
        config["rope_scaling"] = None
    else:
        if parameters["rope_type"] != "llama3":
            parameters["type"] = parameters.pop("rope_type")
        config["rope_scaling"] = parameters
    return config


def put_inside(folder):
    """The checkpoint as the text part of a model for texts and images, with something of the other part beside it."""
    tensors = load_file(folder / "model.safetensors")
    tensors = {"language_model." + name: value for name, value in tensors.items()}
    tensors["vision_tower.vision_model.post_layernorm.weight"] = torch.ones(4, dtype=torch.bfloat16)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    inner = json.loads((folder / "config.json").read_text())
    outer = dict(architectures=["Gemma3ForConditionalGeneration"], model_type="gemma3", text_config=inner,
                 vision_config=dict(hidden_size=4), torch_dtype=inner.get("torch_dtype"),
                 eos_token_id=inner.get("eos_token_id"))
    (folder / "config.json").write_text(json.dumps(outer, indent=2) + "\n")


def greedy(model, prompt):
    """The continuation that generate() gives, and how far the best was from the second, over the largest logit."""
    out = model.generate(torch.tensor([prompt]), max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False,
                         eos_token_id=None, pad_token_id=0, output_logits=True, return_dict_in_generate=True)
    margins = []
    for logits in out.logits:
        best = torch.topk(logits[0].float(), 2).values
        margins.append(float((best[0] - best[1]) / logits.abs().max()))
    return out.sequences[0, len(prompt):].tolist(), margins


def compare(one, other):
    """Mean divergence of `other` from `one`, and how often their best agree."""
    one, other = torch.log_softmax(one.double(), -1), torch.log_softmax(other.double(), -1)
    divergence = (one.exp() * (one - other)).sum(-1)
    return dict(kl_mean=float(divergence.mean()), kl_max=float(divergence.max()),
                top1=float((one.argmax(-1) == other.argmax(-1)).double().mean()))


def make(name, seed, root):
    kind, settings, storing = CASES[name]
    torch.manual_seed(seed * 1000003 + zlib.crc32(name.encode()))
    folder = root / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = getattr(transformers, kind)(**{**BASE, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, **settings})
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    randomize(model)
    prompt = torch.randint(3, config.vocab_size, (storing.get("prompt", 40),)).tolist()
    model.to(getattr(torch, storing.get("dtype", "bfloat16"))).save_pretrained(
        folder, max_shard_size=storing.get("shard", "1GB"))
    path = folder / "config.json"
    if storing.get("old"):
        path.write_text(json.dumps(in_old_words(json.loads(path.read_text())), indent=2) + "\n")

    def load(dtype):
        return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()

    with torch.no_grad():
        exact, rounded = load(torch.float32), load(torch.bfloat16)
        logits = exact(torch.tensor([prompt]), use_cache=False).logits[0].float()
        half = rounded(torch.tensor([prompt]), use_cache=False).logits[0].to(torch.bfloat16)
        tokens, margins = greedy(load(torch.float32), prompt)
    np.save(folder / "logits.npy", logits.numpy())
    np.save(folder / "logits_bf16.npy", half.view(torch.uint16).numpy())
    case = dict(name=name, seed=seed, transformers=transformers.__version__, torch=torch.__version__.split("+")[0],
                prompt=prompt, greedy=tokens, margins=[round(m, 8) for m in margins],
                largest=float(logits.abs().max()), bf16_against_f32=compare(logits, half.float()))
    (folder / "case.json").write_text(json.dumps(case) + "\n")
    if storing.get("inner"):
        put_inside(folder)
    print(f"{name}: largest logit {case['largest']:.3g}, least margin {min(margins):.2g}, "
          f"distinct {len(set(tokens))}, bf16 top1 {case['bf16_against_f32']['top1']:.3f} "
          f"KL {case['bf16_against_f32']['kl_mean']:.2g}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--more", nargs=2, metavar=("SEED", "DIR"))
    parser.add_argument("--only", help="one case")
    args = parser.parse_args()
    seed, root = 1, pathlib.Path(__file__).parent / "golden"
    if args.more:
        seed, root = int(args.more[0]), pathlib.Path(args.more[1])
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name in CASES:
        if not args.only or args.only == name:
            make(name, seed, root)
    print(sum(f.stat().st_size for f in root.rglob("*") if f.is_file()), "bytes in", root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
