"""Section ``registry`` of changeover.yaml: what the server takes from a request, and which proxy it believes."""

from pathlib import Path

import pytest

from flows.config import PlantConfig, read_config
from flows.errors import PlantError
from flows.settings_template import TEMPLATE
from registry.server.limits import Limits


def config(folder: Path, text: str) -> PlantConfig:
    file = folder / "changeover.yaml"
    file.write_text(text, encoding="utf-8")
    return read_config(file)


def test_the_defaults_are_the_servers(tmp_path: Path) -> None:
    registry = config(tmp_path, "").registry
    assert registry.limits.of_server() == Limits() and registry.trusted_proxy is None


def test_what_the_template_shows_are_the_defaults(tmp_path: Path) -> None:
    shown = TEMPLATE[TEMPLATE.index("#  limits:") : TEMPLATE.index("#audit:")]
    text = "registry:\n" + "\n".join(line.removeprefix("#") for line in shown.splitlines())
    assert config(tmp_path, text).registry.limits.of_server() == Limits()


def test_limits_and_a_proxy(tmp_path: Path) -> None:
    text = "registry:\n  trusted_proxy: 2001:DB8::1\n  limits: {body_mib: 2, artifact_mib: 3, connections: 8, body_seconds: 90}\n"
    registry = config(tmp_path, text).registry
    assert registry.trusted_proxy == "2001:db8::1"
    assert registry.limits.of_server() == Limits(2 * 1024**2, 3 * 1024**2, body_seconds=90, connections=8)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("trusted_proxy: '*'", r"trusted_proxy '\*' is no IP address"),
        ("trusted_proxy: proxy.example", "is no IP address; write one such as"),
        ("limits: {body_mib: 0}", "registry.limits.body_mib"),
        ("limits: {body_mib: 9, artifact_mib: 8}", "artifact_mib 8 is below body_mib 9"),
        ("limits: {connections: 1}", "registry.limits.connections"),
        ("limits: {connection: 10}", "registry.limits.connection is not a setting"),
    ],
)
def test_settings_that_are_none(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(PlantError, match=words):
        config(tmp_path, f"registry:\n  {line}\n")
