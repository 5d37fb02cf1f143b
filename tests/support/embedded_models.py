"""Models of every kind that are put into libraries by the tests, with rows for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import ranvier as rv

MLP = """
model mlp(width = 16) {
    input x: f32[4]
    target y: class[3]
    z = x -> standardize -> dense(width) -> relu -> dropout(0.2) -> dense(3)
    predict softmax(z)
    loss cross_entropy(z, y)
    metric accuracy(z, y)
}
train { batch = 32 ; optimizer = adam(lr = 0.01) }
"""

CNN = """
model cnn() {
    input image: u8[12, 12, 1]
    target digit: class[10]
    h = float(image) / 255 -> conv2d(6, 3) -> batchnorm -> relu -> maxpool(2) -> conv2d(8, 3) -> relu -> flatten -> dense(10)
    predict softmax(h)
    loss cross_entropy(h, digit)
}
train { batch = 8 ; optimizer = sgd(lr = 0.05, momentum = 0.9) }
"""

LSTM = """
model tagger() {
    input token: i32[T]
    input scale: f32
    target y: f32[2]
    e = token -> embedding(20, 6)
    h = e -> lstm(8) -> last
    out = concat([h, scale -> reshape([1])]) -> dense(2)
    predict out
    loss mse(out, y)
}
train { batch = 16 ; optimizer = adam(lr = 0.01) ; schedule = cosine }
"""


@dataclass(frozen=True)
class Example:
    """A model's text, what it is made with, and whether its statistics want rows first."""

    text: str
    settings: dict[str, object]

    def model(self, **more: object) -> rv.Model:
        made = rv.compile(self.text, threads=1, **self.settings, **more)
        if not made.fitted:
            made.fit(self.rows(64), epochs=1)
        return made

    def rows(self, count: int, seed: int = 0) -> dict[str, np.ndarray]:
        chance = np.random.default_rng(seed)
        made: dict[str, np.ndarray] = {}
        if self.text == MLP:
            made = {"x": chance.normal(3, 2, (count, 4)).astype(np.float32), "y": chance.integers(0, 3, count).astype(np.int32)}
        if self.text == CNN:
            image = chance.integers(0, 256, (count, 12, 12, 1)).astype(np.uint8)
            made = {"image": image, "digit": chance.integers(0, 10, count).astype(np.int32)}
        if self.text == LSTM:
            lengths = chance.integers(1, 8, count).astype(np.int32)
            token = chance.integers(0, 20, (count, 7)).astype(np.int32)
            scale, y = chance.standard_normal(count).astype(np.float32), chance.standard_normal((count, 2)).astype(np.float32)
            made = {"token": token, "token_length": lengths, "scale": scale, "y": y}
        return made


EXAMPLES = {"mlp": Example(MLP, {}), "cnn": Example(CNN, {}), "lstm": Example(LSTM, {"T": 7})}

WIDE = """
model wide() {
    input x: f32[64]
    target y: f32[32]
    z = x -> dense(512) -> relu -> dense(512) -> relu -> dense(32)
    predict z
    loss mse(z, y)
}
train { batch = 256 ; optimizer = adam }
"""


def wide_rows() -> dict[str, np.ndarray]:
    """A batch for `WIDE`, a network large enough that threads share its work."""
    chance = np.random.default_rng(0)
    return {"x": chance.standard_normal((256, 64)).astype(np.float32), "y": chance.standard_normal((256, 32)).astype(np.float32)}
