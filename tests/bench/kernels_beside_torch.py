"""What tests/bench/kernels_beside_torch runs. A round is weft's turn, a process of its own that measures its rows, then
torch's; a ratio is taken round by round. torch is given weights as they are (linear) and, where it has that, in the
order that oneDNN wants (packed). All copies of a weight together are larger than every cache. torch's activations are
of the weight's type already; weft rounds its own inside the timing."""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time

import torch

SECONDS = 0.04  # of a case's turn
CACHES = 768 << 20  # bytes of all copies, at least: more than a turn reads


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("weft")
    parser.add_argument("--shape", default="4096x4096")
    parser.add_argument("--rows", default="1,16,128,512")
    parser.add_argument("--types", default="bf16,f32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def weft_turn(options, kind):
    """Microseconds by rows."""
    command = [options.weft, "bench", "kernels", "--op", "gemm", "--shape", options.shape, "--rows", options.rows]
    command += ["--weights", kind, "--threads", str(options.threads), "--rounds", "3", "--no-peers", "--json", "-"]
    record = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    times = {}
    for result in record["results"]:
        found = re.fullmatch(r"plain \w+ \w+ m(\d+)", result["case"].get("shape", ""))
        if found and result["unit"] == "us":
            times[int(found[1])] = result["stats"]["median"]
    return times


class Torch:
    def __init__(self, n, k, kind, rows):
        self.type = torch.bfloat16 if kind == "bf16" else torch.float32
        self.copies = CACHES // (n * k * self.type.itemsize) + 1
        one = torch.randint(-6, 7, (n, k)).to(self.type) * 0.125
        self.plain = [one.clone() for _ in range(self.copies)]
        self.rows = {m: torch.randint(-2, 3, (m, k)).to(self.type) * 0.5 for m in rows}
        self.packed = {}
        self.next = 0
        for m in rows:
            try:
                self.packed[m] = [torch.ops.mkldnn._reorder_linear_weight(w, m) for w in self.plain]
            except (RuntimeError, AttributeError):  # not in this torch
                self.packed[m] = None
            # small whole numbers: the sums are exact before the result is rounded
            expected = self.rows[m].double() @ one.double().T
            for form in self.forms(m):
                got = self.run(m, form).double()
                if (got - expected).abs().max() > 0.01 * expected.abs().max():
                    sys.exit(f"torch's {form} of {m} rows is wrong")

    def forms(self, m):
        return ["linear", "packed"] if self.packed[m] else ["linear"]

    def run(self, m, form):
        self.next = (self.next + 1) % self.copies
        if form == "linear":
            return torch.nn.functional.linear(self.rows[m], self.plain[self.next])
        weight = self.packed[m][self.next]
        return torch.ops.mkldnn._linear_pointwise(self.rows[m], weight, None, "none", [], "")

    def time(self, m, form):
        self.run(m, form)
        began = time.perf_counter()
        runs = 0
        while runs == 0 or time.perf_counter() - began < SECONDS:
            self.run(m, form)
            runs += 1
        return (time.perf_counter() - began) / runs * 1e6


def spread(values):
    return f"{statistics.median(values):9.1f} [{min(values):8.1f} {max(values):8.1f}]"


def compare(options, kind):
    n, k = (int(x) for x in options.shape.split("x"))
    rows = [int(x) for x in options.rows.split(",")]
    peer = Torch(n, k, kind, rows)
    weft = {m: [] for m in rows}
    other = {(m, form): [] for m in rows for form in peer.forms(m)}
    for _ in range(options.rounds):
        for m, value in weft_turn(options, kind).items():
            weft[m].append(value)
        for m, form in other:
            other[m, form].append(peer.time(m, form))
        time.sleep(0.1)  # its threads come to rest
    for m, form in other:
        ratios = [theirs / ours for theirs, ours in zip(other[m, form], weft[m])]
        print(
            f"{kind:5} {options.shape} m{m:<4} threads {options.threads}  weft {spread(weft[m])} us  "
            f"torch {form} {spread(other[m, form])} us  "
            f"{statistics.median(ratios):5.2f} x [{min(ratios):.2f} {max(ratios):.2f}]",
            flush=True,
        )


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    onednn = re.search(r"MKL-DNN v([\d.]+)", torch.__config__.show())
    print(f"torch {torch.__version__}, oneDNN {onednn[1] if onednn else 'unknown'}; {options.rounds} rounds, "
          f"median [smallest largest]; x: how many times weft's")
    for kind in options.types.split(","):
        compare(options, kind)


main()
