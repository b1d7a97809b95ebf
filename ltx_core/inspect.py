"""`python -m ltx_core.inspect FILE...`: says what model files hold, what they are good for, and what is missing."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from . import usable
from .checkpoint import Checkpoint, Component, common_generation
from .errors import CheckpointError, VariantError
from .generation import Generation, named_generation
from .known_configs import completed
from .loading import gemma_params, lora_shapes
from .lora import LoRA
from .quantization import quantization
from .variants import Kind, kind_of_name, variant_of
from .variants.upsamplers import remark_on_upsampler

_VAES = (
    Component.VIDEO_ENCODER,
    Component.VIDEO_DECODER,
    Component.DIFFUSION_DECODER,
    Component.AUDIO_ENCODER,
    Component.AUDIO_DECODER,
)

# What a two-stage video needs, and where ComfyUI looks for it.
_NEEDED = {
    Component.TRANSFORMER: "checkpoints or diffusion_models",
    Component.VIDEO_CONNECTOR: "checkpoints or diffusion_models",
    Component.AUDIO_CONNECTOR: "checkpoints or diffusion_models",
    Component.TEXT_PROJECTION: "checkpoints or text_encoders",
    Component.VIDEO_ENCODER: "checkpoints or vae",
    Component.VIDEO_DECODER: "checkpoints or vae",
    Component.AUDIO_DECODER: "checkpoints or vae",
    Component.VOCODER: "checkpoints or vae",
    Component.GEMMA: "text_encoders",
    Component.TOKENIZER: "text_encoders",
    Component.UPSAMPLER: "latent_upscale_models",
    Component.LORA: "loras",
}


@dataclass(frozen=True)
class ComponentReport:
    """One component: its size, the dtypes it is stored in with their share of the parameters, and what is wrong."""

    name: str
    tensors: int
    parameters: int
    dtypes: dict[str, int]
    problem: str | None


@dataclass(frozen=True)
class FileReport:
    """Everything that the headers of one file tell."""

    path: str
    bytes: int
    generation: str | None
    model_version: str | None
    components: list[ComponentReport]
    quantization: dict[str, int]
    lora_ranks: dict[int, int]
    folder: str
    uses: list[str]
    problems: list[str]
    notes: list[str]


def inspect_file(path: str | Path, model: Checkpoint | None = None) -> tuple[FileReport, Checkpoint]:
    """Reads a file's headers; CheckpointError if it cannot be used at all.

    `model` is the file that it is used beside: its config counts for connectors that have none.
    """
    checkpoint = completed(Checkpoint.open(path), model)
    components = [_component(checkpoint, component) for component in Component if component in checkpoint.key_maps]
    problems = [f"{part.name}: {part.problem}" for part in components if part.problem]
    broken = {Component(part.name) for part in components if part.problem}
    try:
        usable.check_generation(checkpoint)
    except VariantError as error:
        problems = [str(error)]  # what else does not fit follows from it
        broken.update(checkpoint.components)
    formats: Counter[str] = Counter()
    for component in (Component.TRANSFORMER, Component.GEMMA):
        layers = {} if component in broken else quantization(checkpoint, component)
        formats.update(f"{layer.format}{' scaled' if layer.scaled else ''}" for layer in layers.values())
    ranks: Counter[int] = Counter()
    notes: list[str] = []
    if Component.LORA in checkpoint.components - broken:
        lora = LoRA.open(path)
        ranks.update(lora.ranks().values())
        notes += _lora_notes(lora)
    if unknown := checkpoint.unrecognised:
        kind = "unknown tensor is" if len(unknown) == 1 else "unknown tensors are"
        notes.append(f"{len(unknown):,} {kind} not used ({', '.join(unknown[:3])})")
    if Component.GEMMA in checkpoint.components - broken and usable.tokenizer_is_beside(checkpoint):
        notes.append("the tokenizer lies beside the weights")
    if Component.GEMMA in checkpoint.components - broken and (gemma := gemma_params(checkpoint)).size:
        notes.append(f"it is {gemma.name}" + ("" if gemma.size == "12B" else "; LTX-2 as published takes 12B"))
    if Component.UPSAMPLER in checkpoint.components - broken:
        notes += _upsampler_notes(checkpoint)
    if Component.DURATION_HEAD in checkpoint.components - broken:
        notes.append("it tells how long a film the prompt asks for; a film needs none where frames are given")
    if usable.video_use(checkpoint) is usable.Use.DIFFUSION and Component.DIFFUSION_DECODER not in broken:
        conv = variant_of(Kind.DEV, Generation.V2_5).files.video_vae
        notes.append(f"it decodes by diffusion: finer and slower than {conv}, of the same latents")
    if _is_distilled_model(checkpoint):
        notes.append("by its name a distilled model, which runs 8 steps without guidance")
    report = FileReport(
        path=str(path),
        bytes=sum(file.path.stat().st_size for file in checkpoint.files),
        generation=None if checkpoint.generation is None else checkpoint.generation.value,
        model_version=checkpoint.metadata.get("model_version"),
        components=components,
        quantization=dict(formats),
        lora_ranks=dict(sorted(ranks.items())),
        folder=_folder(checkpoint),
        uses=[use.value for use in usable.uses(checkpoint)],
        problems=problems,
        notes=notes,
    )
    return report, checkpoint


def _upsampler_notes(checkpoint: Checkpoint) -> list[str]:
    """For which generation it is, by its name: upsamplers of all have the same tensors."""
    generation = None if checkpoint.generation else named_generation(checkpoint.path.name)
    return [] if generation is None else [f"by its name it is for {generation}"]


def _lora_notes(lora: LoRA) -> list[str]:
    """What a LoRA is besides pairs of factors, where its scales stand, and which of its keys do nothing."""
    kinds = Counter(layer.kind for layer in lora.layers.values())
    notes = [f"changes {count:,} layers by {kind}" for kind, count in kinds.items() if kind != "LoRA"]
    if any(layer.alpha is not None for layer in lora.layers.values()):
        notes.append("its scales are alphas of its layers")
    if lora.made_for is not None:
        notes.append(f"it was made for {lora.made_for[0]} ({lora.made_for[1]})")
    if lora.scale_key is not None:
        notes.append(f"its scales are read from {lora.scale_key} in its metadata, which ComfyUI's own loader ignores")
    return notes + [f"not used: {unused}" for unused in lora.unused]


def _component(checkpoint: Checkpoint, component: Component) -> ComponentReport:
    tensors = checkpoint.tensors(component)
    dtypes: Counter[str] = Counter()
    for info in tensors.values():
        dtypes[info.dtype] += info.count
    found = usable.problem(checkpoint, component)
    if found is None and component is Component.GEMMA and usable.tokenizer_is_beside(checkpoint):
        found = usable.problem(checkpoint, Component.TOKENIZER)
    text = None if found is None else str(found)
    return ComponentReport(component.value, len(tensors), sum(dtypes.values()), dict(dtypes.most_common()), text)


def _folder(checkpoint: Checkpoint) -> str:
    parts = checkpoint.components
    if Component.LORA in parts:
        return "loras"
    if Component.UPSAMPLER in parts:
        return "latent_upscale_models"
    if Component.DURATION_HEAD in parts:
        return "model_patches"
    if Component.TRANSFORMER in parts:
        return "checkpoints" if parts.intersection(_VAES) else "diffusion_models"
    return "vae" if parts.intersection((*_VAES, Component.VOCODER)) else "text_encoders"


def _missing(checkpoints: Sequence[Checkpoint]) -> dict[str, str]:
    """What all files together lack for a video, with the folder where ComfyUI looks for it."""
    have = {component for checkpoint in checkpoints for component in checkpoint.components}
    if any(map(usable.tokenizer_is_beside, checkpoints)):
        have.add(Component.TOKENIZER)
    if any(_is_distilled_model(checkpoint) for checkpoint in checkpoints):
        have.add(Component.LORA)
    if Component.DIFFUSION_DECODER in have:
        have.add(Component.VIDEO_DECODER)
    lacks = {component: folder for component, folder in _NEEDED.items() if component not in have}
    return {"distilled LoRA" if c is Component.LORA else c.value: folder for c, folder in lacks.items()}


def _model_among(paths: Sequence[str]) -> Checkpoint | None:
    """The first file that holds a transformer, if others are looked at beside it."""
    for path in paths if len(paths) > 1 else ():
        try:
            checkpoint = completed(Checkpoint.open(path))
        except CheckpointError:
            continue  # told when its turn comes
        if Component.TRANSFORMER in checkpoint.components:
            return checkpoint
    return None


def _is_distilled_model(checkpoint: Checkpoint) -> bool:
    return Component.TRANSFORMER in checkpoint.components and kind_of_name(checkpoint.path.name) is Kind.DISTILLED


def _check_together(checkpoints: Sequence[Checkpoint]) -> None:
    """CheckpointError or VariantError if files are of several generations, or if connectors or a LoRA are of another
    model than the transformer."""
    if any(checkpoint.generation for checkpoint in checkpoints):
        common_generation(*checkpoints)
    for model in (c for c in checkpoints if Component.TRANSFORMER in c.components):
        for upsampler in (c for c in checkpoints if Component.UPSAMPLER in c.components):
            if remark := remark_on_upsampler(upsampler.path.name, model.path.name, model.generation):
                raise VariantError(remark)
        for lora in (c for c in checkpoints if Component.LORA in c.components):
            LoRA.open(lora.path).check(lora_shapes(model), str(model.path))
        if usable.usable(model, usable.Use.TRANSFORMER):
            for file in checkpoints:
                # What is wrong with the file itself is told already.
                if Component.TRANSFORMER not in file.components and usable.usable(file, usable.Use.CONNECTORS):
                    usable.with_connectors(model, file)


def _text(report: FileReport) -> str:
    version = f" (model_version {report.model_version!r})" if report.model_version else ""
    lines = [
        report.path,
        f"  generation  {Generation(report.generation) if report.generation else 'not stated'}{version}",
        f"  size        {_size(report.bytes)}",
    ]
    for part in report.components:
        if part.name == Component.TOKENIZER.value:
            lines.append(f"  {part.name:22}{_size(part.parameters):>16}")
            continue
        total = max(1, part.parameters)
        dtypes = ", ".join(f"{dtype} {100 * count / total:.3g} %" for dtype, count in part.dtypes.items())
        lines.append(f"  {part.name:22}{part.parameters:>16,} parameters in {part.tensors:,} tensors ({dtypes})")
    if report.quantization:
        lines.append("  quantised   " + ", ".join(f"{n:,} layers {form}" for form, n in report.quantization.items()))
    if report.lora_ranks:
        ranks = ", ".join(f"rank {rank}: {count:,} layers" for rank, count in report.lora_ranks.items())
        lines.append(f"  LoRA        {ranks}")
    lines.append(f"  belongs in  ComfyUI/models/{report.folder}")
    lines.append(f"  use it in   {', '.join(report.uses) or 'nothing by itself: parts are missing or unusable'}")
    lines += [f"  note        {note}" for note in report.notes]
    lines += [f"  PROBLEM     {problem}" for problem in report.problems]
    return "\n".join(lines)


def _size(count: int) -> str:
    """Bytes in the unit that suits them."""
    unit, value = ("GB", 1e9) if count >= 1e9 else ("MB", 1e6) if count >= 1e6 else ("kB", 1e3)
    return f"{count / value:,.3g} {unit}" if count < 1e11 else f"{count / value:,.0f} {unit}"


def _write(stream: TextIO, text: str) -> None:
    """Writes lines; what the stream's encoding lacks, as names in a damaged file may have, is spelled out."""
    if text:
        encoding = stream.encoding or "utf-8"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 1 if a file cannot be used or files do not belong together."""
    parser = argparse.ArgumentParser(prog="python -m ltx_core.inspect", description=__doc__.split(": ", 1)[1])
    parser.add_argument("file", nargs="+", help="a .safetensors file, or a Hugging Face folder")
    parser.add_argument("--json", action="store_true", help="print one JSON table instead of text")
    options = parser.parse_args(arguments)
    reports: list[FileReport] = []
    checkpoints: list[Checkpoint] = []
    errors: list[str] = []
    model = _model_among(options.file)
    for path in options.file:
        try:
            report, checkpoint = inspect_file(path, model)
        except CheckpointError as error:
            errors.append(str(error))
            continue
        reports.append(report)
        checkpoints.append(checkpoint)
    try:
        _check_together(checkpoints)
    except CheckpointError as error:
        errors.append(str(error))
    missing = _missing(checkpoints)
    if options.json:
        table = {"files": [asdict(report) for report in reports], "missing": missing, "errors": errors}
        sys.stdout.write(json.dumps(table, indent=1) + "\n")
    else:
        text = [_text(report) for report in reports]
        if reports and missing:
            needs = "\n".join(f"  {part:22}(ComfyUI/models/{folder})" for part, folder in missing.items())
            text.append(f"For a video with sound you also need:\n{needs}")
        _write(sys.stdout, "\n\n".join(text))
        _write(sys.stderr, "\n".join(f"ERROR: {error}" for error in errors))
    return 1 if errors or any(report.problems for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
