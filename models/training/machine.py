"""What a model is made on: the machine, the packages and the code, as far as they can change its numbers."""

import hashlib
import importlib.metadata
import platform
from functools import cache
from pathlib import Path

import torch

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "segmentation-models-pytorch",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "onnx",
    "onnxruntime",
    "optuna",
)
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_tile", "asimd", "bf16", "sve")
"""By these libraries choose their kernels, and other kernels add in another order."""


def environment() -> dict[str, str]:
    """The machine and the code; ``threads`` are PyTorch's of this process, ``code`` is a digest of the source files."""
    cpu, instructions = _processor()
    threads = str(torch.get_num_threads())
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {threads} threads",
        "cpu": cpu,
        "instructions": instructions,
        "threads": threads,
        "changeover": _installed("changeover") or "unpacked",
        "code": code_digest(),
    }


def packages() -> dict[str, str]:
    """Versions of the packages that training, drawing and export rest on."""
    return {name: version for name in PACKAGES if (version := _installed(name))}


@cache
def code_digest() -> str:
    """First 16 digits of the SHA-256 over all source files of ``core``, ``data`` and ``models``: between releases the version
    alone does not tell two states of the code apart."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for file in sorted(file for room in ("core", "data", "models") for file in (root / room).rglob("*.py")):
        digest.update(f"{file.relative_to(root).as_posix()}\n".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> tuple[str, str]:
    """The processor's name, with family and model where virtual machines hide the name, and its instruction sets."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        first = ""
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    name = facts.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in facts:
        name += f" (family {facts['cpu family']}, model {facts.get('model', '?')})"
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    return name, " ".join([torch.backends.cpu.get_cpu_capability(), *(flag for flag in _INSTRUCTIONS if flag in flags)])
