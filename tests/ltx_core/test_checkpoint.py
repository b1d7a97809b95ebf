"""Model files: which components they hold under which names, in all the layouts that files come in."""

import json
import os
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ltx_duo.ltx_core.checkpoint import Checkpoint, Component, common_generation
from ltx_duo.ltx_core.errors import CheckpointError, VariantError
from ltx_duo.ltx_core.generation import Generation
from ltx_duo.ltx_core.loading import build_module, text_encoder_module
from ltx_duo.ltx_core.text.gemma import GemmaModel
from ltx_duo.ltx_core.text.gemma_params import GemmaParams, GemmaRope

OFFICIAL_CONFIG = (Path(__file__).resolve().parents[1] / "data" / "ltx-2.3-config.json").read_text()
STATISTICS = "per_channel_statistics."

# Component, its list of official names, prefix in the official file, parameters (the published total is their sum).
OFFICIAL = (
    (Component.TRANSFORMER, "transformer", "model.diffusion_model.", 18_988_838_144),
    (Component.VIDEO_CONNECTOR, "video_connector", "model.diffusion_model.video_embeddings_connector.", 1_612_546_304),
    (Component.AUDIO_CONNECTOR, "audio_connector", "model.diffusion_model.audio_embeddings_connector.", 403_620_096),
    (Component.VIDEO_ENCODER, "vae_encoder", "vae.encoder.", 318_936_897 + 256),
    (Component.VIDEO_DECODER, "vae_decoder", "vae.decoder.", 407_169_072 + 256),
    (Component.AUDIO_ENCODER, "audio_encoder", "audio_vae.encoder.", 21_333_008 + 256),
    (Component.AUDIO_DECODER, "audio_decoder", "audio_vae.decoder.", 31_915_138 + 256),
    (Component.VOCODER, "vocoder", "vocoder.", 128_537_448 + 547_584),
)
PROJECTION = {
    "video_aggregate_embed.weight": (4096, 188160),
    "video_aggregate_embed.bias": (4096,),
    "audio_aggregate_embed.weight": (2048, 188160),
    "audio_aggregate_embed.bias": (2048,),
}


def official_file_tensors(official_tensors) -> dict[str, tuple[int, ...]]:
    """Name -> shape of everything in the official single file."""
    tensors = {f"text_embedding_projection.{name}": shape for name, shape in PROJECTION.items()}
    for _, names, prefix, _ in OFFICIAL:
        for name, shape in official_tensors(names).items():
            # Statistics stand beside encoder and decoder.
            place = prefix.rsplit(".", 2)[0] + "." if name.startswith(STATISTICS) else prefix
            tensors[place + name] = shape
    return tensors


def write_header(path: Path, shapes: dict[str, tuple[int, ...]], metadata: dict[str, str]) -> Path:
    """A file with that header whose tensors are a hole: 46 GB that take no space."""
    header, end = {"__metadata__": metadata}, 0
    for name, shape in shapes.items():
        dtype, size = ("F32", 4) if name.endswith("scale_shift_table") else ("BF16", 2)
        start, end = end, end + torch.Size(shape).numel() * size
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, 8 + len(text) + end)
    return path


@pytest.fixture(scope="module")
def official(official_tensors, tmp_path_factory) -> Checkpoint:
    """The official dev file as far as its header goes."""
    path = tmp_path_factory.mktemp("official") / "ltx-2.3-22b-dev.safetensors"
    metadata = {"config": OFFICIAL_CONFIG, "model_version": "2.3.0"}
    checkpoint = Checkpoint.open(write_header(path, official_file_tensors(official_tensors), metadata))
    yield checkpoint
    path.unlink()


def save(path: Path, tensors: dict[str, torch.Tensor] | list[str], metadata: dict[str, str] | None = None) -> Path:
    """Writes tensors; names alone get one element."""
    if not isinstance(tensors, dict):
        tensors = {name: torch.zeros(1) for name in tensors}
    save_file(tensors, path, metadata)
    return path


class TestOfficialFile:
    def test_is_what_was_published(self, official):
        assert 46.1e9 < official.path.stat().st_size < 46.2e9
        assert os.stat(official.path).st_blocks * 512 < 10e6
        assert sum(len(file.tensors) for file in official.files) == 5947

    @pytest.mark.parametrize("part", OFFICIAL, ids=lambda part: part[0].name)
    def test_components(self, official, official_tensors, part):
        component, names, _, parameters = part
        found = {name: info.shape for name, info in official.tensors(component).items()}
        assert found == official_tensors(names)
        assert sum(info.count for info in official.tensors(component).values()) == parameters

    def test_nothing_else(self, official):
        assert official.components == {component for component, *_ in OFFICIAL} | {Component.TEXT_PROJECTION}
        assert official.unrecognised == ()
        assert official.generation is Generation.V2_3
        assert official.config["transformer"]["num_layers"] == 48

    @pytest.mark.parametrize("component", [component for component, *_ in OFFICIAL], ids=lambda c: c.name)
    def test_engine_builds_the_same_tensors_at_full_size(self, official, component):
        module = build_module(official, component, device="meta")
        built = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
        assert built == {name: info.shape for name, info in official.tensors(component).items()}

    def test_text_encoder_at_full_size(self, official, tmp_path):
        gemma = GemmaModel(GemmaParams(262208, 3840, 15360, 16, 8, 256, (True,) * 5 + (False,), 1024,
                                       GemmaRope(1e6, 8), GemmaRope(1e4)), device="meta")  # fmt: skip
        shapes = {f"model.{name}": tuple(tensor.shape) for name, tensor in gemma.state_dict().items()}
        for layer in range(6, 48):
            shapes |= {
                n.replace(".0.", f".{layer}.", 1): s for n, s in shapes.items() if n.startswith("model.layers.0.")
            }
        text = Checkpoint.open(write_header(tmp_path / "gemma.safetensors", shapes, {}))
        assert sum(info.count for info in text.tensors(Component.GEMMA).values()) == 11_766_034_176
        module = text_encoder_module(text, official, device="meta")
        extractor = {name: tuple(tensor.shape) for name, tensor in module.feature_extractor.state_dict().items()}
        assert extractor == PROJECTION == {n: i.shape for n, i in official.tensors(Component.TEXT_PROJECTION).items()}
        assert len(module.gemma.layers) == 48
        with pytest.raises(CheckpointError, match="has no tokenizer"):
            text.require(Component.TOKENIZER)

    @pytest.mark.parametrize("names", ["ups_x2", "ups_x15", "ups_t"])
    def test_upsamplers(self, official_tensors, tmp_path, names):
        config = {
            "ups_x2": {"mid_channels": 1024},
            "ups_x15": {"mid_channels": 1024, "spatial_scale": 1.5, "rational_resampler": True},
            "ups_t": {"spatial_upsample": False, "temporal_upsample": True},
        }[names]
        path = write_header(tmp_path / "up.safetensors", official_tensors(names), {"config": json.dumps(config)})
        checkpoint = Checkpoint.open(path)
        assert checkpoint.components == {Component.UPSAMPLER}
        assert checkpoint.generation is None
        module = build_module(checkpoint, Component.UPSAMPLER, device="meta")
        assert {n: tuple(t.shape) for n, t in module.state_dict().items()} == official_tensors(names)


@pytest.mark.parametrize("prefix", ["", "diffusion_model.", "model.diffusion_model."])
def test_transformer_with_and_without_prefix(prefix, official_tensors, tmp_path):
    names = list(official_tensors("transformer"))
    connector = [f"video_embeddings_connector.{name}" for name in official_tensors("video_connector")]
    checkpoint = Checkpoint.open(save(tmp_path / "x.safetensors", [prefix + name for name in names + connector]))
    assert checkpoint.components == {Component.TRANSFORMER, Component.VIDEO_CONNECTOR}
    assert set(checkpoint.tensors(Component.TRANSFORMER)) == set(names)
    assert set(checkpoint.tensors(Component.VIDEO_CONNECTOR)) == set(official_tensors("video_connector"))
    assert checkpoint.unrecognised == ()


@pytest.mark.parametrize(("prefix", "kind"), [("", "video"), ("vae.", "video"), ("", "audio"), ("audio_vae.", "audio")])
def test_vae_files_are_told_apart_by_the_axes_of_their_convolutions(prefix, kind, tmp_path):
    window = (3, 3, 3) if kind == "video" else (3, 3)
    tensors = {
        f"{prefix}encoder.conv_in.conv.weight": torch.zeros(1, 1, *window),
        f"{prefix}decoder.conv_in.conv.weight": torch.zeros(1, 1, *window),
        f"{prefix}{STATISTICS}mean-of-means": torch.zeros(1),
        f"{prefix}{STATISTICS}std-of-means": torch.ones(1),
        f"{prefix}{STATISTICS}channel": torch.ones(1),
        f"{prefix}{STATISTICS}mean-of-stds": torch.ones(1),
    }
    checkpoint = Checkpoint.open(save(tmp_path / "vae.safetensors", tensors))
    sides = {side: Component[f"{kind.upper()}_{side.upper()}"] for side in ("encoder", "decoder")}
    assert checkpoint.components == set(sides.values())
    for component in sides.values():
        names = {"conv_in.conv.weight", f"{STATISTICS}mean-of-means", f"{STATISTICS}std-of-means"}
        assert set(checkpoint.state_dict(component)) == names
    assert checkpoint.unrecognised == ()


@pytest.mark.parametrize("root", ["vocoder.", ""])
def test_vocoder_loses_exactly_one_prefix(root, tmp_path):
    names = ["vocoder.conv_pre.weight", "bwe_generator.conv_pre.weight", "mel_stft.mel_basis"]
    checkpoint = Checkpoint.open(save(tmp_path / "x.safetensors", [root + name for name in names]))
    assert set(checkpoint.tensors(Component.VOCODER)) == set(names)
    assert checkpoint.generation is Generation.V2_3
    flat = Checkpoint.open(save(tmp_path / "y.safetensors", ["vocoder.conv_pre.weight", "vocoder.ups.0.weight"]))
    assert set(flat.tensors(Component.VOCODER)) == {"conv_pre.weight", "ups.0.weight"}
    assert flat.generation is Generation.V2_0


@pytest.mark.parametrize("root", ["text_embedding_projection.", ""])
def test_text_projection_alone(root, tmp_path):
    checkpoint = Checkpoint.open(save(tmp_path / "x.safetensors", [root + name for name in PROJECTION]))
    assert set(checkpoint.tensors(Component.TEXT_PROJECTION)) == set(PROJECTION)
    assert checkpoint.components == {Component.TEXT_PROJECTION}


@pytest.mark.parametrize("root", ["model.", "language_model.model.", "model.language_model."])
def test_gemma_layouts(root, tmp_path):
    names = ["embed_tokens.weight", "norm.weight", "layers.0.pre_feedforward_layernorm.weight"]
    beside = ["vision_tower.vision_model.x.weight", "multi_modal_projector.y", "lm_head.weight", "tokenizer_json"]
    checkpoint = Checkpoint.open(save(tmp_path / "x.safetensors", [root + name for name in names] + beside))
    assert set(checkpoint.tensors(Component.GEMMA)) == set(names)
    assert checkpoint.components == {Component.GEMMA, Component.TOKENIZER}
    assert checkpoint.unrecognised == ()


@pytest.mark.parametrize("root", ["model.", "model.language_model."])
def test_gemma_4_layouts(root, tmp_path):
    """With the projection and the tokenizer in one file, and what reads images and sound under either set of names."""
    names = ["embed_tokens.weight", "norm.weight", "layers.0.pre_feedforward_layernorm.weight", "layers.0.layer_scalar"]
    beside = ["tokenizer_json", "hf_asset__tokenizer_config.json"]
    if root == "model.":
        beside += ["vision_model.x", "multi_modal_projector.embedding_projection.weight", "audio_projector.y"]
    else:
        beside += ["model.vision_embedder.x", "model.embed_vision.embedding_projection.weight", "model.embed_audio.y"]
    projection = [f"text_embedding_projection.{name}" for name in PROJECTION]
    keys = [*(root + name for name in names), *beside, *projection]
    checkpoint = Checkpoint.open(save(tmp_path / "x.safetensors", keys))
    assert set(checkpoint.tensors(Component.GEMMA)) == set(names)
    assert checkpoint.components == {Component.GEMMA, Component.TOKENIZER, Component.TEXT_PROJECTION}
    assert checkpoint.unrecognised == ()


def test_another_language_model_is_not_gemma(tmp_path):
    names = ["model.embed_tokens.weight", "model.norm.weight", "model.layers.0.self_attn.q_norm.weight"]
    with pytest.raises(CheckpointError, match="x.safetensors is another language model than Gemma-3"):
        Checkpoint.open(save(tmp_path / "x.safetensors", names))


def test_gemma_under_other_names_is_not_called_another_model(tmp_path):
    names = ["lm.layers.0.self_attn.q_proj.weight", "lm.layers.0.pre_feedforward_layernorm.weight"]
    with pytest.raises(CheckpointError, match="may be Gemma-3, under names of another key format") as told:
        Checkpoint.open(save(tmp_path / "x.safetensors", names))
    assert "another language model" not in str(told.value)


def test_unknown_tensors_are_listed(tmp_path):
    names = ["text_embedding_projection.video_aggregate_embed.bias", "strange_head.weight"]
    assert Checkpoint.open(save(tmp_path / "x.safetensors", names)).unrecognised == ("strange_head.weight",)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [({}, "has no 'config'"), ({"config": "{"}, "not valid JSON"), ({"config": "[1]"}, "not a JSON table"),
     ({"config": "[" * 99999}, "not valid JSON")],
    ids=["missing", "cut", "list", "deep"],
)  # fmt: skip
def test_config_that_is_missing_or_broken(metadata, words, tmp_path):
    path = save(tmp_path / "x.safetensors", ["vocoder.conv_pre.weight"], metadata)
    checkpoint = Checkpoint.open(path)
    with pytest.raises(CheckpointError, match=words) as error:
        _ = checkpoint.config
    assert str(path) in str(error.value)
    assert "official file" in str(error.value)


def test_missing_component_says_what_is_there_and_what_to_do(tmp_path):
    checkpoint = Checkpoint.open(save(tmp_path / "x.safetensors", ["vocoder.conv_pre.weight"]))
    checkpoint.require(Component.VOCODER)
    with pytest.raises(CheckpointError) as error:
        checkpoint.require(Component.VOCODER, Component.TEXT_PROJECTION)
    message = str(error.value)
    assert "has no text projection: it holds vocoder." in message
    assert "choose the checkpoint" in message


def test_state_dict_from_the_file_or_from_what_the_caller_loaded(tmp_path):
    tensors = {
        "vocoder.a": torch.randn(3),
        "vocoder.vocoder.b": torch.randn(2),
        "text_embedding_projection.c": torch.ones(1),
    }
    checkpoint = Checkpoint.open(save(tmp_path / "x.safetensors", tensors))
    own = checkpoint.state_dict(Component.VOCODER)
    assert {name: value.tolist() for name, value in own.items()} == {
        "a": tensors["vocoder.a"].tolist(),
        "vocoder.b": tensors["vocoder.vocoder.b"].tolist(),
    }
    assert checkpoint.state_dict(Component.VOCODER, tensors)["a"] is tensors["vocoder.a"]
    del tensors["vocoder.a"]
    with pytest.raises(CheckpointError, match="1 tensors of the vocoder .* such as vocoder.a"):
        checkpoint.state_dict(Component.VOCODER, tensors)


class TestFolder:
    NAMES = ("model.embed_tokens.weight", "model.layers.0.pre_feedforward_layernorm.weight")

    def shard(self, folder: Path, number: int, name: str) -> Path:
        return save(folder / f"model-0000{number}-of-00002.safetensors", [name])

    def test_shards_are_one_model(self, tmp_path):
        for number, name in enumerate(self.NAMES, start=1):
            self.shard(tmp_path, number, name)
        (tmp_path / "config.json").write_text('{"model_type": "gemma3"}')
        checkpoint = Checkpoint.open(tmp_path)
        assert len(checkpoint.state_dict(Component.GEMMA)) == 2
        assert checkpoint.gemma_config == {"model_type": "gemma3"}
        (tmp_path / "config.json").write_text("{")
        with pytest.raises(CheckpointError, match="config.json cannot be read"):
            _ = checkpoint.gemma_config
        (tmp_path / "config.json").unlink()
        assert checkpoint.gemma_config is None

    def test_missing_shard(self, tmp_path):
        self.shard(tmp_path, 1, self.NAMES[0])
        with pytest.raises(CheckpointError, match="lacks model-00002-of-00002.safetensors"):
            Checkpoint.open(tmp_path)

    def test_index_decides(self, tmp_path):
        save(tmp_path / "a.safetensors", list(self.NAMES))
        save(tmp_path / "stray.safetensors", ["other"])
        index = tmp_path / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": dict.fromkeys(self.NAMES, "a.safetensors")}))
        assert [file.path.name for file in Checkpoint.open(tmp_path).files] == ["a.safetensors"]
        index.write_text(json.dumps({"weight_map": {"x": "../outside.safetensors"}}))
        with pytest.raises(CheckpointError, match="lacks ../outside.safetensors"):
            Checkpoint.open(tmp_path)
        index.write_text('{"weight_map": 3}')
        with pytest.raises(CheckpointError, match="index.json has no list of weight files"):
            Checkpoint.open(tmp_path)

    def test_same_tensor_in_two_files(self, tmp_path):
        for name in ("a", "b"):
            save(tmp_path / f"{name}.safetensors", list(self.NAMES))
        with pytest.raises(CheckpointError, match="in two of its files"):
            Checkpoint.open(tmp_path)

    def test_folder_without_weights(self, tmp_path):
        with pytest.raises(CheckpointError, match="has no .safetensors file"):
            Checkpoint.open(tmp_path)


def test_files_of_two_generations_do_not_go_together(official, tmp_path):
    old = Checkpoint.open(save(tmp_path / "old.safetensors", ["vocoder.conv_pre.weight"]))
    neutral = Checkpoint.open(
        save(tmp_path / "up.safetensors", ["initial_conv.weight", "post_upsample_res_blocks.0.conv1.weight"])
    )
    assert neutral.generation is None
    assert common_generation(neutral, official) is Generation.V2_3
    with pytest.raises(VariantError) as error:
        common_generation(official, neutral, old)
    assert f"{official.path} is of LTX-2.3, but {old.path} is of LTX-2.0" in str(error.value)
    with pytest.raises(VariantError, match="neither metadata nor tensors"):
        common_generation(neutral)
