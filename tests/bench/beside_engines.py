"""What tests/bench/beside_engines runs. A round is each program's turn, in a process of its own; ratios are taken round by
round. llama.cpp gets its better setting of flash attention, found first. Its prompts and steps are its own bench tools'."""

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys

import numpy
from gguf import GGUFWriter, GGMLQuantizationType, MODEL_ARCH, get_tensor_name_map

PROMPT, STEPS, DEPTH = 512, 32, 16
SEQUENCES, SEQUENCE_PROMPT, SEQUENCE_STEPS = 32, 128, 128
PEERS = {"bf16": ["BF16", "F16"], "int8": ["Q8_0"], "int4": ["Q4_0"]}
ARCHITECTURES = {"llama": MODEL_ARCH.LLAMA, "qwen2": MODEL_ARCH.QWEN2}


def parse():
    parser = argparse.ArgumentParser()
    for name in ("weft", "llama", "model", "folder"):
        parser.add_argument(name)
    parser.add_argument("--only", default="bf16,int8,int4")
    parser.add_argument("--work", default="prefill,decode,batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-transformers", action="store_true")
    return parser.parse_args()


# ---- the same weights as GGUF ----


def tensors_of(folder):
    """Names and bfloat16 values, as uint16, of one safetensors file after the other."""
    for file in sorted(f for f in os.listdir(folder) if f.endswith(".safetensors")):
        data = numpy.memmap(os.path.join(folder, file), dtype=numpy.uint8, mode="r")
        head = int.from_bytes(bytes(data[:8]), "little")
        for name, about in json.loads(bytes(data[8 : 8 + head])).items():
            if name == "__metadata__":
                continue
            if about["dtype"] != "BF16":
                sys.exit(f"{file}: {name} is {about['dtype']}; make the model with --dtype bf16")
            begin, end = about["data_offsets"]
            yield name, data[8 + head + begin : 8 + head + end].view(numpy.uint16).reshape(about["shape"])


def write_gguf(model, path):
    config = json.load(open(os.path.join(model, "config.json"), encoding="utf-8"))
    kind = config["model_type"]
    if kind not in ARCHITECTURES:
        sys.exit(f"{model}: {kind} is not among {', '.join(ARCHITECTURES)}")
    names = get_tensor_name_map(ARCHITECTURES[kind], config["num_hidden_layers"])
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    out = GGUFWriter(path, kind)
    out.add_context_length(config["max_position_embeddings"])
    out.add_embedding_length(config["hidden_size"])
    out.add_block_count(config["num_hidden_layers"])
    out.add_feed_forward_length(config["intermediate_size"])
    out.add_head_count(heads)
    out.add_head_count_kv(config["num_key_value_heads"])
    out.add_layer_norm_rms_eps(config["rms_norm_eps"])
    out.add_rope_dimension_count(width)
    out.add_vocab_size(config["vocab_size"])
    out.add_tokenizer_model("no_vocab")
    for name, bits in tensors_of(model):
        mapped = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if mapped is None:
            sys.exit(f"{model}: no place for {name}")
        if bits.ndim == 1:
            out.add_tensor(mapped, (bits.astype(numpy.uint32) << 16).view(numpy.float32))
        else:
            out.add_tensor(mapped, numpy.ascontiguousarray(bits), raw_dtype=GGMLQuantizationType.BF16)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def prepare(options):
    """Paths by llama.cpp's type."""
    os.makedirs(options.folder, exist_ok=True)
    name = os.path.basename(os.path.normpath(options.model))
    files = {kind: os.path.join(options.folder, f"{name}-{kind}.gguf") for kind in ("BF16", "F16", "Q8_0", "Q4_0")}
    if not os.path.exists(files["BF16"]):
        write_gguf(options.model, files["BF16"] + ".part")
        os.rename(files["BF16"] + ".part", files["BF16"])
    for kind in ("F16", "Q8_0", "Q4_0"):
        if not os.path.exists(files[kind]):
            tool = [os.path.join(options.llama, "llama-quantize"), "--pure", "--token-embedding-type", kind]
            run(tool + [files["BF16"], files[kind], kind])
    return files


# ---- turns: tokens a second, and the most memory ----


def run(command):
    """Standard output and the peak of resident memory."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        text, errors = process.communicate()
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}\n{errors.decode()[-2000:]}")
    return text.decode(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def measured(command):
    """The same in a process of its own, whose children are the command alone: its peak is the command's."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        text, peak = run(command)
        with os.fdopen(write, "w") as out:
            json.dump([text, peak], out)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        result = answer.read()
    if os.waitpid(child, 0)[1] != 0 or not result:
        sys.exit(1)
    return json.loads(result)


def weft_turn(options, work, kind):
    """Tokens a second, the peak of memory, and the share of the ceiling where there is one."""
    what = {
        "prefill": ["prefill", options.model, "--tokens", str(PROMPT), "--chunk", str(PROMPT)],
        "decode": ["decode", options.model, "--tokens", str(DEPTH), "--steps", str(STEPS)],
        "batch": ["batch", options.model, "--requests", str(SEQUENCES), "--concurrency", str(SEQUENCES), "--prompt"]
        + [str(SEQUENCE_PROMPT), "--generate", str(SEQUENCE_STEPS)],
    }[work]
    command = [options.weft, "-n", "1", "--threads", str(options.threads), "bench", *what, "--rounds", "1"]
    command += ["--weights", "stored" if kind == "bf16" else kind, "--json", "-"]
    text, peak = measured(command)
    results = {r["name"]: r["stats"]["median"] for r in json.loads(text)["results"]}
    if work == "prefill":
        return PROMPT / results["prompts"] * 1e3, weft_memory(options, kind, PROMPT), None
    if work == "decode":
        return 1e3 / results["step"], weft_memory(options, kind, DEPTH + STEPS), results["of DRAM bandwidth"]
    return results["generated tokens"], peak, None


def weft_memory(options, kind, positions):
    """Of the same work without a bench, which reads a buffer larger than caches to know the ceiling."""
    command = [options.weft, "-n", "1", "--threads", str(options.threads), "run", options.model, "--max-tokens", "2"]
    command += ["-p", "a " * (positions // 2), "--weights", "stored" if kind == "bf16" else kind]
    return measured(command)[1]


def llama_turn(options, work, file, flash):
    if work == "batch":
        command = [os.path.join(options.llama, "llama-batched-bench"), "-m", file, "-t", str(options.threads)]
        command += ["-tb", str(options.threads), "-c", str(SEQUENCES * (SEQUENCE_PROMPT + SEQUENCE_STEPS))]
        command += ["-npp", str(SEQUENCE_PROMPT), "-ntg", str(SEQUENCE_STEPS), "-npl", str(SEQUENCES)]
        command += ["-fa", "on" if flash else "off", "--output-format", "jsonl"]
        text, peak = measured(command)
        row = json.loads(re.findall(r"^\{.*\}$", text, re.M)[-1])
        return SEQUENCES * SEQUENCE_STEPS / (row["t_pp"] + row["t_tg"]), peak
    command = [os.path.join(options.llama, "llama-bench"), "-m", file, "-t", str(options.threads), "-r", "1", "-o", "json"]
    command += ["-fa", str(int(flash))]
    command += ["-p", str(PROMPT), "-n", "0"] if work == "prefill" else ["-p", "0", "-n", str(STEPS)]
    text, peak = measured(command)
    return json.loads(text)[0]["avg_ts"], peak


TRANSFORMERS = """
import sys, time, torch, transformers
model, work, threads, prompt, steps, depth, sequences, sequence_prompt, sequence_steps = sys.argv[1:3] + [int(x) for x in sys.argv[3:]]
torch.set_num_threads(threads)
torch.set_grad_enabled(False)
transformers.logging.set_verbosity_error()
m = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
def ids(rows, columns): return torch.randint(3, m.config.vocab_size, (rows, columns))
def generate(rows, columns, tokens):
    x = ids(rows, columns)
    return m.generate(x, attention_mask=torch.ones_like(x), min_new_tokens=tokens, max_new_tokens=tokens, do_sample=False)
if work == "prefill":
    run, tokens = lambda: m(ids(1, prompt), logits_to_keep=1), prompt
elif work == "decode":
    run, tokens = lambda: generate(1, depth, steps + 1), steps
else:
    run, tokens = lambda: generate(sequences, sequence_prompt, sequence_steps), sequences * sequence_steps
if work == "batch":
    generate(2, 8, 2)
else:
    run()
began = time.perf_counter()
run()
print(tokens / (time.perf_counter() - began))
"""


def transformers_turn(options, work):
    sizes = [PROMPT, STEPS, DEPTH, SEQUENCES, SEQUENCE_PROMPT, SEQUENCE_STEPS]
    command = [sys.executable, "-c", TRANSFORMERS, options.model, work, str(options.threads)]
    text, peak = measured(command + [str(size) for size in sizes])
    return float(text.split()[-1]), peak


# ---- the table ----


def spread(values):
    return f"{statistics.median(values):8.1f} [{min(values):7.1f} {max(values):7.1f}]"


def compare(options, files, work, kind):
    flash = {}
    for peer in PEERS[kind]:
        tried = {f: llama_turn(options, work, files[peer], f)[0] for f in (False, True)} if work != "batch" else {True: 1}
        flash[peer] = max(tried, key=tried.get)
    peers = [("llama.cpp " + peer, lambda peer=peer: llama_turn(options, work, files[peer], flash[peer])) for peer in PEERS[kind]]
    if kind == "bf16" and not options.no_transformers:
        peers.append(("transformers bf16", lambda: transformers_turn(options, work)))
    ours, theirs, memory = [], {name: [] for name, _ in peers}, {}
    share = None
    for _ in range(options.rounds):
        value, memory["weft"], share = weft_turn(options, work, kind)
        ours.append(value)
        for name, turn in peers:
            value, memory[name] = turn()
            theirs[name].append(value)
    ceiling = f"  {share:.0f} % of read bandwidth" if share else ""
    print(f"{work:8} {kind:5} weft {'':18} {spread(ours)} tokens/s  {memory['weft'] / 2**20:6.0f} MiB{ceiling}")
    for name, _ in peers:
        ratios = [a / b for a, b in zip(ours, theirs[name])]
        print(f"{'':14} {name:23} {spread(theirs[name])} tokens/s  {memory[name] / 2**20:6.0f} MiB   "
              f"weft {statistics.median(ratios):6.2f} x [{min(ratios):.2f} {max(ratios):.2f}]", flush=True)


def main():
    options = parse()
    files = prepare(options)
    print(f"{options.threads} threads, {options.rounds} rounds, median [smallest largest]; prompts of {PROMPT}; one request behind "
          f"{DEPTH} tokens; {SEQUENCES} requests of {SEQUENCE_PROMPT} and {SEQUENCE_STEPS} tokens, drawn tokens over all time")
    for work in options.work.split(","):
        for kind in options.only.split(","):
            compare(options, files, work, kind)


main()
