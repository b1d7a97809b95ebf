"""Every form that files come in runs and equals the plain file, or is refused at queue with one sentence.

Each row of the table (see file_kinds.py) goes three ways, which must agree: `inspect`, the check at queue, and the run.
"""

import importlib
import re
from collections import Counter
from pathlib import Path

import pytest
import torch

from ltx_duo.ltx_core.checkpoint import Checkpoint
from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.ltx_core.inspect import inspect_file
from ltx_duo.ltx_core.usable import Use
from ltx_duo.nodes import names
from ltx_duo.nodes.comfyui import files, prompt_hook
from ltx_duo.nodes.declared import widgets
from ltx_duo.nodes.prompt_graph import PromptGraph
from ltx_duo.nodes.validation import check_inputs
from ltx_duo.tests.nodes.trees import file_kinds
from ltx_duo.tests.nodes.trees.file_kinds import CHECKPOINT, GEMMA, LORA, PLAIN, UPSAMPLER, FileKind, Models

MODULES = sorted(path.stem for path in Path(__file__).parent.glob("file_kinds_*.py"))
ROWS = [row for module in MODULES for row in importlib.import_module(f"{__package__}.{module}").ROWS]

# What a file is used for by the inputs of the loaders, and the folders that each looks in.
INPUTS = {
    "ModelLoader": {
        "checkpoint": ((Use.MODEL, Use.TRANSFORMER), names.MODEL_FOLDERS),
        "connectors": ((Use.MODEL, Use.CONNECTORS), names.CONNECTOR_FOLDERS),
    },
    "VAELoader": {
        "checkpoint": ((Use.VAE, Use.VIDEO, Use.DIFFUSION), names.VAE_FOLDERS),
        "audio_file": ((Use.VAE, Use.AUDIO, Use.AUDIO_VAE, Use.VOCODER), names.VAE_FOLDERS),
    },
    "TextEncoderLoader": {
        "text_encoder": ((Use.TEXT_ENCODER,), names.ENCODER_FOLDERS),
        "projection": ((Use.PROJECTION,), names.PROJECTION_FOLDERS),
    },
    "UpsamplerLoader": {"upsampler": ((Use.UPSAMPLER,), names.UPSAMPLER_FOLDERS)},
    "LoraLoader": {"lora": ((Use.LORA,), names.LORA_FOLDERS)},
}


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
    wrong, inputs = _queued(nodes[f"LTXDuo{row.node}"], f"LTXDuo{row.node}", inputs)
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


def _queued(node_class: type, kind: str, inputs: dict) -> tuple[dict[str, str], dict]:
    """What is wrong with the loader's inputs when they are queued, by input; and the inputs as they go on."""
    defaults = {name: widget.default for name, widget in widgets(node_class).items() if widget.optional}
    graph = PromptGraph({"1": {"class_type": kind, "inputs": dict(inputs)}}, {kind: defaults})
    prompt_hook.respell_files(graph, {kind: node_class})
    lists = {name: widget.choices for name, widget in widgets(node_class).items() if widget.names_file}
    taken = dict(graph.nodes["1"].inputs)
    unlisted = [name for name, choices in lists.items() if name in taken and taken[name] not in choices]
    wrong, _ = check_inputs(graph.nodes["1"], node_class)
    # ComfyUI refuses what is in no list, unless the node says what is wrong with it.
    assert set(unlisted) <= set(wrong), unlisted
    return wrong, taken


def _load(run, node: str, inputs: dict):
    if node == "LoraLoader":
        inputs = {"model": run("ModelLoader", **PLAIN["ModelLoader"]), **inputs}
    return run(node, **inputs)


def _check_inspected(row: FileKind, inputs: dict) -> None:
    """`inspect` calls a file usable for an input exactly if it is not refused there."""
    for slot, (uses, folders) in INPUTS[row.node].items():
        name = inputs.get(slot)
        if name == names.SAME_FILE and slot == "audio_file":
            name = inputs["checkpoint"]
        if name in (None, names.SAME_FILE) or row.together:
            continue
        beside = inputs["checkpoint"] if slot == "connectors" else None
        usable, problems = _inspected(
            files.path(name, folders), beside and files.open_checkpoint(beside, names.MODEL_FOLDERS)
        )
        found = usable & {use.value for use in uses}
        if row.refused is None or row.refused[0] != slot:
            # What is refused elsewhere may make one file of both unusable.
            assert found or (row.refused and inputs[row.refused[0]] == name), (slot, usable, problems)
            continue
        assert not found, (slot, usable)
        if problems and not usable:
            assert any(re.search(row.refused[1], problem) for problem in problems), problems


def _inspected(path: str, beside: Checkpoint | None) -> tuple[set[str], list[str]]:
    """What `inspect` calls the file usable for, and the problems that it names; those of the small model are kept."""
    if path not in _kept:
        try:
            report, _ = inspect_file(path, beside)
        except LTXError as error:
            return set(), [str(error)]
        found = set(report.uses), report.problems
        if Path(path).name not in (CHECKPOINT, GEMMA, UPSAMPLER, LORA):
            return found
        _kept[path] = found
    return _kept[path]


_kept: dict[str, tuple[set[str], list[str]]] = {}
