"""Every broken file beside this one gives exactly the message that its `.txt` says: if not, a user loses the place, the reason or the mend.

A first line `#: name=value` sets settings as the command line does. `pytest --update-golden` writes the texts anew.
"""

import re
from pathlib import Path

import pytest
from ranvier.compiler.errors import RanvierError
from ranvier.runtime.checking import check
from ranvier.runtime.opening import open_blueprint, split_settings

BROKEN = Path(__file__).parent / "broken"
LIBRARY_PLACE = re.compile(r"(stdlib/\w+\.nn):\d+:\d+")
FILES = sorted(path.stem for path in BROKEN.glob("*.nn"))


def said_about(file: str) -> str:
    """What the check of a file says, places in the library without their lines, which move; fails when it says nothing."""
    settings, overrides = split_settings(settings_of(Path(file).read_bytes().splitlines()[0]))
    with pytest.raises(RanvierError) as caught:
        check(open_blueprint(file, settings=settings, overrides=overrides))
    return LIBRARY_PLACE.sub(r"\1", str(caught.value)) + "\n"


def settings_of(line: bytes) -> dict[str, object]:
    pairs = line.decode("latin-1").removeprefix("#:").split() if line.startswith(b"#:") else []
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


@pytest.mark.parametrize("name", FILES)
def test_message(name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BROKEN)
    said, expected = said_about(f"{name}.nn"), BROKEN / f"{name}.txt"
    if request.config.getoption("--update-golden"):
        expected.write_text(said, encoding="utf-8")
    assert said == expected.read_text(encoding="utf-8")


def test_there_are_many() -> None:
    assert len(FILES) >= 70
