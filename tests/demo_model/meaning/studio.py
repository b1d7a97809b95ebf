"""Makes clips with the trained model by runs of the pipeline: sketches, which end with stage one, and whole films."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ltx_duo.demo_model.detectors import Heard, Seen, heard, seen
from ltx_duo.demo_model.world import Scene, render, sound
from ltx_duo.demo_model.world.scenes import FPS, FRAMES
from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.loading_components import load_components
from ltx_duo.ltx_core.lora import LoRA
from ltx_duo.ltx_core.request import StagedLoRA
from ltx_duo.ltx_core.sampling.conditions import (
    GivenFilm,
    GivenImage,
    GivenSound,
    Kept,
    encode_film,
    encode_film_sound,
    encode_sound,
)
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.guidance import LTX_2_3_DEV, Contexts, Guidance
from ltx_duo.ltx_core.sampling.noise import skip_draws
from ltx_duo.ltx_core.sampling.schedule import ltx2_sigmas
from ltx_duo.scripts.demo.server import GEMMA_270M

from .takes import Part, Take

PACK = Path(__file__).resolve().parents[3]
SIZE = 256
STEPS = 12  # of stage one: fewer than the 30 of the pipeline, so that the tests last minutes
SAMPLE_RATE = 48000
OVERLAP = 0.25  # seconds of a short film that are made anew beside what is added to it
NEGATIVE_PROMPT = ""
DTYPE = torch.float32


@dataclass(frozen=True)
class ModelFiles:
    """The trained model's files that a film is made with."""

    checkpoint: Path
    upsampler: Path
    lora: Path

    @classmethod
    def below(cls, folder: Path) -> "ModelFiles":
        """FileNotFoundError unless ComfyUI's folders hold exactly one checkpoint, upsampler and distilled LoRA."""
        paths = []
        for name in ("checkpoints/*", "latent_upscale_models/*", "loras/*distilled*"):
            found = sorted(folder.glob(f"{name}.safetensors"))
            if len(found) != 1:
                raise FileNotFoundError(f"{folder} holds {len(found)} files {name}.safetensors, expected one")
            paths += found
        return cls(*paths)


@dataclass(frozen=True)
class Model:
    """Everything loaded, in float32 on the CPU."""

    files: ModelFiles
    components: two_stage.Components
    lora: LoRA

    @classmethod
    def load(cls, folder: Path) -> "Model":
        files = ModelFiles.below(folder)
        components = load_components(files.checkpoint, GEMMA_270M, files.upsampler, dtype=DTYPE, device="cpu")
        return cls(files, components, LoRA.open(files.lora))


@dataclass(frozen=True)
class Setup:
    """How a clip is made: `components` and `lora_strengths` of the stages with the request's settings."""

    components: two_stage.Components
    lora: LoRA
    lora_strengths: tuple[float, float] = (0.0, 1.0)
    change_request: Callable[[two_stage.Request], two_stage.Request] = lambda request: request

    @property
    def staged_lora(self) -> StagedLoRA:
        return StagedLoRA(self.lora, *self.lora_strengths)


class Clip:
    """What is measured in a result.  take; size in pixels; frames (F, H, W, 3) in 0..1; waveform (2, samples); latent;
    components: good ones, whatever made it."""

    take: Take
    size: int
    frames: Tensor
    waveform: Tensor
    latent: two_stage.AVLatent
    components: two_stage.Components

    @property
    def drawn(self) -> Tensor:
        """The take's scene as the world draws it, in the clip's size."""
        return drawn(self.take.scene, self.size)

    @cached_property
    def seen(self) -> Seen:
        return seen(self.frames)

    @cached_property
    def heard(self) -> Heard:
        return heard(self.waveform, SAMPLE_RATE)

    @cached_property
    def kept(self) -> list[tuple[Tensor, Kept]]:
        """Its latents of which something is given, each with what that is."""
        c, place = self.components, {"dtype": DTYPE}
        geometry, wanted = LatentGeometry(self.size, self.size, FRAMES, FPS), request(self.take)
        given = []
        if wanted.sound is not None:
            given.append((self.latent.audio, Kept(encode_sound(c.audio_encoder, wanted.sound, geometry, **place))))
        if wanted.film is not None:
            given.append((self.latent.video, encode_film(c.video_encoder, wanted.film, geometry, **place)))
            own = encode_film_sound(c.audio_encoder, wanted.film, geometry, **place)
            given += [] if own is None else [(self.latent.audio, own)]
        return given


@dataclass(frozen=True)
class Sketch(Clip):
    """What stage one made, decoded by good components whatever made it, and only when something of it is measured."""

    take: Take
    latent: two_stage.AVLatent
    components: two_stage.Components = field(repr=False)
    sound: Tensor | None = field(default=None, repr=False)  # if it is decoded already
    size = SIZE // 2

    @cached_property
    def frames(self) -> Tensor:
        return two_stage.decode_video(self.components.video_decoder, self.latent.video)

    @cached_property
    def waveform(self) -> Tensor:
        if self.sound is not None:
            return self.sound
        c = self.components
        return two_stage.decode_audio(c.audio_decoder, c.vocoder, self.latent.audio)[0]

    @cached_property
    def enlarged(self) -> Tensor:
        """Frames in the film's size, by the upsampler alone."""
        c = self.components
        latent = two_stage.upsample(c.upsampler, c.video_encoder, self.latent)
        return two_stage.decode_video(c.video_decoder, latent.video)

    @cached_property
    def seen_enlarged(self) -> Seen:
        return seen(self.enlarged)


@dataclass(frozen=True)
class Film(Clip):
    """A whole run's result, with the sketch that it is made from."""

    take: Take
    result: two_stage.Result
    sketch: Sketch
    size = SIZE

    @property
    def frames(self) -> Tensor:
        return self.result.frames

    @property
    def latent(self) -> two_stage.AVLatent:
        return self.result.stage_two

    @property
    def components(self) -> two_stage.Components:
        return self.sketch.components

    @property
    def waveform(self) -> Tensor:
        return self.result.waveform[0]


@lru_cache(maxsize=16)
def drawn(scene: Scene, size: int) -> Tensor:
    """A scene as the world draws it, (F, H, W, 3) in 0..1."""
    return (render([scene], size, size)[0].permute(1, 2, 3, 0) + 1) / 2


def recording(take: Take) -> Tensor:
    """What the take's scene sounds like, (2, samples)."""
    return sound([take.scene], sample_rate=SAMPLE_RATE)[0]


def film_of(part: Part) -> GivenFilm:
    """The film that is given, with what is made anew of it."""
    frames = drawn(part.scene, SIZE)[: part.frames]
    if not part.picture:
        return GivenFilm(frames, FPS, new_picture=False)
    own = GivenSound(sound([part.scene], part.frames, sample_rate=SAMPLE_RATE)[0], SAMPLE_RATE)
    if part.frames < FRAMES:
        return GivenFilm.added(frames, FPS, own, after=(FRAMES - part.frames) / FPS, overlap=OVERLAP)
    mask = None
    if part.box is not None:
        mask = torch.zeros(1, SIZE, SIZE)
        left, top, right, bottom = (round(edge * SIZE) for edge in part.box)
        mask[:, top:bottom, left:right] = 1
    return GivenFilm(frames, FPS, own, (part.window,), mask=mask)


def request(take: Take, guidance: Guidance = LTX_2_3_DEV) -> two_stage.Request:
    return two_stage.Request(
        prompt=take.prompt,
        negative_prompt=NEGATIVE_PROMPT,
        geometry=LatentGeometry(SIZE, SIZE, FRAMES, FPS),
        seed=take.seed,
        images=(GivenImage(drawn(take.scene, SIZE)[0], crf=0),) if take.image else (),
        sound=GivenSound(recording(take), SAMPLE_RATE) if take.sound else None,
        film=None if take.part is None else film_of(take.part),
        guidance=guidance,
        stage_one_sigmas=ltx2_sigmas(STEPS),
    )


def shoot(setup: Setup, wanted: two_stage.Request) -> two_stage.Result:
    """One whole run."""
    wanted = setup.change_request(wanted)
    return two_stage.generate(setup.components, wanted, loras=[setup.staged_lora])


class _StageOneMade(Exception):  # noqa: N818 - not an error
    def __init__(self, latent: two_stage.AVLatent):
        self.latent = latent


def shoot_stage_one(setup: Setup, wanted: two_stage.Request) -> two_stage.AVLatent:
    """The same run until stage one has ended."""

    def end(_upsampler, _vae, latent, *_reporter):
        raise _StageOneMade(latent)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(two_stage, "upsample", end)
        try:
            shoot(setup, wanted)
        except _StageOneMade as made:
            return made.latent
    raise AssertionError("generate did not upsample")


def reuse_stages(patch: pytest.MonkeyPatch, *latents: two_stage.AVLatent) -> None:
    """Lets the next run take its first stages from an earlier one."""
    sample, known = two_stage.sample_stage, list(latents)

    def sample_or_take(model, stage, contexts, generator, **options) -> two_stage.AVLatent:
        if not known:
            return sample(model, stage, contexts, generator, **options)
        tokens = (1, stage.geometry.video_tokens, 128), (1, stage.geometry.audio_frames, 128)
        skip_draws(tokens, generator, DTYPE)
        return known.pop(0)

    patch.setattr(two_stage, "sample_stage", sample_or_take)


def reuse(patch: pytest.MonkeyPatch, film: Film, phases: int) -> None:
    """Lets the next run of the same take have from `film` stage one (phases 1) or both stages (2), and what good
    components decode from them."""
    known = {id(film.result.stage_one.audio): film.result.waveform}
    reuse_stages(patch, *(film.result.stage_one, film.result.stage_two)[:phases])
    if phases >= 2:
        known[id(film.result.stage_two.video)] = film.result.frames
    good = {id(component) for component in vars(film.sketch.components).values()}
    for name in ("decode_video", "decode_audio"):
        patch.setattr(two_stage, name, _looked_up(getattr(two_stage, name), known, good))


def _looked_up(decode: Callable, known: dict[int, Tensor], good: set[int]) -> Callable:
    def look_up(*arguments):
        *components, latent = (a for a in arguments if isinstance(a, torch.nn.Module | Tensor))
        if id(latent) in known and good.issuperset(map(id, components)):
            return known[id(latent)]
        return decode(*arguments)

    return look_up


def once(function: Callable) -> Callable:
    """`function`, which computes only once for the same objects and equal texts."""
    memory: dict[tuple, tuple] = {}

    def remember(*arguments):
        key = tuple(a if isinstance(a, str) else id(a) for a in arguments)
        if key not in memory:
            memory[key] = arguments, function(*arguments)  # the arguments too, so that no other object gets their id
        return memory[key][1]

    return remember


class Studio:
    """Makes each clip once."""

    def __init__(self, model: Model):
        self.setup = Setup(model.components, model.lora)
        self._films: dict[Take, Film] = {}
        self._sketches: dict[tuple[Take, Guidance, bool], Sketch] = {}

    def film(self, take: Take) -> Film:
        if take not in self._films:
            result = shoot(self.setup, request(take))
            sketch = Sketch(take, result.stage_one, self.setup.components, sound=result.waveform[0])
            self._films[take] = Film(take, result, sketch)
        return self._films[take]

    def sketch(self, take: Take, guidance: Guidance = LTX_2_3_DEV, sound_untold: bool = False) -> Sketch:
        """A sketch that is no film's; `sound_untold`: the sound's stream gets the empty prompt."""
        key = (take, guidance, sound_untold)
        if key not in self._sketches:
            with pytest.MonkeyPatch.context() as patch:
                if sound_untold:
                    connect = two_stage.connect
                    patch.setattr(two_stage, "connect", lambda *arguments: _untold(connect(*arguments)))
                latent = shoot_stage_one(self.setup, request(take, guidance))
            given = recording(take) if take.sound else None
            self._sketches[key] = Sketch(take, latent, self.setup.components, sound=given)
        return self._sketches[key]

    def refined_without_lora(self, take: Take) -> Film:
        """The take's film, of which stage two did without the distilled LoRA."""
        good = self.film(take)
        with pytest.MonkeyPatch.context() as patch:
            reuse(patch, good, phases=1)
            result = shoot(replace(self.setup, lora_strengths=(0.0, 0.0)), request(take))
        return Film(take, result, good.sketch)


def _untold(contexts: Contexts) -> Contexts:
    return replace(contexts, audio=contexts.negative_audio)
