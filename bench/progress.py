"""How far a cell or a sweep is: counted where it trains, shown elsewhere."""

import json
import time
from collections.abc import Callable
from typing import NamedTuple

#: Least time between two reports.
EVERY_S = 0.2


class State(NamedTuple):
    """How far a cell is."""

    trainings: int  # how many it has: one for each seed, in a sweep for each weight and seed
    finished: int  # of them
    step: int  # of the training under way
    steps: int  # of each training

    @property
    def share(self) -> float:
        """Of the whole cell, from 0 to 1; testing counts with the last step."""
        return min(1.0, (self.finished + self.step / self.steps) / self.trainings)

    def to_json(self) -> str:
        """For a file that another process reads."""
        return json.dumps(self._asdict())

    @classmethod
    def from_json(cls, text: str) -> "State":
        """What `to_json` wrote."""
        return cls(**json.loads(text))


#: Told now and then how far a cell is.
Watch = Callable[[State], None]


def quietly(state: State) -> None:
    """Show nothing."""


class Progress:
    """Counts the steps of a cell's trainings and reports them, not too often."""

    def __init__(self, watch: Watch, trainings: int, steps: int, done: int) -> None:
        self._watch, self._last = watch, 0.0
        self._state = State(trainings, done, 0, steps)
        watch(self._state)

    def tick(self, seed: int, step: int) -> None:
        """After every step of a training."""
        self._state = self._state._replace(step=step)
        if time.monotonic() - self._last >= EVERY_S:
            self._last = time.monotonic()
            self._watch(self._state)

    def seed_done(self) -> None:
        """After every training."""
        self._state = self._state._replace(finished=self._state.finished + 1, step=0)
        self._watch(self._state)
