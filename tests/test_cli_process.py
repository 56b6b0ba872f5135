"""The command line as a process of its own: help, signals, pipes, plugins."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest
import yaml

from orchard.cli import cli, root
from orchard.cli.common import (
    FAILED,
    INTERRUPTED,
    USAGE,
    ExecutorCommand,
    executor_option,
)
from orchard.cli.errors import report_errors
from orchard.errors import BulkError, StoreError
from orchard.tracker import Tracker

ORCHARD = [sys.executable, "-m", "orchard"]


def _commands(group: click.Group, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [words]
    for name, command in group.commands.items():
        inner = (*words, name)
        found += _commands(command, inner) if isinstance(command, click.Group) else [inner]
    return found


def _help(words: tuple[str, ...], capsys) -> str:
    assert report_errors(lambda: cli.main([*words, "--help"], standalone_mode=False)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("words", _commands(cli), ids=" ".join)
def test_every_command_has_help_with_an_example_that_can_be_parsed(words, capsys):
    text = _help(words, capsys)
    example = text.partition("Example")[2]
    assert "orchard" in example
    assert f" {' '.join(words)}".rstrip() in example
    assert all(len(line) <= 100 for line in text.splitlines())
    assert text.split("\n\n")[1].endswith(".")
    lines = example.partition("\n")[2].replace("\\\n", " ").splitlines()
    for line in filter(None, map(str.strip, lines)):
        for part in line.split("&&"):
            _parse(part.split(">")[0].split())


def _parse(words: list[str]) -> None:
    """Parse a command line without running its command."""
    assert words[0] == "orchard"
    words = [word.strip('"') for word in words[1:]]
    while words and words[0].startswith("-"):
        words = words[2:]
    command: click.Command = cli
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    for number, word in enumerate(words):
        if word.endswith((".json", ".geojson", "downloads/NAME")):
            words[number] = __file__
        if word == "cubes" and words[number - 1] == "--cubes":
            words[number] = str(Path(__file__).parent)
    command.make_context("x", words)


def test_no_line_of_the_lists_of_commands_is_cut(capsys):
    for words in ((), ("config",), ("grid",), ("status",)):
        listed = _help(words, capsys).partition("Commands:")[2].partition("\n\n")[0]
        assert "..." not in listed


def test_the_program_says_its_version_and_help():
    out = subprocess.run([*ORCHARD, "--version"], capture_output=True, text=True, check=True)
    assert out.stdout.startswith("orchard, version ")
    out = subprocess.run([*ORCHARD, "nonsense"], capture_output=True, text=True, check=False)
    assert out.returncode == USAGE
    assert "No such command 'nonsense'" in out.stderr
    assert out.stdout == ""


def test_whoever_stops_reading_is_not_bothered():
    for words in ("collections", "grid list", "--help"):
        script = f'"$0" -m orchard {words} | true; echo "${{PIPESTATUS[0]}}"'
        done = subprocess.run(
            ["bash", "-c", script, sys.executable],
            capture_output=True,
            text=True,
            check=True,
            cwd="/",
        )
        assert (done.stdout, done.stderr) == ("0\n", "")


def test_an_interrupt_ends_without_a_traceback(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = {
            "tile_grid": "LANDSAT_ARD_CU",
            "store": "preard/",
            "engine": {"catalog": f"http://127.0.0.1:{server.getsockname()[1]}/catalog.json"},
        }
        (tmp_path / "orchard.yaml").write_text(yaml.safe_dump(config))
        words = [
            "plan",
            "LANDSAT/LC08/C02/T1_L2",
            "-i",
            "1",
            "1",
            "--start",
            "2020",
            "--end",
            "2021",
        ]
        process = subprocess.Popen(
            [*ORCHARD, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
            # A suite that runs in the background has SIGINT ignored, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )  # fmt: skip
        server.settimeout(60)
        connection, _ = server.accept()  # it waits for an answer now
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        connection.close()
    assert process.returncode == INTERRUPTED
    assert "Traceback" not in err
    assert err.strip().splitlines()[-1].startswith("Interrupted")
    assert out == ""


def test_a_run_that_is_interrupted_says_how_to_go_on(monkeypatch, capsys):
    from orchard.cli.common import State
    from orchard.cli.work import work

    class Tracker:
        def read(self, name):
            return type("Info", (), {"orders": []})

        def run(self, names, timeout, callback):
            raise KeyboardInterrupt

    assert work(State(), Tracker(), ["NAME", "NEXT"]) == INTERRUPTED
    assert "orchard run NAME NEXT" in capsys.readouterr().err


def test_verbose_lets_the_log_through(tmp_path):
    code = (
        "import logging, sys; from orchard.cli import cli; sys.argv = ['orchard'];"
        "cli.main([*sys.argv[1:], *{words}, 'grid', 'list'], standalone_mode=False);"
        "logging.getLogger('orchard.x').info('ours'); logging.getLogger('other').info('theirs')"
    )
    for words, expected in (([], []), (["-v"], ["ours"]), (["-vv"], ["ours", "theirs"])):
        done = subprocess.run(
            [sys.executable, "-c", code.replace("{words}", repr(words))],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert [word for word in ("ours", "theirs") if word in done.stderr] == expected


def test_a_console_has_the_tracker_ready(tmp_path):
    (tmp_path / "orchard.yaml").write_text("tile_grid: LANDSAT_ARD_CU\nstore: preard/\n")
    done = subprocess.run(
        [*ORCHARD, "console"], cwd=tmp_path, capture_output=True, text=True, check=True,
        input="print('orders:', tracker.list(), config.path.name, orchard.__name__)\n",
    )  # fmt: skip
    assert "orders: [] orchard.yaml orchard" in done.stdout


def test_the_demo_refuses_half_a_place(capsys):
    code = report_errors(lambda: cli.main(["demo", "--catalog", "x"], standalone_mode=False))
    assert code == USAGE
    assert "--catalog, --collection and --bbox go together" in capsys.readouterr().err


def test_the_demo_leaves_other_orders_alone(archive, tmp_path, capsys, monkeypatch):
    (tmp_path / "archive").symlink_to(archive.parent)
    submit = Tracker.submit

    def second(self, collection, tiles, *period):
        submit(self, collection, tiles[:1], *period)
        return submit(self, collection, tiles, *period)

    monkeypatch.setattr(Tracker, "submit", second)
    words = ["demo", "--dest", str(tmp_path)]
    assert report_errors(lambda: cli.main(words, standalone_mode=False)) == FAILED
    error = capsys.readouterr().err
    assert f"Error: {tmp_path} has other orders already (TRACKING_PERIOD2023-04-01-" in error
    assert "(orchard demo --dest FOLDER)" in error
    assert f"(orchard -C {tmp_path / 'orchard.yaml'} clean NAME)" in error


# Errors

MANY = """\
Error: work (6 failed)
  … is bad (2)
    T_1
    T_2
  /in/T_3.json: is bad
  T_4 is worse
  T_5: worst
  T: of T_1
"""


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (StoreError("the key x is gone"), FAILED, "Error: the key x is gone\n"),
        (FileNotFoundError(2, "No such file", "a.txt"), FAILED, "Error: a.txt: No such file\n"),
        (OSError("odd"), FAILED, "Error: odd\n"),
        (BulkError.of("work", {"a": ValueError("b")}), 3, "Error: work (1 failed)\n  a: b\n"),
        (
            BulkError.of("work", {"a": ValueError("b"), "c": ValueError("b")}, partly=False),
            FAILED,
            "Error: work (2 failed)\n  b (2)\n    a\n    c\n",
        ),
        (
            BulkError.of(
                "work",
                {
                    "T_1": ValueError("T_1 is bad"),
                    "T_2": ValueError("T_2 is bad"),
                    "T_3": ValueError("/in/T_3.json: is bad"),
                    "T_4": ValueError("T_4 is worse"),
                    "T_5": ValueError("T_5: worst"),
                    "T": ValueError("of T_1"),
                },
            ),
            3,
            MANY,
        ),
        (
            KeyboardInterrupt(),
            INTERRUPTED,
            "Interrupted: nothing is lost, the same command goes on\n",
        ),
        (click.Abort(), INTERRUPTED, "Interrupted: nothing is lost, the same command goes on\n"),
        (click.ClickException("no"), FAILED, "Error: no\n"),
    ],
)
def test_what_is_raised_becomes_a_message_and_a_code(error, code, text, capsys):
    def fail():
        raise error

    assert report_errors(fail) == code
    assert capsys.readouterr() == ("", text)


def test_a_fault_of_the_program_itself_is_not_hidden():
    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        report_errors(fail)


# Parsing


@pytest.mark.parametrize(
    ("words", "executor", "names"),
    [
        (["--executor", "threads", "4", "a"], "threads 4", ("a",)),
        (["a", "--executor", "threads", "b"], "threads", ("a", "b")),
        (["--executor", "processes", "2"], "processes 2", ()),
        (["--executor=synchronous", "4"], "synchronous", ("4",)),
        (["--executor", "distributed", "host:8786", "a"], "distributed host:8786", ("a",)),
        (["--executor", "distributed", "tcp://[::1]:80"], "distributed tcp://[::1]:80", ()),
        (["--executor", "a.module.Cluster", "3"], "a.module.Cluster 3", ()),
        (["a", "--", "--executor"], None, ("a", "--executor")),
        (["a"], None, ("a",)),
    ],
)
def test_an_executor_is_one_word_or_two(words, executor, names):
    @click.command(cls=ExecutorCommand)
    @click.argument("names", nargs=-1)
    @executor_option
    def command(names, executor):
        return names, executor

    found, said = command.main(words, standalone_mode=False)
    assert found == names
    assert said is None if executor is None else str(said) == executor


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (["modal", "2"], "unknown executor 'modal': synchronous, threads, processes, distributed"),
        (["threads", "host:80"], "host:80 is an address, which only 'distributed' has"),
        (["threads", "0"], "there must be at least 1"),
    ],
)
def test_an_executor_that_cannot_be_meant(said, message):
    @click.command(cls=ExecutorCommand)
    @executor_option
    def command(executor):
        raise AssertionError

    with pytest.raises(click.BadParameter, match=message):
        command.main(["--executor", *said], standalone_mode=False)


# Plugins

PLUGIN = """\
import click

@click.command()
@click.pass_obj
def hello(state):
    "Say hello."
    click.echo("hello")

broken = 5
"""


@pytest.fixture
def plugged(tmp_path, monkeypatch):
    (tmp_path / "plugged.py").write_text(textwrap.dedent(PLUGIN))
    monkeypatch.syspath_prepend(tmp_path)
    points = [
        EntryPoint("hello", "plugged:hello", root.PLUGINS),
        EntryPoint("broken", "plugged:broken", root.PLUGINS),
        EntryPoint("gone", "no_such_module:x", root.PLUGINS),
        EntryPoint("plan", "plugged:hello", root.PLUGINS),
    ]
    monkeypatch.setattr(root, "entry_points", lambda group: points)
    return root.RootGroup(commands=dict(cli.commands))


def test_plugins_add_commands_and_replace_none(plugged, capsys):
    assert plugged.main(["hello"], standalone_mode=False) is None
    assert capsys.readouterr().out == "hello\n"
    assert plugged.list_commands(click.Context(plugged))[-3:] == ["broken", "gone", "hello"]
    assert plugged.get_command(click.Context(plugged), "plan") is cli.commands["plan"]
    assert plugged.get_command(click.Context(plugged), "nonsense") is None


@pytest.mark.parametrize(
    ("name", "why"), [("broken", "it is not a click command"), ("gone", "ModuleNotFoundError")]
)
def test_a_broken_plugin_breaks_nothing_else(plugged, capsys, name, why):
    assert report_errors(lambda: plugged.main(["--help"], standalone_mode=False)) == 0
    assert "hello" in capsys.readouterr().out
    assert report_errors(lambda: plugged.main([name], standalone_mode=False)) == FAILED
    assert f"the plugin {name}" in capsys.readouterr().err
    assert report_errors(lambda: plugged.main([name], standalone_mode=False)) == FAILED
    assert why in capsys.readouterr().err


# The reference


def test_the_reference_is_what_the_help_says():
    project = Path(__file__).parents[1]
    script = project / "docs" / "make_cli.py"
    made = subprocess.run(
        [sys.executable, str(script), "--print"], capture_output=True, text=True, check=True,
        env={**os.environ, "COLUMNS": "40"},
    )  # fmt: skip
    assert (project / "docs" / "cli.md").read_text() == made.stdout, f"run {script}"
