"""What reading a data file comes to, in a child process with little memory and time: right, or one clean refusal."""

from __future__ import annotations

import resource
import signal
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from types import FrameType

from ranvier.compiler.errors import DataError, ResourceError
from ranvier.runtime.images import SUFFIXES

MEMORY_BYTES = 2**30
"""What a child may ask for beyond what its libraries take."""
SECONDS = 60


def pool() -> ProcessPoolExecutor:
    """One child; when it dies, `map` raises BrokenProcessPool."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_limit)


def outcomes(children: ProcessPoolExecutor, paths: Iterable[Path]) -> list[str]:
    """`ok`, `refused: MESSAGE`, or what went wrong, for each file or folder."""
    return list(children.map(outcome, paths, chunksize=20, timeout=300))


def outcomes_of(children: ProcessPoolExecutor, name: str, versions: Iterable[bytes]) -> list[str]:
    """The same for versions of one file; an image lies alone in a folder, which is what is read."""
    return list(children.map(_outcome_of, repeat(name), versions, chunksize=20, timeout=300))


def _outcome_of(name: str, data: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        return outcome(Path(folder) if path.suffix in SUFFIXES else path)


def _limit() -> None:
    import pandas  # noqa: F401
    import PIL.Image
    import pyarrow.parquet  # noqa: F401

    PIL.Image.init()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))
    signal.signal(signal.SIGALRM, _hangs)


def _hangs(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def outcome(path: Path) -> str:
    """What `train` and what `data` make of a file: both must come to an end of the same kind."""
    from ranvier.runtime.looking.facts import look
    from ranvier.runtime.reading import read_table

    ends = [_end(lambda: read_table(path), path), _end(lambda: look(path), path)]
    wrong = [end for end in ends if end != "ok" and not end.startswith("refused")]
    return wrong[0] if wrong else ends[1]


def _end(read: Callable[[], object], path: Path) -> str:
    signal.alarm(SECONDS)
    try:
        read()
    except (DataError, ResourceError) as error:
        message = str(error)
        return f"refused: {message}" if message.startswith(str(path)) else f"does not name the file: {message}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    return "ok"
