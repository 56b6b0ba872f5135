"""The code blocks of a page of the documentation (pure).

A fenced block is `python`, `sh`, `yaml`, `json` or `text`. Right under one that runs, `text` is
what it prints: ``…`` stands for anything. A paragraph that begins with "*Checked, not run" marks
the next block as one that cannot run here: it is compiled or parsed all the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from markdown_it import MarkdownIt

__all__ = ["LANGUAGES", "Block", "blocks_of", "matches"]

LANGUAGES = ("python", "sh", "yaml", "json", "text")
MARK = "*Checked, not run"
UNDER = "\0"  # in place of words between two blocks: there are none


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block: its language, text, first line in the page, and what goes with it."""

    language: str
    title: str
    text: str
    line: int
    runs: bool = True
    is_output: bool = False
    output: str | None = None


def blocks_of(page: str) -> list[Block]:
    """Return the fenced blocks of a page, in order.

    Raises
    ------
    ValueError
        For a language that nobody checks.
    """
    found: list[Block] = []
    last = ""
    for token in MarkdownIt("commonmark").parse(page):
        if token.type == "inline":
            last = token.content
        if token.type != "fence":
            continue
        language, _, words = token.info.strip().partition(" ")
        if language not in LANGUAGES:
            raise ValueError(f"line {token.map[0] + 1}: nobody checks blocks of {token.info!r}")
        follows = last == UNDER and found[-1].language in ("python", "sh")
        title = re.search(r'title="([^"]*)"', words)
        block = Block(
            language=language,
            title=title[1] if title else "",
            text=token.content,
            line=token.map[0] + 1,
            runs=not last.startswith(MARK),
            is_output=follows and language == "text",
        )
        if block.is_output:
            before = found.pop()
            found.append(Block(**{**before.__dict__, "output": block.text}))
        found.append(block)
        last = UNDER
    return found


def matches(expected: str, printed: str) -> bool:
    """Whether a text is what was expected; ``…`` stands for anything, spaces do not count."""
    parts = [" ".join(part.split()) for part in expected.split("…")]
    pattern = ".*?".join(map(re.escape, parts))
    return re.fullmatch(pattern, " ".join(printed.split()), re.DOTALL) is not None
