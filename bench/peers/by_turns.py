"""What the scripts of bench/peers share: turns of weft, a table, and time on a device."""

import json
import statistics
import subprocess
import sys
import time

import torch


def weft(options, *words):
    """The record of one run of weft bench."""
    command = [options.weft, "bench", *words, "--device", options.weft_device, "--rounds", "1", "--json", "-"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr.decode()[-2000:]}")
    return json.loads(done.stdout)["results"]


class Clock:
    """Seconds of a call by the device's events, on the host by its clock; medians are the caller's."""

    def __init__(self, device):
        self.cuda = device == "cuda"

    def once(self, call, runs):
        if not self.cuda:
            began = time.perf_counter()
            for i in range(runs):
                call(i)
            return (time.perf_counter() - began) / runs
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin.record()
        for i in range(runs):
            call(i)
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) * 1e-3 / runs

    def seconds(self, call, wanted=0.02):
        call(0)
        one = self.once(call, 1)
        return self.once(call, max(1, min(200, int(wanted / max(one, 1e-6)))))


class Table:
    """Lines of samples by turns: weft's, the peer's, their ratio, and a share beside its target."""

    def __init__(self, peer):
        self.rows, self.peer = {}, peer

    def add(self, line, unit, ours, theirs=None, share=None, target="", more_is_better=True):
        row = self.rows.setdefault(line, {"unit": unit, "ours": [], "theirs": [], "share": [], "target": target})
        row["more"] = more_is_better
        row["ours"].append(ours)
        if theirs is not None:
            row["theirs"].append(theirs)
        if share is not None:
            row["share"].append(share)

    @staticmethod
    def spread(values):
        if not values:
            return f"{'-':>9} {'':19}"
        return f"{statistics.median(values):9.4g} [{min(values):8.4g} {max(values):8.4g}]"

    def show(self):
        print(f"{'':44} {'unit':9} {'weft':29} {self.peer:29} {'times':>6}  {'share %':>8}  target")
        for line, row in self.rows.items():
            ratios = [a / b if row["more"] else b / a for a, b in zip(row["ours"], row["theirs"])]
            times = f"{statistics.median(ratios):6.2f}" if ratios else f"{'-':>6}"
            share = f"{statistics.median(row['share']):8.1f}" if row["share"] else f"{'-':>8}"
            print(f"{line:44} {row['unit']:9} {self.spread(row['ours'])} {self.spread(row['theirs'])} {times}  {share}  "
                  f"{row['target']}", flush=True)
