"""One guided prediction of the clean latents: what every sampler asks for at every noise level."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import NotFiniteError
from ..progress import SILENT, Reporter
from ..transformer.inputs import GuidancePass, ModalityInput, ModalityRope
from ..transformer.model import AVTransformer, Velocities
from ..transformer.runner import BlockRunner, InOrder
from .guidance import Contexts, Guidance, combine, for_made_streams, passes, towards_identity
from .reuse import COND, Differences, carried_on, differences
from .state import AVState, ModalityState


@dataclass(frozen=True)
class Unreferenced:
    """What the pass without the reference voice reads of the sound: its first tokens, and their rotary tables."""

    tokens: int
    rope: ModalityRope


UNREFERENCED = "unreferenced"


@dataclass(frozen=True)
class Prediction:
    """x0 (B, T, 128) of video and audio, where they are there, in the latents' dtype; clean tokens not yet kept.

    known: where guidance is reused, how its passes differed at the last two steps that computed them.
    """

    x0: tuple[Tensor, ...]
    known: tuple[Differences, ...] = ()


@dataclass(frozen=True)
class Denoiser:
    """The model with everything that stays the same over a stage; call it with what changes."""

    model: AVTransformer
    guidance: Guidance
    passes: tuple[GuidancePass, ...]
    ropes: tuple[ModalityRope | None, ModalityRope | None]
    run_blocks: BlockRunner
    single_frames: Tensor | None
    biases: tuple[Tensor | None, ...] = (None, None)
    unreferenced: Unreferenced | None = None

    def __call__(self, state: AVState, sigma: Tensor, step: int, last: Prediction | None = None) -> Prediction:
        """The guided prediction.

        sigma: scalar tensor; step counts from 0 and decides, by guidance's settings, how much of the `last` prediction
        is reused.  Raises NotFiniteError when a prediction is not finite.
        """
        if last is not None and self.guidance.skips(step):
            return last
        marks = (self.single_frames, None)
        inputs = [
            None if m is None else replace(_model_input(m, sigma, rope, mark), bias=bias)
            for m, rope, mark, bias in zip((state.video, state.audio), self.ropes, marks, self.biases, strict=True)
        ]
        known = () if last is None else last.known
        if known and self.guidance.reuses(step, float(sigma), known[-1].sigma):
            velocities = carried_on(known, float(sigma), *self._velocities(*inputs, self.passes[:1]))
        else:
            velocities = self._all(*inputs)
            if self.guidance.reuse:
                known = (*known[-1:], differences(float(sigma), velocities))
        scales = (self.guidance.video, self.guidance.audio)
        result = []
        for i, (modality, name) in enumerate(zip(inputs, ("video", "audio"), strict=True)):
            if modality is None:
                continue
            x0 = {own: _x0(modality, velocity[i]) for own, velocity in velocities.items()}
            guided = combine(scales[i], x0)
            if self.unreferenced is not None:
                guided = towards_identity(guided, x0[COND], x0[UNREFERENCED], self.guidance.identity)
            result.append(_checked_finite(guided, name, sigma, step))
        return Prediction(tuple(result), known)

    def _all(self, video: ModalityInput | None, audio: ModalityInput | None) -> dict[str, Velocities]:
        """The velocities of all passes by name, with that of the prompt's without the reference voice."""
        found = self._velocities(video, audio, self.passes)
        result = {own.name: velocities for own, velocities in zip(self.passes, found, strict=True)}
        if self.unreferenced is not None:
            own = self.unreferenced.tokens  # nothing of it can be shared
            without = replace(
                audio, tokens=audio.tokens[:, :own], timesteps=audio.timesteps[:, :own], rope=self.unreferenced.rope
            )
            [result[UNREFERENCED]] = self.model(video, without, self.passes[:1], self.run_blocks)
        return result

    def _velocities(
        self, video: ModalityInput | None, audio: ModalityInput | None, wanted: Sequence[GuidancePass]
    ) -> list[Velocities]:
        # The model runs several passes only for a single sample.
        batches = [wanted] if (video or audio).tokens.shape[0] == 1 else [(p,) for p in wanted]
        return [v for batch in batches for v in self.model(video, audio, batch, self.run_blocks)]


def guided_denoiser(
    model: AVTransformer,
    state: AVState,
    guidance: Guidance,
    contexts: Contexts,
    reporter: Reporter = SILENT,
    run_blocks: BlockRunner | None = None,
) -> Denoiser:
    """Prepares a stage: the passes that guidance needs, and the rotary tables, which only depend on positions.

    A frozen stream is not guided.  `run_blocks` None: one after another, with a look at `reporter` before each whether
    to go on.
    """
    both = (state.video, state.audio)
    there = [own is not None for own in both]
    video_given, audio_given = (own is not None and own.frozen for own in both)
    guidance, contexts = for_made_streams(guidance, contexts, video_given=video_given, audio_given=audio_given)
    needed = passes(guidance, contexts, model.params.num_layers, with_video=there[0], with_audio=there[1])
    ropes = model.rope_tables(*(None if own is None else own.positions for own in both), reporter)
    biases = [None if m is None or m.attention is None else m.attention.bias(m.latent.dtype) for m in both]
    unreferenced = _unreferenced(model, state, guidance, reporter)
    return Denoiser(
        model,
        guidance,
        tuple(needed),
        ropes,
        run_blocks or InOrder(reporter),
        _single_frames(state),
        tuple(biases),
        unreferenced,
    )


def _unreferenced(model: AVTransformer, state: AVState, guidance: Guidance, reporter: Reporter) -> Unreferenced | None:
    own = state.geometry.audio_frames
    if guidance.identity == 0 or state.audio is None or state.audio.latent.shape[1] == own:
        return None
    return Unreferenced(own, model.rope_tables(None, state.audio.positions[:, :, :own], reporter)[1])


def _single_frames(state: AVState) -> Tensor | None:
    """The video tokens (T,) bool that stand for one pixel frame: latent frame 0 and keyframes that are generated.  Only
    LTX-2.5 looks at them.

    Appended images and references stay unmarked, as in the vendor's v1.2.
    """
    if state.video is None:
        return None
    places = torch.arange(state.video.latent.shape[1], device=state.video.latent.device)
    generated = state.video.single_frames
    return (places < state.geometry.frame_tokens) | ((places >= generated.start) & (places < generated.stop))


def _model_input(
    state: ModalityState, sigma: Tensor, rope: ModalityRope, single_frames: Tensor | None
) -> ModalityInput:
    # What is given as a whole has no noise anywhere: the other modality reads its sigma too.
    sigma = torch.zeros_like(sigma) if state.frozen else sigma
    sigmas = sigma.to(state.latent.device).expand(state.latent.shape[0])
    return ModalityInput(state.latent, state.timesteps(sigmas), sigmas.float(), rope, single_frames=single_frames)


def _x0(modality: ModalityInput, velocity: Tensor) -> Tensor:
    """x0 = x - t v with each token's own t, in float32, rounded to the latents' dtype; of the tokens that v has."""
    tokens, own = modality.tokens, velocity.shape[1]
    x0 = tokens[:, :own].float() - velocity.float() * modality.timesteps[:, :own, None]
    return x0.to(tokens.dtype)


def _checked_finite(x0: Tensor, name: str, sigma: Tensor, step: int) -> Tensor:
    if not torch.isfinite(x0).all():
        share = 100 * (1 - torch.isfinite(x0).float().mean().item())
        raise NotFiniteError(
            f"Step {step + 1} (sigma {float(sigma):.4g}): {share:.3g} % of the predicted {name} is NaN or infinite.",
            "Likely causes: float16 or fp8 where the model needs bfloat16, a LoRA of another model or at too high a "
            "strength, text or image conditioning that is itself NaN, guidance scales that are far too high, or "
            "damaged weights.",
        )
    return x0
