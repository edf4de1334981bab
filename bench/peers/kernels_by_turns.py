"""What bench/peers/kernels runs. A round is weft's turns, processes of their own, then torch's; shares and ratios are
taken round by round. The matrix rate is the best of torch's products of the round, the bandwidth that of torch's copy,
bytes read and written both counted. Weights and caches take turns, so that together they are larger than the cache."""

import argparse
import re

import torch
from by_turns import Clock, Table, weft

SHAPES = {
    "8b": [("qkv", 6144, 4096), ("o", 4096, 4096), ("gate+up", 28672, 4096), ("down", 4096, 14336)],
    "70b": [("qkv", 10240, 8192), ("o", 8192, 8192), ("gate+up", 57344, 8192), ("down", 8192, 28672)],
}
HEADS, KV_HEADS, SIZE = 32, 8, 128  # of 8B


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("weft")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--models", default="8b,70b")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="sizes that only show that this works")
    options = parser.parse_args()
    options.weft_device = options.device
    options.rows = [1, 3] if options.tiny else [1, 4, 16, 2048, 8192]
    options.side = 256 if options.tiny else 8192
    options.far = 1 << 20 if options.tiny else 1 << 29
    options.prompt = 128 if options.tiny else 16384
    options.positions = [(1, 256)] if options.tiny else [(1, 65536), (16, 65536)]
    return options


class Torch:
    def __init__(self, options):
        self.options, self.clock = options, Clock(options.device)

    def random(self, *shape):
        return torch.randn(*shape, device=self.options.device, dtype=torch.bfloat16)

    def product(self, n, k, m):
        """Seconds."""
        copies = max(1, self.options.far // (n * k * 2))
        one, rows = self.random(n, k), self.random(m, k)
        weights = [one] + [one.clone() for _ in range(copies - 1)]
        return self.clock.seconds(lambda i: torch.nn.functional.linear(rows, weights[i % copies]))

    def copy(self):
        """Bytes a second, read and written."""
        source = torch.zeros(self.options.far, dtype=torch.uint8, device=self.options.device)
        target = torch.empty_like(source)
        return 2 * self.options.far / self.clock.seconds(lambda i: target.copy_(source))

    def attention(self, batch, queries, positions):
        """Seconds; None where there is no memory for it."""
        try:
            q = self.random(batch, HEADS, queries, SIZE)
            k, v = (self.random(batch, KV_HEADS, positions, SIZE) for _ in range(2))
            attend = torch.nn.functional.scaled_dot_product_attention
            return self.clock.seconds(lambda i: attend(q, k, v, is_causal=queries > 1, enable_gqa=True))
        except torch.OutOfMemoryError:
            return None


def microseconds(results, pattern):
    """Of weft's results: the match of the shape, and the time."""
    for result in results:
        found = re.fullmatch(pattern, result["case"].get("shape", ""))
        if found and result["unit"] == "us":
            yield found, result["stats"]["median"], result["case"]


def gemm_round(options, peer, table, copy):
    shapes = [("plain", options.side, options.side)] if options.tiny else [("8192^3", options.side, options.side)]
    cases = [(name, n, k, [options.side], "all", f"{options.side}x{options.side}") for name, n, k in shapes]
    for model in [] if options.tiny else options.models.split(","):
        cases += [(f"{model} {name}", n, k, options.rows, model, name) for name, n, k in SHAPES[model]]
    if options.tiny:
        cases[0] = ("plain", options.side, options.side, options.rows, "all", cases[0][5])
    measured, rate = [], 0
    for label, n, k, rows, model, shape in cases:
        times = {m: peer.product(n, k, m) for m in rows}
        rate = max([rate] + [2 * n * k * m / t for m, t in times.items()])
        words = ["kernels", "--op", "gemm", "--shape", shape, "--rows", ",".join(map(str, rows))]
        words += ["--model", model] if model != "all" else []
        for kind in ("bf16", "int4"):
            results = weft(options, *words, "--weights", kind, "--group", "64")
            for found, us, case in microseconds(results, rf"\S+( leaves)? {kind} \d+x\d+ m(\d+)"):
                measured.append((label, kind, bool(found[1]), int(found[2]), us * 1e-6, times, n, k, case["bytes"]))
    for label, kind, leaves, m, ours, times, n, k, size in measured:
        line = f"{label} {kind}{' leaves' if leaves else ''}, {m} rows"
        theirs = times[m] if kind == "bf16" else None
        if m >= 512:
            work = 2 * n * k * m
            target = "75 % of the matrix rate" if kind == "bf16" else ""
            table.add(line, "TFLOP/s", work / ours * 1e-12, theirs and work / theirs * 1e-12, 100 * work / ours / rate, target)
        else:
            target = f"{85 if kind == 'bf16' else 70} % of the copy's bandwidth" if m <= 16 else ""
            bytes_there = n * k * 2
            table.add(line, "GB/s", size / ours * 1e-9, theirs and bytes_there / theirs * 1e-9, 100 * size / ours / copy, target)
    return rate


def attention_round(options, peer, table, copy, rate):
    words = ["kernels", "--op", "attention", "--model", "8b", "--weights", "bf16"]
    ours = {}
    for shape, extra in [("prefill", ["--rows", str(options.prompt)]), ("decode", [])]:
        if options.tiny:
            extra = extra + ["--positions", str(options.positions[0][1])]
        for found, us, case in microseconds(weft(options, *words, "--shape", shape, *extra), r"8B (\w+) bf16 (\d+) of (\d+), batch (\d+)"):
            ours[found[1], int(found[4])] = (us * 1e-6, case)
    if ("prefill", 1) in ours:
        seconds, case = ours["prefill", 1]
        theirs, work = peer.attention(1, options.prompt, options.prompt), case["operations"]
        table.add(f"attention, causal prompt of {options.prompt}", "TFLOP/s", work / seconds * 1e-12,
                  theirs and work / theirs * 1e-12, 100 * work / seconds / rate, "55 % of the matrix rate")
    for batch, positions in options.positions:
        if ("decode", batch) not in ours:
            continue
        seconds, case = ours["decode", batch]
        theirs, size = peer.attention(batch, 1, positions), case["bytes"]
        table.add(f"attention, a step over {positions}, batch {batch}", "GB/s", size / seconds * 1e-9,
                  theirs and size / theirs * 1e-9, 100 * size / seconds / copy, "85 % of the copy's bandwidth")


def ceilings_round(options, table, copy, rate):
    ours = {r["name"]: r["stats"]["median"] for r in weft(options, "kernels", "--op", "ceilings")}
    table.add("copy, read and written", "GB/s", ours.get("copy memory", ours.get("copy DRAM", 0)), copy * 1e-9)
    table.add("bf16 products, the best", "TFLOP/s", ours.get("bf16", ours.get("amx bf16", 0)) * 1e-3, rate * 1e-12)


def main():
    options = parse()
    torch.set_grad_enabled(False)
    peer, table = Torch(options), Table("torch")
    where = torch.cuda.get_device_name(0) if options.device == "cuda" else "the host"
    print(f"torch {torch.__version__} on {where}; {options.rounds} rounds by turns, median [smallest largest]")
    for _ in range(options.rounds):
        copy = peer.copy()
        rate = gemm_round(options, peer, table, copy)
        attention_round(options, peer, table, copy, rate)
        ceilings_round(options, table, copy, rate)
        if options.device == "cuda":
            torch.cuda.empty_cache()
    table.show()


main()
