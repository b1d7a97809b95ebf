"""One evaluation's video tokens divided between devices: sequence parallelism by exchanging heads (Ulysses).

Each device takes a part of the video's tokens through the blocks.  Where video tokens are looked at, by themselves or
by the sound, every device gets all tokens of some heads, attends, and gives back to each its tokens.  The sound is
short and computed by all.  The same as on one device up to rounding: products of fewer rows may be summed in another
order.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache, partial

import torch
from torch import Tensor

from ..transformer.attention import Attention, AttentionFunction
from ..transformer.inputs import GuidancePass, ModalityInput, ModalityRope
from ..transformer.model import AVTransformer, Velocities
from ..transformer.runner import BlockRunner
from .replicas import Helper, Stopped, Team, moved


class _Meeting:
    """Where the threads of an evaluation hand each other tensors, all at the same place of the model."""

    def __init__(self, devices: Sequence[torch.device]):
        self.devices = devices
        self._barrier = threading.Barrier(len(devices))
        # Two sets of boxes, in turn: who comes first fills the next ones while others still empty these.
        self._boxes = [[[None] * len(devices) for _ in devices] for _ in range(2)]
        self._exchanges = [0] * len(devices)

    def exchange(self, rank: int, parcels: Sequence[Sequence[Tensor]]) -> list[Sequence[Tensor]]:
        """Gives every device its parcel of tensors (B, H, T, D) and returns what each has for this one, in the order of
        devices.

        The receiver copies, once it has launched all that comes before: a device waits for another one's tensors where
        it uses them and not earlier.
        """
        boxes, own = self._boxes[self._exchanges[rank] % 2], self.devices[rank]
        self._exchanges[rank] += 1
        gathered = [p if to == rank else [_gathered(tensor) for tensor in p] for to, p in enumerate(parcels)]
        ready = torch.cuda.current_stream(own).record_event() if own.type == "cuda" else None
        for box, parcel in zip(boxes, gathered, strict=True):
            box[rank] = parcel, ready
        try:
            self._barrier.wait()
        except threading.BrokenBarrierError:
            raise Stopped from None
        given, boxes[rank] = boxes[rank], [None] * len(self.devices)
        return [p if sender == rank else _fetched(p, mark, own) for sender, (p, mark) in enumerate(given)]

    @contextmanager
    def attended(self) -> Iterator[None]:
        """Inside, a failure lets nobody wait for what will not come."""
        try:
            yield
        except BaseException:
            self._barrier.abort()
            raise


def _gathered(tensor: Tensor) -> Tensor:
    """The tensor (B, H, T, D), stored as (B, T, H, D) and in one piece: such is copied at full speed."""
    return tensor.transpose(1, 2).contiguous().transpose(1, 2)


def _fetched(parcel: Sequence[Tensor], ready: torch.cuda.Event | None, device: torch.device) -> list[Tensor]:
    """Another device's tensors on this one.

    On a stream of its own there: what the other device launches meanwhile is not waited for, nor does it wait.
    """
    source = parcel[0].device
    if ready is None or source == device:
        return [tensor.to(device) for tensor in parcel]
    stream = _fetching_stream(source, device)
    with torch.cuda.stream(stream):
        stream.wait_event(ready)
        return [_copied(tensor, device, stream) for tensor in parcel]


def _copied(tensor: Tensor, device: torch.device, stream: torch.cuda.Stream) -> Tensor:
    tensor.record_stream(stream)
    return tensor.transpose(1, 2).to(device, non_blocking=True).transpose(1, 2)


@cache
def _fetching_stream(source: torch.device, device: torch.device) -> torch.cuda.Stream:
    """A stream of `source` for what `device` fetches from it."""
    return torch.cuda.Stream(source)


def _self_attention(
    meeting: _Meeting, rank: int, attend: AttentionFunction, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Own tokens' attention over all: q, k, v (B, H, T own, D); mask (1, 1, T, T) is of all tokens."""
    shares = zip(*(_head_shares(meeting, x) for x in (q, k, v)), strict=True)
    received = meeting.exchange(rank, list(shares))
    heads = attend(*(_joined_tokens([parcel[i] for parcel in received]) for i in range(3)), mask)
    tokens = [parcel[0].shape[2] for parcel in received]
    received = meeting.exchange(rank, [[part] for part in heads.split(tokens, dim=2)])
    return _joined_heads([part for (part,) in received])


def _attention_of_all(
    meeting: _Meeting, rank: int, attend: AttentionFunction, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Attention of what all devices have over divided tokens: q (B, H, Tq, D); k, v (B, H, T own, D)."""
    shares = zip(*(_head_shares(meeting, x) for x in (k, v)), strict=True)
    received = meeting.exchange(rank, list(shares))
    keys, values = (_joined_tokens([parcel[i] for parcel in received]) for i in range(2))
    heads = attend(_head_shares(meeting, q)[rank], keys, values, mask)
    return _joined_heads([part for (part,) in meeting.exchange(rank, [[heads] for _ in meeting.devices])])


def _head_shares(meeting: _Meeting, x: Tensor) -> tuple[Tensor, ...]:
    return x.tensor_split(len(meeting.devices), dim=1)


# Joined so that the storage is (B, T, H, D), as the fused kernels around attention have it.
def _joined_tokens(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.transpose(1, 2) for part in parts], dim=1).transpose(1, 2)


def _joined_heads(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.transpose(1, 2) for part in parts], dim=2).transpose(1, 2)


@contextmanager
def _dividing(model: AVTransformer, meeting: _Meeting, rank: int) -> Iterator[None]:
    """Inside, the model's attention to video tokens meets the other devices'."""

    def set_around(layer: Attention, around) -> None:
        own = layer.attention
        layer.attention = partial(around, meeting, rank, own)
        restored.callback(setattr, layer, "attention", own)

    with ExitStack() as restored:
        for block in model.transformer_blocks:
            set_around(block.attn1, _self_attention)
            set_around(block.video_to_audio_attn, _attention_of_all)
        yield


class TokenSplit:
    """Evaluations whose video tokens are divided between the devices of a team."""

    def __init__(self, team: Team):
        self._team = team

    def __call__(
        self,
        video: ModalityInput,
        audio: ModalityInput | None,
        passes: Sequence[GuidancePass],
        run_blocks: BlockRunner,
    ) -> list[Velocities]:
        """As `AVTransformer.forward`; the first device runs its part by `run_blocks`."""
        team, home = self._team, video.tokens.device
        meeting = _Meeting([home, *(helper.device for helper in team.helpers)])
        own, *parts = divide_tokens(video, len(meeting.devices))
        inputs = [
            moved((part, audio, list(passes)), helper.device) for part, helper in zip(parts, team.helpers, strict=True)
        ]

        def here() -> list[Velocities]:
            with meeting.attended(), _dividing(team.model, meeting, 0):
                return team.model(own, audio, passes, run_blocks)

        def there(rank: int, helper: Helper) -> list[Velocities]:
            with meeting.attended(), _dividing(helper.model, meeting, rank):
                return helper.model(*inputs[rank - 1], helper.run_blocks)

        found = team.run(here, [partial(there, rank) for rank in range(1, len(meeting.devices))])
        return [
            (torch.cat([moved(part[i][0], home) for part in found], dim=1), found[0][i][1]) for i in range(len(passes))
        ]


def divide_tokens(video: ModalityInput, count: int) -> list[ModalityInput]:
    """The input in `count` parts of nearly as many tokens; timesteps are (B, T).  A bias is of all tokens and stays."""
    tokens, times = (x.tensor_split(count, dim=1) for x in (video.tokens, video.timesteps))
    marked = video.single_frames
    marks = (None,) * count if marked is None else marked.tensor_split(count)
    return [
        replace(video, tokens=own, timesteps=time, rope=rope, single_frames=marks_of_own)
        for own, time, rope, marks_of_own in zip(tokens, times, _divided_rope(video.rope, count), marks, strict=True)
    ]


def _divided_rope(rope: ModalityRope, count: int) -> list[ModalityRope]:
    parts = zip(*(table.index.tensor_split(count) for table in (rope.tokens, rope.cross)), strict=True)
    return [ModalityRope(replace(rope.tokens, index=own), replace(rope.cross, index=cross)) for own, cross in parts]
