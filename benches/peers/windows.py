#!/usr/bin/env python3
"""One table: a window's score on PyTorch, onnxruntime, tract and our engines; same inputs, same core, one run. Not part of CI.

    cargo build --example window_times
    python3 benches/peers/windows.py [--no-torch] [--venv /tmp/peers-venv]

Model: the golden ShanghaiTech checkpoint where the golden data are beside the repository; there are then its graphs as exported from the
published code and with the mean over joints collapsed by hand. Otherwise our own weights, and the graph that `alfred-host export` writes.
Per engine and batch: processor time of a window (median over the rounds; the figure to compare on a busy machine, where a long call also
holds other processes' turns), median and p99 of its time by the clock, allocations of a call, resident memory of the process at the end.
All scores must agree, or the run fails. Graphs have a fixed batch: where it is smaller than the row's, a call is several runs.

PyTorch (reference_models.py, oneDNN off and on) needs 5 GB of disk, since its wheel does not import without its CUDA libraries;
--no-torch leaves it out. Everybody has one thread and one core and takes turns in bursts, each in a process of its own.
"""

import argparse
import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from own_venv import pinned, run_again

ROOT = Path(__file__).resolve().parents[2]
BATCHES = [1, 8, 32]
ABSOLUTE, RELATIVE = 1e-4, 1e-5
FOLDER_VARIABLE = "ALFRED_PEERS_WINDOWS_FOLDER"
BURST_SECONDS, CALLS_MAX = 0.1, 400


class Contender:
    """A process that answers "BATCH CALLS" with times; this script again, or window_times."""

    def __init__(self, command, environment=None):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.scores = self.answer()["scores"]

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args}: it has ended")
        return json.loads(line)

    def burst(self, batch, calls):
        self.process.stdin.write(f"{batch} {calls}\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def serve(kind, model, windows):
    """The other side of Contender for Python's engines."""
    import numpy
    from safetensors.numpy import load_file

    x = load_file(windows)["x"]
    allocations = ctypes.CDLL(None).alfred_allocations
    allocations.restype = ctypes.c_ulong
    run = onnxruntime_run(model) if kind == "onnxruntime" else torch_run(kind, model)
    print(json.dumps({"scores": [float(score) for score in numpy.concatenate([run(x[at : at + 8]) for at in range(0, len(x), 8)])]}), flush=True)
    for line in sys.stdin:
        batch, calls = (int(word) for word in line.split())
        times, before, cpu_before = [], allocations(), time.process_time_ns()
        for call in range(calls):
            first = call * batch % (len(x) + 1 - batch)
            part = x[first : first + batch]
            start = time.perf_counter_ns()
            run(part)
            times.append((time.perf_counter_ns() - start) / 1e3)
        made, cpu_us = allocations() - before, (time.process_time_ns() - cpu_before) / 1e3
        resident = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
        print(json.dumps({"calls_us": times, "cpu_us": cpu_us, "allocations": made, "resident_bytes": resident}), flush=True)


def onnxruntime_run(model):
    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed, output = session.get_inputs()[0], session.get_outputs()[0].name
    graph_batch = feed.shape[0]

    def run(x):
        parts = [session.run([output], {feed.name: x[at : at + graph_batch]})[0].reshape(-1) for at in range(0, len(x), graph_batch)]
        return parts[0] if len(parts) == 1 else numpy.concatenate(parts)

    return run


def torch_run(kind, weights):
    import torch
    from safetensors import safe_open

    sys.path.insert(0, str(Path(__file__).parent))
    import reference_models

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    torch.backends.mkldnn.enabled = kind == "torch-onednn"
    with safe_open(weights, framework="pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    model = reference_models.StgNf(metadata).eval()
    missing, _ = model.load_state_dict(tensors, strict=False)
    assert not missing, missing

    def run(x):
        with torch.inference_mode():
            return model.score(torch.from_numpy(x)).numpy()

    return run


def windows_file(folder, golden):
    """N windows as safetensors: the golden ones, or made-up ones."""
    import numpy
    from safetensors.numpy import load_file, save_file

    if golden:
        x = load_file(golden / "vectors" / "stgnf_shanghaitech.safetensors")["x"].astype(numpy.float32)
    else:
        x = numpy.random.default_rng(1).normal(0, 0.8, (64, 2, 24, 18)).astype(numpy.float32)
    path = folder / "windows.safetensors"
    save_file({"x": numpy.ascontiguousarray(x)}, path)
    return path


def contenders(arguments, folder, golden):
    """Name to process."""
    example = arguments.target / "examples" / "window_times"
    windows = windows_file(folder, golden)
    if golden:
        weights = golden / "weights" / "stgnf_shanghaitech.safetensors"
        graphs = {"as exported": golden / "onnx" / "stgnf_shanghaitech_b1.onnx", "collapsed": golden / "onnx" / "stgnf_shanghaitech_collapsed_b1.onnx"}
    else:
        weights = ROOT / "models" / "pretrained" / "stg_nf_synthetic" / "weights.safetensors"
        graphs = {"our export": folder / "export.onnx"}
        export = [arguments.target / "alfred-host", "export", "--weights", weights, "--to", "onnx", "--out", graphs["our export"]]
        subprocess.run(export, check=True, stdout=subprocess.DEVNULL)
    counter = folder / "count_malloc.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", counter, Path(__file__).with_name("count_malloc.c")], check=True)
    counted = dict(os.environ, LD_PRELOAD=str(counter))
    python = lambda kind, model: Contender([sys.executable, __file__, "--serve", kind, str(model), str(windows)], counted)
    found = {f"ours, {lane}": Contender([example, lane, weights, windows]) for lane in ("fast", "exact")}
    for name, graph in graphs.items():
        found[f"tract, {name}"] = Contender([example, "tract", graph, windows])
        found[f"onnxruntime, {name}"] = python("onnxruntime", graph)
    if not arguments.no_torch:
        found["PyTorch, oneDNN off"] = python("torch", weights)
        found["PyTorch, oneDNN on"] = python("torch-onednn", weights)
    return found


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


def compare(arguments, folder):
    core = max(os.sched_getaffinity(0)) if arguments.core is None else arguments.core
    os.sched_setaffinity(0, {core})
    golden = ROOT.parent / "shared" / "golden"
    golden = golden if golden.is_dir() else None
    found = contenders(arguments, folder, golden)
    expected = found["ours, exact"].scores
    for name, contender in found.items():
        excess = max(abs(one - other) - ABSOLUTE - RELATIVE * abs(other) for one, other in zip(contender.scores, expected))
        if not excess <= 0:
            print(f"{name} differs from our exact lane by {excess:.2g} beyond the tolerance: nothing is compared", file=sys.stderr)
            return 1
    processor = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown processor")
    weights = "published ShanghaiTech weights" if golden else "our own weights"
    print(f"{processor}, core {core}, load {os.getloadavg()[0]:.1f}; {weights}, {len(expected)} windows, {arguments.rounds} rounds; all scores agree\n")
    print("| engine | batch | processor µs per window | times ours, fast | median µs per window | p99 µs per window | allocations per call | resident MB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for batch in BATCHES:
        times, cpu, last = {name: [] for name in found}, {name: [] for name in found}, {}
        counts = {}
        for name, contender in found.items():
            warm = contender.burst(batch, 5)["calls_us"]
            counts[name] = max(5, min(CALLS_MAX, int(BURST_SECONDS * 1e6 / quantile(warm, 0.5))))
        for _ in range(arguments.rounds):
            for name, contender in found.items():
                last[name] = contender.burst(batch, counts[name])
                times[name] += [call / batch for call in last[name]["calls_us"]]
                cpu[name].append(last[name]["cpu_us"] / counts[name] / batch)
        fast = quantile(cpu["ours, fast"], 0.5)
        for name in found:
            median, p99, used = quantile(times[name], 0.5), quantile(times[name], 0.99), quantile(cpu[name], 0.5)
            allocations, resident = last[name]["allocations"] / counts[name], last[name]["resident_bytes"] / 1e6
            print(f"| {name} | {batch} | {used:,.2f} | {used / fast:,.1f} | {median:,.2f} | {p99:,.2f} | {allocations:,.1f} | {resident:,.1f} |", flush=True)
    for contender in found.values():
        contender.close()
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=Path, default=ROOT / "target" / "debug", help="folder of the built examples")
    parser.add_argument("--venv", type=Path, help="folder of a venv to keep (default: a temporary one)")
    parser.add_argument("--no-torch", action="store_true", help="leave PyTorch out")
    parser.add_argument("--rounds", type=int, default=20, help="turns of each contender")
    parser.add_argument("--core", type=int, help="core for everybody (default: the last one)")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(*arguments.serve)
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder is None:
        packages = ["onnxruntime", "numpy", "safetensors"] + ([] if arguments.no_torch else ["torch"])
        with tempfile.TemporaryDirectory(prefix="peers-windows-") as folder:
            return run_again(folder, FOLDER_VARIABLE, pinned(*packages), arguments.venv)
    return compare(arguments, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
