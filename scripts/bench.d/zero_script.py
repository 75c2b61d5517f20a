#!/usr/bin/env python3
"""DeepSpeed's own zero_to_fp32.py, and of DeepSpeed only what that script asks for: zero_script.py OUT

The script comes out of the release on PyPI. All of DeepSpeed wants a compiler and a device; the script wants the keys of its
dictionaries, a logger and the class that its pickles name.
"""

import pathlib
import subprocess
import sys
import tarfile
import tempfile

VERSION = "0.19.8"
SHA256 = "9e491abd0827ea5c389dd702e15e11e13d83d904bac4a20d6c2a4cb37207a9af"

# Where each file of the release goes.
TAKEN = {"utils/zero_to_fp32.py": "zero_to_fp32.py", "checkpoint/constants.py": "deepspeed/checkpoint/constants.py"}

LENT = {
    "deepspeed/__init__.py": "",
    "deepspeed/checkpoint/__init__.py": "",
    "deepspeed/utils/__init__.py": "import logging\n\nlogger = logging.getLogger(__name__)\n",
    "deepspeed/runtime/__init__.py": "",
    "deepspeed/runtime/zero/__init__.py": "",
    "deepspeed/runtime/zero/config.py": "import enum\n\n\nclass ZeroStageEnum(int, enum.Enum):\n    gradients = 2\n",
}


def main():
    out = pathlib.Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        wanted = pathlib.Path(folder) / "wanted.txt"
        wanted.write_text(f"deepspeed=={VERSION} --hash=sha256:{SHA256}\n")
        # Its set-up asks for torch, which is there: nothing is to be installed for that.
        source = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes"]
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", *source, "-d", folder, "-r", wanted], check=True)
        with tarfile.open(pathlib.Path(folder) / f"deepspeed-{VERSION}.tar.gz") as release:
            files = {place: release.extractfile(f"deepspeed-{VERSION}/deepspeed/{name}").read() for name, place in TAKEN.items()}
    files |= {place: content.encode() for place, content in LENT.items()}
    for place, content in files.items():
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        (out / place).write_bytes(content)


if __name__ == "__main__":
    main()
