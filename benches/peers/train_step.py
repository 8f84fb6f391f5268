#!/usr/bin/env python3
"""Our training steps and scores against PyTorch's and onnxruntime's: same weights, same windows, one core, one thread, taking turns in one run.

Not part of CI: it installs benches/peers/requirements.txt into a venv (PyTorch and its CUDA libraries: about 5 GB).

    cargo test -p alfred-trainer-host --test kill_and_resume --no-run      # builds target/debug/alfred-host
    cargo build --example train_step
    python3 benches/peers/train_step.py --target target/debug [--venv FOLDER]

Prints two tables in Markdown, then the targets. Exit code 1: a first loss or a score differs from PyTorch's (nothing is then measured that
would mean something), exit code 0 otherwise, whether targets are met or not. A model that cannot be trained or exported is said to be "not measured".
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
# Tells the inner run, inside the venv, where to write.
FOLDER_VARIABLE = "ALFRED_PEERS_FOLDER"
TRAIN_BATCH = 256
# Steps of one turn: ours, theirs. Steps before the first turn are not counted.
STEPS = {"stg-nf": (12, 2), "sparta": (2, 1), "gavae": (2, 1)}
NAMES = {"stg-nf": "STG-NF", "sparta": "SPARTA, prediction branch, tokens", "gavae": "GA-VAE"}
FRAMES = {"stg-nf": 24, "sparta": 24, "gavae": 24}
RATE = 5e-4
LOSS_RELATIVE = 1e-4
SCORE_ABSOLUTE, SCORE_RELATIVE = 1e-4, 1e-4
SCORE_BATCHES = (1, 8, 32)
# `alfred-host export` makes no graphs for more windows.
ONNX_BATCH_MAX = 16
# Samples per CPU-second, and how many times PyTorch's reference step.
TARGETS = {"stg-nf": (10_000, 8.0), "sparta": (None, 1.0), "gavae": (None, 1.0)}


def in_venv(folder, venv):
    """Runs this script again with the venv's Python, which is made and filled if it is not there yet."""
    python = venv / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    requirements = ["-r", HERE / "requirements.txt"]
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements], check=True)
    environment = dict(os.environ, **{FOLDER_VARIABLE: folder})
    # One thread for everybody, before any library looks at these.
    environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    return subprocess.run([python, *sys.argv], env=environment).returncode


class Ours:
    """The example `train_step` in a process of its own, which works only while it is asked."""

    def __init__(self, example, *arguments):
        self.process = subprocess.Popen([example, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        # Linux' CPU clock of another process, all its threads.
        self.clock = (~self.process.pid << 3) | 2
        self.ready = self.line()

    def line(self):
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise RuntimeError("the example ended; what it says is above")
        return json.loads(line)

    def ask(self, count):
        """The answer to a burst, and its CPU seconds."""
        start = time.clock_gettime(self.clock)
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        answer = self.line()
        return answer, time.clock_gettime(self.clock) - start

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def people(count, frames):
    """Normalised windows (count, 2, 18, T): a pose that sways and walks, with noise."""
    import numpy

    random = numpy.random.default_rng(23)
    pose = random.normal(size=(count, 2, 18, 1))
    phase, sway = random.uniform(0, 6.28, size=(count, 2, 18, 1)), random.uniform(0, 0.3, size=(count, 1, 1, 1))
    walk = random.normal(scale=0.7, size=(count, 2, 1, 1))
    frame = numpy.arange(frames)
    windows = pose + sway * numpy.sin(0.4 * frame + phase) + walk * (frame / frames - 0.5) + random.normal(scale=0.03, size=(count, 2, 18, frames))
    windows -= windows.mean(axis=(2, 3), keepdims=True)
    windows /= windows[:, 1:].std(axis=(2, 3), keepdims=True)
    return numpy.ascontiguousarray(windows, dtype=numpy.float32)


def prepare(architecture, example, folder, width):
    """Windows and weights of a model; paths of both, and the windows as (N, 2, T, 18)."""
    import torch
    from safetensors.numpy import save_file
    from safetensors.torch import save_file as save_tensors

    import reference_models

    windows_path, weights_path = folder / f"{architecture}-windows.safetensors", folder / f"{architecture}.safetensors"
    windows = people(4 * TRAIN_BATCH, FRAMES[architecture])
    save_file({"x": windows}, windows_path)
    x = torch.from_numpy(windows.transpose(0, 1, 3, 2).copy())
    if architecture == "gavae":
        # Made here: every step of ours can then be measured as soon as it exists, at any width.
        torch.manual_seed(1)
        metadata = {"architecture": "ga-vae", "seg_len": "24", "width": str(width)}
        model = reference_models.GaVae(metadata)
        with torch.no_grad():
            # Running statistics of these windows.
            for batch in x.split(TRAIN_BATCH):
                model.encode(batch)
                model.loss(batch)
            model.eval()
            model.score_place.reference_mean.copy_(model.encode(x[:64]).mean(0))
        save_tensors(reference_models.to_tensors(model), weights_path, metadata=metadata)
    else:
        options = ["--windows", windows_path, "--weights", weights_path, "--batch", TRAIN_BATCH, "--lr", RATE]
        subprocess.run([example, "prepare", "--arch", architecture, *map(str, options)], check=True)
    return windows_path, weights_path, x


def load(architecture, weights_path):
    from safetensors import safe_open

    import reference_models

    with safe_open(weights_path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        return reference_models.of_tensors(architecture, tensors, file.metadata())


def one_dnn(enabled):
    import torch

    return torch.backends.mkldnn.flags(enabled=enabled)


class TorchSteps:
    """PyTorch's training step: forward, backward, clipped gradient, optimiser."""

    def __init__(self, architecture, weights_path, x, uses_one_dnn, noise):
        self.model = load(architecture, weights_path).train()
        self.model.first_noise = noise
        self.optimiser = self.model.optimiser(RATE)
        self.batches = list(x.split(TRAIN_BATCH))
        self.uses_one_dnn, self.done = uses_one_dnn, 0

    def burst(self, count):
        """Losses, seconds, CPU seconds."""
        import torch

        losses = []
        with one_dnn(self.uses_one_dnn):
            start, cpu = time.perf_counter(), time.process_time()
            for _ in range(count):
                self.optimiser.zero_grad()
                loss = self.model.loss(self.batches[self.done % len(self.batches)])
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.model.gradient_norm_max)
                self.optimiser.step()
                losses.append(loss.item())
                self.done += 1
            return losses, time.perf_counter() - start, time.process_time() - cpu


def our_steps(architecture, example, windows_path, weights_path, noise_values, backend, folder):
    """A process that trains, and the random numbers of its first step."""
    from safetensors.torch import load_file

    noise_path = folder / "noise.safetensors"
    options = ["--windows", windows_path, "--weights", weights_path, "--batch", TRAIN_BATCH, "--lr", RATE, "--backend", backend]
    if noise_values:
        options += ["--noise-out", noise_path, "--noise-values", noise_values]
    ours = Ours(example, "train", *options)
    return ours, load_file(noise_path)["noise"] if noise_values else None


def train(architecture, example, prepared, rounds, folder):
    """Rates of each contender by round: {name: [(samples/s, samples/CPU-s)]}, and losses of the first and third step."""
    windows_path, weights_path, x = prepared
    noise_values = 0
    if architecture == "gavae":
        noise_values = TRAIN_BATCH * load(architecture, weights_path).latent_channels * 4 * 18
    steps_ours, steps_theirs = STEPS[architecture]
    backends = {"ours, by hand": "hand", "ours, burn": "burn"}
    bursts, noise = {}, None
    for name, backend in backends.items():
        ours, noise = our_steps(architecture, example, windows_path, weights_path, noise_values, backend, folder)

        def burst(ours=ours, name=name, count=None):
            answer, cpu = ours.ask(count or (steps_ours if name == "ours, by hand" else steps_theirs))
            return answer["losses"], answer["seconds"], cpu

        bursts[name] = burst
    for name, uses_one_dnn in {"PyTorch, oneDNN off": False, "PyTorch, oneDNN on": True}.items():
        steps = TorchSteps(architecture, weights_path, x, uses_one_dnn, noise)

        def burst(steps=steps, count=None):
            return steps.burst(count or steps_theirs)

        bursts[name] = burst
    # Not timed: first steps allocate. The first loss is that of the same weights and windows, the third shows that both learn alike.
    losses = {name: burst(count=3)[0][::2] for name, burst in bursts.items()}
    rates = {name: [] for name in bursts}
    for round_number in range(rounds):
        for name, burst in bursts.items():
            done, seconds, cpu = burst()
            rates[name].append((len(done) * TRAIN_BATCH / seconds, len(done) * TRAIN_BATCH / cpu))
        print(f"{architecture}: round {round_number + 1} of {rounds}", file=sys.stderr)
    return rates, losses


def ratios(ours, theirs, which):
    """Median and range of the rounds' ratios."""
    values = sorted(own[which] / other[which] for own, other in zip(ours, theirs))
    return f"{median(values):.2f} ({values[0]:.2f} to {values[-1]:.2f})"


def train_table(results):
    """Prints the table; whether all first losses agree."""
    print(f"\n## Training step, batch {TRAIN_BATCH}, one thread\n")
    print("Ratios: the first line of each model over this one, by round: median (lowest to highest).\n")
    print("| Model | Step | samples / s | samples / CPU-s | ratio, wall clock | ratio, CPU | first loss | third loss |\n|---|---|---|---|---|---|---|---|")
    agree = True
    for label, outcome in results.items():
        if isinstance(outcome, str):
            print(f"| {label} | not measured: {outcome} | | | | | | |")
            continue
        rates, losses = outcome
        first = next(iter(rates))
        for name, rounds in rates.items():
            good = abs(losses[name][0] - losses[first][0]) <= LOSS_RELATIVE * abs(losses[first][0])
            agree &= good
            wall, cpu = (median(values) for values in zip(*rounds))
            both = ["", ""] if name == first else [ratios(rates[first], rounds, which) for which in (0, 1)]
            mark = "" if good else " DIFFERS"
            print(f"| {label} | {name} | {wall:,.0f} | {cpu:,.0f} | {both[0]} | {both[1]} | {losses[name][0]:.6f}{mark} | {losses[name][1]:.6f} |")
    return agree


def targets(results, architectures):
    print("\n## Targets\n")
    for label, outcome in results.items():
        rate_min, ratio_min = TARGETS[architectures[label]]
        if isinstance(outcome, str):
            print(f"- {label}: not measured")
            continue
        rates, _ = outcome
        ours = next(iter(rates.values()))
        if rate_min:
            rate = median(cpu for _, cpu in ours)
            print(f"- {label}: {rate:,.0f} samples per CPU-second, target {rate_min:,}: {'met' if rate >= rate_min else 'MISSED'}")
        for name in (name for name in rates if name.startswith("PyTorch")):
            ratio = median(own[1] / other[1] for own, other in zip(ours, rates[name]))
            verdict = "met" if ratio >= ratio_min else "MISSED"
            print(f"- {label}: {ratio:.2f} times {name} per CPU-second, target {ratio_min:g}: {verdict}")


def timed_calls(call, count):
    """Microseconds of each call, and which of them no other process interrupted."""
    calls_us, undisturbed = [], []
    for _ in range(count):
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
        start = time.perf_counter_ns()
        call()
        calls_us.append((time.perf_counter_ns() - start) / 1e3)
        undisturbed.append(resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw == before)
    return calls_us, undisturbed


class OurScores:
    def __init__(self, example, windows_path, weights_path, lane, batch):
        self.ours = Ours(example, "score", "--windows", windows_path, "--weights", weights_path, "--lane", lane, "--batch", batch)
        self.scores = self.ours.ready["scores"]

    def burst(self, count):
        answer, _ = self.ours.ask(count)
        return answer["calls_us"], answer["undisturbed"]

    def cpu_us(self, count):
        """CPU microseconds per call, nothing else being done between calls."""
        return self.ours.ask(-count)[1] / count * 1e6


class TheirScores:
    """`run` gives the scores of a tensor of windows (N, 2, T, 18), N being `batch`."""

    def __init__(self, batches, run, around=contextlib.nullcontext):
        self.batches, self.run, self.around, self.done = batches, run, around, 0
        with around():
            self.scores = [float(score) for batch in batches for score in run(batch)]

    def call(self):
        self.run(self.batches[self.done % len(self.batches)])
        self.done += 1

    def burst(self, count):
        with self.around():
            return timed_calls(self.call, count)

    def cpu_us(self, count):
        with self.around():
            start = time.process_time()
            for _ in range(count):
                self.call()
            return (time.process_time() - start) / count * 1e6


def torch_scores(architecture, weights_path, x, batch, uses_one_dnn):
    import torch

    model = load(architecture, weights_path).eval()

    @contextlib.contextmanager
    def around():
        with torch.inference_mode(), one_dnn(uses_one_dnn):
            yield

    return TheirScores(list(x.split(batch)), model.score, around)


def onnx_scores(host, weights_path, x, batch, folder):
    """The exported graph in onnxruntime; more windows than a graph can have are several runs."""
    import onnxruntime

    graph_batch = min(batch, ONNX_BATCH_MAX)
    path = folder / f"{weights_path.stem}-b{graph_batch}.onnx"
    command = [host, "export", "--weights", weights_path, "--to", "onnx", "--batch", str(graph_batch), "--out", path]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError("not exported")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    if len(session.get_inputs()) != 1:
        raise RuntimeError("its graph takes the two halves of a window apart: not compared here, see check_onnx.py")
    output, feed = session.get_outputs()[0].name, session.get_inputs()[0].name
    parts = [[part.numpy() for part in whole.split(graph_batch)] for whole in x.split(batch)]
    return TheirScores(parts, lambda parts: [score for part in parts for score in session.run([output], {feed: part})[0].reshape(-1)])


def score(architecture, example, host, prepared, batch, rounds, folder):
    """Per contender: window times in microseconds, or why there are none; and whether all scores agree."""
    windows_path, weights_path, x = prepared
    x = x[: max(32, batch) * 2]
    contenders = {f"ours, {lane}": OurScores(example, windows_path, weights_path, lane, batch) for lane in ("fast", "exact")}
    for name, uses_one_dnn in {"PyTorch, oneDNN off": False, "PyTorch, oneDNN on": True}.items():
        contenders[name] = torch_scores(architecture, weights_path, x, batch, uses_one_dnn)
    missing = {}
    try:
        contenders["onnxruntime"] = onnx_scores(host, weights_path, x, batch, folder)
    except RuntimeError as reason:
        missing["onnxruntime"] = str(reason)
    expected, agree = contenders["PyTorch, oneDNN off"].scores, True
    for name, contender in contenders.items():
        differences = [abs(own - other) - SCORE_ABSOLUTE - SCORE_RELATIVE * abs(other) for own, other in zip(contender.scores, expected)]
        if not max(differences) <= 0:
            agree = False
            print(f"{architecture}, batch {batch}: {name} differs by {max(differences):.2g} beyond the tolerance", file=sys.stderr)
    # Bursts of about a tenth of a second.
    counts = {name: max(5, int(1e5 / median(contender.burst(5)[0]))) for name, contender in contenders.items()}
    times = {name: ([], [], []) for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            calls_us, undisturbed = contender.burst(min(400, counts[name]))
            windows_us = [call / batch for call in calls_us]
            times[name][0].extend(windows_us)
            times[name][1].extend(time for time, own in zip(windows_us, undisturbed) if own)
            times[name][2].append((median(windows_us), contender.cpu_us(counts[name]) / batch))
    for contender in contenders.values():
        if isinstance(contender, OurScores):
            contender.ours.close()
    return times | missing, agree


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def score_table(results):
    print("\n## Scores, microseconds per window, one thread\n")
    print("A call's time divided by its windows. p99 undisturbed: of the calls during which no other process got the core (nan: none). CPU: in bursts")
    print("without clocks around calls. Ratio: this line's CPU time over that of ours, fast, by round: median (lowest to highest).\n")
    print("| Model | Windows per call | Engine | median | p99 | p99 undisturbed | CPU | ratio, CPU | calls |\n|---|---|---|---|---|---|---|---|---|")
    for (label, batch), times in results.items():
        for name, outcome in times.items():
            if isinstance(outcome, str):
                print(f"| {label} | {batch} | {name} | {outcome} | | | | | |")
                continue
            calls, undisturbed, rounds = outcome
            others = times["ours, fast"][2]
            ratio = "" if name == "ours, fast" else ratios(rounds, others, 1)
            cells = [quantile(calls, 0.5), quantile(calls, 0.99), quantile(undisturbed, 0.99), median(cpu for _, cpu in rounds)]
            print(f"| {label} | {batch} | {name} | {' | '.join(f'{cell:,.2f}' for cell in cells)} | {ratio} | {len(calls)} |")


def machine(core):
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown processor")
    import onnxruntime
    import torch

    return f"{model}, core {core}, load {os.getloadavg()[0]:.1f}; PyTorch {torch.__version__}, onnxruntime {onnxruntime.__version__}"


def compare(arguments, folder):
    import torch

    import reference_models

    reference_models.GaVae.beta = arguments.beta
    core = max(os.sched_getaffinity(0)) if arguments.core is None else arguments.core
    os.sched_setaffinity(0, {core})
    # Switching oneDNN on and off also touches a setting of GPUs that are not here.
    warnings.filterwarnings("ignore", message="TF32 acceleration")
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    target = Path(arguments.target).resolve()
    example, host = target / "examples" / "train_step", target / "alfred-host"
    print(f"{machine(core)}; {arguments.rounds} rounds", flush=True)
    trained, scored, architectures, agree = {}, {}, {}, True
    for architecture in arguments.models:
        label = NAMES[architecture] + (f", width {arguments.width}" if architecture == "gavae" else "")
        architectures[label] = architecture
        prepared = prepare(architecture, example, folder, arguments.width)
        try:
            trained[label] = train(architecture, example, prepared, arguments.rounds, folder)
        except RuntimeError:
            trained[label] = "this build has no training step for it"
        for batch in () if arguments.train_only else SCORE_BATCHES:
            scored[label, batch], good = score(architecture, example, host, prepared, batch, arguments.rounds, folder)
            agree &= good
    agree &= train_table(trained)
    if scored:
        score_table(scored)
    targets(trained, architectures)
    if not agree:
        print("\nLosses or scores DIFFER: see above. The figures mean nothing.")
    return 0 if agree else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="target/debug", help="folder of the built alfred-host and examples/train_step")
    parser.add_argument("--venv", type=Path, help="folder of a venv to keep (default: a temporary one)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contender")
    parser.add_argument("--models", nargs="+", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--width", type=int, default=2, help="GA-VAE's width; the published one is 10")
    parser.add_argument("--train-only", action="store_true", help="no table of scores")
    parser.add_argument("--beta", type=float, default=1.0, help="GA-VAE's weight of the divergence: our trainer's default, or the first losses differ")
    parser.add_argument("--core", type=int, help="core for everybody (default: the last one)")
    arguments = parser.parse_args()
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="peers-") as folder:
            return in_venv(folder, arguments.venv or Path(folder) / "venv")
    return compare(arguments, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
