"""The work that is measured: the real architecture with random weights, at the sizes of both stages."""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

PACK = Path(__file__).resolve().parent.parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != PACK]


def load_pack():
    """Imports the pack as `ltx_duo`: the vendor's package has the name of our engine."""
    import importlib.util

    if "ltx_duo" not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            "ltx_duo", PACK / "__init__.py", submodule_search_locations=[str(PACK)]
        )
        sys.modules["ltx_duo"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["ltx_duo"])


load_pack()

from ltx_duo.ltx_core.sampling.geometry import LatentGeometry  # noqa: E402
from ltx_duo.ltx_core.transformer.inputs import GuidancePass, ModalityInput  # noqa: E402

TEXT_TOKENS = 1024
GENERATIONS = ("2.3", "2.5", "2.0")
CONFIGS = PACK / "ltx_core" / "variants" / "configs"


@dataclass(frozen=True)
class Case:
    """One size; `guided` cases run stage one's four passes, others a single one.

    reference: how much smaller than the film a reference behind it is, None for none.
    """

    name: str
    width: int
    height: int
    frames: int
    guided: bool
    sigma: float = 0.8
    reference: int | None = None

    @property
    def geometry(self) -> LatentGeometry:
        return LatentGeometry(self.width, self.height, self.frames, 24.0)

    @property
    def reference_geometry(self) -> LatentGeometry | None:
        if self.reference is None:
            return None
        return replace(self.geometry, width=self.width // self.reference, height=self.height // self.reference)

    @property
    def video_tokens(self) -> int:
        """The film's and the reference's."""
        behind = self.reference_geometry
        return self.geometry.video_tokens + (0 if behind is None else behind.video_tokens)


CASES = {
    "small": Case("stage one, smallest", 384, 256, 25, guided=True),
    "stage-one": Case("stage one", 768, 512, 121, guided=True),
    "reference": Case("stage one with a reference of half the size", 768, 512, 121, guided=True, reference=2),
    "stage-two": Case("stage two", 1536, 1024, 121, guided=False),
}
TINY = Case("proof that the script works", 64, 64, 9, guided=True)


def config(num_layers: int | None = None, small: bool = False, generation: str = GENERATIONS[0]) -> dict:
    """The official configuration, with fewer blocks or (for a quick run on a CPU) smaller everywhere."""
    if generation == "2.0":
        result = json.loads((CONFIGS / "ltx-2.0.json").read_text())
    else:
        result = json.loads((PACK / "tests" / "data" / "ltx-2.3-config.json").read_text())
    if generation == "2.5":
        result["transformer"] |= json.loads((CONFIGS / "ltx-2.5.json").read_text())["transformer"]
    if small:
        result["transformer"] |= {"num_attention_heads": 2, "attention_head_dim": 48, "cross_attention_dim": 96,
                                  "audio_num_attention_heads": 2, "audio_attention_head_dim": 16,
                                  "audio_cross_attention_dim": 32}  # fmt: skip
        result["vae"]["decoder_base_channels"] = 8
    if num_layers is not None:
        result["transformer"]["num_layers"] = num_layers
    return result


def randomise(module: nn.Module, seed: int) -> nn.Module:
    """Weights that neither blow the signal up nor let it vanish, drawn where the module lies."""
    generator = None
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if generator is None:
                generator = torch.Generator(parameter.device).manual_seed(seed)
            if name.endswith("norm.weight"):
                parameter.normal_(1.0, 0.1, generator=generator)
            elif parameter.ndim == 2 and "table" not in name:
                parameter.normal_(0.0, parameter.shape[1] ** -0.5, generator=generator)
            else:
                parameter.normal_(0.0, 0.1, generator=generator)
    return module


@dataclass(frozen=True)
class Scene:
    """Random tokens, prompts and positions of a case, as image-to-video has them: the first frame is held, and so is a
    reference."""

    case: Case
    video: Tensor
    audio: Tensor
    mask: Tensor
    contexts: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
    perturbed_block: int

    @classmethod
    def draw(cls, case: Case, params, device: str, dtype: torch.dtype, seed: int, text_tokens: int = TEXT_TOKENS):
        generator = torch.Generator(device).manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, device=device, dtype=torch.float32).to(dtype)

        geometry = case.geometry
        mask = torch.ones(1, case.video_tokens, device=device)
        mask[:, : geometry.frame_tokens] = mask[:, geometry.video_tokens :] = 0.0
        widths = [params.caption_channels or stream.context_dim for stream in (params.video, params.audio)]
        prompts = [tuple(normal(1, text_tokens, width) for width in widths) for _ in range(2)]
        return cls(
            case,
            normal(1, case.video_tokens, 128),
            normal(1, geometry.audio_frames, 128),
            mask,
            tuple(prompts),
            28 * params.num_layers // 48,
        )

    def to(self, dtype: torch.dtype) -> "Scene":
        contexts = tuple((video.to(dtype), audio.to(dtype)) for video, audio in self.contexts)
        return replace(self, video=self.video.to(dtype), audio=self.audio.to(dtype), contexts=contexts)

    def without_guidance(self) -> "Scene":
        """The same with the prompt's own pass alone."""
        return replace(self, case=replace(self.case, guided=False))

    def without_image(self) -> "Scene":
        """The same with nothing held: there all peers mean the same, whichever timesteps sound and picture exchange."""
        return replace(self, mask=torch.ones_like(self.mask))

    @property
    def sigma(self) -> Tensor:
        return torch.full((1,), self.case.sigma, device=self.video.device)

    def positions(self) -> tuple[Tensor, Tensor]:
        """Bounds of the video's tokens and of the audio's."""
        geometry, behind, device = self.case.geometry, self.case.reference_geometry, self.video.device
        video = geometry.video_positions(device)
        if behind is not None:
            own = behind.video_positions(device)
            own[:, 1:] *= self.case.reference
            video = torch.cat((video, own), dim=2)
        return video, geometry.audio_positions(device)

    def passes(self) -> list[GuidancePass]:
        positive, negative = self.contexts
        if not self.case.guided:
            return [GuidancePass("cond", *positive)]
        blocks = frozenset({self.perturbed_block})
        return [
            GuidancePass("cond", *positive),
            GuidancePass("negative", *negative),
            GuidancePass("perturbed", *positive, perturbed_video_blocks=blocks, perturbed_audio_blocks=blocks),
            GuidancePass("isolated", *positive, isolated=True),
        ]

    def inputs(self, ropes) -> tuple[ModalityInput, ModalityInput]:
        audio_times = torch.ones(1, self.audio.shape[1], device=self.audio.device)
        # LTX-2.5 marks what is a frame of its own; the other generations take no notice.
        first = torch.arange(self.video.shape[1], device=self.video.device) < self.case.geometry.frame_tokens
        return (
            ModalityInput(self.video, self.mask * self.sigma, self.sigma, ropes[0], single_frames=first),
            ModalityInput(self.audio, audio_times * self.sigma, self.sigma, ropes[1]),
        )
