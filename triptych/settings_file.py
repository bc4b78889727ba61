"""Settings in a file that a running process reads again: `triptych serve --env-file`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from dotenv import dotenv_values

from triptych.errors import SettingsError
from triptych.settings import Settings, child_environment, load, take_variables


class SettingsFile:
    """Lines `NAME=VALUE`, as of docker's --env-file. What the environment said before goes before them."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._given = frozenset(child_environment())
        self._taken: Mapping[str, str] = {}

    def take(self, check: Callable[[Settings], None]) -> Settings:
        """Read the file into the environment; one that is wrong, or that `check` refuses, changes nothing.

        Raises SettingsError, and what `check` raises.
        """
        before, now = self._taken, self._read()
        self._change(before, now)
        try:
            settings = load()
            check(settings)
        except SettingsError:
            self._change(now, before)
            raise
        self._taken = now
        return settings

    def _read(self) -> Mapping[str, str]:
        if self._path is None:
            return {}
        try:
            with self._path.open(encoding="utf-8") as lines:
                found = dotenv_values(stream=lines, interpolate=False)
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"{self._path} cannot be read: {error}.",
                code="settings.unreadable_file",
                field="--env-file",
                remedy="Name a file of lines NAME=VALUE in UTF-8.",
            ) from error
        return {name: value for name, value in found.items() if value is not None and name not in self._given}

    @staticmethod
    def _change(before: Mapping[str, str], now: Mapping[str, str]) -> None:
        take_variables({**dict.fromkeys(before, None), **now})
