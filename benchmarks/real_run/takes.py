"""What both sides are asked to make: the files, the settings and the films."""

import json
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

PROMPTS = {
    "harbour": (
        "A fishing boat leaves a small harbour at sunrise. Gulls circle above the mast, low waves roll against the "
        "stone pier and break into foam. The camera follows the boat from the pier, panning slowly to the left. Sound: "
        "the steady knock of a diesel engine, gulls crying, water slapping on stone."
    ),
    "speaker": (
        "A woman of about sixty with grey hair stands in a sunlit workshop, wipes her hands on a cloth, looks into the "
        'camera and says: "I built my first violin in this very room." She smiles and turns to the bench behind her. '
        "Medium shot, the camera stands still. Sound: her calm voice, a clock ticking."
    ),
    "drummer": (
        "A drummer on a dark stage plays a fast fill over all the toms and ends it on a bright crash cymbal, which "
        "swings and glitters in the spotlight. Handheld camera close to the kit. Sound: the drums, dry and loud, and "
        "the cymbal ringing out."
    ),
}
SEEDS = (10, 11, 12, 13)


@dataclass(frozen=True)
class Files:
    """Paths of the model's files; `gemma` is a Hugging Face folder."""

    checkpoint: Path
    lora: Path
    upsampler: Path
    gemma: Path


@dataclass(frozen=True)
class Scales:
    """Guidance of one modality."""

    cfg: float
    stg: float
    modality: float
    rescale: float


@dataclass(frozen=True)
class Take:
    """One film."""

    prompt: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.prompt}-{self.seed}"

    @property
    def text(self) -> str:
        return PROMPTS[self.prompt]


@dataclass(frozen=True)
class Job:
    """Everything that a side has to know; `vendor` is where its packages lie, None where they are installed."""

    files: Files
    width: int
    height: int
    frames: int
    fps: float
    steps: int
    negative_prompt: str
    video: Scales
    audio: Scales
    stg_blocks: tuple[int, ...]
    tiles: bool
    device: str
    out: Path
    takes: tuple[Take, ...]
    vendor: Path | None = None

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1, default=str) + "\n")


def read_job(path: Path) -> Job:
    values = json.loads(path.read_text())
    return replace(
        Job(**values),
        files=Files(**{name: Path(file) for name, file in values["files"].items()}),
        video=Scales(**values["video"]),
        audio=Scales(**values["audio"]),
        stg_blocks=tuple(values["stg_blocks"]),
        out=Path(values["out"]),
        takes=tuple(Take(**take) for take in values["takes"]),
        vendor=None if values["vendor"] is None else Path(values["vendor"]),
    )


def takes(prompts: int, seeds: int) -> tuple[Take, ...]:
    """The first prompts, each with the first seeds."""
    return tuple(Take(prompt, seed) for prompt, seed in product(list(PROMPTS)[:prompts], SEEDS[:seeds]))
