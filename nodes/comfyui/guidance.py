"""Guidance settings in the engine's terms."""

from ...ltx_core.sampling.guidance import OFF, Guidance, ModalityGuidance


def no_guidance() -> Guidance:
    """One pass a step."""
    return OFF


def custom(stg_blocks: tuple[int, ...] | None, skip_step: int, scales: dict[str, float]) -> Guidance:
    """From the node's numbers: `scales` has video_ and audio_ cfg, stg, modality and rescale."""
    video, audio = (
        ModalityGuidance(**{name: scales[f"{modality}_{name}"] for name in ("cfg", "stg", "modality", "rescale")})
        for modality in ("video", "audio")
    )
    return Guidance(video=video, audio=audio, stg_blocks=stg_blocks, skip_step=skip_step)
