"""Every part's sizes from a config: today's from the published one, and one kind of refusal whatever stands in it."""

import copy
import json
import operator
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from functools import partial, reduce
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltx_duo.ltx_core.audio_vae import AudioVAEParams
from ltx_duo.ltx_core.duration_head import DurationHeadParams
from ltx_duo.ltx_core.errors import CheckpointError, VariantError
from ltx_duo.ltx_core.text.gemma4_params import Gemma4Heads, Gemma4Params
from ltx_duo.ltx_core.text.gemma_params import GemmaParams, GemmaRope
from ltx_duo.ltx_core.text.params import ConnectorParams, FeatureExtractorParams
from ltx_duo.ltx_core.transformer.params import StreamParams, TransformerParams
from ltx_duo.ltx_core.upsampler import UpsamplerParams
from ltx_duo.ltx_core.video_vae import VideoVAEParams
from ltx_duo.ltx_core.video_vae.diffusion_params import DiffusionDecoderParams
from ltx_duo.ltx_core.vocoder.params import BandwidthExtensionParams, GeneratorParams, VocoderParams

CONFIG_23 = json.loads((Path(__file__).parents[1] / "data" / "ltx-2.3-config.json").read_text())
CONFIG_25 = {
    "transformer": CONFIG_23["transformer"] | {"ff_bias": False, "use_keyframes_abs_pos_embedding": True},
}
CONFIG_20 = {
    "transformer": {"rope_type": "split", "caption_channels": 3840, "connector_num_layers": 2},
    "audio_vae": {"model": {"params": {"ddconfig": {"mel_bins": None}}}},
    "vocoder": {"resblock": "1", "upsample_rates": [6, 5, 2, 2, 2], "output_sampling_rate": 24000, "stereo": True},
}
UPSAMPLER = {
    "_class_name": "LatentUpsampler",
    "dims": 3,
    "in_channels": 128,
    "mid_channels": 1024,
    "num_blocks_per_stage": 4,
    "spatial_upsample": True,
    "temporal_upsample": False,
    "spatial_scale": 1.5,
    "rational_resampler": True,
}
GEMMA = {
    "model_type": "gemma3",
    "text_config": {
        "attention_bias": False,
        "attn_logit_softcapping": None,
        "head_dim": 256,
        "hidden_size": 3840,
        "intermediate_size": 15360,
        "num_attention_heads": 16,
        "num_hidden_layers": 6,
        "num_key_value_heads": 8,
        "query_pre_attn_scalar": 256,
        "rms_norm_eps": 1e-06,
        "rope_local_base_freq": 10000.0,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "rope_theta": 1000000.0,
        "sliding_window": 1024,
        "sliding_window_pattern": 6,
        "vocab_size": 262208,
    },
}
NEWER_GEMMA = {
    "model_type": "gemma3_text",
    "num_hidden_layers": 6,
    "layer_types": ["sliding_attention"] * 5 + ["full_attention"],
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    },
}
GEMMA_4 = {
    "model_type": "gemma4_unified",
    "text_config": {
        "attention_bias": False,
        "attention_k_eq_v": True,
        "global_head_dim": 512,
        "head_dim": 256,
        "hidden_size": 3840,
        "intermediate_size": 15360,
        "num_attention_heads": 16,
        "num_global_key_value_heads": 1,
        "num_hidden_layers": 6,
        "num_key_value_heads": 8,
        "num_kv_shared_layers": 0,
        "rms_norm_eps": 1e-06,
        "rope_parameters": {
            "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
        "sliding_window": 1024,
        "use_bidirectional_attention": "vision",
        "vocab_size": 262144,
    },
}
NEWER_GEMMA_4 = {
    "model_type": "gemma4_unified_text",
    "num_hidden_layers": 2,
    "layer_types": ["sliding_attention", "full_attention"],
    "per_layer_config": {"01": {"head_dim": 128}},
}
DURATION_HEAD = {"duration_head": {"num_pooler_heads": 8}}
HEAD_SHAPES = {
    "video_input_proj.weight": (256, 4096),
    "audio_input_proj.weight": (256, 2048),
    "attention_pooler.query_tokens": (2, 256),
    "mlp_hidden.weight": (256, 512),
}
DIFFUSION_DECODER = {
    "vae": {
        "_class_name": "CausalDiffusionVAE",
        "model_output_type": "x0",
        "decoder": {
            "head_dim": 64,
            "patch_size": 8,
            "default_num_inference_steps": 1,
            "timestep_scale_multiplier": 1000.0,
            "stage_channels": [256, 128, 64, 64],
            "stage_depths": [4, 6, 2, 8],
            "stage_kernels": [[3, 7, 7], [3, 7, 7], [3, 5, 5]],
            "upsamples": [[[2, 2, 2], 2], [[2, 2, 2], 2], [[2, 1, 1], 1]],
            "stage5_kernel": [11, 11, 11],
        },
    },
}
# What reads which sections of which configs.
READERS: dict[str, tuple[Callable[[dict], Any], tuple[str, ...], tuple[dict, ...]]] = {
    "transformer": (TransformerParams.from_config, ("transformer",), (CONFIG_23, CONFIG_20, CONFIG_25)),
    "video connector": (partial(ConnectorParams.from_config, modality="video"), ("transformer",), (CONFIG_23,)),
    "audio connector": (partial(ConnectorParams.from_config, modality="audio"), ("transformer",), (CONFIG_23,)),
    "projection": (
        partial(FeatureExtractorParams.from_config, hidden_size=3840, states=49),
        ("transformer",),
        (CONFIG_23,),
    ),
    "video VAE": (VideoVAEParams.from_config, ("vae",), (CONFIG_23,)),
    "audio VAE": (AudioVAEParams.from_config, ("audio_vae",), (CONFIG_23, CONFIG_20)),
    "vocoder": (VocoderParams.from_config, ("audio_vae", "vocoder"), (CONFIG_23, CONFIG_20)),
    "duration head": (partial(DurationHeadParams.from_shapes, HEAD_SHAPES), ("duration_head",), (DURATION_HEAD,)),
    "diffusion decoder": (DiffusionDecoderParams.from_config, ("vae",), (DIFFUSION_DECODER,)),
    "upsampler": (UpsamplerParams.from_config, tuple(UPSAMPLER), (UPSAMPLER,)),
    "Gemma": (GemmaParams.from_hf_config, ("model_type", "text_config"), (GEMMA,)),
    "Gemma-4": (Gemma4Params.from_hf_config, ("model_type", "text_config"), (GEMMA_4,)),
    "newer Gemma-4": (Gemma4Params.from_hf_config, tuple(NEWER_GEMMA_4), (NEWER_GEMMA_4,)),
    "newer Gemma": (GemmaParams.from_hf_config, tuple(NEWER_GEMMA), (NEWER_GEMMA,)),
}
CASES = [
    pytest.param(read, {key: config[key] for key in sections}, id=f"{name} {number}")
    for name, (read, sections, configs) in READERS.items()
    for number, config in enumerate(configs)
]


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The way to every value in a JSON value, tables and lists included."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield (*path, key)
        yield from places(inner, (*path, key))


def changed(config: dict, path: tuple[str | int, ...], *value: Any) -> dict:
    """The config with `value` at `path`, or without what stands there."""
    config = copy.deepcopy(config)
    table = reduce(operator.getitem, path[:-1], config)
    if value:
        table[path[-1]] = value[0]
    else:
        del table[path[-1]]
    return config


def reads_or_refuses(read: Callable[[dict], Any], config: dict) -> None:
    start = time.process_time()
    try:
        hash(read(config))
    except CheckpointError as error:
        text = str(error)
        assert "expected" in text and text.endswith(".") and len(text) < 1000, text
        assert "download" not in text.lower() and "damaged" not in text, text
    assert time.process_time() - start < 0.5


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


ODD = [None, True, False, 0, 1, -1, 3, 2**31, 10**300, 0.5, 1e-320, 1e308, float("nan"), float("inf"), -float("inf"),
       "", "3", "x" * 10_000, "\ud800", [], [0], [[]], [None], [-1], [10**300] * 3, [1] * 10_000, [[1, "x"]],
       nested(300), {}, {"a": 1}, [{}], {"rope_type": []}, [["res_x", []]], [[[], 1]]]  # fmt: skip


@pytest.mark.parametrize(("read", "config"), CASES)
def test_an_odd_value_in_any_place_is_read_or_refused(read, config):
    for path in places(config):
        reads_or_refuses(read, changed(config, path))
        for value in ODD:
            reads_or_refuses(read, changed(config, path, value))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize(("read", "config"), CASES)
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_any_json_in_any_place_is_read_or_refused(read, config, data):
    path = data.draw(st.sampled_from(list(places(config))))
    reads_or_refuses(read, changed(config, path, data.draw(JSON)))


@pytest.mark.parametrize("shape", [(), (0,), (3, 4), (10**9,)])
def test_odd_shapes_of_gemma_are_read_or_refused(shape):
    shapes = {
        "embed_tokens.weight": (64, 8),
        "norm.weight": (8,),
        "layers.0.self_attn.q_norm.weight": (4,),
        "layers.0.self_attn.q_proj.weight": (16, 8),
        "layers.0.self_attn.k_proj.weight": (8, 8),
        "layers.0.mlp.gate_proj.weight": (16, 8),
    }
    assert GemmaParams.from_shapes(shapes).heads == 4
    for name in shapes:
        with suppress(CheckpointError):
            assert GemmaParams.from_shapes(shapes | {name: shape}).heads > 0


STAGES = ((5, 2, 2, 2, 2, 2), (11, 4, 4, 4, 4, 4))
STAGES_BWE = ((6, 5, 2, 2, 2), (12, 11, 4, 4, 4))
STAGES_20 = ((6, 5, 2, 2, 2), (16, 15, 8, 4, 4))
RESBLOCKS = ((3, 7, 11), ((1, 3, 5),) * 3)
AUDIO_VAE = AudioVAEParams(2, 2, 128, (1, 2, 4), 2, 8, 64, 16000, 160, 1024)
GEMMA_4_ROPES = (GemmaRope(1e4), GemmaRope(1e6, 1.0, 0.25))
GEMMA_ROPES = (GemmaRope(1e6, 8.0), GemmaRope(1e4, 1.0))
PUBLISHED = TransformerParams(
    48,
    StreamParams(32, 128, 128, 128, 4096, (20, 2048, 2048)),
    StreamParams(32, 64, 128, 128, 2048, (20,)),
    norm_eps=1e-6,
    theta=10000.0,
    frequencies_float64=True,
    timestep_scale=1000,
    cross_gate_timestep_scale=1000.0,
    gated=True,
    text_adaln=True,
    caption_channels=None,
)
VIDEO_25 = replace(PUBLISHED.video, feed_forward_bias=False)
DEFAULTS = {
    "frequencies_float64": False,
    "cross_gate_timestep_scale": 1,
    "gated": False,
    "text_adaln": False,
    "caption_channels": 3840,
}


@pytest.mark.parametrize(
    ("case", "params"),
    [
        ("transformer 0", PUBLISHED),
        ("transformer 1", replace(PUBLISHED, **DEFAULTS)),
        ("transformer 2", replace(PUBLISHED, video=VIDEO_25, keyframe_embedding=True)),
        ("video connector 0", ConnectorParams(32, 128, 8, True, 4096)),
        ("audio connector 0", ConnectorParams(32, 64, 8, True, 4096)),
        ("projection 0", FeatureExtractorParams(3840, 49, 4096, 2048)),
        ("audio VAE 0", AUDIO_VAE),
        ("audio VAE 1", AUDIO_VAE),
        (
            "vocoder 0",
            VocoderParams(
                GeneratorParams(64, 1536, *STAGES, *RESBLOCKS, False, "clamp"),
                BandwidthExtensionParams(
                    GeneratorParams(64, 512, *STAGES_BWE, *RESBLOCKS, False, None), 16000, 48000, 80, 512, 64
                ),
                48000,
            ),
        ),
        ("vocoder 1", VocoderParams(GeneratorParams(64, 1024, *STAGES_20, *RESBLOCKS, True, "tanh"), None, 24000)),
        ("duration head 0", DurationHeadParams(queries=2, heads=8)),
        ("upsampler 0", UpsamplerParams(128, 1024, 4, Fraction(3, 2), 1, True)),
        ("Gemma 0", GemmaParams(262208, 3840, 15360, 16, 8, 256, (True,) * 5 + (False,), 1024, *GEMMA_ROPES)),
        (
            "Gemma-4 0",
            Gemma4Params(
                262144,
                3840,
                15360,
                16,
                (True,) * 5 + (False,),
                1024,
                Gemma4Heads(256, 8, GEMMA_4_ROPES[0]),
                Gemma4Heads(512, 1, GEMMA_4_ROPES[1], keys_are_values=True),
            ),  # fmt: skip
        ),
        (
            "newer Gemma-4 0",
            Gemma4Params(
                262144,
                2304,
                9216,
                8,
                (True, False),
                1024,
                Gemma4Heads(256, 4, GEMMA_4_ROPES[0]),
                Gemma4Heads(128, 4, GEMMA_4_ROPES[1]),
            ),  # fmt: skip
        ),
        ("newer Gemma 0", GemmaParams(262208, 2304, 9216, 8, 4, 256, (True,) * 5 + (False,), 4096, *GEMMA_ROPES)),
    ],
)
def test_published_configs(case, params):
    """The video VAE's stands in its own test."""
    read, config = next(found.values for found in CASES if found.id == case)
    assert read(config) == params


@pytest.mark.parametrize(
    ("case", "path", "value", "error", "words"),
    [
        (
            "transformer 1",
            ("transformer", "caption_channels"),
            None,
            CheckpointError,
            "caption_channels = None, expected",
        ),
        ("transformer 0", ("transformer", "num_layers"), 10**6, CheckpointError, "from 1 to 1,000"),
        ("transformer 0", ("transformer", "ff_bias"), None, CheckpointError, "ff_bias = None, expected true or false"),
        (
            "transformer 0",
            ("transformer", "share_ff"),
            True,
            CheckpointError,
            "share_ff = True, expected False. Use an",
        ),
        (
            "transformer 0",
            ("transformer", "norm_eps"),
            float("nan"),
            CheckpointError,
            "norm_eps = nan, expected a number",
        ),
        ("video VAE 0", ("vae", "timestep_conditioning"), True, VariantError, "timestep_conditioning = True"),
        ("video VAE 0", ("vae", "_class_name"), [], VariantError, "expected 'CausalVideoAutoencoder'"),
        (
            "video VAE 0",
            ("vae", "encoder_blocks", 1, 0),
            "conv",
            CheckpointError,
            r"vae.encoder_blocks\[1\].name = 'conv', expected one of 'res_x'",
        ),
        ("vocoder 0", ("vocoder", "bwe"), None, CheckpointError, "vocoder.bwe = None, expected a table"),
        ("audio VAE 0", ("audio_vae",), 3, CheckpointError, "no 'audio_vae' section"),
    ],
)
def test_refusals_name_the_entry(case, path, value, error, words):
    read, config = next(found.values for found in CASES if found.id == case)
    with pytest.raises(CheckpointError, match=words) as refusal:
        read(changed(config, path, value))
    assert type(refusal.value) is error


def test_a_missing_entry_without_default_is_named():
    read, config = TransformerParams.from_config, {"transformer": CONFIG_20["transformer"]}
    with pytest.raises(CheckpointError, match="lacks transformer.caption_channels, expected a whole number"):
        read(changed(config, ("transformer", "caption_channels")))
