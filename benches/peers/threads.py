#!/usr/bin/env python3
"""Our hand-derived training steps on one thread and on two, taking turns in one run; nothing is installed.

    cargo build --example train_step
    python3 benches/peers/threads.py --target target/debug [--rounds 15] [--models stg-nf sparta]

Prints a table in Markdown: samples per second of both, and the ratio by round. On a machine with other work the ratio says what a second thread gets
there, not what it is worth on a quiet one; samples per CPU-second tell how much the threads cost each other. GA-VAE is left out: `train_step.py`
makes its weights.
"""

import argparse
import json
import os
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from random import Random
from statistics import median

BATCH, WINDOWS, FRAMES, JOINTS = 256, 1024, 24, 18
STEPS = {"stg-nf": 40, "sparta": 2}


def write_windows(path):
    """Random walks, as safetensors without a library."""
    random = Random(23)
    values = []
    for _ in range(WINDOWS):
        window = []
        for _ in range(2 * JOINTS):
            place = random.gauss(0, 1)
            for _ in range(FRAMES):
                place += random.gauss(0, 0.1)
                window.append(place)
        values += window
    data = struct.pack(f"<{len(values)}f", *values)
    header = json.dumps({"x": {"dtype": "F32", "shape": [WINDOWS, 2, JOINTS, FRAMES], "data_offsets": [0, len(data)]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


class Ours:
    def __init__(self, example, *arguments):
        self.process = subprocess.Popen([example, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        # Linux' CPU clock of another process, all its threads.
        self.clock = (~self.process.pid << 3) | 2
        self.process.stdout.readline()

    def burst(self, count):
        """Samples per second, and per CPU-second; the last loss."""
        cpu = time.clock_gettime(self.clock)
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        cpu = time.clock_gettime(self.clock) - cpu
        return count * BATCH / answer["seconds"], count * BATCH / cpu, answer["losses"][-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="target/debug", help="folder of the built examples/train_step")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--models", nargs="+", choices=list(STEPS), default=list(STEPS))
    arguments = parser.parse_args()
    example = Path(arguments.target).resolve() / "examples" / "train_step"
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}, batch {BATCH}, {arguments.rounds} rounds\n")
    print("| Model | samples/s, 1 thread | 2 threads | ratio (lowest to highest) | samples/CPU-s, 1 thread | 2 threads | same loss |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="threads-") as folder:
        windows = Path(folder) / "windows.safetensors"
        write_windows(windows)
        for model in arguments.models:
            weights = Path(folder) / f"{model}.safetensors"
            options = ["--windows", windows, "--weights", weights, "--batch", BATCH]
            subprocess.run([example, "prepare", "--arch", model, *map(str, options)], check=True)
            both = [Ours(example, "train", *options, "--threads", threads) for threads in (1, 2)]
            for ours in both:
                ours.burst(2)
            rounds = [[ours.burst(STEPS[model]) for ours in both] for _ in range(arguments.rounds)]
            ratios = sorted(two[0] / one[0] for one, two in rounds)
            cells = [median(turn[which][value] for turn in rounds) for value in (0, 1) for which in (0, 1)]
            same = all(one[2] == two[2] for one, two in rounds)
            ratio = f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            print(f"| {model} | {cells[0]:,.0f} | {cells[1]:,.0f} | {ratio} | {cells[2]:,.0f} | {cells[3]:,.0f} | {'yes' if same else 'to rounding'} |")
            for ours in both:
                ours.process.stdin.close()
                ours.process.wait()


if __name__ == "__main__":
    main()
