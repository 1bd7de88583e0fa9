"""The store of images and models: what is wrong with it is said in one sentence that names place, step, reason and fix."""

import errno
import http.server
import os
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.errors import StorageError
from data.dvc_settings import set_remote
from data.storage_error import storage_error
from data.store import probe_store
from tests.data.conftest import git
from tests.s3 import S3, s3, s3_server

__all__ = ["s3", "s3_server"]


def point(plant: Path, url: str) -> None:
    set_remote(plant / ".dvc" / "config", "store", url)


def trouble(plant: Path) -> str:
    with pytest.raises(StorageError) as raised:
        probe_store(plant)
    said = str(raised.value)
    assert "\n" not in said and ";" in said and "secret-of-a-test" not in said and "key-of-a-test" not in said
    return said


def test_a_bucket_is_written_read_and_left_clean(plant: Path, s3: S3) -> None:
    bucket = s3.bucket()
    point(plant, f"s3://{bucket}/Läger")
    assert probe_store(plant).place == f"storage s3://{bucket}/Läger at {s3.url}"
    assert s3.keys(bucket) == []


def test_a_bucket_that_keeps_what_it_has_is_fit(plant: Path, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(403, "AccessDenied", refused=("DELETE", "POST")) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        point(plant, "s3://bucket/prefix")
        left = probe_store(plant).left
    assert "does not let its probe be deleted: access is denied" in left


def test_no_such_bucket_no_credentials_no_server(plant: Path, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    point(plant, "s3://nobody-made-this/prefix")
    said = trouble(plant)
    assert said.startswith(f"storage s3://nobody-made-this/prefix at {s3.url} cannot be written: there is no such bucket")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", dead)
    assert "it does not answer" in trouble(plant) and dead in trouble(plant) and "AWS_ENDPOINT_URL" in trouble(plant)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "there are no credentials" in trouble(plant) and "AWS_PROFILE" in trouble(plant)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert "there are no credentials" in trouble(plant)


CODES = [
    (403, "AccessDenied", "access is denied"),
    (403, "InvalidAccessKeyId", "the credentials are not accepted"),
    (403, "SignatureDoesNotMatch", "the credentials are not accepted"),
    (400, "ExpiredToken", "the credentials have expired"),
    (403, "RequestTimeTooSkewed", "the clock of this machine differs"),
    (400, "AuthorizationHeaderMalformed", "the bucket is in another region"),
    (503, "SlowDown", "overloaded"),
    (507, "XMinioStorageFull", "the store is full"),
    (400, "SomethingNew", "the server refuses (SomethingNew: words of the server)"),
]


@pytest.mark.parametrize(("status", "code", "words"), CODES, ids=[code for _, code, _ in CODES])
def test_what_the_server_answers_is_said(
    plant: Path, s3: S3, monkeypatch: pytest.MonkeyPatch, status: int, code: str, words: str
) -> None:
    with answering(status, code) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        point(plant, "s3://bucket/prefix")
        said = trouble(plant)
    assert words in said and address in said and code in said


EVERY = ("GET", "HEAD", "PUT", "POST", "DELETE")


@contextmanager
def answering(status: int, code: str, context: ssl.SSLContext | None = None, refused: tuple[str, ...] = EVERY) -> Iterator[str]:
    """A server that answers ``refused`` methods in S3's way with ``code``, and keeps one object for the others."""
    error = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>words of the server</Message></Error>".encode()
    kept = [b""]

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # or a client waits in vain for the permission to send a body

        def _answer(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            refuses = self.command in refused
            if self.command == "PUT":
                kept[0] = sent
            body = error if refuses else kept[0] if self.command == "GET" else b""
            self.send_response(status if refuses else 200)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - as the base class names them

        def log_message(self, format: str, *args: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http{'s' if context else ''}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_certificate_that_nobody_trusts(plant: Path, s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with answering(200, "never", self_signed(tmp_path)) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        point(plant, "s3://bucket/prefix")
        said = trouble(plant)
    assert "the TLS connection is not trusted" in said and "AWS_CA_BUNDLE" in said


def self_signed(folder: Path) -> ssl.SSLContext:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1)).sign(key, hashes.SHA256())
    file = folder / "server.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def test_a_server_that_takes_and_never_answers(plant: Path, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.store.ANSWER_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        point(plant, "s3://bucket/prefix")
        assert "it does not answer in time" in trouble(plant)


def test_a_password_in_an_address_is_not_shown(plant: Path) -> None:
    point(plant, "ssh://ana:my-password@127.0.0.1/store")
    assert "my-password" not in trouble(plant) and "ssh://127.0.0.1/store" in trouble(plant)


def test_a_folder_is_written_read_and_left_clean(plant: Path) -> None:
    point(plant, "../../Läger")
    folder = plant.parent / "Läger"
    assert probe_store(plant).place == f"storage {folder}"
    assert not folder.exists() and not list(plant.parent.glob(".changeover-probe*"))
    folder.mkdir()
    probe_store(plant)
    assert list(folder.iterdir()) == []


def test_a_store_that_is_a_file(plant: Path) -> None:
    file = plant.parent / "taken"
    file.write_text("x")
    point(plant, str(file))
    assert "a part of its path is a file, not a folder" in trouble(plant)
    point(plant, str(file / "below"))
    assert "a part of its path is a file, not a folder" in trouble(plant)
    link = plant.parent / "link"
    link.symlink_to("nowhere/at/all")
    point(plant, str(link))
    assert f"storage {link} cannot be written" in trouble(plant)


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Callable[[str], None]]:
    folder.mkdir()
    command = ["/usr/bin/env", "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount")
    try:
        yield lambda again: subprocess.run(["/usr/bin/env", "mount", "-o", f"remount,{again}", str(folder)], check=True) and None
    finally:
        subprocess.run(["/usr/bin/env", "umount", str(folder)], check=True)


def test_a_full_disk_and_one_that_is_read_only(plant: Path, tmp_path: Path) -> None:
    folder = tmp_path / "share"
    with mounted(folder, "size=16k") as remount:
        point(plant, str(folder))
        with (folder / "large").open("wb", buffering=0) as stream, pytest.raises(OSError, match="No space"):
            for _ in range(16):
                stream.write(bytes(4096))
        assert "the disk is full" in trouble(plant) and "free some space" in trouble(plant)
        (folder / "large").unlink()
        probe_store(plant)
        remount("ro")
        assert "it is read-only" in trouble(plant)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ESTALE, "network share was lost"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "may not"),
        (errno.EIO, "disk has an error"),
    ],
)
def test_other_troubles_of_a_disk(number: int, words: str) -> None:
    said = str(storage_error(OSError(number, os.strerror(number)), "storage /mnt/nas", "cannot be written"))
    assert said.startswith("storage /mnt/nas cannot be written: ") and words in said and re.search(r"; \w", said)


def test_a_plant_without_a_store(plant: Path) -> None:
    (plant / ".dvc" / "config").write_text("")
    assert "set storage.remote" in trouble(plant)
    (plant / ".dvc" / "config").write_text("[core\n")
    with pytest.raises(Exception, match=r"correct \.dvc/config"):
        probe_store(plant)
    git(plant, "status")
