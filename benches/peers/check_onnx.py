#!/usr/bin/env python3
"""Exported ONNX files in the hands of others: onnx.checker's full check, and onnxruntime's scores against the native engine's.

Not part of CI: it installs onnx, onnxruntime, numpy and safetensors from PyPI into a venv in a temporary folder (about 200 MB).

    python3 benches/peers/check_onnx.py --host target/debug/alfred-host models/pretrained/*/weights.safetensors

Exports each weight file for batches of 1 and 8 windows with `alfred-host export`, and prints one line per graph. Exit code 1: a graph is
refused, or a score differs by more than 1e-4 + 1e-5 * |score|.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from own_venv import pinned, run_again

BATCHES = [1, 8]
ABSOLUTE, RELATIVE = 1e-4, 1e-5
# Tells the inner run, inside the venv, where to write.
FOLDER_VARIABLE = "ALFRED_CHECK_ONNX_FOLDER"


def tokens(x):
    """SPARTA's inputs: each frame's joints and their differences to the first frame; both halves read as (24, 72) without permuting."""
    import numpy

    joints = numpy.concatenate([x, x - x[:, :, :1]], axis=3)
    half = joints.shape[2] // 2
    return [part.reshape(len(x), half, -1) for part in (joints[:, :, :half], joints[:, :, half:])]


def check(host, weights, batch, folder):
    """Exports, checks and compares; whether all is well."""
    import numpy
    import onnx
    import onnxruntime
    from safetensors.numpy import load_file

    model_path, windows_path = folder / f"b{batch}.onnx", folder / "windows.safetensors"
    command = [host, "export", "--weights", weights, "--to", "onnx", "--batch", str(batch)]
    subprocess.run([*command, "--out", model_path, "--check-windows", windows_path], check=True, stdout=subprocess.DEVNULL)
    model = onnx.load(model_path)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model_path, providers=["CPUExecutionProvider"])
    windows = load_file(windows_path)
    batches = windows["x"].reshape(-1, batch, *windows["x"].shape[1:])
    names = [value.name for value in session.get_inputs()]
    feed = (lambda x: dict(zip(names, tokens(x)))) if names == ["src", "tgt"] else (lambda x: {"x": x})
    scores = numpy.concatenate([session.run(None, feed(x))[0] for x in batches])
    difference = numpy.abs(scores.astype(numpy.float64) - windows["score"])
    excess = difference - (ABSOLUTE + RELATIVE * numpy.abs(windows["score"]))
    good = bool(numpy.isfinite(scores).all() and (excess <= 0).all())
    print(
        f"{weights} batch {batch}: opset {model.opset_import[0].version}, {len(model.graph.node)} nodes,"
        f" {model_path.stat().st_size} bytes, checker passed; {len(scores)} windows, scores {windows['score'].min():.3f} to"
        f" {windows['score'].max():.3f}, largest difference {difference.max():.1e}: {'ok' if good else 'TOO FAR'}"
    )
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="target/debug/alfred-host", help="the built alfred-host")
    parser.add_argument("weights", nargs="+", help="weight files of STG-NF, SPARTA or GA-VAE")
    arguments = parser.parse_args()
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="check-onnx-") as folder:
            return run_again(folder, FOLDER_VARIABLE, pinned("onnx", "onnxruntime", "numpy", "safetensors"))
    results = [check(arguments.host, weights, batch, Path(folder)) for weights in arguments.weights for batch in BATCHES]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
