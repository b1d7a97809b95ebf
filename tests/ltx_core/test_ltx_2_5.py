"""LTX-2.5 from its published files: what is loaded from where, what is run by default, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ltx_duo.ltx_core.checkpoint import Checkpoint, Component
from ltx_duo.ltx_core.errors import CheckpointError, LTXError, VariantError
from ltx_duo.ltx_core.generation import Generation
from ltx_duo.ltx_core.inspect import main
from ltx_duo.ltx_core.loading import gemma_params
from ltx_duo.ltx_core.loading_components import check_gemma_version, load_components
from ltx_duo.ltx_core.prompt_length import prompt_frames
from ltx_duo.ltx_core.request import Request
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.text.gemma4_params import Gemma4Params
from ltx_duo.ltx_core.two_stage import generate
from ltx_duo.ltx_core.variants import Kind
from ltx_duo.scripts.small_model_parts.sizes import GEMMA_4_CONFIG, ltx_2_5
from ltx_duo.scripts.small_model_parts.write_split import SplitFiles, split_files, write_split_files

PACK = Path(__file__).resolve().parents[2]
DEMO = PACK / "demo_model" / "files"
MODEL_2_3 = DEMO / "checkpoints" / "ltx-2.3-demo-dev.safetensors"
UPSAMPLER_2_3 = DEMO / "latent_upscale_models" / "ltx-2.3-demo-spatial-upscaler-x2.safetensors"
GEMMA_3 = PACK / ".local" / "gemma-3-270m"
SIZE = LatentGeometry(128, 64, 9, 24.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> SplitFiles:
    folder = tmp_path_factory.mktemp("small-2.5")
    write_split_files(folder, ltx_2_5(), PACK / ".local" / "tokenizer")
    return split_files("ltx-2.5-small").below(folder)


def load(files: SplitFiles, *parts: str):
    chosen = [getattr(files, part) for part in parts]
    return load_components(
        files.transformer, files.text_encoder, files.upsampler, chosen, dtype=torch.float32, device="cpu"
    )


@pytest.fixture(scope="module")
def components(files):
    return load(files, "video_vae", "diffusion_vae", "audio_vae", "duration_head")


def saved(source: Path, target: Path, change) -> Path:
    """A copy whose `change(tensors, metadata)` works in place."""
    with safe_open(source, "pt") as file:
        metadata = file.metadata() or {}
    tensors = load_file(source)
    change(tensors, metadata)
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, target, metadata)
    return target


def test_each_file_is_of_2_5(files):
    """Only the transformer's states a version; what LTX-2.3 has too is told by the file's name."""
    found = {part: Checkpoint.open(path).generation for part, path in vars(files).items() if part != "lora"}
    assert found.pop("upsampler") is None
    assert set(found.values()) == {Generation.V2_5}


@pytest.mark.parametrize("part", ["video_vae", "audio_vae"])
def test_a_shared_part_under_another_name_counts_as_2_3(files, part, tmp_path):
    shutil.copy(getattr(files, part), tmp_path / "vae.safetensors")
    assert Checkpoint.open(tmp_path / "vae.safetensors").generation is Generation.V2_3


def test_all_parts_are_loaded(components):
    assert (components.variant.generation, components.variant.kind) == (Generation.V2_5, Kind.DEV)
    components.check()
    assert isinstance(components.text_encoder.gemma.params, Gemma4Params)
    assert None not in (components.video_decoder, components.diffusion_decoder, components.duration_head)
    assert components.tokenizer.encode("a fox")[0] == 2


def test_the_file_that_has_a_part_first_counts_first(files, tmp_path):
    def change(tensors, _):
        tensors["vae.encoder.conv_in.conv.bias"] += 1

    other = saved(files.diffusion_vae, tmp_path / files.diffusion_vae.name, change)
    changed = replace(files, diffusion_vae=other)
    first, second = (
        load(changed, *order, "audio_vae").video_encoder.conv_in.conv.bias
        for order in (("video_vae", "diffusion_vae"), ("diffusion_vae", "video_vae"))
    )
    assert torch.allclose(first + 1, second, atol=0.05) and not torch.equal(first, second)


def test_the_name_tells_a_distilled_model(files, tmp_path):
    shutil.copy(files.transformer, tmp_path / "ltx-2.5-22b-distilled-transformer.safetensors")
    renamed = replace(files, transformer=tmp_path / "ltx-2.5-22b-distilled-transformer.safetensors")
    assert load(renamed, "video_vae", "audio_vae").variant.sampler == "euler_ancestral"


def test_gemmas_sizes_come_from_the_metadata_or_from_shapes(files, tmp_path):
    expected = Gemma4Params.from_hf_config(GEMMA_4_CONFIG)
    assert gemma_params(Checkpoint.open(files.text_encoder)) == expected
    bare = saved(files.text_encoder, tmp_path / "bare.safetensors", lambda _, told: told.pop("gemma_config"))
    assert gemma_params(Checkpoint.open(bare)) == expected
    for text in ("{", "[]"):
        broken = saved(
            files.text_encoder, tmp_path / "x.safetensors", lambda _, told, text=text: told.update(gemma_config=text)
        )
        with pytest.raises(CheckpointError, match="'gemma_config' in the metadata of .* is no"):
            gemma_params(Checkpoint.open(broken))


@pytest.mark.parametrize(
    ("found", "refused"), [("gemma4-small-ltx", False), ("gemma4-12b", True), (None, True), ("no config", False)]
)
def test_another_gemma_4_is_refused(files, tmp_path, found, refused):
    """Google's own has the same sizes; a file without config, as quantised ones may be, does not tell."""

    def change(_, metadata):
        config = json.loads(metadata.pop("gemma_config"))
        config.pop("gemma_version")
        if found != "no config":
            metadata["gemma_config"] = json.dumps(config | ({"gemma_version": found} if found else {}))

    gemma = Checkpoint.open(saved(files.text_encoder, tmp_path / "ltx-2.5-gemma.safetensors", change))
    model = Checkpoint.open(files.transformer)
    if not refused:
        check_gemma_version(model, gemma)
        return
    with pytest.raises(
        VariantError, match="trained with the text encoder 'gemma4-small-ltx', but .* Choose gemma4-12b"
    ):
        check_gemma_version(model, gemma)


@pytest.mark.parametrize(
    ("checkpoint", "gemma", "words"),
    [
        (MODEL_2_3, None, r"demo-dev.safetensors is of LTX-2\.3, but .*gemma4.* is of LTX-2\.5"),
        (None, GEMMA_3, r"gemma-3-270m is Gemma-3, but the text projection in .* is of LTX-2\.5"),
    ],
)
def test_text_encoders_of_another_generation_are_refused(files, checkpoint, gemma, words):
    """In the second case with a projection, which lies in a file of its own."""
    parts = (files.video_vae, files.audio_vae, *([files.text_encoder] if gemma else []))
    with pytest.raises(VariantError, match=words):
        load_components(checkpoint or files.transformer, gemma or files.text_encoder, files.upsampler, parts)


def test_a_vae_of_2_3_is_refused(files):
    with pytest.raises(VariantError, match=r"is of LTX-2\.5, but .*demo-dev.* is of LTX-2\.3"):
        load_components(files.transformer, files.text_encoder, files.upsampler, [MODEL_2_3])


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (("audio_vae",), "has no video VAE encoder"),
        (("video_vae",), "has no audio VAE decoder"),
        (("video_vae", "duration_head"), "has no audio VAE decoder"),
    ],
)
def test_what_no_file_has_is_named(files, parts, words):
    with pytest.raises(CheckpointError, match=words):
        load(files, *parts)


def test_the_diffusion_decoder_is_a_choice_and_the_default_where_it_is_alone(files, components):
    request = Request("a fox", SIZE, steps=1)
    conv, diffusion = (
        generate(components, replace(request, video_decoder=choice)).frames for choice in ("conv", "diffusion")
    )
    assert torch.equal(generate(components, request).frames, conv)
    assert not torch.allclose(conv, diffusion, atol=0.05)
    alone = load(files, "diffusion_vae", "audio_vae")
    assert alone.video_decoder is None
    assert torch.equal(generate(alone, request).frames, diffusion)
    with pytest.raises(CheckpointError, match="asks for the conv video decoder, which the components have not"):
        generate(alone, replace(request, video_decoder="conv"))
    with pytest.raises(LTXError, match="video_decoder is 'vae', expected"):
        replace(request, video_decoder="vae")


def test_the_length_of_a_prompt(components):
    frames = prompt_frames(components, "a fox", 24.0)
    assert frames % 8 == 1 and 24 <= frames <= 480
    assert prompt_frames(components, "a fox", 24.0, shortest=4.0) == 97
    with pytest.raises(CheckpointError, match="no duration head.*ltx-2.5-duration-head-bf16.safetensors"):
        prompt_frames(replace(components, duration_head=None), "a fox", 24.0)


def test_inspect_tells_what_each_file_is_and_that_they_belong_together(files, capsys):
    own = [str(path) for path in vars(files).values()]
    assert main(own) == 0
    told = capsys.readouterr().out
    assert "PROBLEM" not in told and "For a video with sound you also need" not in told
    for words in ("generation  LTX-2.5 (model_version '2.5.0-small')", "diffusion video decoder", "duration head"):
        assert words in told
    assert main([own[0], str(MODEL_2_3)]) == 1
    assert "is of LTX-2.5, but" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("duration_head", ("use it in   LTX Prompt Length\n", "belongs in  ComfyUI/models/model_patches\n")),
        (
            "diffusion_vae",
            ("LTX VAE Loader (video, decoded by diffusion)\n", "models/vae\n", "finer and slower"),
        ),
        ("video_vae", ("use it in   LTX VAE Loader (video)\n", "belongs in  ComfyUI/models/vae\n")),
        ("audio_vae", ("use it in   LTX VAE Loader (audio)\n", "belongs in  ComfyUI/models/vae\n")),
        ("text_encoder", ("Loader (text encoder), LTX Text Encoder Loader (projection)\n", "text_encoders\n")),
        ("transformer", ("use it in   LTX Model Loader\n", "belongs in  ComfyUI/models/diffusion_models\n")),
        ("upsampler", ("by its name it is for LTX-2.5", "use it in   LTX Upsampler Loader\n")),
        ("lora", ("it was made for LTX-2.5 (its name says so)", "use it in   LTX LoRA Loader\n")),
    ],
)
def test_inspect_says_which_node_takes_each(part, words, files, capsys):
    assert main([str(getattr(files, part))]) == 0
    told = capsys.readouterr().out
    assert [word for word in words if word not in told] == []


def test_inspect_takes_a_file_with_both_video_decoders_for_the_convolutional_one(files, tmp_path, capsys):
    def both(tensors, metadata):
        config = json.loads(metadata["config"])
        own = load_file(files.diffusion_vae)
        tensors |= {name: tensor for name, tensor in own.items() if name.startswith("vae.decoder.")}
        metadata["config"] = json.dumps(config)

    main([str(saved(files.video_vae, tmp_path / "ltx-2.5-both.safetensors", both))])
    assert "finer and slower" not in capsys.readouterr().out


def test_an_upsampler_of_another_generation_is_told(files, capsys, caplog):
    """By its name: the tensors are alike."""
    assert main([str(files.transformer), str(UPSAMPLER_2_3)]) == 1
    assert "is for LTX-2.3, but" in capsys.readouterr().err
    assert main([str(files.transformer), str(files.upsampler)]) == 0
    load(files, "video_vae", "audio_vae")
    assert "is for LTX-2.3, but" not in caplog.text
    load(replace(files, upsampler=UPSAMPLER_2_3), "video_vae", "audio_vae")
    assert "is for LTX-2.3, but" in caplog.text
    assert "Choose ltx-2.5-latent-spatial-upscaler-x2-bf16-1.0.safetensors." in caplog.text


@pytest.mark.parametrize("part", [Component.DIFFUSION_DECODER, Component.DURATION_HEAD])
def test_missing_tensors_are_named(files, part, tmp_path):
    file = files.diffusion_vae if part is Component.DIFFUSION_DECODER else files.duration_head

    def change(tensors, _):
        del tensors[next(name for name in tensors if name.endswith(("t_embedder.linear_1.bias", "mlp_out.bias")))]

    broken = saved(file, tmp_path / file.name, change)
    chosen = {"diffusion_vae": broken} if part is Component.DIFFUSION_DECODER else {"duration_head": broken}
    with pytest.raises(CheckpointError, match=r"1 missing of .*(linear_1|mlp_out)\.bias"):
        load(replace(files, **chosen), "video_vae", "audio_vae", *chosen)
