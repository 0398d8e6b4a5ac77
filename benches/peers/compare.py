"""Measures encoders over the same windows, in turn, and prints one Markdown table per kind of windows.

Each rival runs on as many one-thread processes as cores are used, every process pinned to its own core, with the
windows dealt out in turn. Batches are sorted by length and padded; the size is the fastest of 1, 8 and 32 in a trial. A
rival that needs more than --seconds for all windows gets an evenly drawn part of them. Tokens are real ones.
"""
import argparse
import datetime
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
RUST = ["stancewire-int8", "stancewire-f32", "rust-bert-f32", "rten-int8"]
PYTHON = ["pytorch-f32", "pytorch-bf16", "onnxruntime-f32", "onnxruntime-int8"]
PADLESS = {"stancewire-int8", "stancewire-f32"}


class Worker:
    """One process of a rival on one core."""

    def __init__(self, a, name, windows, batch, part, parts, core):
        if name in RUST:
            command = [a.peers, "rival", name, windows, f"{a.work}/int8.onnx", batch, part, parts]
        else:
            command = [sys.executable, HERE / "rivals.py", "rival", name, windows, a.work, a.model, batch, part, parts]
        pin = lambda: os.sched_setaffinity(0, {core})
        environment = dict(os.environ, OMP_NUM_THREADS="1", RAYON_NUM_THREADS="1", RTEN_NUM_THREADS="1")
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, preexec_fn=pin, env=environment)
        self.tokens, self.computed = map(int, self.line().split())

    def line(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a rival ended with status {self.process.wait()}")
        return line

    def go(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def once(workers):
    """Seconds until the last of the workers has run its windows."""
    start = time.perf_counter()
    for worker in workers:
        worker.go()
    for worker in workers:
        worker.line()
    return time.perf_counter() - start


def best_batch(a, name, windows, cores):
    """The fastest size of batches on a part of the windows, and seconds per token with it."""
    results = []
    for batch in [1] if name in PADLESS else [1, 8, 32]:
        worker = Worker(a, name, windows, batch, 0, 8, cores[0])
        first = once([worker])
        seconds = first if first > 3 * a.seconds else min(once([worker]) for _ in range(3))
        results.append((seconds / worker.tokens, batch))
        worker.close()
    return min(results)[1], min(results)[0]


def measure(a, windows, threads, rivals, batches):
    cores = sorted(os.sched_getaffinity(0))[:threads]
    teams = {}
    for name in rivals:
        batch, per_token = batches[name]
        tokens = a.tokens / threads
        skip = max(1, round(per_token * tokens / a.seconds))
        teams[name] = [Worker(a, name, windows, batch, part, threads * skip, core) for part, core in enumerate(cores)]
    rates = {name: [] for name in rivals}
    for _ in range(a.rounds + 1):
        for name, team in teams.items():
            rates[name].append(sum(w.tokens for w in team) / once(team))
    padding = {}
    for name, team in teams.items():
        padding[name] = 1 - sum(w.tokens for w in team) / sum(w.computed for w in team)
        for worker in team:
            worker.close()
    # The first round warms up.
    return {name: values[1:] for name, values in rates.items()}, padding


def table(title, results, padding, batches):
    medians = {name: statistics.median(values) for name, values in results.items()}
    ratio = lambda name, other: statistics.median(x / y for x, y in zip(results[name], results[other]))
    print(f"\n{title}\n\n| encoder | tokens/s | lowest–highest | batch | padding | × rust-bert | × ONNX Runtime int8 |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name in sorted(medians, key=medians.get, reverse=True):
        values = results[name]
        batch = "ragged" if name in PADLESS else batches[name][0]
        print(f"| {name} | {medians[name]:,.0f} | {min(values):,.0f}–{max(values):,.0f} | {batch} | {padding[name]:.1%} "
              f"| {ratio(name, 'rust-bert-f32'):.2f} | {ratio(name, 'onnxruntime-int8'):.2f} |", flush=True)


def machine():
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next((line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), platform.processor())
    known = ("avx2", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8")
    flags = [flag for flag in known if f" {flag}" in info]
    return f"{model} ({', '.join(flags)})"


def versions():
    lock = (HERE / "Cargo.lock").read_text()
    crate = lambda name: lock.split(f'name = "{name}"\nversion = "')[1].split('"')[0]
    python = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "onnxruntime"))
    return f"stancewire {crate('stancewire')}, rust-bert {crate('rust-bert')} on libtorch 2.4.0, rten {crate('rten')}, {python}"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--articles", required=True, help="JSON Lines with a field `text`")
    p.add_argument("--peers", required=True, help="the program of this folder")
    p.add_argument("--model", required=True)
    p.add_argument("--work", required=True, help="folder for windows and ONNX files")
    p.add_argument("--tokens", type=int, default=24_000)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=8.0, help="most seconds of one run of a rival")
    p.add_argument("--only", nargs="+", help="rivals to measure")
    p.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    a = p.parse_args()
    rivals = [name for name in RUST + PYTHON if not a.only or name in a.only]
    cores = sorted(os.sched_getaffinity(0))
    print(f"{machine()}, {datetime.date.today()}; {versions()}")
    print(f"{a.rounds} rounds in turn, median; {a.tokens:,} tokens of {Path(a.articles).name}")
    kinds = [("windows of the pipeline", 0), ("windows of 128 tokens", 128)]
    for kind, length in kinds:
        windows = f"{a.work}/windows-{length}.json"
        subprocess.run([a.peers, "windows", a.articles, str(a.tokens), str(length), windows], check=True)
        batches = {name: best_batch(a, name, windows, cores) for name in rivals}
        for threads in [t for t in a.threads if t <= len(cores)]:
            results, padding = measure(a, windows, threads, rivals, batches)
            table(f"**{threads} core{'s' if threads > 1 else ''}, {kind}**", results, padding, batches)


if __name__ == "__main__":
    main()
