"""Checks of command lines against the commands there are. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click


def options_of(command: click.Command) -> dict[str, click.Option]:
    """Every name of every option (`-v`, `--verbose`, `--no-security`) of a command."""
    options = [p for p in command.params if isinstance(p, click.Option)]
    return {name: option for option in options for name in (*option.opts, *option.secondary_opts)}


def faults_of(words: Sequence[str], commands: Mapping[str, click.Command]) -> list[str]:
    """What is wrong with a `triptych ...` command line: no such command, no such option. Empty: nothing."""
    name = next((n for size in range(len(words), 0, -1) if (n := " ".join(words[:size])) in commands), None)
    if name is None or (name == "triptych" and len(words) > 1 and not words[1].startswith("-")):
        return [f"no command {' '.join(words)!r}"]
    known = set(options_of(commands[name])) | {"-h", "--help"}
    given = [word.partition("=")[0] for word in words if word.startswith("-") and len(word) > 1]
    return [f"no option {option} of {name!r}" for option in given if option not in known]
