"""A saved model comes back bit for bit, or one CheckpointError says why not; whatever fails while saving, the old file is whole."""

import io
import json
import os
import pickle
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from ranvier.compiler.errors import CheckpointError
from ranvier.runtime import atomic, checkpoint, tensor_file
from ranvier.runtime.checkpoint import SavedModel, load_model, save_model
from ranvier.runtime.limits import Limits
from ranvier.runtime.tensor_file import require_shapes

FIELDS = ("sources", "settings", "vocabularies", "progress", "ranvier", "format")
GROUPS = ("params", "state", "fit", "optimizer")


def example() -> SavedModel:
    generator = np.random.default_rng(0)
    return SavedModel(
        sources={"digits.nn": "model digits() {}\n# größer\n", "blocks.nn": ""},
        settings={"hidden": 128, "train": {"lr": 1e-3, "names": ["a", None, True]}},
        params={"dense_1.weight": generator.normal(size=(4, 3)).astype(np.float32), "dense_1.b": np.zeros(3, np.float32)},
        state={"norm.mean": np.zeros((0, 2), np.float64)},
        fit={"mu": np.array(2.5), "used": np.array([True, False])},
        optimizer={"m": np.arange(5, dtype=np.float32), "step": np.array([7], dtype=np.uint64)},
        vocabularies={"species": ["setosa", "größer"]},
        progress={"epoch": 3, "step": 100, "seed": 2**63, "best": float("inf"), "loss": 0.1},
    )


def assert_equal(found: SavedModel, expected: SavedModel) -> None:
    for name in FIELDS:
        assert getattr(found, name) == getattr(expected, name)
    assert list(found.sources) == list(expected.sources)
    for group in GROUPS:
        left, right = getattr(found, group), getattr(expected, group)
        assert left.keys() == right.keys()
        for name, array in right.items():
            assert left[name].dtype == array.dtype.newbyteorder("=")
            assert left[name].shape == array.shape
            np.testing.assert_array_equal(left[name], array)


def refused(path: Path, words: str, **options: Any) -> None:
    with pytest.raises(CheckpointError, match=words) as caught:
        load_model(path, **options)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


# --- round trips

ARRAYS = hnp.arrays(
    st.sampled_from([np.dtype(t) for t in ("f4", "f8", "i4", "i8", "u1", "u4", "u8", "?", ">f4")]),
    hnp.array_shapes(min_dims=0, min_side=0, max_dims=3),
)
NAMED = st.dictionaries(st.text(max_size=8), ARRAYS, max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=80, deadline=None)
@given(
    saved=st.builds(
        SavedModel,
        sources=st.dictionaries(st.text(), st.text(), max_size=3),
        settings=st.dictionaries(st.text(), JSON, max_size=3),
        params=NAMED,
        state=NAMED,
        fit=NAMED,
        optimizer=NAMED,
        vocabularies=st.dictionaries(st.text(), st.lists(st.text()), max_size=2),
        progress=st.dictionaries(st.text(), st.integers(0) | st.floats(allow_nan=False), max_size=3),
    )
)
def test_models_come_back(path: Path, saved: SavedModel) -> None:
    save_model(path, saved)
    assert_equal(load_model(path, allow_nonfinite=True), saved)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_model(tmp_path / name, example())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_format_is_plain_safetensors(path: Path) -> None:
    save_model(path, example())
    tensors = safetensors.numpy.load_file(path)
    np.testing.assert_array_equal(tensors["param/dense_1.weight"], example().params["dense_1.weight"])
    assert {name.split("/")[0] for name in tensors} == {"param", "state", "fit", "optimizer"}


def test_layouts_that_safetensors_would_write_wrongly(path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    params = {"transposed": array.T, "reversed": array[::-1], "foreign": array.astype(">f4")}
    save_model(path, SavedModel({}, params=params))
    for name, expected in params.items():
        np.testing.assert_array_equal(load_model(path).params[name], expected)


def test_settings_come_back_as_json_has_them(path: Path) -> None:
    save_model(path, SavedModel({}, settings={"shape": (1, 2), 10: "ten", 9: "nine"}))
    assert load_model(path).settings == {"shape": [1, 2], "10": "ten", "9": "nine"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"settings": {"f": print}}, "JSON"),
        ({"settings": {1: 1, "1": 2}}, "twice"),
        ({"params": {"w": np.array(["text"])}}, "`param/w` has elements of type <U4"),
        ({"params": {"w": np.zeros(1, complex)}}, "complex128"),
        ({"sources": {"a.nn": "x" * (8 * 2**20)}}, "exceed 8388608 bytes"),
    ],
)
def test_models_that_cannot_be_saved_harm_no_file(path: Path, change: dict[str, Any], words: str) -> None:
    save_model(path, example())
    with pytest.raises(CheckpointError, match=words):
        save_model(path, replace(example(), **change))
    assert_equal(load_model(path), example())


def test_more_tensors_than_a_file_may_hold(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(path, example())
    monkeypatch.setattr(checkpoint, "TENSOR_LIMIT", 3)
    with pytest.raises(CheckpointError, match="has 7 tensors"):
        save_model(path, example())
    monkeypatch.setattr(tensor_file, "TENSOR_LIMIT", 3)
    refused(path, "holds 7 tensors, the limit is 3")


# --- damage


def test_every_cut_and_every_addition_is_noticed(path: Path) -> None:
    save_model(path, example())
    whole = path.read_bytes()
    for data in [whole[: len(whole) * part // 64] for part in range(64)] + [whole[:-1], whole + b"\0", whole + whole]:
        path.write_bytes(data)
        refused(path, "damaged|not a saved model|no saved model")


def test_flipped_bits_give_the_same_model_or_one_error(path: Path) -> None:
    save_model(path, example())
    whole, generator = path.read_bytes(), np.random.default_rng(5)
    for _ in range(2000):
        data = bytearray(whole)
        data[int(generator.integers(len(data)))] ^= 1 << int(generator.integers(8))
        path.write_bytes(data)
        try:
            found = load_model(path)
        except CheckpointError as error:
            message = str(error)
            assert "\n" not in message  # only errors of this one kind may pass
        else:
            assert_equal(found, example())


def forged(path: Path, header: Any, body: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + body)
    return path


def tensor(shape: list[Any], begin: Any, end: Any, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"a": tensor([1], 0, 4), "b": tensor([1], 2, 6), "c": tensor([2], 6, 8, "U8")}, "begins at byte 2"),
        ({"a": tensor([1], 0, 4), "b": tensor([], 5, 6, "U8")}, "begins at byte 5"),
        ({"a": tensor([1], 0, 4)}, "take 4 bytes, but 8 are there"),
        ({"a": tensor([3], 0, 12)}, "take 12 bytes"),
        ({"a": tensor([2], 8, 0)}, "shape"),
        ({"a": tensor([3], 0, 8)}, "shape"),
        ({"a": tensor([-2], 0, -8)}, "whole numbers"),
        ({"a": tensor([2.0], 0, 8)}, "whole numbers"),
        ({"a": tensor([True, 2], 0, 8)}, "whole numbers"),
        ({"a": tensor([0, 2**62, 2**62], 0, 0), "b": tensor([2], 0, 8)}, "shape"),
        ({"a": tensor([1] * 33, 0, 4)}, "whole numbers"),
        ({"a": tensor([2], 0, 8, "F16")}, "elements of type 'F16'"),
        ({"a": tensor([2], 0, 8, ["F32"])}, "elements of type"),  # type: ignore[arg-type]
        ({"a": {"dtype": "F32"}}, "describe `a`"),
        ({"a": 1}, "describe `a`"),
        ([], "no saved model|damaged"),
        ({"__metadata__": {"ranvier": 1}}, "metadata"),
        ({"__metadata__": []}, "metadata"),
        ({"a": tensor([2], 0, 8)}, "no model that Ranvier saved"),
        ({"__metadata__": {"format": "pt"}, "a": tensor([2], 0, 8)}, "no model that Ranvier saved"),
        (b'{"a":1,"a":2}', "twice"),
        (b'{"a":' + b"[" * 100_000, "header cannot be read"),
        (b'{"a":' + b"9" * 5000 + b"}", "header cannot be read"),
        (b'{"\xff":1}', "header cannot be read"),
        (b"{", "header cannot be read"),
    ],
)
def test_forged_headers(path: Path, header: Any, words: str) -> None:
    refused(forged(path, header, bytes(8)), words)


def test_forged_lengths(path: Path) -> None:
    for length in (2**64 - 1, 2**63, 8 * 2**20 + 1, 100):
        refused(forged(path, {}, length=length), f"claims {length} bytes")
    path.write_bytes(b"")
    refused(path, "claims 0 bytes")
    save_model(path, example())
    refused(path, "the limit is", limits=Limits(size=100))


def described(content: Any, **change: Any) -> dict[str, str]:
    return {"ranvier": json.dumps({"format": 1, "digest": checkpoint._content_digest(content), "content": content} | change)}


CONTENT: dict[str, Any] = {"sources": {}, "settings": {}, "vocabularies": {}, "progress": {}, "ranvier": "1", "digests": {}}


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (described(CONTENT, format=2), "in format 2, this version reads format 1; update"),
        (described(CONTENT, digest=""), "changed after it was saved"),
        (described(CONTENT, more=1), "not complete"),
        (described(CONTENT | {"digests": {"param/w": ""}}), "`param/w` is not both described and there"),
        ({"ranvier": "[]"}, "not complete"),
        ({"ranvier": "{"}, "cannot be read"),
        ({"ranvier": '{"format":1,"format":1}'}, "twice"),
        *[
            (described(content), "does not describe a model")
            for content in (
                [],
                None,
                {},
                CONTENT | {"sources": []},
                CONTENT | {"sources": {"a.nn": 1}},
                CONTENT | {"vocabularies": {"y": "abc"}},
                CONTENT | {"vocabularies": {"y": [1]}},
                CONTENT | {"progress": {"epoch": -1}},
                CONTENT | {"progress": {"step": 1.5}},
                CONTENT | {"progress": {"loss": "nan"}},
                CONTENT | {"ranvier": 1},
                CONTENT | {"digests": {"w": 1}},
            )
        ],
    ],
)
def test_forged_descriptions(path: Path, metadata: dict[str, str], words: str) -> None:
    path.write_bytes(safetensors.numpy.save({}, metadata))
    refused(path, words)


@pytest.mark.parametrize("depth", [10, 300, 490, 900, 960, 985, 1000, 100_000])
def test_deep_descriptions(path: Path, depth: int) -> None:
    """Reading, writing and showing such a text recurse to different depths; none may let an error of Python through."""
    deep = "[" * depth + "]" * depth
    for text in (f'{{"format":{deep},"digest":"","content":{{}}}}', f'{{"format":1,"digest":"","content":{{"settings":{deep}}}}}', deep):
        path.write_bytes(safetensors.numpy.save({}, {"ranvier": text}))
        refused(path, "damaged|format|not complete")


def test_a_tensor_outside_the_groups_or_a_false_bool(path: Path) -> None:
    odd = np.zeros(1, np.float32)
    path.write_bytes(safetensors.numpy.save({"w": odd}, described(CONTENT | {"digests": {"w": checkpoint.digest(odd)}})))
    refused(path, "`w` is not both")
    false = np.array([2], np.uint8).view(np.bool_)
    path.write_bytes(safetensors.numpy.save({"fit/b": false}, described(CONTENT | {"digests": {"fit/b": checkpoint.digest(false)}})))
    refused(path, "neither 0 nor 1")


def test_values_that_no_training_should_give(path: Path) -> None:
    for group, value in (("params", np.nan), ("optimizer", np.inf)):
        save_model(path, replace(example(), **{group: {"w": np.array([1, value], np.float32)}}))
        refused(path, "`(param|optimizer)/w` holds NaN or an infinity")
        assert load_model(path, allow_nonfinite=True).params is not None


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, ...]]:
        return os.mkdir, (str(self.mark),)


def test_other_files_are_named_and_no_pickle_runs(path: Path, tmp_path: Path) -> None:
    payload = Payload(tmp_path / "ran")
    for protocol in (2, 3, 4, 5):
        path.write_bytes(pickle.dumps(payload, protocol))
        refused(path, "is a Python pickle, not a saved model")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(payload))
    array = io.BytesIO()
    np.save(array, np.array([payload], dtype=object), allow_pickle=True)
    for data, words in ((buffer.getvalue(), "zip archive"), (array.getvalue(), "NumPy array"), (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5")):
        path.write_bytes(data)
        refused(path, words)
    for data in (pickle.dumps(payload, 0), b"model x() {}\n", bytes(100), b"\x80\x02"):
        path.write_bytes(data)
        refused(path, "saved model")
    assert not (tmp_path / "ran").exists()


def test_only_regular_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        refused(path, "not a regular file")
    refused(tmp_path / "absent", "no such file")


def test_all_that_does_not_fit_a_model_is_listed() -> None:
    found = {"a": np.zeros((2, 3)), "b": np.zeros(2), "d": np.zeros(1)}
    require_shapes(found, {"a": (2, 3), "b": (2,), "d": (1,)}, "parameters", "m")
    with pytest.raises(
        CheckpointError, match=r"m: its parameters do not fit the model: no `c`; `d` is not the model's; `b` has shape \[2\], not \[4\]"
    ):
        require_shapes(found, {"a": (2, 3), "b": (4,), "c": (1,)}, "parameters", "m")


# --- failures while writing


class Failing:
    """Counts the calls of the system that writing makes; the k-th fails."""

    CALLS = ("open", "write", "fsync", "replace", "close")

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fatal: int, error: type[BaseException] = OSError) -> None:
        self.count, self.fatal, self.error, self.log = 0, fatal, error, list[str]()
        for name in self.CALLS:
            monkeypatch.setattr(atomic.os, name, self.wrapped(name, getattr(os, name)))

    def wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            self.log.append(name)
            if self.count != self.fatal:
                return real(*arguments[:1], arguments[1][:500], **options) if name == "write" else real(*arguments, **options)
            if name == "close":
                real(*arguments)
            raise self.error(28, "No space left on device")

        return call


def test_whatever_call_fails_the_old_model_or_the_whole_new_one_is_there(path: Path) -> None:
    old, new = example(), replace(example(), settings={"hidden": 9})
    with pytest.MonkeyPatch.context() as patch:
        counted = Failing(patch, 0)
        save_model(path, old)
    assert counted.log.count("write") > 2
    assert counted.log[-6:] == ["fsync", "close", "replace", "open", "fsync", "close"]
    for error in (OSError, KeyboardInterrupt):
        for fatal in range(1, counted.count + 1):
            with pytest.MonkeyPatch.context() as patch:
                Failing(patch, fatal, error)
                with pytest.raises(CheckpointError if error is OSError else KeyboardInterrupt) as caught:
                    save_model(path, new)
            if error is OSError:
                assert "No space left on device" in str(caught.value)
            assert [p.name for p in path.parent.iterdir()] == [path.name]
            renamed = fatal > counted.count - 3
            assert_equal(load_model(path), new if renamed else old)
            save_model(path, old)


def test_mode_links_and_special_files(path: Path, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save_model(path, example())
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    link = tmp_path / "latest"
    link.symlink_to(path.name)
    save_model(link, replace(example(), settings={}))
    assert link.is_symlink()
    assert load_model(path).settings == {}
    os.mkfifo(tmp_path / "pipe")
    for target in (tmp_path / "pipe", tmp_path):
        with pytest.raises(CheckpointError, match="not a regular file"):
            save_model(target, example())
    with pytest.raises(CheckpointError, match="could not be written: No such file"):
        save_model(tmp_path / "absent" / "model", example())
