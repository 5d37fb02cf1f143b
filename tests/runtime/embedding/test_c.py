"""Libraries called from C and C++, with guard pages round every buffer: the same bits as in Python, predicting and training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from embedded import EXPECT, Caller, build, exported, main, run
from embedded_models import EXAMPLES
from ranvier.runtime.model import Model

STEPS = 3


def inputs(model: Model, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value for name, value in rows.items() if name not in model.targets}


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize(("cpp", "shared"), [(False, False), (True, True)])
def test_predictions_and_steps_are_those_of_python(name: str, cpp: bool, shared: bool, tmp_path: Path) -> None:
    example = EXAMPLES[name]
    model = example.model()
    exported(model, tmp_path, train=True)
    caller = Caller(tmp_path)
    caller.init()
    batches = [example.rows(count, seed) for seed, count in enumerate((1, 3, model.capacity))]
    for number, rows in enumerate(batches):
        caller.predict(inputs(model, rows), f"before-{number}")
    for rows in batches[-1:] * STEPS:
        caller.step(rows)
    caller.parameters("parameter")
    caller.predict(inputs(model, batches[0]), "after")
    printed = run([build(tmp_path, caller.source(), cpp=cpp, shared=shared)])
    for number, rows in enumerate(batches):
        wanted = model.predict(inputs(model, rows))
        assert np.array_equal(caller.read(f"before-{number}", wanted), wanted)
    assert [float.fromhex(line) for line in printed.split()] == [model.step(batches[-1]) for _ in range(STEPS)]
    for number, value in enumerate(model.params.values()):
        assert np.array_equal(caller.read(f"parameter-{number}", value), value)
    wanted = model.predict(inputs(model, batches[0]))
    assert np.array_equal(caller.read("after", wanted), wanted)


ANYWHERE = """
size_t bytes = NET_WORKSPACE_BYTES(0), xs = 5 * NET_X_ELEMENTS * sizeof(float), ps = 5 * NET_PREDICTION_ELEMENTS * sizeof(float);
unsigned char *all = guarded(bytes + 256);
float *x = (float *)(void *)from_file("x", xs), *first = (float *)(void *)guarded(ps), *prediction = (float *)(void *)guarded(ps);
int32_t *y = (int32_t *)(void *)from_file("y", 5 * sizeof(int32_t));
for (size_t offset = 0; offset < 128; offset++) {
    net_context *context = NULL;
    double loss = 0;
    memset(all, 0x5A, bytes + 256);
    expect(NET_OK, net_init(all + offset, bytes, 0, &context));
    expect(NET_OK, net_train_step(context, 5, x, xs, y, 5 * sizeof(int32_t), &loss));
    expect(NET_OK, net_predict(context, 5, x, xs, offset == 0 ? first : prediction, ps));
    if (offset > 0) same(memcmp(first, prediction, ps), 0);
    for (size_t n = 0; n < offset; n++) same(all[n], 0x5A);
    for (size_t n = offset + bytes; n < bytes + 256; n++) same(all[n], 0x5A);
}
unsigned char *odd = guarded(xs + ps + 2); /* rows and results at addresses that no float has */
net_context *context = NULL;
expect(NET_OK, net_init(all, bytes, 0, &context));
memcpy(odd + 1, x, xs);
expect(NET_OK, net_predict(context, 5, (const float *)(const void *)(odd + 1), xs, prediction, ps));
expect(NET_OK, net_predict(context, 5, x, xs, (float *)(void *)(odd + xs + 1), ps));
same(memcmp(prediction, odd + xs + 1, ps), 0);
"""


def test_memory_may_lie_anywhere(tmp_path: Path) -> None:
    """A workspace at any address, nothing written beside it; rows and results that are not aligned."""
    example = EXAMPLES["mlp"]
    exported(example.model(), tmp_path, train=True)
    for name, value in example.rows(5).items():
        (tmp_path / name).write_bytes(value.tobytes())
    run([build(tmp_path, main(EXPECT, ANYWHERE))], cwd=tmp_path)


ROUNDED = """
size_t bytes = NET_WORKSPACE_BYTES(0), xs = 5 * NET_X_ELEMENTS * sizeof(float), ps = 5 * NET_PREDICTION_ELEMENTS * sizeof(float);
float *x = (float *)(void *)from_file("x", xs), *prediction = (float *)(void *)guarded(ps);
int32_t *y = (int32_t *)(void *)from_file("y", 5 * sizeof(int32_t));
net_context *context = NULL;
double loss = 0;
expect(NET_OK, net_init(guarded(bytes), bytes, 0, &context));
int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
for (int n = 0; n < 3; n++) {
    same(fesetround(modes[n]), 0);
    expect(NET_OK, net_train_step(context, 5, x, xs, y, 5 * sizeof(int32_t), &loss));
    expect(NET_OK, net_predict(context, 5, x, xs, prediction, ps));
    same(fegetround(), modes[n]);
    same(fetestexcept(FE_INVALID), 0);
}
volatile float small = 1e-38F; /* a denormal is one again after the calls */
same(small / 4 > 0, 1);
to_file("prediction", prediction, ps);
"""


def test_how_the_caller_rounds_changes_nothing(tmp_path: Path) -> None:
    example = EXAMPLES["mlp"]
    model, rows = example.model(), example.rows(5)
    exported(model, tmp_path, train=True)
    for name, value in rows.items():
        (tmp_path / name).write_bytes(value.tobytes())
    run([build(tmp_path, main(EXPECT + "#include <fenv.h>", ROUNDED), more=["-lm"])], cwd=tmp_path)
    for _ in range(3):
        model.step(rows)
    assert (tmp_path / "prediction").read_bytes() == model.predict({"x": rows["x"]}).tobytes()
