"""Every form that files come in runs and equals the plain file, or is refused at queue with one sentence.

Each row of the table (see file_kinds.py) goes three ways, which must agree: `inspect`, the check at queue, and the run.
"""

import importlib
import re
from collections import Counter
from pathlib import Path

import pytest
import torch

from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.ltx_core.inspect import inspect_file
from ltx_duo.nodes import names
from ltx_duo.nodes.comfyui import files
from ltx_duo.nodes.prompt_graph import Node
from ltx_duo.nodes.validation import check_inputs
from ltx_duo.tests.nodes.trees import file_kinds
from ltx_duo.tests.nodes.trees.file_kinds import PLAIN, FileKind, Models

MODULES = sorted(path.stem for path in Path(__file__).parent.glob("file_kinds_*.py"))
ROWS = [row for module in MODULES for row in importlib.import_module(f"{__package__}.{module}").ROWS]

# What `inspect` calls the inputs of the loaders that name files, and the folders that each looks in.
INPUTS = {
    "ModelLoader": {"checkpoint": ("LTX Model Loader", names.MODEL_FOLDERS)},
    "VAELoader": {
        "checkpoint": ("LTX VAE Loader (video)", names.VAE_FOLDERS),
        "audio_file": ("LTX VAE Loader (audio)", names.VAE_FOLDERS),
    },
    "TextEncoderLoader": {
        "text_encoder": ("LTX Text Encoder Loader (text encoder)", names.ENCODER_FOLDERS),
        "projection": ("LTX Text Encoder Loader (projection)", names.PROJECTION_FOLDERS),
    },
    "UpsamplerLoader": {"upsampler": ("LTX Upsampler Loader", names.UPSAMPLER_FOLDERS)},
    "LoraLoader": {"lora": ("LTX LoRA Loader", names.LORA_FOLDERS)},
}
WHOLE_VAE = "LTX VAE Loader"


def test_names_of_rows():
    assert [name for name, count in Counter(row.name for row in ROWS).items() if count > 1] == []


@pytest.fixture(scope="module")
def plain_results() -> dict:
    """What the small model's own files give, by node; made once."""
    return {}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_kind(row: FileKind, run, nodes, models, folder, plain_results):
    place = Models(models, folder)
    inputs = {**PLAIN[row.node], **row.write(place)}
    _check_inspected(row, inputs)
    wrong, _ = check_inputs(Node("1", f"LTXDuo{row.node}", inputs), nodes[f"LTXDuo{row.node}"])
    if row.refused is not None:
        slot, says = row.refused
        assert list(wrong) == [slot], wrong
        assert re.search(says, wrong[slot]), wrong[slot]
        with pytest.raises(LTXError, match=says):
            _load(run, row.node, inputs)
        return
    assert wrong == {}
    found = file_kinds.results(row.node, _load(run, row.node, inputs))
    if row.plain is not None:
        expected = file_kinds.results(row.node, _load(run, row.node, {**PLAIN[row.node], **row.plain(place)}))
    else:
        if row.node not in plain_results:
            plain_results[row.node] = file_kinds.results(row.node, _load(run, row.node, PLAIN[row.node]))
        expected = plain_results[row.node]
    for name, reference in expected.items():
        assert found[name].shape == reference.shape, name
        assert torch.isfinite(reference).all(), name
        error = (found[name].double() - reference.double()).abs().max() / reference.double().abs().max()
        assert error <= row.tolerance, f"{name}: {error:.2e} > {row.tolerance:.0e}"


def _load(run, node: str, inputs: dict):
    if node == "LoraLoader":
        inputs = {"model": run("ModelLoader", **PLAIN["ModelLoader"]), **inputs}
    return run(node, **inputs)


def _check_inspected(row: FileKind, inputs: dict) -> None:
    """`inspect` calls a file usable for an input exactly if it is not refused there."""
    for slot, (label, folders) in INPUTS[row.node].items():
        name = inputs.get(slot)
        if name == names.SAME_FILE:
            name = inputs["checkpoint"]
        if name is None or row.together:
            continue
        usable, problems = _inspected(name, folders)
        uses = {label, WHOLE_VAE} if row.node == "VAELoader" else {label}
        if row.refused is None or row.refused[0] != slot:
            assert usable & uses, (slot, usable, problems)
            continue
        assert not usable & uses, (slot, usable)
        if problems and not usable:
            assert any(re.search(row.refused[1], problem) for problem in problems), problems


def _inspected(name: str, folders) -> tuple[set[str], list[str]]:
    """What `inspect` calls the file usable for, and the problems that it names."""
    try:
        report, _ = inspect_file(files.path(name, folders))
    except LTXError as error:
        return set(), [str(error)]
    return set(report.uses), report.problems
