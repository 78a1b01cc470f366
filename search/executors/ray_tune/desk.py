"""The desk of a study on a cluster: an actor where workers fetch jobs and leave results.

Workers are known by name, and by a life: one that died and was started again is told apart from
what may still come of the dead one.
"""

import asyncio
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Any, Literal

MOST_MOVES = 5
"""Times that a job whose machine went away is given to somebody else, before it counts as lost."""


@dataclass(kw_only=True)
class Parcel:
    """A piece of a job on its way."""

    id: int
    kind: str
    job: bytes
    moves: int = 0


@dataclass(frozen=True, kw_only=True)
class Event:
    """What the driver is told."""

    what: Literal["arrived", "done", "lost"]
    worker: str
    id: int = -1
    """Of the piece that is done or lost."""
    content: Any = None
    """Arrived: what the worker says of its machine. Done: (evaluation, seconds). Lost: why."""


class Desk:
    """Every method is short, or waits without computing."""

    def __init__(self) -> None:
        self.changed = asyncio.Condition()
        self.waiting: defaultdict[str, deque[Parcel]] = defaultdict(deque)
        """Kind of worker -> what nobody has taken yet."""
        self.lives: dict[str, str] = {}
        """Worker -> its present life."""
        self.hands: dict[str, Parcel] = {}
        """Worker -> what it works at."""
        self.events: list[Event] = []
        self.closed = False

    # --- the driver's side ---

    async def put(self, id_: int, kind: str, job: bytes) -> None:
        """A piece for a worker of a kind."""
        async with self.changed:
            self.waiting[kind].append(Parcel(id=id_, kind=kind, job=job))
            self.changed.notify_all()

    async def news(self) -> list[Event]:
        """What has happened since; waits for something. Empty once the desk is closed."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.events or self.closed)
            events, self.events = self.events, []
            return events

    async def gone(self, worker: str, cause: str, *, moved: bool) -> None:
        """A worker has died; `moved`: with its machine, so that the job is not to blame."""
        async with self.changed:
            self.lives.pop(worker, None)
            self._take_back(worker, cause, moved=moved)
            self.changed.notify_all()

    async def close(self) -> None:
        """No more jobs: whoever asks is sent home."""
        async with self.changed:
            self.closed = True
            self.changed.notify_all()

    # --- the workers' side ---

    async def arrive(self, worker: str, life: str, about: bytes) -> None:
        """A worker begins a life."""
        async with self.changed:
            self._take_back(worker, "its worker was started again", moved=True)
            self.lives[worker] = life
            self.events.append(Event(what="arrived", worker=worker, content=about))
            self.changed.notify_all()

    async def fetch(self, worker: str, life: str, kind: str) -> bytes | None:
        """The next job of a kind; None if there will be no more for this life."""
        async with self.changed:
            await self.changed.wait_for(
                lambda: self.closed or self.lives.get(worker) != life or self.waiting[kind]
            )
            if self.closed or self.lives.get(worker) != life:
                return None
            parcel = self.waiting[kind].popleft()
            self.hands[worker] = parcel
            return parcel.job

    async def leave(self, worker: str, life: str, evaluation: bytes, seconds: float) -> None:
        """A result; one of a life that was given up is not wanted any more."""
        async with self.changed:
            if self.lives.get(worker) != life:
                return
            parcel = self.hands.pop(worker)
            content = (evaluation, seconds)
            self.events.append(Event(what="done", worker=worker, id=parcel.id, content=content))
            self.changed.notify_all()

    def _take_back(self, worker: str, cause: str, *, moved: bool) -> None:
        """What a dead worker had in its hands goes to the next, or is lost."""
        parcel = self.hands.pop(worker, None)
        if parcel is None:
            return
        if moved and parcel.moves < MOST_MOVES:
            parcel.moves += 1
            self.waiting[parcel.kind].appendleft(parcel)
        else:
            self.events.append(Event(what="lost", worker=worker, id=parcel.id, content=cause))
