"""Makes clips with the trained model: whole runs of the pipeline, each once a session, and quick sketches."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ltx_duo.demo_model.detectors import Heard, Seen, heard, seen
from ltx_duo.demo_model.world import render
from ltx_duo.demo_model.world.scenes import FPS, FRAMES
from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.loading import load_components
from ltx_duo.ltx_core.lora import LoRA, fused
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.guidance import LTX_2_3_DEV, Guidance
from ltx_duo.ltx_core.sampling.noise import skip_draws
from ltx_duo.ltx_core.sampling.schedule import ltx2_sigmas
from ltx_duo.scripts.demo.server import GEMMA_270M

from .takes import Take

PACK = Path(__file__).resolve().parents[3]
SIZE = 256
STEPS = 12  # of stage one: fewer than the 30 of the pipeline, so that the tests last minutes
SAMPLE_RATE = 48000
NEGATIVE_PROMPT = ""
DTYPE = torch.float32


@dataclass(frozen=True)
class ModelFiles:
    """The trained model's files, of which each folder holds one."""

    checkpoint: Path
    upsampler: Path
    lora: Path

    @classmethod
    def below(cls, folder: Path) -> "ModelFiles":
        """FileNotFoundError unless each folder of ComfyUI's layout holds exactly one file."""
        paths = []
        for name in ("checkpoints", "latent_upscale_models", "loras"):
            found = sorted((folder / name).glob("*.safetensors"))
            if len(found) != 1:
                raise FileNotFoundError(f"{folder / name} holds {len(found)} .safetensors files, expected one")
            paths += found
        return cls(*paths)


@dataclass(frozen=True)
class Model:
    """Everything loaded, in float32."""

    files: ModelFiles
    components: two_stage.Components
    lora: LoRA

    @classmethod
    def load(cls, folder: Path) -> "Model":
        files = ModelFiles.below(folder)
        components = load_components(files.checkpoint, GEMMA_270M, files.upsampler, dtype=DTYPE)
        return cls(files, components, LoRA.open(files.lora))


@dataclass(frozen=True)
class Setup:
    """How a clip is made: `components` and `lora_strengths` of the stages with the request's settings."""

    components: two_stage.Components
    lora: LoRA
    lora_strengths: tuple[float, float] = (0.0, 1.0)
    change_request: Callable[[two_stage.Request], two_stage.Request] = lambda request: request

    def weights(self, stage: int) -> AbstractContextManager:
        strength = self.lora_strengths[stage - 1]
        return fused(self.components.transformer, [(self.lora, strength)]) if strength else nullcontext()


@dataclass(frozen=True)
class Film:
    """A result with what is measured in it.  frames, upsampled (F, H, W, 3) in 0..1: stage two's, and stage one's
    enlarged; drawn: the scene as the world draws it."""

    take: Take
    result: two_stage.Result
    setup: Setup = field(repr=False)

    @property
    def frames(self) -> Tensor:
        return self.result.frames

    @property
    def waveform(self) -> Tensor:
        return self.result.waveform[0]

    @cached_property
    def upsampled(self) -> Tensor:
        c = self.setup.components
        latent = two_stage.upsample(c.upsampler, c.video_encoder, self.result.stage_one)
        return two_stage.decode_video(c.video_decoder, latent.video)

    @cached_property
    def drawn(self) -> Tensor:
        return drawn(self.take, SIZE)

    @cached_property
    def seen(self) -> Seen:
        return seen(self.frames)

    @cached_property
    def seen_upsampled(self) -> Seen:
        return seen(self.upsampled)

    @cached_property
    def heard(self) -> Heard:
        return heard(self.waveform, SAMPLE_RATE)


def drawn(take: Take, size: int) -> Tensor:
    """The take's scene as the world draws it, (F, H, W, 3) in 0..1."""
    return (render([take.scene], size, size)[0].permute(1, 2, 3, 0) + 1) / 2


def request(take: Take, guidance: Guidance = LTX_2_3_DEV) -> two_stage.Request:
    image = drawn(take, SIZE)[0]
    return two_stage.Request(
        prompt=take.prompt,
        negative_prompt=NEGATIVE_PROMPT,
        geometry=LatentGeometry(SIZE, SIZE, FRAMES, FPS),
        seed=take.seed,
        images=(two_stage.ImageCondition(image),) if take.image else (),
        guidance=guidance,
        stage_one_sigmas=ltx2_sigmas(STEPS),
    )


def shoot(take: Take, setup: Setup) -> Film:
    """One whole run."""
    wanted = setup.change_request(request(take))
    return Film(take, two_stage.generate(setup.components, wanted, stage_weights=setup.weights, dtype=DTYPE), setup)


def reuse(patch: pytest.MonkeyPatch, film: Film, phases: int) -> None:
    """Lets the next run take stage one (phases 1), or both stages (2), from a film of the same take."""

    def first(_model, geometry, _contexts, generator, **_options) -> two_stage.AVLatent:
        tokens = (1, geometry.video_tokens, 128), (1, geometry.audio_frames, 128)
        skip_draws(tokens, generator, DTYPE)
        return film.result.stage_one

    if phases >= 1:
        patch.setattr(two_stage, "stage_one", first)
    if phases >= 2:
        patch.setattr(two_stage, "stage_two", lambda *arguments, **options: film.result.stage_two)


class Studio:
    """Shoots each take once."""

    def __init__(self, model: Model):
        self.model = model
        self._films: dict[Take, Film] = {}
        self._sketches: dict[tuple[Take, Guidance, bool], Film] = {}

    @property
    def setup(self) -> Setup:
        return Setup(self.model.components, self.model.lora)

    def film(self, take: Take) -> Film:
        if take not in self._films:
            self._films[take] = shoot(take, self.setup)
        return self._films[take]

    def sketch(self, take: Take, guidance: Guidance, sound_untold: bool = False) -> Film:
        """Stage one alone, decoded at its own size.  `sound_untold`: the sound's stream gets the empty prompt."""
        key = (take, guidance, sound_untold)
        if key not in self._sketches:
            known = take in self._films and guidance == LTX_2_3_DEV and not sound_untold
            latent = self.film(take).result.stage_one if known else self._stage_one(*key)
            c = self.model.components
            frames = two_stage.decode_video(c.video_decoder, latent.video)
            waveform = two_stage.decode_audio(c.audio_decoder, c.vocoder, latent.audio)
            self._sketches[key] = Film(take, two_stage.Result(frames, waveform, latent, latent), self.setup)
        return self._sketches[key]

    def _stage_one(self, take: Take, guidance: Guidance, sound_untold: bool) -> two_stage.AVLatent:
        c = self.model.components
        texts = [two_stage.encode_prompt(c.tokenizer, c.text_encoder, t) for t in (take.prompt, NEGATIVE_PROMPT)]
        contexts = two_stage.connect(c.video_connector, c.audio_connector, *texts)
        if sound_untold:
            contexts = replace(contexts, audio=contexts.negative_audio)
        wanted = request(take, guidance)
        half = wanted.geometry.half()
        images = two_stage.encode_images(c.video_encoder, wanted.images, half, dtype=DTYPE)
        return two_stage.stage_one(
            c.transformer, half, contexts, torch.Generator().manual_seed(take.seed), guidance=guidance,
            sigmas=wanted.stage_one_sigmas, images=images, dtype=DTYPE,
        )  # fmt: skip
