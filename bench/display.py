"""What a run shows while it works: a live table on a terminal, lines in a log."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from bench.progress import State, Watch

#: In a log, how often a line says how far everything is, if nothing else happens.
LOG_EVERY_S = 60.0


class Display:
    """Cells done, failed, running and queued, and the time that is left."""

    def __init__(self, expected_s: Mapping[str, float], jobs: int | None) -> None:
        """`expected_s`: the tasks that are to run, with about how many seconds each takes. `jobs` None: unknown."""
        self._expected, self._jobs = dict(expected_s), jobs
        self._started = self._told = time.monotonic()
        self._done: dict[str, float] = {}
        self._failed: dict[str, str] = {}
        self._running: dict[str, State] = {}
        console = Console(file=sys.stderr)
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> "Display":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def done(self, name: str, took_s: float) -> None:
        """A task has finished."""
        self._running.pop(name, None)
        self._done[name] = took_s
        self.say(f"done: {name} in {duration(took_s)}")

    def failed(self, name: str, sentence: str) -> None:
        """A task has failed; the others go on."""
        self._running.pop(name, None)
        self._failed[name] = sentence
        self.say(f"failed: {name}: {sentence}")

    def running(self, states: Mapping[str, State]) -> None:
        """How far the tasks are that run now."""
        self._running = dict(states)
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
        elif time.monotonic() - self._told > LOG_EVERY_S:
            self.say("running: " + ", ".join(f"{name} ({where(state)})" for name, state in states.items()))

    def say(self, sentence: str) -> None:
        """One line, with how far everything is before it."""
        self._told = time.monotonic()
        line = f"{self._summary()} | {sentence}"
        if self._live is not None:
            self._live.console.print(line, markup=False, highlight=False, soft_wrap=True)
            self._live.update(self._table(), refresh=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def _summary(self) -> str:
        failed = f", {len(self._failed)} failed" if self._failed else ""
        total = len(self._expected)
        queued = total - len(self._done) - len(self._failed) - len(self._running)
        waiting = f", {queued} queued" if queued else ""
        return f"{len(self._done)} of {total} done{failed}{waiting}, about {duration(self.left_s())} left"

    def left_s(self) -> float:
        """About how long the rest takes: what was expected of it, corrected by how long the others took."""
        over = self._done.keys() | self._failed.keys()
        part = {name: state.share for name, state in self._running.items()}
        rest = sum(s * (1 - part.get(name, 0)) for name, s in self._expected.items() if name not in over)
        expected = sum(self._expected[name] for name in self._done)
        pace = sum(self._done.values()) / expected if expected else 1.0
        return rest * pace / (self._jobs or max(1, len(self._running)))

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, show_header=False)
        for name, state in self._running.items():
            table.add_row(name, where(state))
        table.add_row(self._summary(), f"{duration(time.monotonic() - self._started)} so far")
        return table


@contextmanager
def watched(name: str) -> Iterator[Watch]:
    """Show one task that runs in this process."""
    began = time.monotonic()
    with Display({name: 0.0}, 1) as display:

        def watch(state: State) -> None:
            display.running({name: state})

        yield watch
        display.done(name, time.monotonic() - began)


def where(state: State) -> str:
    """Where a task is, in words."""
    return f"training {min(state.finished + 1, state.trainings)} of {state.trainings}, step {state.step}/{state.steps}"


def duration(seconds: float) -> str:
    """Seconds for readers: 48 s, 12 min, 3 h 20 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
