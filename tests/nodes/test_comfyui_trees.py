"""Runs trees/check_*.py against every supported ComfyUI, each in its own process: only one tree fits into one.

And against the one that LTXDUO_NEWER_COMFYUI names, with the packages that it asks for.  The oldest one is asked what
depends on it: memory, layers, files, nodes, prompts; what the pack alone computes, reads and says is the same in all.
"""

import json
from pathlib import Path

import pytest

from ltx_duo.scripts.demo.server import LOCAL, NEWER_COMFYUI, OLDEST_COMFYUI
from ltx_duo.tests.nodes.in_tree import checked

HERE = Path(__file__).parent
TREES = {"comfyui-0.30.0": LOCAL / "comfyui-0.30.0", "comfyui-0.3.75": OLDEST_COMFYUI}
if NEWER_COMFYUI:
    TREES["newer"] = NEWER_COMFYUI
MEASURED = ("latent", "conditioning", "LoRA", "fp8")
"""What has to be compared with ComfyUI's own nodes in the pinned one; tests/parity has the table of it."""
CHECKS = {path.stem.removeprefix("check_"): str(path) for path in sorted((HERE / "trees").glob("check_*.py"))}
BOTH_STAGES = "test_both_stages_are_the_engines"
OF_THE_PACK_ALONE = {
    **dict.fromkeys(("bad_latent_files", "damaged_files", "file_kinds", "fp8_files", "lora_words", "prompt_graph")),
    **dict.fromkeys(("translations", "film_cropped", "lora_formats", "lora_ranks", "preflight_core_vaes")),
    **dict.fromkeys(("preflight_film", "preflight_frames", "preflight_latents", "preflight_reference")),
    "preflight_sound": None,
    "preflight": "test_shipped_workflows_have_nothing_to_find",
    "preflight_sound_alone": "test_the_workflow_is_well",
    "ltx_2_0": BOTH_STAGES,
    "ltx_2_5": BOTH_STAGES,
    "given_ltx_2_5": "test_a_film",
    "diffusion_decoder": "test_in_tiles_it_is_the_librarys",
    "prompt_length": "test_the_librarys_frame_count",
    "recipes": "test_full_size",
    "stages": "test_noise_continues_or_starts_anew",
    "gguf": "test_stage_one_as_with_the_plain_file",
    "film_given": "test_a_retake_changes_what_is_inside_the_window_alone",
    "reference_film": "test_stage_two_reads_it_where_it_is_asked",
    "reference_voice": "test_both_stages_hear_it",
    "sound_alone": "test_the_sound_is_the_engines",
    "sound_given": "test_the_sound_is_frozen_in_both_stages_and_comes_out_as_it_went_in",
}
"""Checks of what no ComfyUI has a part in; of those that make a film, the one that the oldest runs all the same."""


def checks_of_the_oldest() -> list[str]:
    assert OF_THE_PACK_ALONE.keys() <= CHECKS.keys()
    kept = {name: path for name, path in CHECKS.items() if name not in OF_THE_PACK_ALONE}
    return [*kept.values(), *(f"{CHECKS[name]}::{test}" for name, test in OF_THE_PACK_ALONE.items() if test)]


@pytest.mark.parametrize("name", TREES)
def test_tree(name, small_models, tmp_path):
    tree = TREES[name]
    assert (tree / "comfy").is_dir(), f"{tree} is not installed; run scripts/setup.sh"
    rows = tmp_path / "rows.jsonl"
    checks = checks_of_the_oldest() if tree == OLDEST_COMFYUI else list(CHECKS.values())
    result = checked(tree, checks, small_models, tmp_path, LTXDUO_PARITY_ROWS=str(rows))
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-2000:]
    # What the oldest one lacks is skipped there; in a newer one a skip would hide that a name has changed.
    assert tree == OLDEST_COMFYUI or " skipped" not in result.stdout.splitlines()[-1], result.stdout[-2000:]
    if name == "comfyui-0.30.0":
        measured = [json.loads(line)[0] for line in rows.read_text().splitlines()]
        assert [subject for subject in MEASURED if not any(subject in what for what in measured)] == []
