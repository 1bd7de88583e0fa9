"""The demo: a plant, a sample product and a candidate to sign, with nothing prepared."""

from pathlib import Path


def demo(folder: Path) -> None:
    """Filled in below."""
