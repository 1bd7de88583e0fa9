"""Pretrained weights from where they are published: the only code that asks a network outside the plant, and only for
``changeover teachers pull``.

The libraries' own downloads are not used: they try for minutes where a firewall drops what is sent.
"""

import hashlib
import os
import queue
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from core.errors import BadSettings
from flows.errors import HubError
from flows.stages import Report

PATIENCE = 8.0
"""Seconds in which something has to happen: a name found, a connection made, the next bytes."""
TRIES = 2
LARGEST = 4 << 30
"""Bytes of a file of weights."""
CHUNK = 1 << 20
SMP = "smp:"
_NO_NOTE = (None, "", "unknown", "other")


@dataclass(frozen=True)
class HubWeights:
    """What a name stands for: ``backbone`` of ``models.teachers.feature_network``, and the ``address`` of its weights. ``page``
    is for people. ``licence``: as the library that knows the name notes it, or None."""

    backbone: str
    address: str
    page: str
    licence: str | None

    @property
    def file(self) -> str:
        """A file name with the ending that says how the weights are kept."""
        return f"model{Path(urlsplit(self.address).path).suffix}"


@dataclass(frozen=True)
class Fetched:
    """``digest``: sha256 of the file. ``commit``: of the hub's repository, where the hub says it."""

    digest: str
    commit: str


def hub_weights(name: str) -> HubWeights:
    """The weights of a timm model (``resnet18``, ``resnet18.a1_in1k``) or of an encoder of segmentation-models-pytorch
    (``smp:resnet18/imagenet``); no network is used for this. BadSettings for names that are not known, or not usable as a
    teacher.
    """
    return _of_smp(name) if name.startswith(SMP) else _of_timm(name, name)


def _of_timm(name: str, given: str) -> HubWeights:
    from timm.models import get_pretrained_cfg

    try:
        known = get_pretrained_cfg(name)
    except RuntimeError as error:
        raise BadSettings(
            f"{given[:80]!r}: timm knows no such weights of that network; leave away what follows the dot"
        ) from error
    if known is None or not known.has_weights:
        raise BadSettings(
            f"{given[:80]!r} is not a network with published weights that timm knows; try resnet18, or smp:resnet18/imagenet"
        )
    note = None if known.license in _NO_NOTE else f"{known.license} (timm's note on {known.hf_hub_id or name})"
    backbone = name.partition(".")[0]
    if known.hf_hub_id and not known.custom_load:
        return HubWeights(backbone, *_on_hub(known.hf_hub_id, "main", known.hf_hub_filename or "model.safetensors"), note)
    address = known.url if isinstance(known.url, str) else ""
    if known.custom_load or Path(urlsplit(address).path).suffix not in (".pth", ".pt", ".bin", ".safetensors"):
        raise BadSettings(f"the weights of {given[:80]!r} are kept in a format that is not read; choose another network")
    return HubWeights(backbone, address, address, note)


def _of_smp(given: str) -> HubWeights:
    encoder, _, weights = given.removeprefix(SMP).partition("/")
    if encoder.startswith("tu-"):  # timm's networks under another name
        return _of_timm(encoder.removeprefix("tu-"), given)
    from segmentation_models_pytorch.encoders import encoders

    kept: dict[str, Any] = encoders.get(encoder, {}).get("pretrained_settings", {})
    if weights not in kept:
        fix = f"it has {', '.join(f'{SMP}{encoder}/{one}' for one in kept)}" if kept else "try smp:resnet18/imagenet"
        raise BadSettings(f"{given[:80]!r} is not an encoder and weights of segmentation-models-pytorch; {fix}")
    backbone = _twin(encoder)
    if backbone is None:
        raise BadSettings(
            f"encoder {encoder!r} of segmentation-models-pytorch is built unlike any network that can be a teacher; "
            "take resnet…, resnext…, vgg… or timm-efficientnet-… from there, or a network of timm"
        )
    return HubWeights(backbone, *_on_hub(kept[weights]["repo_id"], kept[weights]["revision"], "model.safetensors"), None)


def _twin(encoder: str) -> str | None:
    """timm's network that computes the same from the same weights; None where there is none."""
    if encoder.startswith(("resnet", "resnext", "vgg")):
        return encoder
    if encoder.startswith("timm-efficientnet-"):  # the others are padded differently
        return encoder.removeprefix("timm-").replace("-", "_")
    return None


def _on_hub(repository: str, revision: str, file: str) -> tuple[str, str]:
    """Address of the file, and the page of its repository. ``HF_ENDPOINT`` names another hub, such as a company's own mirror."""
    hub = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
    return f"{hub}/{quote(repository)}/resolve/{quote(revision)}/{quote(file)}", f"{hub}/{quote(repository)}"


def download(address: str, target: Path, report: Report) -> Fetched:
    """Fetch ``address`` into ``target``. HubError, in one line, where that fails; it does not wait long for a server that is
    silent."""
    for attempt in range(1, TRIES + 1):
        try:
            return _once(address, target, report)
        except _Refused as problem:
            if problem.again and attempt < TRIES:
                continue
            raise HubError(
                f"{address} could not be fetched: {problem}; 'changeover teachers import FILE' and 'changeover teachers train' "
                "need no network"
            ) from problem
    raise AssertionError("the loop above returns or raises")


class _Refused(Exception):
    def __init__(self, reason: str, again: bool) -> None:
        super().__init__(reason)
        self.again = again


@dataclass(frozen=True)
class _Began:
    size: int | None
    commit: str


def _once(address: str, target: Path, report: Report) -> Fetched:
    host = urlsplit(address).netloc
    report(f"asking {host}", None)
    # Looking a name up has no time limit, so a thread of its own does it and may be left behind.
    news: queue.Queue[_Began | bytes | _Refused | None] = queue.Queue(maxsize=16)
    threading.Thread(target=_transfer, args=(address, news), daemon=True).start()
    digest, done, began = hashlib.sha256(), 0, _Began(None, "")
    with target.open("wb") as stream:
        while True:
            try:
                piece = news.get(timeout=PATIENCE)
            except queue.Empty:
                raise _Refused(f"nothing came from {host} for {PATIENCE:g} seconds", again=False) from None
            if piece is None:
                return Fetched(digest.hexdigest(), began.commit)
            if isinstance(piece, _Refused):
                raise piece
            if isinstance(piece, _Began):
                began = piece
                continue
            done += len(piece)
            if done > LARGEST:
                raise _Refused(f"it has more than {LARGEST >> 30} GiB", again=False)
            digest.update(piece)
            stream.write(piece)
            report(f"fetching: {done / 2**20:.0f} MiB from {host}", min(done / began.size, 1.0) if began.size else None)


def _transfer(address: str, news: "queue.Queue[_Began | bytes | _Refused | None]") -> None:
    """Put the answer of ``address`` into ``news``: its size, its bytes, and None at the end; or why it is refused."""
    import httpx

    try:
        # Proxies come from the environment: this, unlike the registry, is outside the plant.
        with (
            httpx.Client(follow_redirects=True, timeout=PATIENCE, max_redirects=5) as http,
            http.stream("GET", address, headers={"Accept-Encoding": "identity"}) as answer,
        ):
            if {one.url.scheme for one in (*answer.history, answer)} != {urlsplit(address).scheme}:
                raise _Refused(f"it leads to {answer.url.scheme}://{answer.url.host}, another way than was asked", again=False)
            if answer.is_error:
                again = answer.status_code in (429, 500, 502, 503, 504)
                raise _Refused(f"{answer.url.host} answered {answer.status_code} {answer.reason_phrase}", again)
            first = answer.history[0] if answer.history else answer
            commit = first.headers.get("X-Repo-Commit", "")
            size = answer.headers.get("Content-Length", "")
            known = commit if commit.isalnum() and len(commit) <= 64 else ""
            news.put(_Began(int(size) if size.isdecimal() else None, known))
            for chunk in answer.iter_bytes(CHUNK):
                news.put(chunk)
        news.put(None)
    except _Refused as problem:
        news.put(problem)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        timeout = isinstance(error, httpx.TimeoutException)
        news.put(_Refused(f"{type(error).__name__}: {str(error)[:150] or 'no message'}", again=not timeout))
