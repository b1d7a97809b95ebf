"""One stage under ComfyUI's memory manager: encodes images, connects texts, loads the transformer and samples."""

from collections.abc import Sequence
from functools import partial

import torch

from ...ltx_core.execution import memory_estimates
from ...ltx_core.execution.graphs import BlockGraphs
from ...ltx_core.execution.precompile import finish_transformer
from ...ltx_core.execution.splitting import Pieces
from ...ltx_core.sampling.conditions import Condition, GivenImage, encode_images
from ...ltx_core.sampling.conditions.fitting import resolve_frames
from ...ltx_core.sampling.geometry import LatentGeometry
from ...ltx_core.sampling.guidance import Contexts, Guidance, passes
from ...ltx_core.sampling.stage import AVLatent, Stage, sample_stage
from ..preflight.possible import check_stage
from . import not_finite
from .core_vae import VideoVAE
from .fitting import fit_transformer, total_memory, with_more_room
from .handles import SampledModel
from .memory import broken_weights, check_finite
from .progress import READING, NodeProgress
from .report import NodeReport

ENCODING, SAMPLING = "encoding images", "sampling"


class StageRun:
    """A run of stage 1 or 2.  What cannot work is refused here, before anything is loaded."""

    def __init__(
        self,
        model: SampledModel,
        number: int,
        geometry: LatentGeometry,
        images: Sequence[GivenImage] | None,
        guidance: Guidance,
        features: tuple,
    ):
        self.model, self.number, self.geometry, self.features = model, number, geometry, features
        self.name = f"stage {('one', 'two')[number - 1]}"
        check_stage(self.name.capitalize(), geometry, model.transformer_params, total_memory())
        resolve_frames([image.frame for image in images or ()], geometry.frames)
        # At strength 0 an image would still add tokens of its own, where it is not the first frame.
        self.images = tuple(image for image in images or () if image.strength > 0)
        # Counted here so that blocks or prompts that guidance lacks are found before anything is loaded.
        positive, negative = features
        texts = Contexts(*positive[:2], *(negative[:2] if negative else ()))
        self.passes = len(passes(guidance, texts, model.transformer_params.num_layers))
        self.progress = NodeProgress({ENCODING: 1, READING: 2, SAMPLING: 40})

    def encode_images(self, vae: VideoVAE, report: NodeReport | None = None) -> tuple[Condition, ...]:
        """The images as conditions of this stage's size; the VAE loads only if there are any."""
        if not self.images:
            return ()
        (report or NodeReport()).warn(vae.note)
        reporter = self.progress.phase(ENCODING)
        component = vae.video_encoder()
        placement = {"dtype": component.compute_dtype, "device": component.device}
        need = memory_estimates.video_encoder(
            component.module.params, 1, self.geometry.height, self.geometry.width, component.compute_dtype.itemsize
        )
        component.load(need)
        crf = self.model.variant.image_crf

        def encode():
            return encode_images(component.module, self.images, self.geometry, crf, **placement, reporter=reporter)

        conditions = with_more_room(encode, [component], need, "encoding the images")
        for condition in conditions:
            check_finite(condition.latent, "encoded image", component)
        return conditions

    def sample(self, stage: Stage, generator: torch.Generator, report: NodeReport) -> AVLatent:
        """Samples `stage` with the transformer and this stage's LoRAs; says on the node how it went."""
        self.progress.phase(READING)
        component = self.model.stage(self.number)
        dtype, device = component.compute_dtype, component.device
        need = self._need(component, stage)
        contexts = self.model.contexts(self.features, component, need(Pieces(self.passes)))
        transformer = fit_transformer(
            component,
            self.passes,
            need,
            f"{self.name} at {stage.geometry.width}x{stage.geometry.height}, {stage.geometry.frames} frames",
        )
        reporter = self.progress.phase(SAMPLING)
        explained = not_finite.explained(
            partial(broken_weights, component), component.in_fp8, self.model.active_loras(self.number)
        )
        with report.sampling(stage.sigmas, self.passes, device), explained:
            finish_transformer(transformer, dtype, device)
            return sample_stage(
                transformer, stage, contexts, generator,
                dtype=dtype, device=device, reporter=reporter, run_blocks=BlockGraphs(reporter),
            )  # fmt: skip

    def _need(self, component, stage: Stage):
        """Bytes of activations by the pieces that an evaluation is cut into."""
        params, geometry = self.model.transformer_params, stage.geometry
        expanding = component.expanding_bytes
        appended = sum(condition.appended_tokens for condition in stage.video.conditions) / geometry.frame_tokens

        def need(pieces: Pieces) -> float:
            return expanding + memory_estimates.transformer(
                params, geometry, pieces.together, appended, component.compute_dtype.itemsize, pieces.chunks,
                component.in_fp8,
            )  # fmt: skip

        return need
