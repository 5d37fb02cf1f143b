"""Several models, contexts and threads in one C program: none knows of the others, and each has the bits of Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from embedded import EXPECT, Caller, build, exported, main, run
from embedded_models import EXAMPLES, WIDE, wide_rows

import ranvier as rv

THREADS = 4
TURNS = 25

MANY = """
#include <pthread.h>

static unsigned char *rows_of(int thread, const char *name, size_t bytes) {
    char path[64];
    snprintf(path, sizeof path, "%s-%d", name, thread);
    return from_file(path, bytes);
}

/* A context of this thread's own: predictions again and again, steps of training, predictions after them. */
static void *whole_life(void *number) {
    int thread = (int)(intptr_t)number;
    size_t rows = (size_t)thread * 5 + 2, bytes = NET_WORKSPACE_BYTES(0);
    size_t xs = rows * NET_X_ELEMENTS * sizeof(float), ys = rows * sizeof(int32_t), ps = rows * NET_PREDICTION_ELEMENTS * sizeof(float);
    float *x = (float *)(void *)rows_of(thread, "x", xs);
    int32_t *y = (int32_t *)(void *)rows_of(thread, "y", ys);
    float *first = (float *)(void *)guarded(ps), *prediction = (float *)(void *)guarded(ps);
    net_context *context = NULL;
    double loss = 0;
    expect(NET_OK, net_init(guarded(bytes), bytes, 0, &context));
    expect(NET_OK, net_predict(context, rows, x, xs, first, ps));
    for (int turn = 0; turn < TURNS; turn++) {
        expect(NET_OK, net_predict(context, rows, x, xs, prediction, ps));
        same(memcmp(first, prediction, ps), 0);
    }
    for (int turn = 0; turn < TURNS; turn++) expect(NET_OK, net_train_step(context, rows, x, xs, y, ys, &loss));
    expect(NET_OK, net_predict(context, rows, x, xs, prediction, ps));
    char path[64];
    snprintf(path, sizeof path, "first-%d", thread);
    to_file(path, first, ps);
    snprintf(path, sizeof path, "last-%d", thread);
    to_file(path, prediction, ps);
    snprintf(path, sizeof path, "loss-%d", thread);
    to_file(path, &loss, sizeof loss);
    return NULL;
}
"""

START = """
pthread_t threads[THREADS];
for (int n = 0; n < THREADS; n++) same(pthread_create(&threads[n], NULL, whole_life, (void *)(intptr_t)n), 0);
for (int n = 0; n < THREADS; n++) same(pthread_join(threads[n], NULL), 0);
"""


@pytest.mark.parametrize("shared", [False, True])
def test_threads_with_a_context_each(shared: bool, tmp_path: Path) -> None:
    example = EXAMPLES["mlp"]
    model = example.model()
    model.save(tmp_path / "mlp.safetensors")
    exported(model, tmp_path, train=True)
    batches = [example.rows(5 * thread + 2, thread) for thread in range(THREADS)]
    for thread, rows in enumerate(batches):
        for name, value in rows.items():
            (tmp_path / f"{name}-{thread}").write_bytes(value.tobytes())
    top = f"{EXPECT}#define THREADS {THREADS}\n#define TURNS {TURNS}\n{MANY}"
    run([build(tmp_path, main(top, START), shared=shared)], cwd=tmp_path)
    for thread, rows in enumerate(batches):
        own = rv.load(tmp_path / "mlp.safetensors", threads=1)
        wanted = own.predict({"x": rows["x"]})
        losses = [own.step(rows) for _ in range(TURNS)]
        after = own.predict({"x": rows["x"]})
        for name, value in (("first", wanted), ("last", after), ("loss", np.array(losses[-1]))):
            assert np.frombuffer((tmp_path / f"{name}-{thread}").read_bytes(), value.dtype).tobytes() == value.tobytes()


@pytest.mark.parametrize("shared", [False, True])
def test_two_models_in_one_program(shared: bool, tmp_path: Path) -> None:
    """Their calls alternate; each has its own manifest, and one of them is that which loaders find."""
    models = {name: EXAMPLES[name].model() for name in ("mlp", "lstm")}
    callers = {}
    for name, model in models.items():
        exported(model, tmp_path, name=name, train=True)
        callers[name] = Caller(tmp_path, name)
    rows = {name: EXAMPLES[name].rows(6) for name in models}
    given = {name: {k: v for k, v in rows[name].items() if k not in model.targets} for name, model in models.items()}
    parts = []
    for turn in range(2):
        for name, caller in callers.items():
            caller.lines = []
            caller.step(rows[name])
            caller.predict(given[name], f"{name}-{turn}")
            parts.append("\n".join(caller.lines).replace("context", f"{name}_own").replace("check(", f"check_{name}("))
    top = [EXPECT, *(caller.check.replace("check(call)", f"check_{name}(call)") for name, caller in callers.items())]
    begin = [
        f"{name}_context *{name}_own = NULL; size_t {name}_bytes = {name.upper()}_WORKSPACE_BYTES(0); const char *{name}_text = NULL;\n"
        f"check_{name}({name}_init(guarded({name}_bytes), {name}_bytes, 0, &{name}_own));\n"
        f"check_{name}({name}_manifest(&{name}_text, &{name}_bytes));\n"
        f'same(strstr({name}_text, "\\"name\\": \\"{name}\\"") != NULL, 1);'
        for name in models
    ]
    end = ["same(strcmp(ranvier_manifest, mlp_text) == 0 || strcmp(ranvier_manifest, lstm_text) == 0, 1);"]
    source = main("\n".join(top), "\n".join([*begin, *parts, *end]), tuple(models))
    printed = run([build(tmp_path, source, names=tuple(models), shared=shared)]).split()
    losses = iter(printed)
    for turn in range(2):
        for name, model in models.items():
            assert float.fromhex(next(losses)) == model.step(rows[name])
            wanted = model.predict(given[name])
            assert np.array_equal(callers[name].read(f"{name}-{turn}", wanted), wanted)


TEAM = """
#include <pthread.h>

typedef struct { net_context *context; int32_t number; } place;

static void *work(void *given) {
    place *own = (place *)given;
    expect(NET_OK, net_work(own->context, own->number));
    return NULL;
}
"""

SHARED_WORK = """
for (int32_t threads = 1; threads <= 3; threads++) {
    size_t bytes = NET_WORKSPACE_BYTES(threads), xs = 256 * 64 * sizeof(float), ys = 256 * 32 * sizeof(float);
    net_context *context = NULL;
    pthread_t others[2];
    place places[2];
    float *x = (float *)(void *)from_file("x", xs), *y = (float *)(void *)from_file("y", ys), *prediction = (float *)(void *)guarded(ys);
    double loss = 0;
    expect(NET_ERROR_WORKSPACE, net_init(guarded(bytes), bytes - 1, threads, &context));
    expect(NET_OK, net_init(guarded(bytes), bytes, threads, &context));
    expect(NET_ERROR_THREADS, net_work(context, threads));
    for (int32_t n = 1; n < threads; n++) {
        places[n - 1] = (place){context, n};
        same(pthread_create(&others[n - 1], NULL, work, &places[n - 1]), 0);
    }
    for (int step = 0; step < 3; step++) {
        expect(NET_OK, net_train_step(context, 256, x, xs, y, ys, &loss));
        printf("%a\\n", loss);
    }
    expect(NET_OK, net_predict(context, 256, x, xs, prediction, ys));
    char path[] = "prediction-0";
    path[11] = (char)('0' + threads);
    to_file(path, prediction, ys);
    expect(NET_OK, net_stop(context));
    for (int32_t n = 1; n < threads; n++) same(pthread_join(others[n - 1], NULL), 0);
    expect(NET_ERROR_THREADS, net_work(context, 1));
    memset(prediction, 0, ys);
    expect(NET_OK, net_predict(context, 256, x, xs, prediction, ys));
    path[0] = 'a';
    to_file(path, prediction, ys);
}
"""


STOPPED_AT_ONCE = """
size_t bytes = NET_WORKSPACE_BYTES(3);
unsigned char *room = guarded(bytes);
for (int turn = 0; turn < 300; turn++) {
    net_context *context = NULL;
    pthread_t others[2];
    place places[2];
    expect(NET_OK, net_init(room, bytes, 3, &context));
    for (int32_t n = 1; n < 3; n++) {
        places[n - 1] = (place){context, n};
        same(pthread_create(&others[n - 1], NULL, work, &places[n - 1]), 0);
    }
    expect(NET_OK, net_stop(context));
    expect(NET_OK, net_stop(context));
    for (int n = 0; n < 2; n++) same(pthread_join(others[n], NULL), 0);
    expect(NET_ERROR_THREADS, net_work(context, 1));
}
"""


def test_a_team_is_stopped_before_all_its_threads_have_come(tmp_path: Path) -> None:
    exported(rv.compile(WIDE, threads=1), tmp_path, threads=2)
    run([build(tmp_path, main(EXPECT + TEAM, STOPPED_AT_ONCE))])


def test_a_team_of_the_callers_threads(tmp_path: Path) -> None:
    """Whatever their number, the bits are the same; after `stop` the caller's own thread does all."""
    model = rv.compile(WIDE, threads=1)
    exported(model, tmp_path, train=True, threads=2)
    rows = wide_rows()
    for name, value in rows.items():
        (tmp_path / name).write_bytes(value.tobytes())
    printed = run([build(tmp_path, main(EXPECT + TEAM, SHARED_WORK))], cwd=tmp_path).split()
    losses = [model.step(rows) for _ in range(3)]
    assert [float.fromhex(line) for line in printed] == losses * 3
    for threads in (1, 2, 3):
        for name in "prediction", "arediction":
            assert (tmp_path / f"{name}-{threads}").read_bytes() == model.predict(rows["x"]).tobytes()
