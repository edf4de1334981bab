"""What bench/peers/models runs. A round is weft's turns, processes of their own, then those of transformers, whose model
stays in memory; shares and ratios are taken round by round. The matrix rate is that of a product of 8192^3 by torch."""

import argparse
import time

import torch
import transformers
from by_turns import Clock, Table, weft


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("weft")
    parser.add_argument("model")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--attention", default="sdpa", help="what transformers attends by: sdpa, flash_attention_2")
    parser.add_argument("--tiny", action="store_true", help="sizes that only show that this works")
    options = parser.parse_args()
    options.weft_device = options.device
    options.prompt = 32 if options.tiny else 8192
    options.depth, options.steps = (8, 4) if options.tiny else (128, 64)
    options.requests, options.concurrency = (4, 2) if options.tiny else (128, 64)
    options.given, options.drawn = (8, 4) if options.tiny else (512, 256)
    options.side = 256 if options.tiny else 8192
    return options


class Peer:
    def __init__(self, options):
        self.options, self.clock = options, Clock(options.device)
        load = transformers.AutoModelForCausalLM.from_pretrained
        self.model = load(options.model, dtype=torch.bfloat16, attn_implementation=options.attention)
        self.model = self.model.to(options.device).eval()
        self.random = torch.Generator().manual_seed(1)

    def tokens(self, rows, columns):
        return torch.randint(3, self.model.config.vocab_size, (rows, columns), generator=self.random)

    def wait(self):
        if self.options.device == "cuda":
            torch.cuda.synchronize()

    def timed(self, call):
        call()
        self.wait()
        began = time.perf_counter()
        call()
        self.wait()
        return time.perf_counter() - began

    def prefill(self):
        """Tokens a second."""
        x = self.tokens(1, self.options.prompt).to(self.options.device)
        return self.options.prompt / self.timed(lambda: self.model(x, logits_to_keep=1))

    def generate(self, rows, columns, tokens):
        x = self.tokens(rows, columns).to(self.options.device)
        return self.model.generate(x, attention_mask=torch.ones_like(x), min_new_tokens=tokens, max_new_tokens=tokens, do_sample=False)

    def decode(self):
        """Tokens a second behind the first."""
        o = self.options
        first = self.timed(lambda: self.generate(1, o.depth, 1))
        return o.steps / (self.timed(lambda: self.generate(1, o.depth, o.steps + 1)) - first)

    def batch(self):
        """Drawn tokens a second by its own continuous batching, and what that was; by padded batches where it has none."""
        o = self.options
        prompts = self.tokens(o.requests, o.given).tolist()
        try:
            generation = transformers.GenerationConfig(max_new_tokens=o.drawn, do_sample=False, eos_token_id=-1, pad_token_id=0)
            settings = transformers.generation.ContinuousBatchingConfig(max_memory_percent=0.3, max_requests_per_batch=o.concurrency)
            seconds = self.timed(lambda: self.model.generate_batch(
                inputs=prompts, generation_config=generation, continuous_batching_config=settings))
            return o.requests * o.drawn / seconds, "continuous"
        except Exception as why:  # which differs from version to version and from device to device
            print(f"transformers has no continuous batching here ({type(why).__name__}: {str(why)[:120]}): padded batches")
        seconds = self.timed(lambda: [self.generate(o.concurrency, o.given, o.drawn) for _ in range(o.requests // o.concurrency)])
        return o.requests * o.drawn / seconds, "padded"

    def matrix_rate(self):
        side = self.options.side
        a, b = (torch.randn(side, side, device=self.options.device, dtype=torch.bfloat16) for _ in range(2))
        return 2 * side**3 / self.clock.seconds(lambda i: torch.nn.functional.linear(a, b))


def medians(results):
    return {r["name"]: r["stats"]["median"] for r in results}


def operations_of(model):
    """Of a token, the head apart: all weights of linear layers are matrices."""
    weights = sum(p.numel() for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name and "lm_head" not in name)
    return 2 * weights


def turn(options, peer, table):
    o, common = options, [options.model, "--weights", "bf16"]
    prompt = ["prefill", *common, "--tokens", str(o.prompt), "--chunk", str(min(o.prompt, 8192))]
    step = ["decode", *common, "--tokens", str(o.depth), "--steps", str(o.steps)]
    serve = ["batch", *common, "--requests", str(o.requests), "--concurrency", str(o.concurrency), "--prompt", str(o.given)]
    serve += ["--generate", str(o.drawn)]
    rate = peer.matrix_rate()
    ours = {name: medians(weft(o, *words)) for name, words in (("prompt", prompt), ("steps", step), ("requests", serve))}
    share = 100 * ours["prompt"]["tokens"] * operations_of(peer.model) / rate
    table.add(f"prompt of {o.prompt}", "tokens/s", ours["prompt"]["tokens"], peer.prefill(), share, "60 % of the matrix rate")
    share = ours["steps"].get("of memory bandwidth", ours["steps"].get("of DRAM bandwidth"))
    table.add(f"steps of 1 behind {o.depth}", "tokens/s", ours["steps"]["tokens"], peer.decode(), share, "80 % of the bandwidth")
    theirs, way = peer.batch()
    table.add(f"{o.requests} requests, {o.concurrency} at once ({way})", "tokens/s", ours["requests"]["generated tokens"], theirs,
              None, "3 times")
    for name, words in (("prompt", prompt), ("steps", step), ("requests", serve)):
        figure = "generated tokens" if name == "requests" else "tokens"
        fast = medians(weft(o, *words, "--numerics", "fast"))[figure]
        table.add(f"{name}, invariant beside fast", "tokens/s", ours[name][figure], fast, None, "0.9 times (of weft itself)")


def main():
    options = parse()
    torch.set_grad_enabled(False)
    transformers.logging.set_verbosity_error()
    peer, table = Peer(options), Table("transformers")
    where = torch.cuda.get_device_name(0) if options.device == "cuda" else "the host"
    print(f"transformers {transformers.__version__}, torch {torch.__version__} on {where}; {options.rounds} rounds by turns, "
          "median [smallest largest]")
    for _ in range(options.rounds):
        turn(options, peer, table)
    table.show()


main()
