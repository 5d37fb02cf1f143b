"""The reference of the language says what is so: examples are checked, tables are complete. If not, people learn what does not work.

The word after ```nn says how an example is completed: nothing for a whole file, `definitions` beside a model, `body` for the statements
of a model, `block` for the blocks of a file; `wrong=CODE` for one that must fail. `--update-golden` writes the tables of the library.
"""

import re
from collections.abc import Iterator

import pytest
from pages import FENCE
from ranvier.compiler.errors import SourceError
from ranvier.compiler.frontend.blocks import KNOWN
from ranvier.compiler.frontend.library import standard_sources
from ranvier.compiler.frontend.parser import parse
from ranvier.compiler.frontend.primitives import TABLE
from ranvier.compiler.frontend.syntax import Definition
from ranvier.compiler.source import Source
from ranvier.runtime.checking import check
from ranvier.runtime.opening import open_blueprint
from repository import ROOT

REFERENCE = ROOT / "grammar" / "reference.md"
LIBRARY = re.compile(r"(<!-- library[^\n]*-->\n).*?(<!-- end of library -->)", re.DOTALL)
CODE = re.compile(r"(?:refuse|report|Diagnostic|_refusal)\(\s*\"([a-z0-9-]+)\"|code=\"([a-z0-9-]+)\"")
MODEL = "input x: f32[4]\ntarget y: class[3]\nz = x -> dense(3)\npredict z\nloss cross_entropy(z, y)\nmetric accuracy(z, y)"
EXAMPLES = [(m[2] or "", m[3]) for m in FENCE.finditer(REFERENCE.read_text(encoding="utf-8")) if m[1] == "nn"]


def complete(kind: str, text: str) -> str:
    """An example as a whole file."""
    if kind == "definitions":
        return f"{text}\nmodel m() {{\n{MODEL}\n}}\n"
    if kind == "body":
        return f"model m() {{\n{text}\n}}\n"
    return f"model m() {{\n{MODEL}\n}}\n{text}" if kind == "block" else text


@pytest.mark.parametrize(("words", "text"), EXAMPLES)
def test_example(words: str, text: str) -> None:
    kind, _, code = words.partition("wrong=")
    if not code:
        check(open_blueprint(complete(kind.strip(), text)))
        return
    with pytest.raises(SourceError) as caught:
        check(open_blueprint(complete(kind.strip(), text)))
    assert [d.code for d in caught.value.diagnostics] == [code]


def test_definitions_of_examples_can_be_used() -> None:
    """What the examples define is applied, trained with and initialised by."""
    definitions = "\n".join(text for words, text in EXAMPLES if words == "definitions")
    body = (
        "input x: f32[4]\ninput image: f32[6, 5, 3]\ninput frames: f32[5, 2]\ntarget y: class[3]\n"
        "h = x -> running_mean -> tower(8, depth = 2) -> dense(3, init = ring(radius = 0.1))\n"
        "z = h + last(frames -> minimal_gated(3)) + channel_share()(image) * cosine_similarity(x, 2 * x)\n"
        "predict z\nloss cross_entropy(z, y)"
    )
    train = "optimizer = heavy_ball()\nschedule = halving()\nregularize = largest(0.1)\nstop = reached(0.2)"
    check(open_blueprint(f"{definitions}\nmodel m() {{\n{body}\n}}\ntrain {{\n{train}\n}}\n"))


def test_every_primitive_is_listed() -> None:
    listed = set(re.findall(r"`(\w+)\(", REFERENCE.read_text(encoding="utf-8").partition("## Primitives")[2]))
    assert set(TABLE) <= listed


def test_every_code_is_listed() -> None:
    sources = [p.read_text(encoding="utf-8") for folder in ("compiler", "runtime") for p in (ROOT / folder).rglob("*.py")]
    codes = {one or two for text in sources for one, two in CODE.findall(text)}
    listed = set(re.findall(r"`([a-z0-9-]+)`", REFERENCE.read_text(encoding="utf-8").partition("## What errors look like")[2]))
    assert codes <= listed


def test_every_setting_of_a_train_block_is_listed() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in KNOWN["train"])


# --- the tables of the library


def test_library_tables(request: pytest.FixtureRequest) -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    wanted = LIBRARY.sub(lambda m: m[1] + "\n".join(library_tables()) + "\n" + m[2], text)
    if request.config.getoption("--update-golden"):
        REFERENCE.write_text(wanted, encoding="utf-8")
    assert REFERENCE.read_text(encoding="utf-8") == wanted, "the library changed: write its tables anew with --update-golden"


def library_tables() -> Iterator[str]:
    """One table a file of the library: the heading of the file, then every definition with the comment above it."""
    yield "\n## Library"
    for source in standard_sources().values():
        definitions = parse(source).definitions
        if not definitions:
            continue
        title = source.name.removeprefix("stdlib/").removesuffix(".nn").capitalize()
        sentence = comment_at(source, 1).removeprefix(f"{title}: ")
        yield f"\n### {title}\n\n{sentence[0].upper()}{sentence[1:]}\n\n| | |\n|---|---|"
        for definition in definitions:
            yield f"| `{signature(definition)}` | {comment_above(source, definition)} |"
    yield ""


def signature(definition: Definition) -> str:
    """The header of a definition as it is called, on one line."""
    text = " ".join(definition.span.text.partition("{")[0].split()[1:])
    return text.replace("( ", "(").replace(", )", ")").replace("|", "\\|")


def comment_above(source: Source, definition: Definition) -> str:
    """The comment right above a definition, or nothing."""
    first = definition.span.line
    while first > 1 and source.line(first - 1).startswith("#"):
        first -= 1
    return comment_at(source, first) if first < definition.span.line else ""


def comment_at(source: Source, line: int) -> str:
    lines = []
    while source.line(line).startswith("#"):
        lines.append(source.line(line).removeprefix("#").strip())
        line += 1
    return " ".join(lines).replace("|", "\\|")
