"""If these fail, a damaged or hostile `.nn` file crashes, hangs or misleads instead of meeting one clear error."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest
from ranvier.compiler.diagnostics import Diagnostic
from ranvier.compiler.errors import SourceError
from ranvier.compiler.frontend import syntax
from ranvier.compiler.frontend.limits import MAX_BYTES, MAX_INTEGER
from ranvier.compiler.frontend.parser import parse, read_source
from ranvier.compiler.source import Source


def errors(text: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(SourceError) as caught:
        parse(Source("t.nn", text))
    return caught.value.diagnostics


def refusal(path: Path) -> Diagnostic:
    with pytest.raises(SourceError) as caught:
        read_source(path, "f.nn")
    (only,) = caught.value.diagnostics
    return only


def body(text: str) -> str:
    return "fn f(x) {\ny = " + text + "\n}\n"


# --- reading files ---------------------------------------------------------------------------------------------------------------------


def test_a_byte_order_mark_and_carriage_returns_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.nn"
    path.write_bytes(b"\xef\xbb\xbf# \xc3\xa9\r\nfn f(x) { return x }\r\n")
    assert read_source(path) == Source(str(path), "# é\nfn f(x) { return x }\n")
    assert read_source(path, "known").name == "known"


def test_bytes_that_are_not_utf8_are_shown_by_their_offset(tmp_path: Path) -> None:
    path = tmp_path / "a.nn"
    path.write_bytes("# é\n".encode() + b"fn f\xff(x)\n")
    assert refusal(path).render() == (
        "f.nn:2:5: error not-utf-8: byte 0xff at offset 9 is not UTF-8\n"
        "    2 | fn f\N{REPLACEMENT CHARACTER}(x)\n"
        "      |     ^\n"
        "  help: save the file as UTF-8 text"
    )


def test_long_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nn"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    assert refusal(path).code == "too-long"
    path.write_bytes(b"\n" * 100_001)
    assert refusal(path).code == "too-long"
    path.write_bytes(b"#" * MAX_BYTES)
    assert parse(read_source(path)).definitions == ()


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert refusal(fifo).code == "not-a-file"
    assert refusal(tmp_path).code in ("not-a-file", "cannot-read")
    assert refusal(Path("/dev/zero")).code == "not-a-file"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.nn").message == "cannot read 'f.nn': No such file or directory"
    assert refusal(Path("a\0b")).code == "cannot-read"


@pytest.mark.parametrize("character", ["\0", "\x1b", "\x7f", "\x85", "\u200b", "\u202e", "\u2066", "\u2028", "\ufeff", "\ud800", "\r"])
def test_invisible_characters_are_refused_everywhere(character: str) -> None:
    for text in (f"# a{character}b\n", f'import "a{character}b"\n', f"fn f{character}(x) {{ }}\n"):
        (found,) = errors(text)
        assert found.code == "invisible-character"
        assert f"U+{ord(character):04X}" in found.message
        assert character not in found.render()


# --- numbers and names -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [str(MAX_INTEGER + 1), "9" * 60, "9" * 5000, "1e999", "1e309%", "0." + "0" * 5000 + "1", "1e-999"])
def test_numbers_out_of_range_are_refused(text: str) -> None:
    assert [d.code for d in errors(body(text))] == ["number-out-of-range"]


@pytest.mark.parametrize(
    ("text", "value"), [(str(MAX_INTEGER), MAX_INTEGER), ("1e308", 1e308), ("0e-999", 0.0), ("5e-324", 5e-324), ("0" * 60, 0)]
)
def test_numbers_at_the_edge_are_read_exactly(text: str, value: float) -> None:
    (definition,) = parse(Source("t.nn", body(text))).definitions
    assigned = definition.body[0]
    assert isinstance(assigned, syntax.Assign)
    assert isinstance(assigned.value, syntax.Number)
    assert (assigned.value.value, type(assigned.value.value)) == (value, type(value))


def test_names_are_short_and_of_ascii_letters() -> None:
    assert parse(Source("t.nn", body("a" * 255))).definitions
    assert [d.code for d in errors(body("a" * 256))] == ["name-too-long"]
    assert [d.code for d in errors(body("\N{CYRILLIC SMALL LETTER A}dam"))] == ["bad-character"]


# --- depth and length ------------------------------------------------------------------------------------------------------------------

DEEP = {
    "parentheses": "(" * 5000 + "1" + ")" * 5000,
    "open parentheses": "(" * 100_000,
    "lists": "[" * 201 + "]" * 201,
    "minus": "-" * 5000 + "1",
    "not": "not " * 5000 + "a",
    "sum": "1+" * 20_000 + "1",
    "power": "1^" * 5000 + "1",
    "conditional": "1 if a else " * 5000 + "1",
    "calls": "f" + "()" * 5000,
    "indices": "x" + "[0]" * 5000,
    "nested calls": "f(" * 201 + ")" * 201,
    "pipeline": "x" + " -> f" * 5000,
    "blocks": "1\n" + "if a {\n" * 201 + "}\n" * 201,
    "else if": "1\nif a { }" + " else if b { }" * 5000,
}


@pytest.mark.parametrize("name", DEEP)
def test_what_nests_too_deep_is_one_error(name: str) -> None:
    assert [d.code for d in errors(body(DEEP[name]))] == ["too-deep"]


def test_two_hundred_levels_are_enough() -> None:
    for text in ("f(" * 199 + "1" + ")" * 199, "(" * 199 + "1" + ")" * 199, "1+" * 199 + "1", "x" + " -> f" * 199):
        assert parse(Source("t.nn", body(text))).definitions


@pytest.mark.parametrize("text", ["a," * 260_000, "(" * 600_000])
def test_files_of_too_many_words_are_refused(text: str) -> None:
    assert [d.code for d in errors(body(text))] == ["too-long"]


@pytest.mark.parametrize(
    "text", ["$" * 100_000, "'\n" * 50_000, "}" * 50_000, "(]" * 50_000, "1 2\n" * 50_000, "é " * 50_000, "1e \n" * 9_000]
)
def test_errors_do_not_pile_up(text: str) -> None:
    assert len(errors(body(text))) <= 102


def test_long_lists_and_gaps_take_time_in_proportion() -> None:
    # Quadratic work on any of these would be minutes.
    for text in ("[" + "1," * 50_000 + "]", "f(" + "a," * 50_000 + ")", "x" + "\n" * 90_000 + "-> f", '"' + '\\"' * 500_000 + '"'):
        assert parse(Source("t.nn", body(text))).definitions


# --- damaged files ---------------------------------------------------------------------------------------------------------------------

SOUND = """\
model m(hidden = 8) {  # a model
    input x: f32[4] ; target y: class[3]
    z = x -> dense(hidden) with l2 = 1e-4
          -> relu -> dense(3)
    if hidden > 4 { z = z * 2 } else { z = -z }
    require hidden > 0 : "hidden is {hidden}"
    predict softmax(z[..., 0:3])
    loss cross_entropy(z, y)
}
tune { hidden in [4, 8] ; train.optimizer.lr in log(1e-4, 1e-1) }
"""


def test_a_file_cut_short_anywhere_is_sound_or_an_error() -> None:
    for length in range(len(SOUND)):
        _is_read_or_refused(SOUND[:length])


def test_damaged_files_are_sound_or_an_error() -> None:
    chance = random.Random(0)
    for _ in range(800):
        text = SOUND
        for _ in range(chance.choice([1, 2, 5])):
            place, cut = chance.randrange(len(text)), chance.choice([0, 1, 3, 20])
            text = (
                text[:place] + chance.choice(["", *"(){}[];:,=\n\"'#-+*^.%@~ !&|<>aé0", "->", "if ", "model "]) + text[place + cut :] + "\n"
            )
        _is_read_or_refused(text)


def _diagnostics(text: str) -> tuple[Diagnostic, ...]:
    try:
        parse(Source("t.nn", text))
    except SourceError as error:
        return error.diagnostics
    return ()


def _is_read_or_refused(text: str) -> None:
    for found in _diagnostics(text):
        assert found.span is not None
        assert 0 <= found.span.start <= len(text)
        assert not re.search("_|[A-Z]{3}", re.sub("`.*?`|UTF", "", found.message)), "a terminal's name in a user's face"
