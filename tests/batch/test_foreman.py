"""Who makes what, with workers that are lost at every moment: no Ray and no servers."""

from collections import Counter, deque
from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from ltx_duo.scripts.batching.clips import Clip
from ltx_duo.scripts.batching.foreman import (
    Lost,
    Made,
    Patience,
    Ready,
    Refused,
    Task,
    _set_to_work,
    _Worker,
    run,
)
from ltx_duo.scripts.batching.jobs import Job

READY, MADE = Ready("somebody"), Made(b"film", 1.0)


def clips(count: int) -> list[Clip]:
    return [Clip(f"film-{number}", Job(number, "a star"), (), {}, str(number)) for number in range(count)]


@dataclass
class Theatre:
    """A crew, a book and a clock: work ends in the order in which it was begun, each as its worker's script has it.

    prepared, played: worker -> what its next answers are; an empty list has only good ones.
    """

    prepared: dict[int, list] = field(default_factory=dict)
    played: dict[int, list] = field(default_factory=dict)
    now: float = 0.0
    work: dict[int, tuple[int, Clip | None]] = field(default_factory=dict)
    begun: list[tuple[int, str]] = field(default_factory=list)
    ready_at: list[tuple[int, float]] = field(default_factory=list)
    kept: Counter = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    unused: list[int] = field(default_factory=list)

    def prepare(self, number):
        self.ready_at.append((number, self.now))
        return self._begin(number, None)

    def make(self, number, clip):
        self.begun.append((number, clip.name))
        return self._begin(number, clip)

    def _begin(self, number, clip):
        assert number not in [worker for worker, _ in self.work.values()]
        handle = len(self.begun) + len(self.ready_at)
        self.work[handle] = (number, clip)
        return handle

    def wait(self, handles, seconds):
        assert set(handles) == self.work.keys()
        self.now += 1.0
        return [min(handles)]

    def result(self, handle):
        number, clip = self.work.pop(handle)
        script = (self.prepared if clip is None else self.played).get(number, [])
        answer = script.pop(0) if script else (READY if clip is None else MADE)
        if isinstance(answer, Lost):
            raise answer
        return answer

    def dismiss(self, number):
        pass

    def sleep(self, seconds):
        assert not self.work
        self.now += max(seconds, 0.01)

    def ready(self, number, worker):
        pass

    def made(self, task, number, worker, made):
        self.kept[task.clip.name] += 1
        self.attempts[task.clip.name] = task.attempt

    def failed(self, task, reason):
        assert task.clip.name not in self.failures
        self.failures[task.clip.name] = reason

    def lost(self, task, number, reason, again):
        pass

    def useless(self, number, reason):
        self.unused.append(number)

    def run(self, count: int, workers: int, **patience) -> list[str]:
        left = run(clips(count), self, workers, self, Patience(**patience), lambda: self.now, self.sleep)
        return [clip.name for clip in left]


GONE = Lost("killed")
PREPARED = st.dictionaries(st.integers(0, 3), st.lists(st.sampled_from([READY, GONE, Refused("no model")]), max_size=6))
PLAYED = st.dictionaries(st.integers(0, 3), st.lists(st.sampled_from([MADE, GONE, Refused("bad image")]), max_size=12))


@given(st.integers(0, 12), st.integers(1, 4), PREPARED, PLAYED)
def test_every_clip_ends_once_whatever_is_lost(count, workers, prepared, played):
    theatre = Theatre(prepared, played)
    left = theatre.run(count, workers)
    ends = Counter(theatre.kept) + Counter(theatre.failures.keys()) + Counter(left)
    assert ends == Counter(clip.name for clip in clips(count))
    assert all(number <= 3 for number in Counter(name for _, name in theatre.begun).values())
    assert not theatre.work


def test_a_lost_clip_goes_to_another_worker():
    theatre = Theatre(played={0: [GONE]})
    assert theatre.run(6, 2) == []
    assert [worker for worker, name in theatre.begun if name == "film-0"] == [0, 1]
    assert theatre.attempts["film-0"] == 2
    assert theatre.kept == Counter(clip.name for clip in clips(6))


def test_a_single_worker_takes_its_lost_clip_again():
    theatre = Theatre(played={0: [GONE]})
    assert theatre.run(2, 1) == []
    assert [name for _, name in theatre.begun] == ["film-0", "film-0", "film-1"]


def test_a_clip_that_kills_whoever_makes_it_fails_alone():
    theatre = Theatre(played={0: [GONE, GONE, GONE]})
    assert theatre.run(3, 1) == []
    assert theatre.failures == {"film-0": "begun 3 times and lost each time; at last: killed"}
    assert set(theatre.kept) == {"film-1", "film-2"}


def test_what_nobody_can_make_is_not_tried_again():
    theatre = Theatre(played={0: [Refused("bad image")]})
    assert theatre.run(2, 1) == []
    assert theatre.failures == {"film-0": "bad image"}
    assert len(theatre.begun) == 2


def test_a_worker_without_models_leaves_its_work_to_others():
    theatre = Theatre(prepared={0: [Refused("no model")]})
    assert theatre.run(4, 2) == []
    assert theatre.unused == [0]
    assert {worker for worker, _ in theatre.begun} == {1}


def test_what_is_left_when_nobody_is():
    theatre = Theatre(prepared={number: [Refused("no model")] for number in range(2)})
    assert theatre.run(2, 2) == ["film-0", "film-1"]
    theatre = Theatre(prepared={number: [GONE] * 100 for number in range(2)})
    assert theatre.run(2, 2, tries=4) == ["film-0", "film-1"]
    assert Counter(worker for worker, _ in theatre.ready_at) == {0: 4, 1: 4}


def test_who_is_lost_again_and_again_waits_longer_each_time():
    theatre = Theatre(prepared={0: [GONE] * 5})
    theatre.run(1, 1, pause=5.0, longest=12.0, tries=9)
    moments = [moment for _, moment in theatre.ready_at]
    pauses = [round(later - earlier - 1.0) for earlier, later in zip(moments, moments[1:], strict=False)]
    assert pauses == [0, 5, 10, 12, 12]
    assert theatre.kept == Counter({"film-0": 1})


def test_a_dead_worker_does_not_end_what_another_goes_on_with():
    theatre = Theatre(prepared={0: [GONE] * 1000})
    assert theatre.run(30, 2, tries=2) == []
    assert sum(theatre.kept.values()) == 30


def test_no_worker_is_woken_when_nothing_waits():
    theatre = Theatre(played={0: [MADE, GONE]})
    assert theatre.run(3, 2) == []
    assert theatre.begun == [(0, "film-0"), (1, "film-1"), (0, "film-2"), (1, "film-2")]
    assert Counter(worker for worker, _ in theatre.ready_at) == {0: 1, 1: 1}


def test_who_lost_a_clip_leaves_it_to_a_busy_one():
    lost, other = (Task(clip) for clip in clips(2))
    busy, back = _Worker(0, READY, handle="a film"), _Worker(1, READY)
    waiting = deque([replace(lost, attempt=2, lost_on=1), other])
    _set_to_work(back, waiting, [busy, back], Theatre(), 0.0)
    assert back.task == other
    back.task = back.handle = None
    _set_to_work(back, waiting, [back], Theatre(), 0.0)
    assert back.task.clip == lost.clip
