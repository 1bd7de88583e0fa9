"""DVC's own settings files, read as DVC reads them and written in UTF-8: DVC itself writes no address with an umlaut."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import ChangeoverError
from core.files import replacing


def read_settings(plant: Path) -> dict[str, Any]:
    """The settings of the plant from every level, credentials included, relative paths resolved. ChangeoverError if they cannot
    be read."""
    from dvc.exceptions import DvcException

    try:
        merged: dict[str, Any] = dvc_config(plant, validate=False).load_config_to_level()
    except (DvcException, OSError, UnicodeDecodeError) as error:
        raise ChangeoverError(f"the DVC settings of {plant} cannot be read: {error}; correct .dvc/config") from error
    return merged


def dvc_config(plant: Path, validate: bool = True) -> Any:
    """DVC's own object for the settings of ``plant``. They are read as UTF-8, as they are written, whatever the locale is."""
    from configobj import ConfigObj, ConfigObjError
    from dvc.config import Config, ConfigError, _lower_keys, _parse_named

    class Utf8Config(Config):  # type: ignore[misc]  # DVC has no types
        @staticmethod
        def load_file(path: str, fs: Any = None) -> dict[str, Any]:
            try:
                with Path(path).open("rb") as stream:
                    settings = ConfigObj(stream, encoding="utf-8", default_encoding="utf-8")
            except (UnicodeDecodeError, ConfigObjError) as error:
                raise ConfigError(str(error)) from error
            return dict(_parse_named(_lower_keys(settings.dict())))

    return Utf8Config(dvc_dir=str(plant.resolve() / ".dvc"), validate=validate)


def write_settings(file: Path, settings: Mapping[str, Any]) -> None:
    """Write ``settings`` (``{"core": {…}, "remote": {"store": {…}}}``) to ``file``, which only its owner may read."""
    from configobj import ConfigObj

    named = {f'remote "{name}"': dict(remote) for name, remote in settings.get("remote", {}).items()}
    plain = {section: dict(values) for section, values in settings.items() if section != "remote"}
    _write(file, ConfigObj({**plain, **named}, encoding="utf-8"), 0o600)


def set_remote(file: Path, name: str, url: str) -> None:
    """Make ``url`` the address of the default remote ``name`` in ``file``; everything else in there stays as it is."""
    from configobj import ConfigObj, ConfigObjError

    try:
        settings = ConfigObj(str(file), encoding="utf-8", default_encoding="utf-8")
    except (ConfigObjError, UnicodeDecodeError) as error:
        raise ChangeoverError(f"{file} cannot be read ({error}); correct it, or take it back with 'git checkout'") from error
    core, remote = settings.setdefault("core", {}), settings.setdefault(f'remote "{name}"', {})
    if (core.get("remote"), remote.get("url")) == (name, url):
        return
    core["remote"], remote["url"] = name, url
    _write(file, settings, 0o644)


def _write(file: Path, settings: Any, mode: int) -> None:
    settings.filename = None
    with replacing(file) as temporary, temporary.open("wb") as stream:
        settings.write(stream)
    file.chmod(mode)
