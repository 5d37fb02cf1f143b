"""What is tried next: all combinations of a grid, draws by a seed, or what an estimator makes of the trials so far."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ...compiler.errors import RanvierError
from ...compiler.frontend.search import Choices, Range, TuneSettings
from .study import Setting, Settings, Trial


class Proposals(Protocol):
    """Settings to try; `learns` says whether they depend on what came of the trials before."""

    learns: bool

    def ask(self, number: int) -> Settings | None:
        """The settings of a trial, counted from 0; None when there are no more."""

    def tell(self, trial: Trial) -> None:
        """What became of a trial, of this run or of an earlier one."""


def proposals(settings: TuneSettings, seed: int, width: int) -> Proposals:
    """Proposals of the kind that the `tune` block asks for, of which `width` are tried at once; raises RanvierError."""
    if settings.search == "tpe":
        return Tpe(settings, seed, width)
    return Grid(settings.space) if settings.search == "grid" else Draws(settings.space, seed)


class Draws:
    """Settings drawn independently by a seed and the number of the trial alone."""

    learns = False

    def __init__(self, space: Mapping[str, Choices | Range], seed: int) -> None:
        self.space, self.seed = space, seed

    def ask(self, number: int) -> Settings | None:
        """See `Proposals`."""
        generator = np.random.Generator(np.random.PCG64([self.seed, number]))
        return {name: drawn(domain, generator) for name, domain in self.space.items()}

    def tell(self, trial: Trial) -> None:
        """Nothing is learned."""


def drawn(domain: Choices | Range, generator: np.random.Generator) -> Setting:
    """A value of a domain."""
    if isinstance(domain, Choices):
        return domain.values[int(generator.integers(len(domain.values)))]
    if domain.whole:
        return int(generator.integers(int(domain.low), int(domain.high) + 1))
    if domain.log:
        return min(max(math.exp(generator.uniform(math.log(domain.low), math.log(domain.high))), domain.low), domain.high)
    return float(generator.uniform(domain.low, domain.high))


class Grid:
    """All combinations of lists of values and whole numbers, the last setting changing fastest."""

    learns = False

    def __init__(self, space: Mapping[str, Choices | Range]) -> None:
        """The ranges are of whole numbers: `read_tune` refuses others."""
        values = [d.values if isinstance(d, Choices) else range(int(d.low), int(d.high) + 1) for d in space.values()]
        self.size = math.prod(map(len, values))
        self.names, self.values = tuple(space), values

    def ask(self, number: int) -> Settings | None:
        """See `Proposals`."""
        if number >= self.size:
            return None
        found: list[Setting] = []
        for values in reversed(self.values):
            number, place = divmod(number, len(values))
            found.append(values[place])
        return dict(zip(self.names, reversed(found), strict=True))

    def tell(self, trial: Trial) -> None:
        """Nothing is learned."""


class Tpe:
    """Proposals by Optuna's tree-structured Parzen estimator (Bergstra et al. 2011).

    Every proposal has a seed of its own, so that it depends on the trials before and nothing else: a search that goes on proposes what
    it would have proposed without the interruption.
    """

    learns = True

    def __init__(self, settings: TuneSettings, seed: int, width: int) -> None:
        """Raises RanvierError where Optuna is not installed."""
        try:
            import optuna
        except ImportError:
            raise RanvierError("search = tpe needs Optuna, which is not installed: pip install 'ranvier[tune]'") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.optuna, self.settings, self.seed, self.width = optuna, settings, seed, width
        direction = optuna.study.StudyDirection.MAXIMIZE if settings.largest else optuna.study.StudyDirection.MINIMIZE
        self.study = optuna.create_study(direction=direction)
        self.domains = {name: self._distribution(domain) for name, domain in settings.space.items()}
        self.asked: dict[int, Any] = {}

    def _distribution(self, domain: Choices | Range) -> Any:
        kinds = self.optuna.distributions
        if isinstance(domain, Choices):
            return kinds.CategoricalDistribution(domain.values)
        if domain.whole:
            return kinds.IntDistribution(int(domain.low), int(domain.high))
        return kinds.FloatDistribution(domain.low, domain.high, log=domain.log)

    def ask(self, number: int) -> Settings | None:
        """See `Proposals`. Those asked for and not told of yet count as bad ones, so that trials at once differ (constant liar)."""
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        self.study.sampler = self.optuna.samplers.TPESampler(seed=seed, constant_liar=self.width > 1)
        self.asked[number] = self.study.ask(self.domains)
        return dict(self.asked[number].params)

    def tell(self, trial: Trial) -> None:
        """See `Proposals`. What a trial came to before it was given up counts, too."""
        state, value = self.optuna.trial.TrialState, trial.value(self.settings.figure)
        asked = self.asked.get(trial.number) or self._before(trial)
        for rung, reached in enumerate(trial.rungs):
            if math.isfinite(reached):
                asked.report(reached, rung)
        if trial.pruned:
            self.study.tell(asked, state=state.PRUNED)
        elif math.isfinite(value):
            self.study.tell(asked, value)
        else:
            self.study.tell(asked, state=state.FAIL)

    def _before(self, trial: Trial) -> Any:
        """A trial of an earlier run, which this one did not ask for."""
        self.study.enqueue_trial({name: trial.settings[name] for name in self.domains})
        return self.study.ask(self.domains)


def upcoming(found: Proposals, first: int, end: int) -> Iterator[tuple[int, Settings]]:
    """Numbers and settings of the trials from `first` to before `end`, as far as there are any."""
    asked = ((number, found.ask(number)) for number in range(first, end))
    return ((number, settings) for number, settings in itertools.takewhile(lambda pair: pair[1] is not None, asked) if settings is not None)


def told(found: Proposals, trials: Sequence[Trial]) -> None:
    """Tell of several trials."""
    for trial in trials:
        found.tell(trial)
