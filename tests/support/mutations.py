"""Valid `.nn` files, damaged in seeded ways; and what checking one in a limited child process comes to."""

from __future__ import annotations

import random
import re
import resource
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import FrameType

from ranvier.compiler.errors import SourceError
from ranvier.runtime.checking import check
from ranvier.runtime.opening import open_blueprint
from repository import EXAMPLES

MEMORY_BYTES = 2 * 2**30
SECONDS = 20
"""Processor time after which a check counts as hanging; most take some hundredths of a second."""

REGRESSION = """
fn half(x) {
    return x / 2
}
layer tower(units, depth = 2)(x: [inputs]) {
    require units >= 1 : "tower needs units, not {units}"
    y = x
    repeat depth as level {
        y = y -> dense(units // 2 ^ level) -> gelu
        if level == 0 { y = y -> layernorm } else { y = half(y) }
    }
    return y
}
model regression(width = 16) {
    input a: f32[6]
    input b: u8[2, 3]
    target y: f32[2]
    z = concat([a -> standardize, b -> scale(1/255) -> flatten]) -> tower(width) -> dense(2)
    predict z
    loss huber(z, y, delta = 0.5)
    metric rmse(z, y)
}
train { optimizer = sgd(lr = 0.01, momentum = 0.9) ; schedule = cosine(warmup = 10%) ; batch = 8 ; stop = patience(2) ; validate = 25% }
"""

SHARED = """
layer running(momentum = 0.9)(x: [channels]) {
    state centre: [channels] = 0
    shift = centre
    if training {
        shift = mean(x, over = [batch])
        next centre = momentum * centre + (1 - momentum) * shift
    }
    return x - shift
}
model twins() {
    input left: f32[5]
    input right: f32[5]
    target same: u8
    encode = (dense(4) with l2 = 1e-3)
    a = encode(left) -> running -> tanh
    b = encode(right) -> running -> tanh
    score = sum(a * b) - 0.5
    predict sigmoid(score)
    loss binary_cross_entropy(score, same)
}
train { optimizer = heavy_ball(lr = 0.01) ; schedule = halving(every = 3) ; regularize = largest(1e-4) }
optimizer heavy_ball(lr = 0.01, momentum = 0.9)(w, g) {
    state v = 0
    next v = momentum * v - lr * g
    return w + next v
}
schedule halving(every = 10)(lr) { return lr * 0.5 ^ floor(epoch / every) }
fn largest(strength)(w) { return strength * max(abs(w)) }
"""

IMAGES = """
fn ring(radius = 1)(shape) { return radius * cos(2 * pi * random(shape)) }
layer channel_share(eps = 1e-6)(image: [h, w, c]) {
    param gain: [c] ~ ring(0.5)
    total = sum(image, over = [h, w]) * gain
    return total / max(sum(abs(total)), eps * c)
}
model images() {
    input image: u8[4, 5, 3]
    target kind: class[4]
    target weight: f32
    x = float(image[:, 1:, ...]) -> channel_share
    y = split(x -> dense(8), 2)
    logits = einsum("i,ij->j", y[0] * y[1], fill([4, 4], 0.25) + iota(4)) + x[0]
    predict softmax(logits), argmax(logits)
    loss weight * cross_entropy(logits, kind, smoothing = 0.1, weights = [1, 2, 1, 0.5])
    metric accuracy(logits, kind)
    metric best = top_k(logits, kind, k = 2)
}
data { source = "rows.csv" ; image = columns(a, b) ; kind = column(species) ; test = 20% }
""".replace("softmax(logits), argmax(logits)", "softmax(logits)")


def originals() -> dict[str, bytes]:
    """The files that are damaged, by name."""
    own = {"regression": REGRESSION, "shared": SHARED, "images": IMAGES}
    return {"digits": (EXAMPLES / "digits.nn").read_bytes(), **{name: text.encode() for name, text in own.items()}}


# --- damage

TOKEN = re.compile(rb"[A-Za-z_]\w*|[\d.]+%?|\"[^\"\n]*\"|->|//|[<>=!]=|\s+|.", re.DOTALL)
NASTY = (
    b"0 -1 1e999 9999999999999999999 2147483647 4294967296 0.0 1e-320 nan inf true false batch training next repeat 10000 if else return "
    b'param state input target model layer fn fit loss predict metric { } ( ) [ ] [[ , ; : ~ -> @ ^ // ... % " "" = == with as in not '
    b"x y z _ sum max softmax dense(0) dense(-1) dense(1e9) dense(2147483647) split(0) reshape([]) [batch] over class[0] class[2147483647] "
    b"f32[0] f32[-1] f32[2147483647,2147483647] f64 u8 i32 bool \xff \x00 \xe2\x80\xae \xef\xbb\xbf # \\ 10^10^10 1/0 0^-1 x[9] x[::0]"
).split(b" ")


def truncations(data: bytes) -> Iterator[bytes]:
    """The file cut at every 1/64."""
    return (data[: len(data) * n // 64] for n in range(64))


def damaged(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Copies with one to three edits of bytes or of tokens."""
    chance = random.Random(seed)
    for _ in range(count):
        result = data
        for _ in range(chance.choice((1, 1, 2, 3))):
            result = chance.choice((_edit_bytes, _edit_tokens, _edit_tokens))(result, chance)
        yield result


def _edit_bytes(data: bytes, chance: random.Random) -> bytes:
    at, length = chance.randrange(len(data) + 1), chance.choice((1, 1, 2, 8, 40))
    part = data[at : at + length]
    changed = bytes([part[0] ^ 1 << chance.randrange(8)]) + part[1:] if part else b"\n"
    return data[:at] + chance.choice((b"", part * 2, changed, part[::-1], chance.randbytes(1))) + data[at + length :]


def _edit_tokens(data: bytes, chance: random.Random) -> bytes:
    tokens = TOKEN.findall(data) or [b""]
    at, other = chance.randrange(len(tokens)), chance.randrange(len(tokens))
    new = chance.choice((chance.choice(NASTY), chance.choice(NASTY), tokens[other], b"", tokens[at] * 2, b"(" * 300 + tokens[at]))
    return b"".join([*tokens[:at], new, *tokens[at + 1 :]])


# --- checking in a child process


def outcomes(files: list[bytes]) -> list[str]:
    """What checking each file came to: `ok`, `refused`, or what went wrong. A child that dies raises BrokenProcessPool."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn"), initializer=_limit) as pool:
        return list(pool.map(outcome, files, chunksize=50, timeout=300))


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGVTALRM, _hangs)


def _hangs(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def outcome(data: bytes) -> str:
    """Check one file, here."""
    with tempfile.NamedTemporaryFile(suffix=".nn") as file:
        Path(file.name).write_bytes(data)
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        try:
            check(open_blueprint(file.name))
        except SourceError as error:
            return _judged(error)
        except BaseException as error:
            return f"{type(error).__name__}: {error}"
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return "ok"


def _judged(error: SourceError) -> str:
    """A refusal is clean when every mistake has a code, a message and a place, and can be shown."""
    for each in error.diagnostics:
        if each.span is None and each.code not in ("too-many-errors",):
            return f"no place: {each.code}: {each.message}"
    visible = all(c == "\n" or c.isprintable() for c in str(error))
    return "refused" if error.diagnostics and visible else f"not fit to print: {error!s:.300}"
