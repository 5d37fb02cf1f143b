"""Every code that a library returns, met from C: a mistake of the caller is said, and nothing is read or written that is not his."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from embedded import EXPECT, build, exported, main, need, run
from embedded_models import EXAMPLES
from ranvier.compiler.ahead.codes import CODES
from ranvier.compiler.ahead.levels import Level, level

import ranvier as rv

ARGUMENTS = """
/* Whatever is asked of a library, with something missing, wrong, too small or too large. */
size_t bytes = NET_WORKSPACE_BYTES(0), asked = 0, count = 0;
unsigned char *room = guarded(bytes);
net_context *context = NULL, *untouched = NULL;
const char *text = NULL;
const net_tensor *list = NULL;
int64_t number = -7;
double value = 0;

expect(NET_ERROR_NULL, net_workspace_bytes(0, NULL));
expect(NET_ERROR_THREADS, net_workspace_bytes(-1, &asked));
expect(NET_ERROR_THREADS, net_workspace_bytes(257, &asked));
expect(NET_OK, net_workspace_bytes(256, &asked));
same(asked, NET_WORKSPACE_BYTES(256));
expect(NET_OK, net_workspace_bytes(0, &asked));
same(asked, bytes);

expect(NET_ERROR_NULL, net_init(NULL, bytes, 0, &untouched));
expect(NET_ERROR_NULL, net_init(room, bytes, 0, NULL));
expect(NET_ERROR_WORKSPACE, net_init(room, bytes - 1, 0, &untouched));
expect(NET_ERROR_WORKSPACE, net_init(room, 0, 0, &untouched));
expect(NET_ERROR_WORKSPACE, net_init(room, NET_WORKSPACE_BYTES(2) - 1, 2, &untouched));
expect(NET_ERROR_THREADS, net_init(room, bytes, -1, &untouched));
expect(NET_ERROR_THREADS, net_init(room, bytes, 257, &untouched));
same(untouched == NULL, 1);
memset(room, 0, bytes);
expect(NET_ERROR_CONTEXT, net_stop((net_context *)(void *)(room + 128 - (uintptr_t)room % 128)));
expect(NET_OK, net_init(room, bytes, 0, &context));

expect(NET_ERROR_NULL, net_level(NULL, &text));
expect(NET_ERROR_NULL, net_level(context, NULL));
expect(NET_OK, net_level(context, &text));
same(strcmp(text, "native"), 0);
expect(NET_ERROR_NULL, net_manifest(NULL, &count));
expect(NET_ERROR_NULL, net_manifest(&text, NULL));
expect(NET_OK, net_manifest(&text, &count));
same(strlen(text), count);
same(strcmp(text, ranvier_manifest), 0);
expect(NET_ERROR_NULL, net_inputs(NULL, &count));
expect(NET_ERROR_NULL, net_outputs(&list, NULL));
expect(NET_OK, net_inputs(&list, &count));
same(count, 1);
same(list->bytes, NET_X_ELEMENTS * sizeof(float));
same(list->length == NULL && list->class_count == 0 && list->low > list->high, 1);
expect(NET_OK, net_outputs(&list, &count));
same(count == 1 && list->type == NET_F32 && list->rank == 1 && list->shape[0] == 3, 1);
expect(NET_OK, net_parameters(&list, &count));
same(count, 4);
expect(NET_OK, net_targets(&list, &count));
same(count == 1 && list->class_count == 3 && list->low == 0 && list->high == 2, 1);
same(strcmp(list->classes[2], "ab"), 0);

expect(NET_ERROR_NULL, net_find_class(NULL, "a", 1, &number));
expect(NET_ERROR_NULL, net_find_class(list, NULL, 1, &number));
expect(NET_ERROR_NULL, net_find_class(list, "a", 1, NULL));
expect(NET_ERROR_CLASS, net_find_class(list, "abc", 3, &number));
expect(NET_ERROR_CLASS, net_find_class(list, "abc", 0, &number));
same(number, -7);
expect(NET_OK, net_find_class(list, "abc", 2, &number));
same(number, 2);
expect(NET_OK, net_find_class(list, "abc", 1, &number));
same(number, 0);
expect(NET_OK, net_inputs(&list, &count));
expect(NET_ERROR_CLASS, net_find_class(list, "a", 1, &number));

for (int32_t code = -3; code < 200; code++) same(strlen(net_error_text(code)) > 4, 1);
same(strcmp(net_error_text(-1), net_error_text(NET_ERROR_UNKNOWN)), 0);
same(strcmp(net_error_text(50), net_error_text(NET_ERROR_UNKNOWN)), 0);

enum { ROWS = 5 };
float *x = (float *)(void *)guarded(sizeof(float) * 4 * ROWS), *prediction = (float *)(void *)guarded(sizeof(float) * 3 * ROWS);
int32_t *y = (int32_t *)(void *)guarded(sizeof(int32_t) * ROWS);
float *weight = (float *)(void *)guarded(sizeof(float) * ROWS);
size_t xs = sizeof(float) * 4 * ROWS, ps = sizeof(float) * 3 * ROWS, ys = sizeof(int32_t) * ROWS, ws = sizeof(float) * ROWS;
for (int n = 0; n < 4 * ROWS; n++) x[n] = (float)n / 7;
for (int n = 0; n < ROWS; n++) { y[n] = n % 3; weight[n] = 1; }
memset(prediction, 0x5A, ps);

expect(NET_ERROR_NULL, net_predict(NULL, ROWS, x, xs, prediction, ps));
expect(NET_ERROR_NULL, net_predict(context, ROWS, NULL, xs, prediction, ps));
expect(NET_ERROR_NULL, net_predict(context, ROWS, x, xs, NULL, ps));
expect(NET_ERROR_ROWS, net_predict(context, 0, x, 0, prediction, 0));
expect(NET_ERROR_ROWS, net_predict(context, NET_CAPACITY + 1, x, xs, prediction, ps));
expect(NET_ERROR_ROWS, net_predict(context, SIZE_MAX, x, xs, prediction, ps));
for (int more = -1; more <= 1; more += 2) {
    expect(NET_ERROR_SIZE, net_predict(context, ROWS, x, xs + more, prediction, ps));
    expect(NET_ERROR_SIZE, net_predict(context, ROWS, x, xs, prediction, ps + more));
    expect(NET_ERROR_SIZE, net_predict(context, ROWS + more, x, xs, prediction, ps));
    expect(NET_ERROR_SIZE, net_train_step(context, ROWS, x, xs + more, y, ys, weight, ws, &value));
    expect(NET_ERROR_SIZE, net_train_step(context, ROWS, x, xs, y, ys + more, weight, ws, &value));
    expect(NET_ERROR_SIZE, net_train_step(context, ROWS, x, xs, y, ys, weight, ws + more, &value));
}
for (size_t n = 0; n < ps; n++) same(((unsigned char *)prediction)[n], 0x5A);
expect(NET_OK, net_predict(context, ROWS, x, xs, prediction, ps));

size_t size = NET_STATE_BYTES;
unsigned char *state = guarded(size), *other = guarded(size);
expect(NET_ERROR_NULL, net_state_bytes(NULL));
expect(NET_OK, net_state_bytes(&asked));
same(asked, size);
expect(NET_OK, net_save_state(context, state, size));

expect(NET_ERROR_NULL, net_train_step(NULL, ROWS, x, xs, y, ys, weight, ws, &value));
expect(NET_ERROR_NULL, net_train_step(context, ROWS, NULL, xs, y, ys, weight, ws, &value));
expect(NET_ERROR_NULL, net_train_step(context, ROWS, x, xs, NULL, ys, weight, ws, &value));
expect(NET_ERROR_NULL, net_train_step(context, ROWS, x, xs, y, ys, NULL, ws, &value));
expect(NET_ERROR_NULL, net_train_step(context, ROWS, x, xs, y, ys, weight, ws, NULL));
expect(NET_ERROR_ROWS, net_train_step(context, 0, x, 0, y, 0, weight, 0, &value));
expect(NET_ERROR_ROWS, net_train_step(context, NET_CAPACITY + 1, x, xs, y, ys, weight, ws, &value));
int32_t bad[] = {-1, 3, INT32_MAX, INT32_MIN};
for (int n = 0; n < 4; n++) {
    y[ROWS - 1] = bad[n];
    expect(NET_ERROR_RANGE_Y, net_train_step(context, ROWS, x, xs, y, ys, weight, ws, &value));
}
y[ROWS - 1] = 0;
float heavy[] = {-1.0F, -1e-30F, (float)NAN, (float)INFINITY, -(float)INFINITY};
for (int n = 0; n < 5; n++) for (int row = 0; row < ROWS; row++) {
    weight[row] = heavy[n];
    expect(NET_ERROR_ROW_WEIGHT, net_train_step(context, ROWS, x, xs, y, ys, weight, ws, &value));
    weight[row] = 1;
}

expect(NET_ERROR_NULL, net_save_state(NULL, other, size));
expect(NET_ERROR_NULL, net_save_state(context, NULL, size));
expect(NET_ERROR_SIZE, net_save_state(context, other, size - 1));
expect(NET_ERROR_SIZE, net_save_state(context, other, size + 1));
expect(NET_OK, net_save_state(context, other, size));
same(memcmp(state, other, size), 0); /* what was refused has changed nothing */
expect(NET_OK, net_train_step(context, ROWS, x, xs, y, ys, weight, ws, &value));
expect(NET_OK, net_save_state(context, other, size));
same(memcmp(state, other, size) != 0, 1);
expect(NET_ERROR_NULL, net_load_state(NULL, state, size));
expect(NET_ERROR_NULL, net_load_state(context, NULL, size));
expect(NET_ERROR_SIZE, net_load_state(context, state, size - 1));
expect(NET_ERROR_SIZE, net_load_state(context, state, 0));
unsigned char *damaged = guarded(size), *after = guarded(size);
for (size_t n = 0; n < size; n++) {
    memcpy(damaged, state, size);
    damaged[n] ^= (unsigned char)(1 << n % 8);
    expect(NET_ERROR_STATE, net_load_state(context, damaged, size));
}
expect(NET_OK, net_save_state(context, after, size));
same(memcmp(other, after, size), 0); /* nothing of a damaged one is taken */
expect(NET_OK, net_load_state(context, state, size));
expect(NET_OK, net_save_state(context, after, size));
same(memcmp(state, after, size), 0);

unsigned char *values = guarded(4 * 16 * sizeof(float));
expect(NET_ERROR_NULL, net_get_parameter(NULL, 0, values, 256));
expect(NET_ERROR_NULL, net_get_parameter(context, 0, NULL, 256));
expect(NET_ERROR_INDEX, net_get_parameter(context, 4, values, 256));
expect(NET_ERROR_INDEX, net_get_parameter(context, SIZE_MAX, values, 256));
expect(NET_ERROR_SIZE, net_get_parameter(context, 0, values, 255));
expect(NET_ERROR_SIZE, net_get_parameter(context, 1, values, 256));
expect(NET_OK, net_get_parameter(context, 0, values, 256));
expect(NET_ERROR_NULL, net_set_parameter(NULL, 0, values, 256));
expect(NET_ERROR_NULL, net_set_parameter(context, 0, NULL, 256));
expect(NET_ERROR_INDEX, net_set_parameter(context, 4, values, 256));
expect(NET_ERROR_SIZE, net_set_parameter(context, 0, values, 257));
expect(NET_OK, net_set_parameter(context, 0, values, 256));

expect(NET_ERROR_NULL, net_get_scalar(NULL, NET_RATE, &value));
expect(NET_ERROR_NULL, net_get_scalar(context, NET_RATE, NULL));
expect(NET_ERROR_INDEX, net_get_scalar(context, -1, &value));
expect(NET_ERROR_INDEX, net_get_scalar(context, 99, &value));
expect(NET_OK, net_get_scalar(context, NET_RATE, &value));
same(value == 0.01, 1);
expect(NET_ERROR_NULL, net_set_scalar(NULL, NET_RATE, 0.5));
expect(NET_ERROR_INDEX, net_set_scalar(context, -1, 0.5));
expect(NET_ERROR_VALUE, net_set_scalar(context, NET_RATE, NAN));
expect(NET_OK, net_set_scalar(context, NET_RATE, 0.5));
expect(NET_OK, net_get_scalar(context, NET_RATE, &value));
same(value == 0.5, 1);

expect(NET_ERROR_NULL, net_work(NULL, 1));
expect(NET_ERROR_THREADS, net_work(context, 1));
expect(NET_ERROR_THREADS, net_work(context, 0));
expect(NET_ERROR_THREADS, net_work(context, -1));
expect(NET_ERROR_NULL, net_stop(NULL));
expect(NET_OK, net_stop(context));
"""

NUMBERS = """
size_t bytes = NET_WORKSPACE_BYTES(0);
unsigned char *room = guarded(bytes);
net_context *context = NULL;
expect(NET_OK, net_init(room, bytes, 0, &context));
enum { ROWS = 3 };
int32_t *token = (int32_t *)(void *)guarded(sizeof(int32_t) * 7 * ROWS), *length = (int32_t *)(void *)guarded(sizeof(int32_t) * ROWS);
float *scale = (float *)(void *)guarded(sizeof(float) * ROWS), *prediction = (float *)(void *)guarded(sizeof(float) * 2 * ROWS);
float *y = (float *)(void *)guarded(sizeof(float) * 2 * ROWS);
double loss = 0;
for (int n = 0; n < 7 * ROWS; n++) token[n] = n % 20;
for (int n = 0; n < ROWS; n++) { length[n] = 7 - n; scale[n] = 1; }
memset(y, 0, sizeof(float) * 2 * ROWS);
#define PREDICT net_predict(context, ROWS, length, 4 * ROWS, token, 28 * ROWS, scale, 4 * ROWS, prediction, 8 * ROWS)
#define STEP net_train_step(context, ROWS, length, 4 * ROWS, token, 28 * ROWS, scale, 4 * ROWS, y, 8 * ROWS, &loss)
expect(NET_OK, PREDICT);
int32_t lengths[] = {0, -1, 8, INT32_MAX, INT32_MIN}, tokens[] = {20, -1, INT32_MAX, INT32_MIN};
for (int row = 0; row < ROWS; row++) {
    for (int n = 0; n < 5; n++) {
        length[row] = lengths[n];
        expect(NET_ERROR_RANGE_TOKEN_LENGTH, PREDICT);
        expect(NET_ERROR_RANGE_TOKEN_LENGTH, STEP);
    }
    length[row] = 7 - row;
    for (int n = 0; n < 4; n++) {
        int32_t kept = token[7 * row + 6 - row];
        token[7 * row + 6 - row] = tokens[n];
        expect(NET_ERROR_RANGE_TOKEN, PREDICT);
        expect(NET_ERROR_RANGE_TOKEN, STEP);
        token[7 * row + 6 - row] = kept;
    }
    if (row > 0) token[7 * row + 6] = 99; /* past the end of its row, which nobody reads */
    expect(NET_OK, PREDICT);
    expect(NET_OK, STEP);
}
"""

OUTSIDE = """
size_t bytes = NET_WORKSPACE_BYTES(0), size = NET_WEIGHTS_BYTES;
unsigned char *room = guarded(bytes), *weights = from_file("net.weights", size);
net_context *context = NULL;
expect(NET_ERROR_NULL, net_init(room, bytes, 0, NULL, size, &context));
expect(NET_ERROR_SIZE, net_init(room, bytes, 0, weights, size - 1, &context));
expect(NET_ERROR_SIZE, net_init(room, bytes, 0, weights, size + 1, &context));
expect(NET_ERROR_WEIGHTS, net_init(room, bytes, 0, weights + 4, size, &context));
for (int n = 0; n < 24; n++) {
    weights[n] ^= 16;
    expect(NET_ERROR_WEIGHTS, net_init(room, bytes, 0, weights, size, &context));
    weights[n] ^= 16;
}
same(context == NULL, 1);
expect(NET_OK, net_init(room, bytes, 0, weights, size, &context));
"""

TWINS = """
model twin() {
    input x: f32[%d]
    target y: f32[%d]
    z = x -> dense(%d, bias = false)
    predict z
    loss mse(z, y)
}
train { batch = 4 ; optimizer = gd(lr = 0.1) }
"""

STRANGE_STATE = """
size_t bytes = ONE_WORKSPACE_BYTES(0) > TWO_WORKSPACE_BYTES(0) ? ONE_WORKSPACE_BYTES(0) : TWO_WORKSPACE_BYTES(0);
unsigned char *room = guarded(bytes), *more = guarded(bytes), *state = guarded(ONE_STATE_BYTES);
one_context *one = NULL;
two_context *two = NULL;
same(ONE_STATE_BYTES, TWO_STATE_BYTES);
expect(ONE_OK, one_init(room, bytes, 0, &one));
expect(TWO_OK, two_init(more, bytes, 0, &two));
expect(ONE_OK, one_save_state(one, state, ONE_STATE_BYTES));
expect(TWO_ERROR_STATE, two_load_state(two, state, TWO_STATE_BYTES));
expect(ONE_OK, one_load_state(one, state, ONE_STATE_BYTES));
expect(TWO_ERROR_CONTEXT, two_save_state((two_context *)(void *)one, state, TWO_STATE_BYTES));
expect(ONE_ERROR_CONTEXT, one_stop((one_context *)(void *)two));
"""


def weighted_mlp() -> rv.Model:
    """The perceptron with names for its classes and weights for its rows, nothing trained since."""
    example = EXAMPLES["mlp"]
    model = example.model()
    model.vocabularies = {"y": ["a", "b", "ab"]}
    model.weigh()
    return model


def test_every_mistake_has_its_code(tmp_path: Path) -> None:
    exported(weighted_mlp(), tmp_path, train=True)
    run([build(tmp_path, main(EXPECT + "#include <math.h>", ARGUMENTS))])


def test_numbers_outside_their_range_have_codes(tmp_path: Path) -> None:
    exported(EXAMPLES["lstm"].model(), tmp_path, train=True)
    run([build(tmp_path, main(EXPECT, NUMBERS))])


@pytest.mark.parametrize("multiversion", [False, True])
def test_weights_from_outside_are_those_of_the_library(multiversion: bool, tmp_path: Path) -> None:
    exported(EXAMPLES["cnn"].model(), tmp_path, weights=tmp_path / "net.weights", multiversion=multiversion)
    run([build(tmp_path, main(EXPECT, OUTSIDE))], cwd=tmp_path)


def test_states_and_contexts_of_another_model_are_refused(tmp_path: Path) -> None:
    for name, (inputs, outputs) in {"one": (6, 2), "two": (4, 3)}.items():
        exported(rv.compile(TWINS % (inputs, outputs, outputs), threads=1), tmp_path, name=name, train=True)
    run([build(tmp_path, main(EXPECT, STRANGE_STATE, names=("one", "two")), names=("one", "two"))])


def test_a_processor_without_a_feature_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bit of `cpuid` that no processor sets is asked for, too."""
    real = level("x86-64-v3")
    more = Level(real.name, real.target, real.attributes, (*real.masks[:3], 1 << 31, *real.masks[4:]), real.system)
    monkeypatch.setattr("ranvier.runtime.export.level", lambda name: more)
    exported(EXAMPLES["mlp"].model(), tmp_path)
    run([build(tmp_path, main(EXPECT, OLD))])


OLD = """
size_t bytes = NET_WORKSPACE_BYTES(0);
net_context *context = NULL;
expect(NET_ERROR_CPU, net_init(guarded(bytes), bytes, 0, &context));
same(context == NULL, 1);
"""

PICKED = """
size_t bytes = NET_WORKSPACE_BYTES(0);
net_context *context = NULL;
int32_t code = net_init(guarded(bytes), bytes, 0, &context);
if (code != NET_OK) { puts(net_error_text(code)); return 0; }
const char *name = NULL;
float x[4] = {1, 2, 3, 4}, prediction[3];
expect(NET_OK, net_level(context, &name));
expect(NET_OK, net_predict(context, 1, x, sizeof x, prediction, sizeof prediction));
for (int n = 0; n < 3; n++) printf("%.9g ", prediction[n]);
puts(name);
"""


@pytest.mark.parametrize(("cpu", "best"), [("qemu64", "x86-64"), ("Nehalem", "x86-64"), ("Haswell", "x86-64-v3")])
@pytest.mark.parametrize("target", ["x86-64", "x86-64-v3", "x86-64-v4", "several"])
def test_older_processors_run_what_they_can(cpu: str, best: str, target: str, tmp_path: Path) -> None:
    """Emulated: a library never runs into an instruction that the processor has not got; it refuses, or takes the level that runs."""
    need("qemu-x86_64")
    model = EXAMPLES["mlp"].model()
    exported(model, tmp_path, **({"multiversion": True} if target == "several" else {"target": target}))
    said = run(["qemu-x86_64", "-cpu", cpu, build(tmp_path, main(EXPECT, PICKED), more=["-static"])])
    if target not in ("several", "x86-64", best):
        assert said == "this processor lacks instructions that the library was made with\n"
        return
    *numbers, level_used = said.split()
    assert level_used == (best if target == "several" else target)
    wanted = model.predict(np.array([[1, 2, 3, 4]], np.float32))[0]
    assert np.allclose(np.array(numbers, np.float32), wanted, rtol=1e-5, atol=1e-6)


def test_all_codes_are_met_here() -> None:
    met = set(re.findall(r"(?:NET|ONE|TWO)_(?:ERROR_)?([A-Z_]+)\b", "".join((ARGUMENTS, NUMBERS, OUTSIDE, STRANGE_STATE, OLD))))
    assert {name for name, _ in CODES} - met == set()
