"""Check the shell lines of the pages against what there is; run `feedrace` if its config is there.

A command that no function here checks is an error: add one.
"""

import configparser
import contextlib
import itertools
import os
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path

import attrs
import click
from click.testing import CliRunner

from feedrace.cli import main

ROOT = Path(__file__).parents[1]
# Not run: these take long, serve a port, or report on the installation rather than on the page.
NOT_RUN = {"tune", "verify-resume", "doctor", "check"}
_REQUIREMENT = re.compile(r"([^\[<>=~! ]+)(?:\[([^\]]*)\])?.*")


@attrs.frozen
class Shell:
    folder: Path  # of the page
    run: bool

    def find(self, name: str) -> Path:
        """Return the file or folder of the current folder, the page's, or the clone; or raise."""
        name = os.path.expandvars(name.replace("$FEEDRACE", str(ROOT)))
        for base in (Path(), self.folder, ROOT):
            if (base / name).exists():
                return base / name
        raise AssertionError(f"there is no {name} in the clone")


def check_lines(text: str, folder: Path, *, run: bool) -> None:
    """Check each command of shell lines; raise an `AssertionError` with the line."""
    shell = Shell(folder, run)
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;<>")
        lexer.whitespace_split = True
        command: list[str] = []
        for token in [*lexer, ";"]:
            if token[0] not in "&|;<>":
                command.append(token)
            elif command:
                try:
                    _check(shell, command)
                except Exception as error:
                    error.add_note(f"in the line: {line}")
                    raise
                command = []


def _check(shell: Shell, command: list[str]) -> None:
    while re.match(r"\w+=", command[0]):
        command = command[1:] or ["true"]
    name, *arguments = command
    name = name.rpartition("/")[2]  # as in .venv/bin/tox
    assert name in COMMANDS, f"nobody checks {name!r}"
    COMMANDS[name](shell, arguments)


def check_mention(command: str) -> None:
    """Check the names in a command that prose mentions; CONFIG and the like stand for yours."""
    called, context, rest = _resolved(command.split())
    known = {"-h", "--help"}.union(*(p.opts + p.secondary_opts for p in called.params))
    unknown = {one.partition("=")[0] for one in rest if re.match("--?[a-z]", one)} - known
    assert not unknown, f"{context.command_path} has no option {unknown}"
    if called.name in ("show", "why"):
        for reference in (one for one in rest if not one.isupper()):
            done = CliRunner().invoke(main, ["plugins", called.name, reference])
            assert done.exit_code == 0, done.output


def _resolved(arguments: list[str]) -> tuple[click.Command, click.Context, list[str]]:
    """Return the command that is called, its context, and the arguments that it is given."""
    command: click.Command = main
    parent, rest = None, list(arguments)
    while True:  # with the settings of each, of which click keeps what they say of --help
        settings = command.context_settings
        context = click.Context(command, info_name=command.name, parent=parent, **settings)
        if not isinstance(command, click.Group) or (rest and rest[0].startswith("-")):
            return command, context, rest
        _, found, rest = command.resolve_command(context, rest)
        assert found is not None
        parent, command = context, found


def _feedrace(shell: Shell, arguments: list[str]) -> None:
    command, context, rest = _resolved(arguments)
    parent = context.parent
    options, _, _ = command.make_parser(context).parse_args(list(rest))
    missing = [
        str(options[parameter.name])
        for parameter in command.params
        if isinstance(parameter.type, click.Path) and parameter.type.exists
        and parameter.name in options and not Path(str(options[parameter.name])).exists()
    ]  # fmt: skip
    # Types, choices and what is required are checked even if the config is not there.
    there = [str(ROOT / "tox.ini") if value in missing else value for value in rest]
    with contextlib.suppress(click.exceptions.Exit):  # of --help and --version
        command.make_context(command.name, there, parent=parent).close()
    if shell.run and not missing and command.name not in NOT_RUN and "--metrics-port" not in rest:
        done = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output


def _pip(shell: Shell, arguments: list[str]) -> None:
    assert arguments[0] == "install", arguments
    for before, requirement in itertools.pairwise(arguments):
        matched = _REQUIREMENT.fullmatch(requirement)
        if requirement.startswith("-") or matched is None:
            continue
        name, extras = matched[1], re.split(", *", matched[2] or "")
        if before == "-e" or "/" in name or name == ".":
            project = _project(shell.find(f"{name}/pyproject.toml").parent)
        elif name.startswith("feedrace"):
            (project,) = [one for one in _members() if one["name"] == name]
        else:
            continue
        unknown = {e for e in extras if e} - project.get("optional-dependencies", {}).keys()
        assert not unknown, f"{project['name']} has no extra {unknown}"


def _project(folder: Path) -> dict:
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


def _members() -> list[dict]:
    return [_project(ROOT / "core"), *map(_project, sorted(ROOT.glob("plugins/*")))]


def _tox(shell: Shell, arguments: list[str]) -> None:
    ini = configparser.ConfigParser(interpolation=None)
    ini.read(ROOT / "tox.ini")
    known = set(re.split(r",\s*", ini["tox"]["env_list"]))
    for section in ini.sections():
        known |= set(re.split(r"[{},]+", section.removeprefix("testenv:")))
    asked = [arguments[i + 1] for i, one in enumerate(arguments) if one == "-e"]
    unknown = {name for one in asked for name in one.split(",")} - known
    assert not unknown, f"tox.ini has no environment {unknown}"


def _python(shell: Shell, arguments: list[str]) -> None:
    if arguments[:1] == ["-m"]:
        if arguments[1] in COMMANDS:
            COMMANDS[arguments[1]](shell, arguments[2:])
        else:
            assert arguments[1] == "venv", f"nobody checks python -m {arguments[1]}"
    else:
        compile(shell.find(arguments[0]).read_text(), arguments[0], "exec")


def _pytest(shell: Shell, arguments: list[str]) -> None:
    for one in arguments:
        if "/" in one:
            shell.find(one.partition("::")[0])


def _cd(shell: Shell, arguments: list[str]) -> None:
    (folder,) = arguments
    if Path(folder).is_dir():
        os.chdir(folder)
    elif folder != "feedrace":  # the clone itself
        shell.find(folder)


def _mkdir(shell: Shell, arguments: list[str]) -> None:
    for folder in arguments:
        if not folder.startswith("-"):
            Path(folder).mkdir(parents=True, exist_ok=True)


def _git(shell: Shell, arguments: list[str]) -> None:
    assert arguments[0] in ("clone", "pull"), f"nobody checks git {arguments[0]}"


def _uv(shell: Shell, arguments: list[str]) -> None:
    if arguments[0] == "pip":
        _pip(shell, arguments[1:])
    else:
        assert arguments[0] == "venv", f"nobody checks uv {arguments[0]}"


def _nothing(shell: Shell, arguments: list[str]) -> None:
    """Of the shell alone."""


COMMANDS: dict[str, Callable[[Shell, list[str]], None]] = {
    "feedrace": _feedrace, "pip": _pip, "tox": _tox, "pytest": _pytest, "git": _git, "cd": _cd,
    "uv": _uv, "python": _python, "python3": _python, "mkdir": _mkdir,
    ".": _nothing, "source": _nothing, "activate": _nothing, "export": _nothing, "true": _nothing,
    "eval": _nothing,
}  # fmt: skip
