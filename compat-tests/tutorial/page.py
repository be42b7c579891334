"""Reads docs/tutorial.md: its steps, and the fenced blocks in each step.

The info string of a fence tells the test how to use the block:

    sh terminal=N       commands to type into terminal N
    sh install          commands that download something; `install` runs them once
    text terminal=N     the output that follows in terminal N. With `varies=a,b`, the words a and b may be printed in another
                        order than the page shows
    LANGUAGE title=F    the contents of the file F
"""

import dataclasses
import re
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "tutorial.md"
HEADING = re.compile(r"##+ (?P<title>.*)")
FENCE = re.compile(r"```(?P<language>\w+) (?P<info>.*)")
USES = ("terminal", "install", "title")


@dataclasses.dataclass(frozen=True)
class Block:
    line: int
    language: str
    info: dict
    text: str


@dataclasses.dataclass(frozen=True)
class Step:
    title: str
    blocks: list


def steps():
    """Returns the sections of the page that have blocks. Raises ValueError for a block without a use."""
    found = [Step("", [])]
    lines = iter(enumerate(PAGE.read_text().splitlines(), start=1))
    for number, line in lines:
        if match := HEADING.fullmatch(line):
            found.append(Step(match["title"], []))
        elif line.startswith("```"):
            match = FENCE.fullmatch(line)
            info = dict(word.partition("=")[::2] for word in match["info"].split()) if match else {}
            if not any(use in info for use in USES):
                raise ValueError(f"{PAGE.name}:{number}: the info string has none of {', '.join(USES)}")
            found[-1].blocks.append(Block(number, match["language"], info, inside(lines)))
    return [step for step in found if step.blocks]


def inside(lines):
    """Returns the text up to the end of the fence."""
    found = []
    for _, line in lines:
        if line == "```":
            break
        found.append(f"{line}\n")
    return "".join(found)


def blocks():
    return [block for step in steps() for block in step.blocks]
