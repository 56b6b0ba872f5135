"""A configuration file as it is written: found, read, with the lines of its keys."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from orchard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping

__all__ = ["Location", "Source", "find_config", "has_config", "read_source"]

ENVIRONMENT = "ORCHARD_CONFIG"
DEFAULT = "orchard.yaml"

Location = tuple[str | int, ...]
"""Where a value is: the keys, and positions in lists, that lead to it."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a configuration says, and where.

    Parameters
    ----------
    data : mapping
    path : Path, optional
        The file; None: it was given by a program.
    root : yaml.Node, optional
        The file's document.
    """

    data: Mapping[str, Any]
    path: Path | None = None
    root: yaml.Node | None = None

    def where(self, loc: Location) -> str:
        """Name the file, and the line of the deepest part of a location that there is."""
        name = str(self.path or "configuration")
        line = _line(self.root, loc)
        return f"{name}, line {line}" if line else name


def has_config(path: str | os.PathLike[str] | None = None) -> bool:
    """Whether a configuration file is named (by `path` or ``$ORCHARD_CONFIG``) or here."""
    return bool(path or os.environ.get(ENVIRONMENT)) or Path(DEFAULT).is_file()


def find_config(path: str | os.PathLike[str] | None = None) -> Path:
    """Find the configuration file: `path`, ``$ORCHARD_CONFIG``, or ``orchard.yaml`` here.

    Raises
    ------
    ConfigError
        When there is none.
    """
    named = path or os.environ.get(ENVIRONMENT)
    found = Path(named) if named else Path(DEFAULT)
    if found.is_file():
        return found
    if named:
        raise ConfigError(f"there is no configuration file {named}")
    raise ConfigError(
        f"no configuration: there is no {DEFAULT} here. Write one with 'orchard config template', "
        f"or name one with -C FILE or {ENVIRONMENT}"
    )


def read_source(file: Path) -> Source:
    """Read a configuration file and fill in ``${VARIABLES}``.

    Raises
    ------
    ConfigError
        When it cannot be read, is not YAML, says a key twice, or names a variable that there is
        not; names the line.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text: {error.reason}") from None
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(f"{file} holds no mapping of keys: see 'orchard config template'")
        _check(root, file)
        data: dict[str, Any] = loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        why = " ".join(filter(None, [error.context, error.problem]))
        raise ConfigError(f"{file}{line}: not YAML: {why}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: not YAML: {error}") from None
    return Source(data=data, path=file.absolute(), root=root)


def _check(node: yaml.Node, file: Path) -> None:
    """Refuse keys that are said twice, and fill in variables, all through a document."""
    for part in _parts(node):
        if isinstance(part, yaml.ScalarNode) and "${" in part.value:
            _fill_in(part, file)
        elif isinstance(part, yaml.MappingNode):
            seen: dict[Hashable, int] = {}
            for key, _ in part.value:
                line = key.start_mark.line + 1
                if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                    raise ConfigError(
                        f"{file}, line {line}: {key.value} is said twice, first in line "
                        f"{seen[key.value]}"
                    )
                if isinstance(key.value, str):
                    seen[key.value] = line


def _parts(root: yaml.Node) -> Iterator[yaml.Node]:
    """Walk through a document; what several aliases stand for comes once."""
    todo, seen = [root], set()
    while todo:
        node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            todo += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            todo += node.value


_WHOLE = re.compile(r"-?(0|[1-9]\d*)")


def _fill_in(node: yaml.ScalarNode, file: Path) -> None:
    """Fill in the variables of a scalar; a bare one that becomes a whole number is one."""

    def value_of(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise ConfigError(
                f"{file}, line {node.start_mark.line + 1}: the environment has no variable "
                f"{match[1]}"
            )
        return os.environ[match[1]]

    node.value = re.sub(r"\$\{(\w+)\}", value_of, node.value)
    if node.style is None and _WHOLE.fullmatch(node.value):
        node.tag = "tag:yaml.org,2002:int"


def _line(root: yaml.Node | None, loc: Location) -> int | None:
    """Return the line (from 1) of the deepest part of a location that there is."""
    node, line = root, None
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            found = [pair for pair in node.value if pair[0].value == str(part)]
            if not found:
                break
            key, node = found[0]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line
