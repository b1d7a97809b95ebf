"""Files without a config: that of a known model where names and shapes are its own, or the config.json beside."""

import json
import re
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ltx_duo.ltx_core.checkpoint import SECTIONS, Checkpoint, Component
from ltx_duo.ltx_core.errors import CheckpointError
from ltx_duo.ltx_core.generation import Generation
from ltx_duo.ltx_core.known_configs import completed
from ltx_duo.ltx_core.loading import module_of_config
from ltx_duo.ltx_core.transformer.params import TransformerParams
from ltx_duo.ltx_core.upsampler import UpsamplerParams
from ltx_duo.ltx_core.usable import Use, check, check_part, uses, with_connectors

DATA = Path(__file__).resolve().parents[1] / "data"
OFFICIAL = json.loads((DATA / "ltx-2.3-config.json").read_text())
CONFIGS = DATA.parents[1] / "ltx_core" / "variants" / "configs"
LTX_2_0 = json.loads((CONFIGS / "ltx-2.0.json").read_text())
STATISTICS = "per_channel_statistics."
# What each list of names is below in a file, where it is not bare.
PREFIXES = {
    "transformer": "model.diffusion_model.",
    "video_connector": "model.diffusion_model.video_embeddings_connector.",
    "audio_connector": "model.diffusion_model.audio_embeddings_connector.",
    "vae_encoder": "encoder.",
    "vae_decoder": "decoder.",
    "audio_encoder": "audio_vae.encoder.",
    "audio_decoder": "audio_vae.decoder.",
    "vocoder": "vocoder.",
}
PROJECTION = {
    f"text_embedding_projection.{name}_aggregate_embed.{part}": shape
    for name, width in (("video", 4096), ("audio", 2048))
    for part, shape in (("weight", (width, 188160)), ("bias", (width,)))
}


@pytest.fixture
def write(tmp_path, official_tensors):
    """Writes the header of a bfloat16 file with those official parts; its tensors are a hole in it.

    Statistics are written as ones, since they are read.
    """

    def save(name: str, *parts: str, change=lambda shapes: shapes, more=(), metadata=None) -> Path:
        shapes = dict(more)
        for part in parts:
            prefix = PREFIXES.get(part, "")
            for tensor, shape in official_tensors(part).items():
                outside = prefix.removesuffix("encoder.").removesuffix("decoder.")
                shapes[(outside if tensor.startswith(STATISTICS) else prefix) + tensor] = shape
        shapes = dict(sorted(change(shapes).items(), key=lambda item: STATISTICS not in item[0]))
        table, end, filled = {"__metadata__": metadata} if metadata else {}, 0, 0
        for tensor, shape in shapes.items():
            size = 2 * torch.Size(shape).numel()
            table[tensor] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
            end += size
            filled = end if STATISTICS in tensor else filled
        raw = json.dumps(table).encode()
        path = tmp_path / name
        with path.open("wb") as file:
            file.write(struct.pack("<Q", len(raw)) + raw + b"\x80\x3f" * (filled // 2))  # ones
            file.truncate(8 + len(raw) + end)
        return path

    return save


@pytest.mark.parametrize(
    ("parts", "more", "use"),
    [
        (("transformer", "video_connector", "audio_connector"), (), Use.MODEL),
        (("transformer",), (), Use.TRANSFORMER),
        (("video_connector", "audio_connector"), PROJECTION, Use.CONNECTORS),
        ((), PROJECTION, Use.PROJECTION),
        (("vae_encoder", "vae_decoder"), (), Use.VIDEO),
        (("audio_encoder", "audio_decoder", "vocoder"), (), Use.AUDIO),
        (("audio_encoder", "audio_decoder"), (), Use.AUDIO_VAE),
        (("vocoder",), (), Use.VOCODER),
        (("ups_x2",), (), Use.UPSAMPLER),
    ],
    ids=lambda value: value.name if isinstance(value, Use) else "",
)
def test_official_parts_without_metadata_are_used_as_what_they_are(write, parts, more, use):
    checkpoint = completed(Checkpoint.open(write("part.safetensors", *parts, more=more)))
    check(checkpoint, use)
    assert use in uses(checkpoint)
    for component in checkpoint.components - {Component.TEXT_PROJECTION, Component.UPSAMPLER}:
        assert checkpoint.config_for(component).items() <= OFFICIAL.items()


def tensors_2_0(*parts: Component) -> dict[str, tuple[int, ...]]:
    """Those parts of LTX-2.0 by their names in its file."""
    tensors = {}
    for part in parts:
        prefix = PREFIXES_2_0[part]
        for name, tensor in module_of_config(part, LTX_2_0, device="meta").state_dict().items():
            outside = prefix.removesuffix("encoder.").removesuffix("decoder.")
            tensors[(outside if name.startswith(STATISTICS) else prefix) + name] = tuple(tensor.shape)
    return tensors


PREFIXES_2_0 = {
    Component.TRANSFORMER: "model.diffusion_model.",
    Component.VIDEO_CONNECTOR: "model.diffusion_model.video_embeddings_connector.",
    Component.AUDIO_CONNECTOR: "model.diffusion_model.audio_embeddings_connector.",
    Component.VIDEO_ENCODER: "vae.encoder.",
    Component.VIDEO_DECODER: "vae.decoder.",
    Component.AUDIO_DECODER: "audio_vae.decoder.",
    Component.VOCODER: "vocoder.",
}


PROJECTION_2_0 = {"text_embedding_projection.aggregate_embed.weight": (3840, 188160)}


@pytest.mark.parametrize(
    ("parts", "more", "use"),
    [
        ((Component.TRANSFORMER, Component.VIDEO_CONNECTOR, Component.AUDIO_CONNECTOR), {}, Use.MODEL),
        ((Component.VIDEO_CONNECTOR, Component.AUDIO_CONNECTOR), PROJECTION_2_0, Use.CONNECTORS),
        ((), PROJECTION_2_0, Use.PROJECTION),
        ((Component.VIDEO_ENCODER, Component.VIDEO_DECODER), {}, Use.VIDEO),
        ((Component.AUDIO_DECODER, Component.VOCODER), {}, Use.AUDIO),
    ],
)
def test_parts_of_2_0_without_metadata_take_its_config(write, parts, more, use):
    checkpoint = completed(Checkpoint.open(write("part.safetensors", more=tensors_2_0(*parts) | more)))
    assert checkpoint.generation is Generation.V2_0
    check(checkpoint, use)
    assert use in uses(checkpoint)
    for part in parts:
        assert checkpoint.config_for(part)[SECTIONS[part]] == LTX_2_0[SECTIONS[part]]
        check_part(checkpoint, part)


def test_a_projection_of_2_0_of_another_shape(write):
    """Its rows are as wide as one of the states that it takes."""
    changed = {"text_embedding_projection.aggregate_embed.weight": (3840, 188161)}
    with pytest.raises(CheckpointError, match="The text projection in .* does not fit"):
        check(completed(Checkpoint.open(write("part.safetensors", more=changed))), Use.PROJECTION)


def test_what_does_not_fit_is_said_of_the_files_own_generation(write):
    changed = tensors_2_0(Component.VOCODER) | {"vocoder.conv_pre.bias": (1000,)}
    checkpoint = completed(Checkpoint.open(write("part.safetensors", more=changed)))
    with pytest.raises(CheckpointError, match="and its vocoder is not that of LTX-2.0 "):
        checkpoint.config_for(Component.VOCODER)


def ltx_2_5(shapes):
    """LTX-2.3's tensors as LTX-2.5 has them."""
    ff = re.compile(r"\.transformer_blocks\.\d+\.ff\.net\.(?:0\.proj|2)\.bias$")
    kept = {name: shape for name, shape in shapes.items() if not ff.search(name)}
    return kept | {"model.diffusion_model.keyframes_abs_pos_embedding": (1, 4096)}


def test_the_transformer_of_2_5_without_metadata(write):
    """4349 tensors with its connectors, as the published file has them."""
    parts = ("transformer", "video_connector", "audio_connector")
    checkpoint = completed(Checkpoint.open(write("model.safetensors", *parts, change=ltx_2_5)))
    assert sum(map(len, (checkpoint.tensors(component) for component in checkpoint.components))) == 4349
    params = TransformerParams.from_config({"transformer": checkpoint.config_for(Component.TRANSFORMER)["transformer"]})
    expected = TransformerParams.from_config(OFFICIAL)
    expected = replace(expected, video=replace(expected.video, feed_forward_bias=False), keyframe_embedding=True)
    assert params == expected
    assert checkpoint.generation is Generation.V2_5


def test_half_of_2_5_is_no_known_model(write):
    def changed(shapes):
        return shapes | {"model.diffusion_model.keyframes_abs_pos_embedding": (1, 4096)}

    checkpoint = completed(Checkpoint.open(write("model.safetensors", "transformer", change=changed)))
    with pytest.raises(CheckpointError, match="its transformer is not that of LTX-2.3"):
        checkpoint.config_for(Component.TRANSFORMER)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("ups_x2", UpsamplerParams(mid_channels=1024)),
        ("ups_x2_rat", UpsamplerParams(mid_channels=1024, rational=True)),
        ("ups_t", UpsamplerParams(mid_channels=512, spatial_scale=1, temporal_scale=2)),
    ],
)
def test_upsamplers_without_metadata(write, name, params):
    checkpoint = completed(Checkpoint.open(write("up.safetensors", name)))
    assert UpsamplerParams.from_config(checkpoint.config) == params


def test_the_upsampler_by_a_half(write):
    checkpoint = completed(Checkpoint.open(write("up.safetensors", "ups_x15")))
    with pytest.raises(CheckpointError, match="enlarges by 1.5 in width and height"):
        check(checkpoint, Use.UPSAMPLER)


@pytest.mark.parametrize(
    ("parts", "use", "change"),
    [
        (("vae_encoder", "vae_decoder"), Use.VIDEO, ("decoder.conv_in.conv.bias", (1000,))),
        (("vae_encoder", "vae_decoder"), Use.VIDEO, ("decoder.conv_in.conv.bias", None)),
        (("vocoder",), Use.VOCODER, ("vocoder.vocoder.conv_pre.bias", (1000,))),
        (("ups_x2",), Use.UPSAMPLER, ("final_conv.bias", (64,))),
    ],
)
def test_one_tensor_of_another_shape_is_no_known_model(write, parts, use, change):
    name, shape = change

    def changed(shapes):
        assert name in shapes
        return {key: value for key, value in {**shapes, name: shape}.items() if value is not None}

    checkpoint = completed(Checkpoint.open(write("part.safetensors", *parts, change=changed)))
    with pytest.raises(
        CheckpointError, match="has no 'config' in its metadata, and its .* is not that of LTX-2.3"
    ) as told:
        check(checkpoint, use)
    assert name.split(".", 1)[1] in str(told.value) or name in str(told.value)


def test_parts_that_fit_are_used_beside_others_that_do_not(write):
    def changed(shapes):
        return {**shapes, "decoder.conv_in.conv.bias": (1000,)}

    parts = ("vae_encoder", "vae_decoder", "audio_decoder", "vocoder")
    checkpoint = completed(Checkpoint.open(write("vae.safetensors", *parts, change=changed)))
    check(checkpoint, Use.AUDIO)
    with pytest.raises(CheckpointError, match="its video VAE decoder is not that of LTX-2.3"):
        check(checkpoint, Use.VIDEO)


def test_what_the_file_says_itself_counts_more_than_what_lies_beside_it(write, tmp_path):
    beside = {**OFFICIAL, "vae": {**OFFICIAL["vae"], "spatial_padding_mode": "reflect"}}
    (tmp_path / "config.json").write_text(json.dumps(beside))
    own = {**OFFICIAL["vae"], "spatial_padding_mode": "replicate"}
    path = write("vae.safetensors", "vae_decoder", metadata={"config": json.dumps({"vae": own})})
    assert completed(Checkpoint.open(path)).config["vae"] == own
    bare = completed(Checkpoint.open(write("bare.safetensors", "vae_decoder")))
    assert bare.config["vae"] == beside["vae"]


@pytest.mark.parametrize("content", ["{", "[]", '{"vae": 3}', '{"_class_name": "AutoencoderKLLTX2Video"}'])
def test_a_config_of_another_program_beside_it_does_no_harm(write, tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    check(completed(Checkpoint.open(write("vae.safetensors", "vae_encoder", "vae_decoder"))), Use.VIDEO)


CHANGED = {"change": lambda shapes: {**shapes, "decoder.conv_in.conv.bias": (1000,)}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "config.json cannot be read"),
        (" " * 5_000_000, "config.json is empty"),
        ("{" + " " * 5_000_000 + "}", "has more than 4,000,000 bytes"),
        ('{"": null}', "it has no tables"),
        ('{"vae": "text", "audio_vae": {}}', "it has no table 'vae'"),
        ('{"text_config": {}}', "it has no table 'vae'"),
    ],
)
def test_why_a_config_beside_a_file_was_not_taken(write, tmp_path, content, words):
    (tmp_path / "config.json").write_text(content)
    checkpoint = completed(Checkpoint.open(write("vae.safetensors", "vae_encoder", "vae_decoder", **CHANGED)))
    with pytest.raises(CheckpointError, match="The config.json that lies there was not taken: .*" + words):
        check(checkpoint, Use.VIDEO)


def test_nothing_is_said_of_a_config_that_is_not_there(write):
    checkpoint = completed(Checkpoint.open(write("vae.safetensors", "vae_encoder", "vae_decoder", **CHANGED)))
    with pytest.raises(CheckpointError) as told:
        check(checkpoint, Use.VIDEO)
    assert "not taken" not in str(told.value)


@pytest.mark.parametrize("content", ['{"": null}', '{"": "text"}', '{"audio_vae": "text"}', '{"vocoder": null}'])
@pytest.mark.parametrize(("part", "use"), [("ups_x2", Use.UPSAMPLER), ("vocoder", Use.VOCODER)])
@pytest.mark.parametrize("own", [False, True])
def test_nonsense_in_a_config_ends_in_no_other_error(write, tmp_path, content, part, use, own):
    """Beside the file it is passed over; the file's own is used or refused."""
    metadata = {"config": content} if own else None
    if not own:
        (tmp_path / "config.json").write_text(content)
    checkpoint = Checkpoint.open(write("part.safetensors", part, metadata=metadata))
    try:
        check(completed(checkpoint), use)
    except CheckpointError:
        assert own


def test_sizes_that_make_no_tensor_are_refused(write):
    config = {"transformer": {**OFFICIAL["transformer"], "num_attention_heads": 10**6, "attention_head_dim": 10**6}}
    path = write("model.safetensors", "transformer", metadata={"config": json.dumps(config)})
    with pytest.raises(CheckpointError, match="describes a model that cannot be built"):
        check(completed(Checkpoint.open(path)), Use.TRANSFORMER)


def test_a_broken_config_of_its_own_is_not_replaced(write):
    path = write("vae.safetensors", "vae_encoder", "vae_decoder", metadata={"config": "{"})
    with pytest.raises(CheckpointError, match="is not valid JSON"):
        check(completed(Checkpoint.open(path)), Use.VIDEO)


def test_connectors_take_the_config_of_the_model_beside_them(write):
    config = {"transformer": {**OFFICIAL["transformer"], "connector_positional_embedding_max_pos": [2048]}}
    model = Checkpoint.open(write("model.safetensors", "transformer", metadata={"config": json.dumps(config)}))
    connectors = Checkpoint.open(write("connectors.safetensors", "video_connector", "audio_connector"))
    # Also where a known model's config was taken, when the file was looked at alone.
    for opened in (connectors, completed(connectors)):
        found = with_connectors(model, opened)
        assert found.config["transformer"]["connector_positional_embedding_max_pos"] == [2048]
        assert with_connectors(model, opened) is found
