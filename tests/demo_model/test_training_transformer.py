"""The training of the transformer and of its LoRA at tiny sizes, on a small random language model."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from ltx_duo.demo_model.training import (
    audio_vae,
    families,
    final_size,
    given,
    ic_lora,
    lora,
    pools,
    text,
    transformer,
    upsampler,
    video_vae,
)
from ltx_duo.demo_model.training.checkpoints import load_tensors
from ltx_duo.demo_model.training.lora_layers import LEARNING, LoraOps, begin
from ltx_duo.demo_model.training.run import Run, new_run
from ltx_duo.demo_model.training.showing import upsampler as upsampler_of
from ltx_duo.demo_model.training.sizes import USED_CHANNELS, model_config
from ltx_duo.demo_model.training.text_features import Encoder
from ltx_duo.ltx_core.lora import LoRA, fused
from ltx_duo.ltx_core.text.gemma import GemmaModel
from ltx_duo.ltx_core.text.gemma_params import GemmaParams
from ltx_duo.ltx_core.text.tokenizer import GemmaTokenizer
from ltx_duo.ltx_core.transformer.inputs import GuidancePass, ModalityInput
from ltx_duo.ltx_core.transformer.model import AVTransformer
from ltx_duo.ltx_core.transformer.params import TransformerParams
from ltx_duo.scripts.small_model_parts.sizes import GEMMA_CONFIG

TOKENIZER = Path(__file__).resolve().parents[2] / ".local" / "tokenizer"


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """A random Gemma, with the real tokenizer."""
    torch.manual_seed(0)
    gemma = GemmaModel(GemmaParams.from_hf_config(GEMMA_CONFIG))
    for name, p in gemma.named_parameters():
        torch.nn.init.normal_(p, 0.0, 0.1 if name.endswith("norm.weight") else p.shape[-1] ** -0.5)
    return Encoder(GemmaTokenizer.from_folder(TOKENIZER), gemma.requires_grad_(False))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, encoder) -> Run:
    """A run in which all pieces were trained without a stop."""
    run = new_run(tmp_path_factory.mktemp("whole"), "cpu", small=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pools, "text_encoder", lambda run: encoder)
        for module in (video_vae, audio_vae, upsampler):
            module.train(run)
        patch.setattr(text, "text_encoder", lambda run: encoder)
        data = pools.pools(run)
        for module in (transformer, final_size):
            patch.setattr(module, "pools", lambda run: data)
            module.train(run)
        text.train(run)
        drawn = families.family_pools(run)
        for module in (given, lora, ic_lora):
            patch.setattr(module, "family_pools", lambda run: drawn)
            module.train(run)
        yield run


@pytest.mark.parametrize("piece", ["transformer", "final-size", "given", "lora", "ic-lora"])
def test_piece_learns_and_shows_what_it_makes(whole, piece):
    tensors, about = load_tensors(whole.out / f"{piece}.state.safetensors")
    curve = json.loads(about["history"])
    if piece == "transformer":  # the others' few clips differ more than they learn from them: see the test of the flow
        third = len(curve["step"]) // 3
        for term in ("video", "audio"):
            assert sum(curve[term][-third:]) < 0.97 * sum(curve[term][:third])
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    for name in ("loss.png", "samples.png"):
        assert (whole.out / f"{piece}-{name}").stat().st_size > 1000


@pytest.fixture
def unshown(monkeypatch) -> None:
    """Nothing is shown from here on: what was trained and shown has to be the same to the bit."""
    shows = {transformer: ["show_stage_one"], given: ["show_stage_one", "show_given"], lora: ["show_both_stages"]}
    for module, names in {**shows, ic_lora: ["show"]}.items():
        for name in names:
            monkeypatch.setattr(module, name, lambda *arguments: {})


@pytest.mark.usefixtures("unshown")
@pytest.mark.parametrize(
    ("module", "before"),
    [
        (transformer, []),
        (final_size, ["transformer"]),
        (given, ["final-size", "text"]),
        (lora, ["given", "text"]),
        (ic_lora, ["given", "text"]),
    ],
)
def test_piece_that_was_stopped_goes_on_bit_for_bit(whole, module, before, tmp_path):
    for needed in ("video-vae", "audio-vae", "upsampler", *before):
        shutil.copy(whole.out / f"{needed}.safetensors", tmp_path)
    module.train(dataclasses.replace(whole, out=tmp_path, seconds=0))
    assert load_tensors(tmp_path / f"{module.PIECE}.state.safetensors")[1]["step"] == "1"

    module.train(dataclasses.replace(whole, out=tmp_path))
    for name in (f"{module.PIECE}.safetensors", f"{module.PIECE}.state.safetensors"):
        (tensors, about), (expected, whole_about) = load_tensors(tmp_path / name), load_tensors(whole.out / name)
        assert about == whole_about and tensors.keys() == expected.keys()
        assert all(torch.equal(tensor, expected[key]) for key, tensor in tensors.items())


def test_no_weight_is_left_out(whole):
    """None of the engine's modules keeps a gradient back."""
    after, components = transformer.trained(whole)
    before = transformer.new_network(whole, components)
    transformer.initialise(before, whole.generator(transformer.PIECE, "weights"))
    pairs = zip(before.named_parameters(), after.parameters(), strict=True)
    assert [name for (name, value), trained in pairs if torch.equal(value, trained)] == []


@torch.no_grad()
def test_nothing_reads_or_fills_unused_channels(whole, rng):
    """What lies there, in stage one the noise that it began with, changes no other value."""
    vae, (network, _) = video_vae.trained(whole), transformer.trained(whole)
    enlarge = upsampler_of(whole, torch.float32)
    latent = vae.encoder(2 * torch.rand(1, 3, 9, 64, 64, generator=rng) - 1)
    assert latent[:, USED_CHANNELS:].abs().max() == 0 < latent[:, :USED_CHANNELS].abs().min()
    other = latent.clone()
    other[:, USED_CHANNELS:] = torch.randn(other[:, USED_CHANNELS:].shape, generator=rng)
    for answer in (vae.decoder, enlarge, lambda x: network.transformer.patchify_proj(x.movedim(1, -1))):
        assert torch.equal(answer(latent), answer(other))
    velocity = network.transformer.proj_out(torch.randn(3, network.transformer.params.video.width, generator=rng))
    assert velocity[:, USED_CHANNELS:].abs().max() == 0


def test_file_of_the_lora_changes_a_transformer_as_the_training_did(whole):
    network, _ = given.trained(whole)
    params = TransformerParams.from_config(model_config(small=True))
    student = AVTransformer(params, ops=LoraOps)
    begin(student, torch.Generator().manual_seed(1))
    pairs = {
        name.removeprefix("diffusion_model.").removesuffix(".weight"): tensor
        for name, tensor in load_tensors(whole.out / "lora.safetensors")[0].items()
    }
    left = student.load_state_dict({**network.transformer.state_dict(), **pairs}, strict=False)
    assert not left.unexpected_keys and not any(LEARNING.fullmatch(name) for name in left.missing_keys)
    plain = AVTransformer(params)
    plain.load_state_dict(network.transformer.state_dict())

    generator = torch.Generator().manual_seed(0)
    ropes = network.ropes(lora.geometry(64), 128, torch.device("cpu"))
    inputs = [
        ModalityInput(torch.randn(1, tokens, 128, generator=generator), torch.full((1, tokens), 0.7),
                      torch.tensor([0.7]), rope)
        for tokens, rope in ((20, ropes.video), (34, ropes.audio))
    ]  # fmt: skip
    contexts = [torch.randn(1, 128, width, generator=generator) for width in (params.video.width, params.audio.width)]

    def answer(model: AVTransformer) -> torch.Tensor:
        with torch.no_grad():
            return torch.cat(model(*inputs, [GuidancePass("cond", *contexts)])[0], dim=1)

    alone, learned = answer(plain), answer(student)
    opened = LoRA.open(whole.out / "lora.safetensors")
    with fused(plain, [(opened, 1.0)]):
        torch.testing.assert_close(answer(plain), learned, rtol=1e-4, atol=1e-5)
    assert (learned - alone).abs().max() > 1e-3
