"""What pages show, as it stands in them: fenced blocks, and commands; and a whole page carried out from top to bottom."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from ranvier.runtime.checking import check
from ranvier.runtime.cli.application import application
from ranvier.runtime.opening import open_blueprint

FENCE = re.compile(r"^```(\w*)(?: +([^\n]*))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^    (ranvier [^\n]*?)(?:  +[^\n]*)?$", re.MULTILINE)
NAMED = re.compile(r"# (\w+\.nn)\n")
BLOCK = re.compile(r"^(data|train|tune) \{.*?^\}\n", re.MULTILINE | re.DOTALL)


def blocks(text: str, language: str) -> list[str]:
    """Fenced blocks of a page in a language."""
    return [match[3] for match in FENCE.finditer(text) if match[1] == language]


def commands(text: str) -> list[str]:
    """The commands of a page, without what is said of them."""
    return [match[1] for match in COMMAND.finditer(text)]


def run(command: str) -> Result:
    """A command line of `ranvier` in this process."""
    return CliRunner().invoke(application, shlex.split(command)[1:])


@dataclass
class Page:
    """A page carried out in the current folder.

    A `.nn` block whose first line is `# NAME.nn` becomes that file; one `in NAME.nn` replaces the blocks of that file, which is then
    trained. Commands must succeed, blocks of Python run one after the other with the same `names`, and what a `console` shows is what is
    printed. Blocks of Python that import one of `without` are left out.
    """

    text: str
    without: Collection[str] = ()
    names: dict[str, Any] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)

    def carry_out(self) -> None:
        """Everything, in its order."""
        found = [*FENCE.finditer(self.text), *COMMAND.finditer(self.text)]
        for match in sorted(found, key=lambda match: match.start()):
            if match.re is COMMAND:
                succeed(match[1])
                self.done.append(match[1])
            else:
                self.done.append(match[1])
                self._fenced(match[1], match[2] or "", match[3])

    def _fenced(self, language: str, words: str, text: str) -> None:
        if language == "nn":
            self._model(words, text)
        elif language == "python" and not any(f"import {name}\n" in text for name in self.without):
            exec(text, self.names)
        elif language == "console":
            assert list(printed(text)) == text.splitlines()

    def _model(self, words: str, text: str) -> None:
        named = NAMED.match(text)
        if named is not None:
            Path(named[1]).write_text(text, encoding="utf-8")
            check(open_blueprint(Path(named[1])))
            return
        file = Path(words.removeprefix("in "))
        kinds = {match[1] for match in BLOCK.finditer(text)}
        kept = BLOCK.sub(lambda match: "" if match[1] in kinds else match[0], file.read_text(encoding="utf-8"))
        changed = file.with_stem(f"{file.stem}_changed")
        changed.write_text(f"{kept}\n{text}", encoding="utf-8")
        check(open_blueprint(changed))
        succeed(f"ranvier train {changed} -o changed.safetensors")


def succeed(command: str) -> None:
    """A command that has to work."""
    result = run(command)
    assert result.exit_code == 0, f"{command}\n{result.output}\n{result.exception}"


def printed(text: str) -> Iterator[str]:
    """The lines of a console, its commands with what they print when they are run."""
    for line in text.splitlines():
        if line.startswith("$ "):
            yield line
            yield from run(line.removeprefix("$ ")).output.splitlines()
