"""The inputs of the bench: made when first asked for, outside the tree, and never half."""

import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
SCRIPTS = ("inputs.py", "llama_files.py", "sparse_headers.py", "many_members.py", "trainer_files.py", "zero_script.py")
MAKERS = [HERE / name for name in SCRIPTS]
MAKERS += [HERE.parent / "fixtures.d" / name for name in ("llama.py", "zero_files.py")]
GB = 10**9


class Failure(Exception):
    """Something could not be measured, in words for the person who asked."""


def size(path):
    """Bytes of a file, or of the files below a directory."""
    path = pathlib.Path(path)
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size


class Inputs:
    """A folder for what the bench reads, and one beside it for what the measured programs write.

    The first is named for a hash of what makes it, so that a change here is a new folder and an old one is removed.
    """

    def __init__(self, quick):
        home = os.environ.get("CKPT_BENCH_HOME") or pathlib.Path.home() / ".cache" / "ckpt-tools" / "bench"
        self.home = pathlib.Path(home).resolve()
        self.quick = quick
        self.home.mkdir(parents=True, exist_ok=True)
        self.lock = open(self.home / "lock", "w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Failure(f"another bench is running in {self.home}") from None
        kind = "quick" if quick else "full"
        makers = b"".join(file.read_bytes() for file in MAKERS)
        self.made = self.home / f"{kind}-{hashlib.sha256(makers).hexdigest()[:12]}"
        self.out = self.home / "out"
        for old in self.home.glob(f"{kind}-*"):
            if old != self.made:
                shutil.rmtree(old)
        # What an interrupted run left.
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()

    def clean(self, keep):
        shutil.rmtree(self.out, ignore_errors=True)
        if not keep:
            shutil.rmtree(self.made, ignore_errors=True)

    def target(self, name):
        """A path in the folder for results, with nothing there."""
        path = self.out / name
        shutil.rmtree(path, ignore_errors=True)
        return path

    def room(self, wanted):
        free = shutil.disk_usage(self.home).free
        if free < wanted:
            lack = f"{self.home} has {free / GB:.1f} GB free and {wanted / GB:.1f} GB are needed"
            raise Failure(f"{lack}; set CKPT_BENCH_HOME")

    def make(self, name, bytes_wanted, script, *arguments):
        """Runs a maker on a name that is not the final one, and renames what it made."""
        final, part = self.made / name, self.made / f"{name}.part"
        if final.exists():
            return final
        print(f"bench: making {final}", file=sys.stderr)
        shutil.rmtree(part, ignore_errors=True)
        self.made.mkdir(exist_ok=True)
        self.room(int(bytes_wanted))
        done = subprocess.run([sys.executable, HERE / script, *arguments, part], capture_output=True, text=True)
        if done.returncode:
            raise Failure(f"{script} failed\n{done.stderr}")
        os.sync()
        part.rename(final)
        return final

    def meta(self):
        """Llama 3.2 1B as Meta ships it."""
        return self.make("meta", 3.1 * GB, "llama_files.py", "quick" if self.quick else "1B", "meta")

    def larger(self):
        """Llama 3.2 3B as Meta ships it: 2.4 times the bytes, and larger tensors."""
        return self.make("larger", 7.3 * GB, "llama_files.py", "quick-larger" if self.quick else "3B", "meta")

    def one_file(self):
        """The tensors of Llama 3.2 1B in one safetensors file."""
        shape = "quick" if self.quick else "1B"
        return self.make("one-file", 2.5 * GB, "llama_files.py", shape, "safetensors") / "model.safetensors"

    def halves(self):
        """Weights of 4 GB in two safetensors files with their index."""
        return self.make("halves", 4.5 * GB, "llama_files.py", "quick" if self.quick else "2B", "halves")

    # Members of the archive that `members` makes.
    MEMBERS = 70_000

    def members(self):
        """A checkpoint of very many tiny tensors, as torch.save writes one."""
        return self.make("members", 0.1 * GB, "many_members.py", str(self.MEMBERS)) / "many.pth"

    def trainer(self, kind, gigabytes):
        """What a trainer saves, by its kind in trainer_files.py."""
        shape = "quick" if self.quick else {"zero": "half"}.get(kind, "1B")
        return self.make(kind, gigabytes * GB, "trainer_files.py", kind, shape)

    def zero_script(self):
        """DeepSpeed's script that makes weights of ZeRO's masters."""
        return self.make("zero-script", 0.1 * GB, "zero_script.py") / "zero_to_fp32.py"

    def headers(self):
        """The headers of a trillion parameters; the data is a hole."""
        shape = ["--layers", "3", "--experts", "8"] if self.quick else []
        return self.make("headers", 0.1 * GB, "sparse_headers.py", *shape)

    def header_tensors(self):
        """How many tensors those headers have; counted when they were designed, not by the tool under test."""
        return 3 + 12 + 2 * (14 + 8 * 9) if self.quick else 208_215
