"""Convolution, pooling and normalisation against PyTorch, in settings of every kind; and what holds of images without it.

If these fail, a network of images trained here is not the one that its file describes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import ranvier as rv

try:
    import torch
except ImportError:
    torch: Any = None  # type: ignore[no-redef]

needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch is an extra: pip install 'ranvier[torch]'")
few = settings(max_examples=9, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

Array = np.ndarray[Any, Any]
Sides = tuple[int, int]
Theirs = Callable[[Any, dict[str, Any]], Any]

TOLERANCE = {"f32": 1e-5, "f64": 1e-10}
"""Of the largest element (or of 1): a result in f32 is a sum of at most some hundreds of products, each rounded to 6e-8 of itself."""


def channels_first(x: Any) -> Any:
    return x.movedim(-1, 1)


def channels_last(x: Any) -> Any:
    return x.movedim(1, -1)


def their_weight(weight: Any) -> Any:
    """[kernel…, in, out] as PyTorch has it: [out, in, kernel…]."""
    return weight.permute(-1, -2, *range(weight.ndim - 2)).contiguous()


def assert_near(found: Array, expected: Any, dtype: str, what: str) -> None:
    expected = expected.detach().numpy()
    assert found.shape == expected.shape, what
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[dtype] * max(1, np.abs(expected).max(initial=0)), err_msg=what)


def assert_twins(layers: str, theirs: Theirs, shape: tuple[int, ...], rows: int, dtype: str) -> None:
    """Prediction and all gradients of `x -> a 1 by 1 convolution -> layers -> tanh`; the first stands for the gradient of the input.

    `theirs` takes the value after the 1 by 1 convolution with channels first, in f64, and our parameters.
    """
    first = "conv2d" if len(shape) == 3 else "conv1d"
    text = f"""
    model m() {{
        input x: f32[{", ".join(map(str, shape))}]
        z = x -> {first}({shape[-1]}, kernel = 1, bias = false) -> {layers} -> tanh
        predict z
        loss sum(z * z)
    }}
    train {{ batch = 4 }}
    """
    model = rv.compile(text, dtype=dtype, threads={"f32": 2, "f64": 1}[dtype])
    generator = np.random.default_rng(0)
    for name in model.params:
        kernel = model.params[name].shape
        model.params[name] = generator.standard_normal(kernel) / np.sqrt(np.prod(kernel[:-1]))  # sums of about 1: tanh is not flat there
    x = generator.standard_normal((rows, *shape)).astype(np.float32)
    params = {name: torch.tensor(np.asarray(model.params[name], np.float64), requires_grad=True) for name in model.params}
    mixed = torch.tensor(x, dtype=torch.float64) @ params[f"{first}_1.weight"].flatten(0, -2)
    z = channels_last(theirs(channels_first(mixed), params)).tanh()
    ((z * z).sum() / rows).backward()
    assert_near(model.predict(x), z, dtype, "prediction")
    gradients = model.gradients({"x": x})
    assert set(gradients) == set(params)
    for name, parameter in params.items():
        assert_near(gradients[name], parameter.grad, dtype, name)


# --- settings


@dataclass(frozen=True)
class Slide:
    """How a window slides along one axis, and the padding before and after it; `padding` is how a file says so."""

    length: int
    size: int
    stride: int
    dilation: int
    padding: object

    @property
    def reach(self) -> int:
        return self.dilation * (self.size - 1) + 1

    @property
    def sides(self) -> Sides:
        if self.padding == "same":
            missing = max(0, (-(-self.length // self.stride) - 1) * self.stride + self.reach - self.length)
            return missing // 2, missing - missing // 2
        if self.padding == "valid":
            return 0, 0
        return (self.padding[0], self.padding[1]) if isinstance(self.padding, list) else (self.padding, self.padding)  # type: ignore[return-value]

    @property
    def fits(self) -> bool:
        return self.length + sum(self.sides) >= self.reach


@st.composite
def slides(draw: st.DrawFn, length: int = 9) -> Slide:
    """Odd sizes, axes of one, strides beyond the kernel, padding beyond the image."""
    padding = draw(st.sampled_from(["same", "valid", "number", "sides"]))
    made: object = padding
    if padding == "number":
        made = draw(st.integers(0, 4))
    if padding == "sides":
        made = [draw(st.integers(0, 4)), draw(st.integers(0, 4))]
    return Slide(draw(st.integers(1, length)), *(draw(st.integers(1, n)) for n in (4, 4, 3)), made)


def fitting(axes: st.SearchStrategy[Slide]) -> st.SearchStrategy[Slide]:
    return axes.filter(lambda s: s.fits)


def setting(name: str, values: list[Any]) -> str:
    """One value where it is the same for all axes, else a list."""
    written = [f'"{v}"' if isinstance(v, str) else str(v) for v in values]
    alike = len(set(written)) == 1 and not isinstance(values[0], list)
    return f"{name} = {written[0] if alike or len(values) == 1 else '[' + ', '.join(written) + ']'}"


def spelled(axes: tuple[Slide, ...], *names: str) -> str:
    return ", ".join(setting(name, [getattr(a, "size" if name == "kernel" else name) for a in axes]) for name in names)


def padded(x: Any, axes: tuple[Slide, ...], value: float = 0.0) -> Any:
    sides = [side for a in reversed(axes) for side in a.sides]
    return torch.nn.functional.pad(x, sides, value=value)


ALONG = ("kernel", "stride", "padding", "dilation")
PAIRS = st.tuples(fitting(slides()), fitting(slides()))
ROWS = st.sampled_from([1, 4, 3])


def numbers(axes: tuple[Slide, ...], name: str) -> tuple[int, ...]:
    return tuple(getattr(a, name) for a in axes)


# --- convolutions


def check_convolution(axes: tuple[Slide, ...], groups: int, multiple: int, rows: int, dtype: str) -> None:
    kind, run = (("conv1d", torch.nn.functional.conv1d), ("conv2d", torch.nn.functional.conv2d))[len(axes) - 1]
    bias = multiple != 2

    def theirs(x: Any, p: dict[str, Any]) -> Any:
        how = {"stride": numbers(axes, "stride"), "dilation": numbers(axes, "dilation"), "groups": groups}
        return run(padded(x, axes), their_weight(p[f"{kind}_2.weight"]), p[f"{kind}_2.b"] if bias else None, **how)

    layer = f"{kind}({groups * multiple}, {spelled(axes, *ALONG)}, groups = {groups}{'' if bias else ', bias = false'})"
    assert_twins(layer, theirs, (*numbers(axes, "length"), 2 * groups), rows, dtype)


@needs_torch
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@few
@given(axis=fitting(slides(20)), groups=st.sampled_from([1, 1, 2, 3]), multiple=st.sampled_from([1, 2, 5]), rows=ROWS)
def test_conv1d(dtype: str, axis: Slide, groups: int, multiple: int, rows: int) -> None:
    check_convolution((axis,), groups, multiple, rows, dtype)


@needs_torch
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@few
@given(axes=PAIRS, groups=st.sampled_from([1, 1, 2, 3]), multiple=st.sampled_from([1, 2, 5]), rows=ROWS)
def test_conv2d(dtype: str, axes: tuple[Slide, Slide], groups: int, multiple: int, rows: int) -> None:
    check_convolution(axes, groups, multiple, rows, dtype)


CORNERS: dict[str, tuple[Slide, Slide]] = {
    "one pixel": (Slide(1, 3, 1, 1, "same"), Slide(1, 3, 2, 1, "same")),
    "one row": (Slide(1, 1, 1, 1, "valid"), Slide(9, 3, 1, 1, "same")),
    "padding alone under some windows": (Slide(3, 2, 2, 1, 4), Slide(2, 2, 1, 2, [4, 3])),
    "stride beyond the kernel": (Slide(9, 2, 4, 1, "valid"), Slide(8, 1, 3, 1, [0, 2])),
    "stride beyond the image": (Slide(5, 3, 7, 1, "same"), Slide(4, 2, 9, 1, "valid")),
    "kernel beyond the image": (Slide(2, 7, 1, 1, 3), Slide(3, 4, 2, 3, [5, 4])),
    "dilation and stride with a common factor": (Slide(11, 3, 2, 2, "same"), Slide(12, 3, 4, 6, [3, 2])),
    "dilation and stride without": (Slide(11, 3, 3, 2, "same"), Slide(12, 3, 2, 3, "valid")),
    "wide lines": (Slide(5, 3, 1, 1, "same"), Slide(33, 3, 1, 1, "same")),
}


@needs_torch
@pytest.mark.parametrize("corner", CORNERS)
def test_corners_of_conv2d(corner: str) -> None:
    check_convolution(CORNERS[corner], 1, 3, 3, "f64")


TILES = {
    "whole and broken panels": (3, 72, 7, ""),
    "broken inputs": (17, 33, 9, ""),
    "sums along vectors": (64, 1, 14, ""),
    "a long kernel in blocks": (300, 24, 12, ""),
    "much work on each sum": (20, 40, 17, " -> gelu -> silu"),
    "blocks and much work": (300, 36, 10, " -> gelu -> silu"),
    "one of one": (1, 1, 14, ""),
}


@needs_torch
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("inputs", "outputs", "width", "after"), TILES.values(), ids=TILES)
def test_tiles_of_all_kinds(inputs: int, outputs: int, width: int, after: str, stride: int) -> None:
    """Lines that tiles fit into and do not, panels of columns, sums that rest between blocks; threads share few images and many lines."""
    axes = (Slide(5, 3, 1, 1, "same"), Slide(width, 3, stride, 1, "same"))

    def theirs(x: Any, p: dict[str, Any]) -> Any:
        y = torch.nn.functional.conv2d(padded(x, axes), their_weight(p["conv2d_2.weight"]), p["conv2d_2.b"], stride=(1, stride))
        return torch.nn.functional.silu(torch.nn.functional.gelu(y)) if after else y

    assert_twins(f"conv2d({outputs}, stride = [1, {stride}]){after}", theirs, (5, width, inputs), 3, "f32")


@needs_torch
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@few
@given(axes=PAIRS, channels=st.integers(1, 5), multiplier=st.sampled_from([1, 1, 3]), rows=ROWS)
def test_depthwise_conv2d(dtype: str, axes: tuple[Slide, Slide], channels: int, multiplier: int, rows: int) -> None:
    def theirs(x: Any, p: dict[str, Any]) -> Any:
        weight, bias = their_weight(p["depthwise_conv2d_1.weight"]), p["depthwise_conv2d_1.b"]
        how = {"stride": numbers(axes, "stride"), "dilation": numbers(axes, "dilation"), "groups": channels}
        return torch.nn.functional.conv2d(padded(x, axes), weight, bias, **how)

    layer = f"depthwise_conv2d({spelled(axes, *ALONG)}, multiplier = {multiplier})"
    assert_twins(layer, theirs, (*numbers(axes, "length"), channels), rows, dtype)


def cuts(axis: Slide) -> Sides:
    """What a transposed convolution loses before and after; with "same" padding it grows by its stride."""
    if axis.padding == "same":
        surplus = axis.reach - axis.stride
        return (surplus // 2, surplus - surplus // 2) if surplus > 0 else (0, surplus)
    return axis.sides


@needs_torch
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@few
@given(axes=st.tuples(slides(6), slides(6)), extra=st.tuples(st.integers(0, 3), st.integers(0, 3)), rows=ROWS)
def test_conv_transpose2d(dtype: str, axes: tuple[Slide, Slide], extra: tuple[int, int], rows: int) -> None:
    """The whole of it by PyTorch, then cut or continued with zeros on each side by itself, as its own padding cannot."""
    lengths = [a.stride * (a.length - 1) + a.reach for a in axes]
    assume(all(n - sum(cuts(a)) + more >= 1 and n - cuts(a)[1] + more > 0 for n, a, more in zip(lengths, axes, extra, strict=True)))

    def theirs(x: Any, p: dict[str, Any]) -> Any:
        weight = p["conv_transpose2d_1.weight"].permute(2, 3, 0, 1)
        how = {"stride": numbers(axes, "stride"), "dilation": numbers(axes, "dilation")}
        whole = torch.nn.functional.conv_transpose2d(x, weight, **how)
        sides = [side for a, more in reversed(list(zip(axes, extra, strict=True))) for side in (-cuts(a)[0], more - cuts(a)[1])]
        return torch.nn.functional.pad(whole, sides) + p["conv_transpose2d_1.b"][:, None, None]

    layer = f"conv_transpose2d(3, {spelled(axes, *ALONG)}, {setting('extra', list(extra))})"
    assert_twins(layer, theirs, (*numbers(axes, "length"), 2), rows, dtype)


@needs_torch
@pytest.mark.parametrize(("stride", "padding", "extra", "dilation"), [(2, 1, 1, 1), (3, 0, 2, 1), (1, 2, 0, 2), (2, 1, 0, 1)])
def test_conv_transpose2d_takes_the_settings_that_pytorch_takes(stride: int, padding: int, extra: int, dilation: int) -> None:
    def theirs(x: Any, p: dict[str, Any]) -> Any:
        weight, bias = p["conv_transpose2d_1.weight"].permute(2, 3, 0, 1), p["conv_transpose2d_1.b"]
        how = {"stride": stride, "padding": padding, "output_padding": extra, "dilation": dilation}
        return torch.nn.functional.conv_transpose2d(x, weight, bias, **how)

    layer = f"conv_transpose2d(5, kernel = 3, stride = {stride}, padding = {padding}, extra = {extra}, dilation = {dilation})"
    assert_twins(layer, theirs, (5, 4, 3), 2, "f64")


# --- pooling


def never_empty(axis: Slide) -> bool:
    """No window lies in the padding alone."""
    return axis.fits and max(axis.sides) < axis.reach


@needs_torch
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@few
@given(axes=st.tuples(slides().filter(never_empty), slides().filter(never_empty)), channels=st.integers(1, 4), rows=ROWS)
def test_maxpool(dtype: str, axes: tuple[Slide, Slide], channels: int, rows: int) -> None:
    def theirs(x: Any, p: dict[str, Any]) -> Any:
        framed = padded(x, axes, -np.inf)
        return torch.nn.functional.max_pool2d(framed, numbers(axes, "size"), numbers(axes, "stride"), 0, numbers(axes, "dilation"))

    layer = f"maxpool({setting('size', list(numbers(axes, 'size')))}, {spelled(axes, 'stride', 'padding', 'dilation')})"
    assert_twins(layer, theirs, (*numbers(axes, "length"), channels), rows, dtype)


@needs_torch
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@few
@given(axes=st.tuples(slides().filter(never_empty), slides().filter(never_empty)), counted=st.booleans(), rows=ROWS)
def test_avgpool(dtype: str, axes: tuple[Slide, Slide], counted: bool, rows: int) -> None:
    """PyTorch's own count of what is not padding knows no unequal sides: windows of ones are counted instead."""
    axes = tuple(Slide(a.length, a.size, a.stride, 1, a.padding) for a in axes)  # type: ignore[assignment]
    assume(all(never_empty(a) for a in axes))

    def theirs(x: Any, p: dict[str, Any]) -> Any:
        size, stride = numbers(axes, "size"), numbers(axes, "stride")
        mean = torch.nn.functional.avg_pool2d(padded(x, axes), size, stride)
        inside = torch.nn.functional.avg_pool2d(padded(torch.ones_like(x), axes), size, stride)
        return mean if counted else mean / inside

    counting = ", count_padding = true" if counted else ""
    layer = f"avgpool({setting('size', list(numbers(axes, 'size')))}, {spelled(axes, 'stride', 'padding')}{counting})"
    assert_twins(layer, theirs, (*numbers(axes, "length"), 2), rows, dtype)


@needs_torch
@pytest.mark.parametrize(("layer", "theirs"), [
    ("maxpool", lambda x, p: torch.nn.functional.max_pool2d(x, 2)),
    ("maxpool(3, stride = 2, padding = 1)", lambda x, p: torch.nn.functional.max_pool2d(x, 3, 2, 1)),
    ("avgpool", lambda x, p: torch.nn.functional.avg_pool2d(x, 2)),
    ("avgpool(3, padding = 1)", lambda x, p: torch.nn.functional.avg_pool2d(x, 3, 3, 1, count_include_pad=False)),
    ("avgpool(3, padding = 1, count_padding = true)", lambda x, p: torch.nn.functional.avg_pool2d(x, 3, 3, 1)),
    ("global_avgpool", lambda x, p: x.mean((2, 3))),
    ("global_maxpool", lambda x, p: x.amax((2, 3))),
])  # fmt: skip
def test_pooling_as_it_is_mostly_used(layer: str, theirs: Theirs) -> None:
    assert_twins(layer, theirs, (9, 6, 3), 3, "f64")


# --- normalisation


@needs_torch
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize(("groups", "channels", "shape"), [(1, 3, (5, 4)), (2, 6, (1, 3)), (4, 4, (3, 3)), (2, 8, (1, 1))])
def test_groupnorm(groups: int, channels: int, shape: tuple[int, int], dtype: str) -> None:
    def theirs(x: Any, p: dict[str, Any]) -> Any:
        return torch.nn.functional.group_norm(x, groups, p["groupnorm_1.gain"], p["groupnorm_1.shift"])

    assert_twins(f"groupnorm({groups})", theirs, (*shape, channels), 3, dtype)


BATCHNORM = """
model net() {
    input x: f32[6, 5, 3]
    target y: class[4]
    h = x -> conv2d(7, stride = 2, bias = false) -> batchnorm -> relu
    z = h -> conv2d(5) -> batchnorm(momentum = 0.7, eps = 1e-3) -> global_avgpool -> dense(4)
    predict z
    loss cross_entropy(z, y)
}
train { optimizer = gd(lr = 0.1) ; batch = 8 }
"""


def their_batchnorm_net(params: dict[str, Array]) -> Any:
    """The same net with the same parameters; PyTorch's momentum is the share of the new, ours of the old."""
    nn = torch.nn
    net = nn.Sequential(
        nn.ZeroPad2d((1, 1, 0, 1)), nn.Conv2d(3, 7, 3, 2, bias=False), nn.BatchNorm2d(7, momentum=0.1), nn.ReLU(),
        nn.Conv2d(7, 5, 3, padding=1), nn.BatchNorm2d(5, momentum=0.3, eps=1e-3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4),
    ).double()  # fmt: skip
    for ours, parameter in zip(NAMES, net.parameters(), strict=True):
        value = torch.tensor(np.asarray(params[ours], np.float64))
        parameter.data = their_layout(ours, value).contiguous()
    return net


NAMES = [
    "conv2d_1.weight", "batchnorm_1.gain", "batchnorm_1.shift", "conv2d_2.weight", "conv2d_2.b", "batchnorm_2.gain", "batchnorm_2.shift",
    "dense_1.weight", "dense_1.b",
]  # fmt: skip


def their_layout(name: str, value: Any) -> Any:
    return their_weight(value) if value.ndim == 4 else value.T if name == "dense_1.weight" else value


def images(count: int, seed: int) -> dict[str, Array]:
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((count, 6, 5, 3)).astype(np.float32) * 2 + 1
    return {"x": x, "y": generator.integers(0, 4, count).astype(np.int32)}


@needs_torch
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_batchnorm_over_twenty_steps(dtype: str) -> None:
    """Losses, parameters, running averages and, from these, predictions; with batches of several sizes."""
    model = rv.compile(BATCHNORM, dtype=dtype, threads=2)
    net = their_batchnorm_net({name: model.params[name] for name in model.params})
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    tolerance = {"f32": 2e-5, "f64": 1e-10}[dtype]
    for step in range(20):
        batch = images((8, 8, 3, 1)[step % 4], step)
        optimizer.zero_grad()
        found = net(channels_first(torch.tensor(batch["x"], dtype=torch.float64)))
        loss = torch.nn.functional.cross_entropy(found, torch.tensor(batch["y"]).long())
        loss.backward()
        optimizer.step()
        assert abs(model.step(batch) - loss.item()) < tolerance, f"loss of step {step}"
    for ours, parameter in zip(NAMES, net.parameters(), strict=True):
        found = their_layout(ours, torch.tensor(model.params[ours]))
        np.testing.assert_allclose(found.numpy(), parameter.detach().numpy(), atol=tolerance, rtol=0, err_msg=ours)
    for number, layer in ((1, net[2]), (2, net[5])):
        for ours, theirs in (("mean", layer.running_mean), ("var", layer.running_var)):
            found = model.memory.read(f"state:batchnorm_{number}.{ours}")
            np.testing.assert_allclose(found, theirs.numpy(), atol=tolerance, rtol=tolerance, err_msg=f"batchnorm_{number}.{ours}")
    x = images(13, 99)["x"]
    expected = net.eval()(channels_first(torch.tensor(x, dtype=torch.float64)))
    np.testing.assert_allclose(model.predict(x), expected.detach().numpy(), atol=10 * tolerance)


# --- without PyTorch


SMALL = """
model small() {
    input image: u8[11, 9, 2]
    target kind: class[5]
    a = image -> scale(1/255) -> flip -> conv2d(12) -> batchnorm -> relu -> maxpool(3, stride = 2, padding = 1)
    b = a -> depthwise_conv2d(3, stride = 2) -> conv2d(20, kernel = 1) -> batchnorm -> relu
    c = b -> residual(conv2d(20, dilation = 2)) -> avgpool(2, stride = 1, padding = "same") -> dropout(0.2)
    z = c -> conv2d(8, groups = 2, stride = 3) -> flatten -> dense(5)
    predict softmax(z)
    loss cross_entropy(z, kind)
    metric accuracy(z, kind)
}
train { optimizer = adam(lr = 3e-3) ; batch = 24 ; epochs = 2 ; validate = 20% }
"""


def pictures(count: int) -> dict[str, Array]:
    generator = np.random.default_rng(3)
    kind = generator.integers(0, 5, count).astype(np.int32)
    image = generator.integers(0, 100, (count, 11, 9, 2)) + 30 * kind[:, None, None, None]
    return {"image": image.astype(np.uint8), "kind": kind}


def trained(threads: int) -> tuple[dict[str, Array], list[dict[str, float]], Array, dict[str, float]]:
    model, data = rv.compile(SMALL, threads=threads), pictures(151)
    history = model.fit(data)
    states = {n: model.memory.read(f"state:batchnorm_{n}") for n in ("1.mean", "1.var", "2.mean", "2.var")}
    return {n: model.params[n] for n in model.params} | states, history, model.predict(data["image"]), model.evaluate(data)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    expected = trained(1)
    assert np.isfinite(expected[2]).all()
    for threads in (2, 3, 8):
        params, history, predictions, figures = trained(threads)
        for name, value in expected[0].items():
            assert value.tobytes() == params[name].tobytes(), f"{name} with {threads} threads"
        assert (history, figures) == (expected[1], expected[3])
        assert predictions.tobytes() == expected[2].tobytes()


def test_no_rows_are_predicted_as_no_rows() -> None:
    model = rv.compile(SMALL, threads=2)
    assert model.predict(pictures(0)["image"]).shape == (0, 5)
    before = model.predict(pictures(5)["image"])
    assert model.predict(pictures(0)["image"]).shape == (0, 5)
    assert model.predict(pictures(5)["image"]).tobytes() == before.tobytes()


# --- augmentation and windows by hand


AUGMENTED = """
model augmented() {{
    input x: f32[5, 4, 2]
    param weight: [5, 4, 2] ~ zeros
    z = sum((x -> {layer}) * weight)
    predict z
    loss z
}}
train {{ batch = 4 }}
"""


def seen_in_training(layer: str, image: Array, times: int) -> list[Array]:
    """What a layer makes of an image at several steps: with a batch of one, the gradient of the weights that it is multiplied with."""
    model, seen = rv.compile(AUGMENTED.format(layer=layer), threads=1), []
    for _ in range(times):
        seen.append(model.gradients({"x": image[None]})["weight"])
        model.step({"x": image[None]})
    model.params["weight"] = np.ones((5, 4, 2))
    np.testing.assert_allclose(model.predict(image[None]), image.sum(), rtol=1e-5)  # nothing of it in predictions
    return seen


def test_flip_mirrors_some_images_left_to_right() -> None:
    image = np.random.default_rng(0).standard_normal((5, 4, 2)).astype(np.float32)
    mirrored = [np.array_equal(seen, image[:, ::-1]) for seen in seen_in_training("flip", image, 40)]
    same = [np.array_equal(seen, image) for seen in seen_in_training("flip", image, 40)]
    assert [a != b for a, b in zip(mirrored, same, strict=True)] == [True] * 40
    assert 8 <= sum(mirrored) <= 32


def test_shift_moves_images_by_at_most_so_many_pixels() -> None:
    image = np.random.default_rng(0).standard_normal((5, 4, 2)).astype(np.float32)
    framed = np.pad(image, ((2, 2), (2, 2), (0, 0)))
    moved = {(i, j): framed[i : i + 5, j : j + 4] for i in range(5) for j in range(5)}
    found = [[place for place, each in moved.items() if np.array_equal(seen, each)] for seen in seen_in_training("shift(2)", image, 60)]
    assert all(found)
    assert {i for ((i, _), *_) in found} == {j for ((_, j), *_) in found} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(("expression", "expected"), [
    ("pad(x, over = [1, 0], before = [1, 2])", lambda x: np.pad(x, ((0, 0), (2, 0), (1, 0)))),
    ("windows(x, over = [1, 0], size = [2, 3])", lambda x: np.lib.stride_tricks.sliding_window_view(x, (3, 2), (1, 2))),
])  # fmt: skip
def test_axes_in_another_order_are_refused_or_heeded(expression: str, expected: Callable[[Array], Array]) -> None:
    x = np.random.default_rng(0).standard_normal((2, 4, 5)).astype(np.float32)
    try:
        model = rv.compile(f"model m() {{\n input x: f32[4, 5]\n predict {expression}\n}}", batch=2)
    except rv.RanvierError:
        return
    np.testing.assert_array_equal(model.predict(x), expected(x))


@pytest.mark.parametrize("setting", ["padding = -1", "extra = -1"])
def test_a_transposed_convolution_refuses_negative_settings(setting: str) -> None:
    text = f"model m() {{\n input x: f32[8, 6, 3]\n predict x -> conv_transpose2d(4, {setting})\n}}"
    with pytest.raises(rv.RanvierError):
        rv.compile(text).predict(np.zeros((1, 8, 6, 3)))
