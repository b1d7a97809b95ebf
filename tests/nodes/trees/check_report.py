"""What nodes say of their work."""

import logging

import pytest
import torch

from ltx_duo.ltx_core.checkpoint import Checkpoint
from ltx_duo.ltx_core.variants import Kind
from ltx_duo.nodes.comfyui import report

SIGMAS = torch.tensor([0.909375, 0.725, 0.421875, 0.0])


def test_sampling_in_words():
    text = report.sampling_text(SIGMAS, 4, 6.0, 41_200_000_000)
    assert text == "3 steps x 4 passes, 2.00 s a step, 6.0 s; sigma 0.9094 to 0; peak VRAM 41.2 GB"
    some = report.sampling_text(SIGMAS, 4, 6.0, None, 1)
    assert some == "2 steps x 4 passes and 1 x 1, 2.00 s a step, 6.0 s; sigma 0.9094 to 0"
    assert report.sampling_text(SIGMAS, 1, 3.0, None) == "3 steps x 1 pass, 1.00 s a step, 3.0 s; sigma 0.9094 to 0"


def test_sampling_is_measured_and_kept_for_the_history():
    told = report.NodeReport()
    with told.sampling(SIGMAS, 2, torch.device("cpu")):
        pass
    assert told.lines[0].startswith("3 steps x 2 passes")
    output = told.output("latent")
    assert output.args == ("latent",) and output.ui == {"text": told.lines}


@pytest.mark.parametrize(("evaluations", "replayed", "reason", "said"), [
    (30, 29, None, ["CUDA graphs replayed 29 of 30 evaluations"]),
    (30, 0, "weights move", ["No CUDA graphs, which make small sizes faster: weights move"]),
    (30, 0, None, []),
])  # fmt: skip
def test_graphs_in_words(evaluations, replayed, reason, said):
    told = report.NodeReport()
    told.note_graphs(evaluations, replayed, reason)
    assert told.lines == said


def test_nothing_is_said_of_what_failed():
    told = report.NodeReport()
    with pytest.raises(ValueError), told.sampling(SIGMAS, 2, torch.device("cpu")):
        raise ValueError
    assert told.lines == []


def test_model_in_words(models):
    checkpoint = Checkpoint.open(models / "checkpoints" / "ltx-2.3-small-dev.safetensors")
    text = report.model_text(checkpoint, Kind.DEV, chosen=False)
    assert text.startswith("LTX-2.3 dev (by its name), ")
    assert "M parameters, BF16; the file is complete" in text
    assert report.model_text(checkpoint, Kind.DISTILLED, chosen=True).startswith("LTX-2.3 distilled (as chosen), ")


def test_warnings_come_once_and_stay_beside_what_is_said(caplog, monkeypatch):
    shown = []
    monkeypatch.setattr(report.compat, "send_text", shown.append)
    told = report.NodeReport()
    with caplog.at_level(logging.WARNING, "ltx_duo"):
        told.warn("nothing reads this")
        told.warn("nothing reads this")
    told.say("first")
    told.say("second")
    assert [record.message for record in caplog.records] == ["LTX Duo: nothing reads this"]
    assert told.output(1).ui == {"text": ["second", "nothing reads this"]}
    assert shown == [
        "nothing reads this", "first\nnothing reads this", *2 * ["second\nnothing reads this"],
    ]  # fmt: skip
    assert report.NodeReport().output(1).ui is None
