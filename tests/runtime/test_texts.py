"""Texts and series: windows of rows, states that go on from batch to batch, and text drawn from a model."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from ranvier.compiler.errors import DataError
from ranvier.runtime.cli.application import application
from ranvier.runtime.reading import read_table
from ranvier.runtime.sampling import sample
from ranvier.runtime.table import in_windows

import ranvier as rv

LETTERS = """
model letters(units = 24) {
    input text: class[12][T]
    reader = gru(units)
    state h: [batch, units] = 0
    known = text -> embedding(12, 8)
    hidden = reader(known, h = h)
    next h = final(reader)(known, h = h)
    logits = hidden -> dense(12)
    predict softmax(logits)
    loss cross_entropy(logits[:-1], text[1:])
    metric accuracy(logits[:-1], text[1:])
    metric perplexity(logits[:-1], text[1:])
}
data { source = "a.txt" ; window = 16 ; test = 20% }
train { optimizer = adam(lr = 1e-2) ; batch = 4 ; epochs = 30 }
"""
STREAM = """
model m(units = 5) {
    input x: f32[4, 3]
    target y: f32[4, 5]
    cell = lstm(units)
    state h, c: [batch, units] = 0
    hs = cell(x, h = h, c = c)
    after = final(cell)(x, h = h, c = c)
    next h = after[0]
    next c = after[1]
    predict hs
    loss mse(hs, y)
}
train { optimizer = gd(lr = 0.5) ; batch = 3 ; epochs = 2 }
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a text that repeats itself."""
    folder = tmp_path_factory.mktemp("letters")
    (folder / "a.txt").write_text("the cat sat. " * 120, encoding="utf-8")
    (folder / "letters.nn").write_text(LETTERS, encoding="utf-8")
    run = CliRunner().invoke(application, ["train", str(folder / "letters.nn"), "-o", str(folder / "m.safetensors")])
    assert run.exit_code == 0, run.output
    assert float(run.output.rpartition("perplexity ")[2].split()[0]) < 1.3, run.output
    return folder / "m.safetensors"


def test_truncated_backpropagation_is_that_of_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is an extra: pip install 'ranvier[torch]'")
    random = np.random.default_rng(0)
    x, y = random.normal(size=(13, 4, 3)), random.normal(size=(13, 4, 5))
    model = rv.compile(STREAM, dtype="f64", threads=1)
    twin = torch.nn.LSTM(3, 5, batch_first=True).double()
    with torch.no_grad():
        for own, other in (("W", twin.weight_ih_l0), ("U", twin.weight_hh_l0), ("b", twin.bias_ih_l0)):
            other.copy_(torch.tensor(np.asarray(model.params[f"lstm_1.{own}"]).T))
        twin.bias_hh_l0.zero_()
    twin.bias_hh_l0.requires_grad_(False)
    history = model.fit({"x": x, "y": y})
    optimizer = torch.optim.SGD([p for p in twin.parameters() if p.requires_grad], lr=0.5)
    for epoch in range(2):
        state, losses = (torch.zeros(1, 3, 5).double(), torch.zeros(1, 3, 5).double()), []
        for step in range(4):  # 13 rows in 3 stretches of 4; the last row is left out
            rows = [stretch * 4 + step for stretch in range(3)]
            out, state = twin(torch.tensor(x[rows]), state)
            state = tuple(s.detach() for s in state)
            loss = ((out - torch.tensor(y[rows])) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert history[epoch]["loss"] == pytest.approx(np.mean(losses), abs=1e-10)
    np.testing.assert_allclose(model.params["lstm_1.U"], twin.weight_hh_l0.detach().numpy().T, atol=1e-10)


def test_states_of_rows_are_saved_and_a_prediction_begins_anew(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    rows = {"x": random.normal(size=(12, 4, 3)).astype(np.float32), "y": random.normal(size=(12, 4, 5)).astype(np.float32)}
    model = rv.compile(STREAM, threads=1)
    model.fit(rows, epochs=1)
    assert np.abs(model.memory.read("state:h")).max() > 0
    model.save(tmp_path / "m.safetensors")
    again = rv.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(again.memory.read("state:h"), model.memory.read("state:h"))
    np.testing.assert_array_equal(model.predict(rows["x"][:2]), model.predict(rows["x"][[1, 0]])[::-1])
    assert [again.step({k: v[:3] for k, v in rows.items()}) for _ in range(3)] == [
        model.step({k: v[:3] for k, v in rows.items()}) for _ in range(3)
    ]


def test_a_text_is_a_table_of_its_characters(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffab\r\ncä".encode())
    table = read_table(tmp_path / "a.txt")
    assert table["text"].tolist() == ["a", "b", "\n", "c", "ä"]
    windows = in_windows(table, 3, 1)["text"].tolist()
    assert windows == [["a", "b", "\n"], ["b", "\n", "c"], ["\n", "c", "ä"]]
    assert len(in_windows(table, 2, 2)["text"]) == 2
    with pytest.raises(DataError, match="has 5 rows, fewer than the window of 6"):
        in_windows(table, 6, 1)
    (tmp_path / "b.txt").write_bytes(b"ab\xff")
    with pytest.raises(DataError, match="byte 2 is not UTF-8"):
        read_table(tmp_path / "b.txt")


def test_a_folder_of_a_training_and_a_test_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", x=np.zeros(5))
    (tmp_path / "test.csv").write_text("x\n1\n2\n")
    table = read_table(tmp_path)
    assert table.rows == 5
    assert table.test is not None
    assert table.test["x"].tolist() == [1, 2]


def test_text_is_drawn_the_same_for_the_same_seed(trained: Path) -> None:
    model = rv.load(trained)
    drawn = [[next(it) for _ in range(30)] for it in (sample(model, "the cat", seed=seed) for seed in (1, 1))]
    assert drawn[0] == drawn[1]
    greedy = sample(model, "the ca", temperature=0)
    assert "".join(next(greedy) for _ in range(20)) == "t sat. the cat sat. "


def test_sample_on_the_command_line(trained: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(application, ["sample", *arguments])
        return result.exit_code, result.output

    assert run(str(trained), "--prompt", "the ", "--length", "9", "--temperature", "0") == (0, "the cat sat. \n")
    code, said = run(str(trained), "--prompt", "xyz")
    assert code == 1
    assert "holds the label 'x', which training did not see" in said
    code, said = run(str(trained), "--prompt", "")
    assert code == 1
    assert "the prompt is empty" in said
    other = rv.compile("model m() { input x: f32[3] ; predict x -> dense(2) }")
    other.save(tmp_path / "other.safetensors")
    code, said = run(str(tmp_path / "other.safetensors"), "--prompt", "a")
    assert code == 1
    assert "text is drawn from a model whose one input is a row of symbols" in said


def test_indices_outside_a_table_are_named() -> None:
    model = rv.compile("model m() { input w: i32[4] ; target y: f32 ; v = (w -> embedding(9, 3) -> flatten -> dense(1))[0]\n"
                       "predict v ; loss mse(v, y) }")  # fmt: skip
    rows = {"w": np.array([[0, 1, 2, 8], [3, 9, 0, 0]], np.int32), "y": np.zeros(2, np.float32)}
    for verb in (model.predict, model.step, model.evaluate, model.fit):
        with pytest.raises(rv.RanvierError, match=r"`w` row 1 column 1 holds 9, an index outside 0\.\.8"):
            verb(rows)
