#!/usr/bin/env python3
"""Trains the demo model of demo/: a small Llama with a byte-level BPE tokenizer, on plain texts of Project Gutenberg.

train_demo.py TEXT... --out DIR [--minutes 20 | --steps N] [--seed 1] [--processes 2] [--heldout 32768]

The first text gives its end, about --heldout bytes, as the held-out sample; no part of that is trained on. A text named
twice is read twice as often. DIR becomes a Hugging Face directory (all but its README.md), rewritten while training
goes on, so that one stopped early leaves a model. Needs torch, numpy and tokenizers."""
import argparse
import json
import math
import os
import re
import struct
import tempfile
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "dtype": "bfloat16",
    "eos_token_id": 1,
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 640,
    "max_position_embeddings": 1024,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 8,
    "num_hidden_layers": 5,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "use_cache": True,
    "vocab_size": 2048,
}
GENERATION = {"bos_token_id": 0, "eos_token_id": 1, "do_sample": True, "temperature": 0.8, "top_p": 0.95}
BEGIN, END = "<|begin|>", "<|end|>"
TOKENS_PER_STEP = 4096
# Short rows first, which are cheap; the last part of the time goes to rows as long as the model may be asked for.
SHORT_ROW, LONG_ROW, LONG_FROM = 256, 1024, 0.7
PEAK_RATE, LAST_RATE, WARM_UP = 4e-3, 0.02, 0.02


# ---- text

def plain(path):
    """The book's own text: what stands between Project Gutenberg's header and footer, in ASCII where that is easy."""
    raw = open(path, "rb").read()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    text = re.sub(r"\r+\n?", "\n", text)
    start = re.search(r"^\*\*\* ?START OF TH.*$", text, re.M)
    text = text[start.end() if start else 0:]
    stop = re.search(r"^(\*\*\* ?END OF TH|End of (the |this )?Project Gutenberg).*", text, re.M | re.I)
    text = text[:stop.start() if stop else len(text)]
    for old, new in (("\u2018", "'"), ("\u2019", "'"), ("\u201c", '"'), ("\u201d", '"'), ("\u2014", "--"),
                     ("\u00a0", " "), ("_", "")):
        text = text.replace(old, new)
    return text


def chapters(path):
    """The chapters of a book without their headings, a paragraph a line, paragraphs divided by an empty line."""
    heading = r"^[ \t]*(?:CHAPTER [IVXLC\d]+\b.*|Chapter [IVXLC\d]+\b.*|[IVXL]+\.?)[ \t]*$"
    found = []
    for piece in re.split(heading, plain(path), flags=re.M)[1:]:
        paragraphs = [" ".join(p.split()) for p in re.split(r"\n[ \t]*\n", piece)]
        paragraphs = [p for p in paragraphs if p and p[0] not in "[*" and p.upper() != p and p != "Finis"]
        text = "\n\n".join(paragraphs)
        if len(text) > 1000:  # less is a table of contents
            found.append(text)
    return found


def divide(paths, heldout_bytes):
    """Chapters to train on, and the held-out text: the end of the first book, from the beginning of a paragraph."""
    books = {path: chapters(path) for path in dict.fromkeys(paths)}
    first = books[paths[0]]
    held = []
    while first and sum(len(text) + 2 for text in held) < heldout_bytes:
        held.insert(0, first.pop())
    over = sum(len(text) + 2 for text in held) - heldout_bytes
    cut = held[0].find("\n\n", over)
    if over > 0 and cut > 0:
        first.append(held[0][:cut])
        held[0] = held[0][cut + 2:]
    return [text for path in paths for text in books[path]], "\n\n".join(held) + "\n"


def make_tokenizer(texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=CONFIG["vocab_size"], special_tokens=[BEGIN, END], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, 0)])
    return tokenizer


# ---- model

def parameters():
    """Every tensor under its name in the file."""
    hidden, inner, head = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["head_dim"]
    query, cached = CONFIG["num_attention_heads"] * head, CONFIG["num_key_value_heads"] * head
    layers = CONFIG["num_hidden_layers"]
    shapes = {"model.embed_tokens.weight": (CONFIG["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    for i in range(layers):
        at = f"model.layers.{i}."
        shapes |= {at + "input_layernorm.weight": (hidden,), at + "post_attention_layernorm.weight": (hidden,),
                   at + "self_attn.q_proj.weight": (query, hidden), at + "self_attn.k_proj.weight": (cached, hidden),
                   at + "self_attn.v_proj.weight": (cached, hidden), at + "self_attn.o_proj.weight": (hidden, query),
                   at + "mlp.gate_proj.weight": (inner, hidden), at + "mlp.up_proj.weight": (inner, hidden),
                   at + "mlp.down_proj.weight": (hidden, inner)}
    made = {}
    for name, shape in shapes.items():
        value = torch.ones(shape)
        if len(shape) == 2:
            onto_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            torch.nn.init.normal_(value, std=0.02 if "embed" in name else
                                  shape[1] ** -0.5 / (math.sqrt(2 * layers) if onto_residual else 1))
        made[name] = torch.nn.Parameter(value)
    return made


def rope(rows):
    half = CONFIG["head_dim"] // 2
    frequency = CONFIG["rope_theta"] ** (-torch.arange(half) / half)
    angle = torch.outer(torch.arange(rows), frequency)
    return torch.cat([angle, angle], 1).cos(), torch.cat([angle, angle], 1).sin()


def turn(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


def norm(x, weight):
    return F.rms_norm(x, (x.shape[-1],), weight, CONFIG["rms_norm_eps"])


def loss_of(p, tokens, reduction="mean"):
    """Cross entropy, in nats, of each token after the first of its row."""
    inputs, wanted = tokens[:, :-1], tokens[:, 1:]
    batch, rows = inputs.shape
    cos, sin = rope(rows)
    x = p["model.embed_tokens.weight"][inputs]
    for i in range(CONFIG["num_hidden_layers"]):
        at = f"model.layers.{i}."
        y = norm(x, p[at + "input_layernorm.weight"])
        q, k, v = (F.linear(y, p[f"{at}self_attn.{name}_proj.weight"]).view(batch, rows, -1, CONFIG["head_dim"])
                   .transpose(1, 2) for name in "qkv")
        q, k = turn(q, cos, sin).to(v.dtype), turn(k, cos, sin).to(v.dtype)
        group = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, rows, -1)
        x = x + F.linear(y, p[at + "self_attn.o_proj.weight"])
        y = norm(x, p[at + "post_attention_layernorm.weight"])
        y = F.silu(F.linear(y, p[at + "mlp.gate_proj.weight"])) * F.linear(y, p[at + "mlp.up_proj.weight"])
        x = x + F.linear(y, p[at + "mlp.down_proj.weight"])
    logits = F.linear(norm(x, p["model.norm.weight"]), p["model.embed_tokens.weight"])
    return F.cross_entropy(logits.float().view(-1, logits.shape[-1]), wanted.reshape(-1), reduction=reduction)


def rounded(p):
    return {name: value.detach().to(torch.bfloat16) for name, value in p.items()}


def bits_per_byte(p, tokenizer, text):
    """In rows of max_position_embeddings, each from <|begin|> on, with the rounding of the file."""
    p = {name: value.float() for name, value in rounded(p).items()}
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    step, nats = CONFIG["max_position_embeddings"] - 1, 0.0
    with torch.no_grad():
        for at in range(0, len(ids), step):
            nats += loss_of(p, torch.tensor([[CONFIG["bos_token_id"]] + ids[at:at + step]]), "sum").item()
    return nats / math.log(2) / len(text.encode())


def write_model(directory, p):
    """One safetensors file in bf16: eight bytes of header length, the header, the tensors."""
    header, at, bodies = {"__metadata__": {"format": "pt"}}, 0, []
    for name, value in sorted(rounded(p).items()):
        body = value.contiguous().view(torch.int16).numpy().tobytes()
        header[name] = {"dtype": "BF16", "shape": list(value.shape), "data_offsets": [at, at + len(body)]}
        at += len(body)
        bodies.append(body)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path = os.path.join(directory, "model.safetensors")
    with open(path + ".part", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(bodies))
    os.replace(path + ".part", path)


def write_text(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


# ---- training

def optimizers(p):
    """Muon for the matrices, AdamW for the embedding and the norms."""
    matrices = [value for name, value in p.items() if value.dim() == 2 and "embed" not in name]
    norms = [value for value in p.values() if value.dim() == 1]
    embedding = [p["model.embed_tokens.weight"]]
    return [torch.optim.Muon(matrices, lr=PEAK_RATE, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW([{"params": embedding, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0}],
                              lr=PEAK_RATE, betas=(0.9, 0.95))]


def rate_at(done):
    if done < WARM_UP:
        return done / WARM_UP
    through = (done - WARM_UP) / (1 - WARM_UP)
    return LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * through))


def add_up(p):
    """The mean of the gradients of all processes, clipped, in each of them."""
    flat = torch.cat([value.grad.view(-1) for value in p.values()])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    flat *= min(1.0, 1.0 / (flat.norm().item() + 1e-6))
    for value, part in zip(p.values(), flat.split([value.numel() for value in p.values()])):
        value.grad.copy_(part.view_as(value))


def train(options, stream, tokenizer, heldout):
    rank, ranks = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(options.seed)
    p = parameters()
    generator = np.random.default_rng([options.seed, rank])
    chosen = optimizers(p)
    begun, step, said, seen, average = time.monotonic(), 0, 0.0, 0, None
    while True:
        elapsed = torch.tensor(time.monotonic() - begun)
        dist.broadcast(elapsed, 0)
        elapsed = elapsed.item()
        done = step / options.steps if options.steps else elapsed / (options.minutes * 60)
        if done >= 1:
            break
        row = LONG_ROW if done >= LONG_FROM else SHORT_ROW
        starts = generator.integers(0, len(stream) - row - 1, TOKENS_PER_STEP // row // ranks)
        tokens = torch.from_numpy(np.stack([stream[at:at + row + 1] for at in starts]).astype(np.int64))
        for optimizer in chosen:
            for group in optimizer.param_groups:
                group["lr"] = PEAK_RATE * max(rate_at(done), 1e-3)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(p, tokens)
        loss.backward()
        add_up(p)
        for optimizer in chosen:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step, seen = step + 1, seen + tokens.shape[0] * row * ranks
        average = loss.item() if average is None else 0.95 * average + 0.05 * loss.item()
        if rank == 0 and elapsed - said >= 60:
            said = elapsed
            write_model(options.out, p)
            print(f"{elapsed / 60:5.1f} min  step {step}  {seen / len(stream):.2f} epochs  {seen / elapsed:.0f} "
                  f"tokens/s  loss {average:.3f}  held out "
                  f"{bits_per_byte(p, tokenizer, heldout[:8000]):.3f} bits per byte", flush=True)
    if rank:
        return
    write_model(options.out, p)
    print(f"steps {step}, tokens {seen}, epochs {seen / len(stream):.2f}, loss {average:.3f}, held out "
          f"{bits_per_byte(p, tokenizer, heldout):.4f} bits per byte, {time.monotonic() - begun:.0f} s", flush=True)


def one_process(rank, options, meet, *data):
    """Processes of one thread each, which meet once a step, lose less on a machine with other work than threads do."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=options.processes)
    train(options, *data)
    dist.destroy_process_group()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", metavar="TEXT")
    parser.add_argument("--out", required=True)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--steps", type=int, default=0, help="so many steps, however long they take")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--heldout", type=int, default=32768, metavar="BYTES")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)

    texts, heldout = divide(options.texts, options.heldout)
    tokenizer = make_tokenizer(texts)
    write_text(os.path.join(options.out, "tokenizer.json"), tokenizer.to_str(pretty=True) + "\n")
    write_text(os.path.join(options.out, "heldout.txt"), heldout)
    write_text(os.path.join(options.out, "config.json"), json.dumps(CONFIG, indent=2) + "\n")
    write_text(os.path.join(options.out, "generation_config.json"), json.dumps(GENERATION, indent=2) + "\n")
    ids = [i for text in texts for i in [0] + tokenizer.encode(text, add_special_tokens=False).ids + [1]]
    stream = np.array(ids, np.uint16)
    print(f"{len(texts)} chapters, {sum(map(len, texts))} bytes, {len(stream)} tokens; held out {len(heldout)} bytes; "
          f"{sum(value.numel() for value in parameters().values())} parameters", flush=True)
    with tempfile.TemporaryDirectory() as meet:
        torch.multiprocessing.spawn(one_process, (options, os.path.join(meet, "meet"), stream, tokenizer, heldout),
                                    nprocs=options.processes)


if __name__ == "__main__":
    main()
