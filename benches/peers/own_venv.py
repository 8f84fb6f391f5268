"""What the peers' scripts share: a script runs itself again inside a venv with the packages that it names."""

import os
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def pinned(*names):
    """These packages in the versions of requirements.txt; those that it does not name in any."""
    known = {line.split("==")[0]: line for line in REQUIREMENTS.read_text().split()}
    return [known.get(name, name) for name in names]


def run_again(folder, folder_variable, packages, venv=None):
    """The exit code of this script in the venv's Python, which is made and filled if it is not there yet. The inner run finds `folder` in
    the environment, under `folder_variable`."""
    venv = venv or Path(folder) / "venv"
    python = venv / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages], check=True)
    return subprocess.run([python, *sys.argv], env=dict(os.environ, **{folder_variable: str(folder)})).returncode
