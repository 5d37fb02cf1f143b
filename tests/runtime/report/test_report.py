"""A report is whole, safe and true: it needs no network, no name in the data becomes part of the page, its figures are the model's."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from ranvier.runtime.cli.application import application
from ranvier.runtime.report.images import grey_levels, is_image, png
from ranvier.runtime.report.markup import VOID, Markup, tag

import ranvier as rv

EVIL = "<script>alert(1)</script>&\"'"
FLOWERS = """# A comment with <b>marks</b> & signs.
model flowers() {
    input features: f32[2]
    target kind: class[3]
    logits = features -> standardize -> dense(3)
    predict softmax(logits)
    loss cross_entropy(logits, kind)
    metric accuracy(logits, kind)
    metric confusion(logits, kind)
}
data { source = "rows.csv" ; features = columns(width, height) ; kind = column(species) ; test = 25% }
train { batch = 16 ; epochs = 4 ; validate = 20% }
"""
LINE = """model line() {
    input x: f32[1]
    target y: f32[]
    z = sum(x -> dense(1))
    predict z
    loss mse(z, y)
}
train { epochs = 2 }
"""


class Page(HTMLParser):
    """What a page holds; every element that opens must close in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def run(*arguments: object) -> Result:
    return CliRunner().invoke(application, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model whose classes have names that would be markup, and its data."""
    path = tmp_path_factory.mktemp("flowers")
    rng = np.random.default_rng(3)
    kinds = rng.integers(0, 3, 120)
    points = rng.normal(0, 0.8, (120, 2)) + np.array([[0, 0], [3, 0], [0, 3]])[kinds]
    names = ['"' + EVIL.replace('"', '""') + '"', "iris", "rosa"]
    rows = [f"{w!r},{h!r},{names[k]}" for (w, h), k in zip(points.tolist(), kinds, strict=True)]
    (path / "rows.csv").write_text("\n".join(["width,height,species", *rows]) + "\n")
    (path / "flowers.nn").write_text(FLOWERS)
    assert run("train", path / "flowers.nn", "-o", path / "m.safetensors", "--threads", 1).exit_code == 0
    return path


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    result = run("report", folder / "m.safetensors", "-o", folder / "r.html", "--data", folder / "rows.csv")
    assert result.exit_code == 0, result.output
    return (folder / "r.html").read_text()


def test_it_needs_nothing_else(page: str) -> None:
    """Nothing is loaded, nothing is run, and the browser is told so."""
    found = Page(page)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {name for name, _ in found.tags}
    for name, attributes in found.tags:
        assert not any(key.startswith("on") for key in attributes), name
        for key in ("src", "href", "xlink:href"):
            assert (attributes.get(key) or "#").startswith(("#", "data:image/png;base64,"))
    policy = next(a["content"] for name, a in found.tags if name == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert not re.search(r"url\((?!#)|@import", page)


def test_names_in_data_are_words(page: str) -> None:
    assert EVIL not in page
    assert EVIL in Page(page).words
    assert "# A comment with <b>marks</b> & signs." in Page(page).words


def test_it_can_be_read_without_seeing_or_a_mouse(page: str) -> None:
    """A language, headings in order, tables with captions and heads, pictures with titles, boxes that scroll by the keyboard."""
    tags = Page(page).tags
    assert ("html", {"lang": "en"}) in tags
    names = [name for name, _ in tags]
    assert names.count("h1") == names.count("main") == 1
    assert names.count("table") == names.count("caption") == names.count("thead")
    assert all("scope" in attributes for name, attributes in tags if name == "th")
    assert names.count("svg") == sum(names[n + 1] == "title" for n, name in enumerate(names) if name == "svg")
    assert all(a.get("tabindex") == "0" and a.get("role") == "region" for name, a in tags if "scroll" in (a.get("class") or "").split())
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"] for name, a in tags if name == "a"} <= {f"#{each}" for each in ids}


def test_its_figures_are_the_model_s(folder: Path, page: str) -> None:
    model = rv.load(folder / "m.safetensors")
    table = {"features": np.loadtxt(folder / "rows.csv", delimiter=",", skiprows=1, usecols=(0, 1), dtype=np.float32)}
    kinds = [line.split(",", 2)[2].strip('"').replace('""', '"') for line in (folder / "rows.csv").read_text().splitlines()[1:]]
    scores = model.evaluate({**table, "kind": np.array(kinds)})
    words = Page(page).words
    assert f"{scores['loss']:.6g}" in words
    assert f"{scores['accuracy']:.6g}" in words
    matrix = re.search(r'<table class="matrix">.*?</table>', page, re.DOTALL)
    assert matrix is not None
    cells = [int(text) for text in re.findall(r"<td[^>]*>(\d+)</td>", matrix[0])]
    np.testing.assert_array_equal(np.array(cells).reshape(3, 3), scores["confusion"])
    losses = model.losses({**table, "kind": np.array(kinds)})
    worst = re.search(r"The rows of greatest loss.*?</table>", page, re.DOTALL)
    assert worst is not None
    assert [int(n) for n in re.findall(r'<th scope="row">(\d+)</th>', worst[0])] == (np.argsort(-losses)[:12] + 2).tolist()


def test_the_same_model_gives_the_same_page(folder: Path, page: str) -> None:
    assert (
        run("report", folder / "m.safetensors", "-o", folder / "again.html", "--data", folder / "rows.csv", "--threads", 2).exit_code == 0
    )
    assert (folder / "again.html").read_text() == page


def test_rows_of_the_test(folder: Path) -> None:
    result = run("report", folder / "m.safetensors", "-o", folder / "t.html", "--data", folder / "rows.csv", "--test")
    assert result.exit_code == 0, result.output
    words = Page((folder / "t.html").read_text()).words
    assert "Over 30 rows: the rows of rows.csv that are kept for the test" in words
    assert "test row" in words


def test_without_data(folder: Path) -> None:
    assert run("report", folder / "m.safetensors").exit_code == 0
    page = (folder / "m.html").read_text()
    assert "Made without data" in page
    assert page.count("<polyline") == 4
    assert "Confusion matrix" not in page


def test_numbers_beside_the_truth(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(50, 1)).astype(np.float32)
    model = rv.compile(LINE)
    model.fit({"x": x, "y": x[:, 0]})
    model.save(tmp_path / "m.safetensors")
    np.savez(tmp_path / "rows.npz", x=x, y=x[:, 0])
    assert run("report", tmp_path / "m.safetensors", "--data", tmp_path / "rows.npz").exit_code == 0
    page = (tmp_path / "m.html").read_text()
    assert page.count('class="s0 dot"') == 2 * 50
    assert "prediction and truth (50 values)" in Page(page).words


@pytest.mark.parametrize(
    ("declared", "shape", "drawn"),
    [
        ("u8[5, 4, 1]", (5, 4, 1), "<img"),
        ("f32[5, 4, 3]", (5, 4, 3), "<img"),
        ("f32[9, 2]", (9, 2), "<polyline"),
        ("f32[40]", (40,), "<polyline"),
        ("class[7][6]", (6,), "The rows of greatest loss"),
        ("class[7][T]", (6,), "<blockquote"),
        ("f32[T, 3]", (6, 3), "<polyline"),
        ("f32[2, 3, 2, 2]", (2, 3, 2, 2), "<blockquote"),
        ("f32[]", (), "The rows of greatest loss"),
    ],
)
def test_every_kind_of_input_is_shown(tmp_path: Path, declared: str, shape: tuple[int, ...], drawn: str) -> None:
    text = f"model m() {{ input x: {declared}\n target y: f32[]\n z = mean(float(x))\n predict z\n loss mse(z, y)\n}}"
    rv.compile(text, **({"T": 6} if "T" in declared else {})).save(tmp_path / "m.safetensors")
    np.savez(tmp_path / "rows.npz", x=np.random.default_rng(0).integers(0, 7, (9, *shape)), y=np.zeros(9))
    assert run("report", tmp_path / "m.safetensors", "--data", tmp_path / "rows.npz").exit_code == 0
    page = (tmp_path / "m.html").read_text()
    Page(page)
    examples = page.partition('<section id="examples"')[2].partition("</section>")[0]
    assert examples.count(drawn) >= 1
    assert examples.count("row") >= 1


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--test",), 2, "--test needs --data"),
        (("-o", "none/r.html"), 2, "does not exist"),
        (("--data", "none.csv"), 1, "none.csv"),
    ],
)
def test_mistakes(folder: Path, arguments: tuple[str, ...], status: int, said: str) -> None:
    result = run("report", folder / "m.safetensors", *arguments)
    assert result.exit_code == status
    assert said in result.output


# --- pictures


def unpacked(data: bytes) -> tuple[int, int, bytes]:
    """Width, height and the lines of a PNG, its checks verified."""
    chunks, place = {}, 8
    while place < len(data):
        size, kind = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 8 : place + 8 + size]
        assert struct.unpack(">I", data[place + 8 + size : place + 12 + size])[0] == zlib.crc32(kind + body)
        chunks[kind], place = body, place + 12 + size
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    return width, height, zlib.decompress(chunks[b"IDAT"])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_png_holds_the_pixels(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, channels)).astype(np.uint8)
    width, height, lines = unpacked(png(pixels))
    assert (width, height) == (5, 3)
    rows = np.frombuffer(lines, np.uint8).reshape(3, 1 + 5 * channels)
    assert (rows[:, 0] == 0).all()
    np.testing.assert_array_equal(rows[:, 1:].reshape(pixels.shape), pixels)


def test_pillow_reads_it() -> None:
    image = pytest.importorskip("PIL.Image")
    from io import BytesIO

    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 3)).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(image.open(BytesIO(png(pixels)))), pixels)


def test_grey_levels_go_from_the_least_to_the_greatest() -> None:
    levels = grey_levels(np.array([[[0, 8], [16, 4]]], np.uint8))
    assert levels[..., 0].tolist() == [[[0, 128], [255, 64]]]
    assert grey_levels(np.array([[[-1.0, np.nan], [1.0, 0.0]]]))[..., 0].tolist() == [[[0, 128], [255, 128]]]
    assert not grey_levels(np.zeros((2, 3, 3))).any()


@pytest.mark.parametrize(
    ("shape", "whole", "is_one"), [((8, 8, 1), False, True), ((8, 8), True, True), ((8, 8), False, False), ((8, 8, 2), True, False)]
)
def test_what_an_image_is(shape: tuple[int, ...], whole: bool, is_one: bool) -> None:
    assert is_image(shape, whole) == is_one


def test_markup_is_escaped_once() -> None:
    assert tag("p", "<", Markup("<br>"), ["a", ("&",)], class_='"') == '<p class="&quot;">&lt;<br>a&amp;</p>'


# --- in a browser


def in_chromium(*arguments: str) -> subprocess.CompletedProcess[str]:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no browser")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(("scheme", "background"), [("1", 255), ("0", 40)])
def test_a_browser_shows_it(folder: Path, page: str, tmp_path: Path, scheme: str, background: int) -> None:
    """Without a complaint, light and dark (0 is the browser's number of dark); most of the picture is the paper."""
    image = pytest.importorskip("PIL.Image")
    picture = tmp_path / "page.png"
    address = (folder / "r.html").as_uri()
    done = in_chromium(f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={picture}", "--window-size=1100,900", address)
    assert picture.exists(), done.stderr[-2000:]
    assert "CONSOLE" not in done.stderr
    pixels = np.asarray(image.open(picture).convert("L"))
    assert abs(int(np.median(pixels)) - background) < 30
    assert pixels.std() > 10


def test_a_browser_reads_it_as_it_was_written(folder: Path, page: str) -> None:
    """What the browser makes of the text has as many elements as were written: nothing was mended."""
    dom = in_chromium("--dump-dom", (folder / "r.html").as_uri()).stdout
    for name in ("table", "td", "svg", "polyline", "section", "pre"):
        assert dom.count(f"<{name}") == page.count(f"<{name}"), name
    assert "<script" not in dom
