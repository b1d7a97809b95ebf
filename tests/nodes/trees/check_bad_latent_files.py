"""Whatever a .latent file holds, LTX Load Latent opens it or says in one sentence what is wrong with it."""

import json
import math
import os
import struct

import folder_paths
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from ltx_duo.ltx_core.errors import CheckpointError, LTXError
from ltx_duo.nodes.comfyui import latent_files, latents

VIDEO, AUDIO = torch.randn(1, 128, 3, 2, 4), torch.randn(1, 8, 18, 16)
STATE = torch.Generator().manual_seed(4).get_state()
NAME = "strange.latent [output]"
HUGE = 2**62


def place() -> str:
    os.makedirs(folder_paths.get_output_directory(), exist_ok=True)
    return os.path.join(folder_paths.get_output_directory(), "strange.latent")


def message_of(tensors: dict, info: str | None = None) -> str:
    """What Load Latent says of a file with these tensors and this text as our metadata."""
    metadata = None if info is None else {"ltx_duo": info}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, place(), metadata=metadata)
    with pytest.raises(CheckpointError) as caught:
        latent_files.load(NAME)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    return str(caught.value)


def info(**changes) -> str:
    return json.dumps({"fps": 25.0, "generator_device": "cpu", **changes})


@pytest.mark.parametrize(
    "tensors, words",
    [
        ({"other": VIDEO}, "not a saved latent"),
        ({"latent_tensor": VIDEO[:, :4]}, "(1, 4, 3, 2, 4); expected (1, 128"),
        ({"latent_tensor": VIDEO[0]}, "(128, 3, 2, 4); expected (1, 128"),
        ({"latent_tensor": VIDEO[:, :, :0]}, "(1, 128, 0, 2, 4); expected (1, 128"),
        ({"latent_tensor": AUDIO}, "sound alone"),
        ({"latent_tensor": torch.cat([VIDEO] * 4)}, "batch of 4 videos"),
        ({"latent_tensor": VIDEO.int()}, "type I32; expected one of F32"),
        ({"latent_tensor": VIDEO.to(torch.complex64)}, "type C64; expected one of F32"),
        ({"latent_tensor": VIDEO.bool()}, "type BOOL; expected one of F32"),
        ({"latent_tensor": VIDEO * math.nan}, "NaN or infinite"),
        ({"latent_tensor": VIDEO, "audio_tensor": AUDIO.long()}, "sound is of the type I64"),
        ({"latent_tensor": VIDEO, "audio_tensor": AUDIO[..., :8]}, "(1, 8, 18, 8); expected (1, 8, T, 16)"),
        ({"latent_tensor": VIDEO, "audio_tensor": AUDIO[0]}, "expected (1, 8, T, 16)"),
        ({"latent_tensor": VIDEO, "audio_tensor": AUDIO / 0}, "NaN or infinite"),
        ({"latent_tensor": VIDEO, "audio_tensor": AUDIO[:, :, :9]}, "17 frames at 25 frames a second"),
    ],
)
def test_tensors_of_another_kind(tensors, words):
    assert words in message_of({"generator_state": STATE, **tensors}, info())


@pytest.mark.parametrize(
    "state, words",
    [
        (STATE[:100], "100 bytes, expected the 5056"),
        (STATE[:0], "0 bytes, expected the 5056"),
        (torch.cat([STATE, STATE]), "10112 bytes"),
        (STATE[None], "U8 of shape [1, 5056]"),
        (STATE.float(), "F32 of shape [5056]"),
        (STATE.to(torch.int8), "I8 of shape [5056]"),
        (torch.full_like(STATE, 255), "no state that a generator can have"),
        (None, "no 'generator_state'"),
    ],
)
def test_state_of_the_random_generator(state, words):
    tensors = {"latent_tensor": VIDEO} if state is None else {"latent_tensor": VIDEO, "generator_state": state}
    assert words in message_of(tensors, info())


def test_state_of_another_device():
    assert "expected the 16" in message_of(
        {"latent_tensor": VIDEO, "generator_state": STATE}, info(generator_device="cuda")
    )
    save_file(
        {"latent_tensor": VIDEO, "generator_state": STATE[:16]}, place(), {"ltx_duo": info(generator_device="cuda")}
    )
    assert latents.info_of(latent_files.load(NAME)).generator_device == "cuda"


@pytest.mark.parametrize(
    "text, words",
    [
        ("{}", "'fps'"),
        ("[", "cannot be read"),
        ("", "cannot be read"),
        ("null", "no table"),
        ("[1, 2]", "no table"),
        ('"fps"', "no table"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
        *((info(fps=fps), "'fps'") for fps in (1e-300, 5e-324, 0, -24, 1e300, None, "25", [25], {}, True)),
        *((info(fps=fps), "'fps'") for fps in (math.nan, math.inf, -math.inf, 10**300)),
        (info().replace("25.0", "9" * 5000), "cannot be read"),
        *((info(generation=name), "'generation'") for name in ("2.2", 2.3, "", [], {})),
        *((info(generator_device=name), "'generator_device'") for name in (None, 3, "", "../cpu", ["cpu"], "x" * 500)),
    ],
)  # fmt: skip
def test_metadata(text, words):
    assert words in message_of({"latent_tensor": VIDEO, "generator_state": STATE}, text)


def written(header: dict, data: bytes) -> None:
    raw = json.dumps(header).encode()
    with open(place(), "wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw + data)


@pytest.mark.parametrize("name", ["latent_tensor", "audio_tensor", "generator_state"])
@pytest.mark.parametrize("dtype", ["F32", "U8"])
@pytest.mark.parametrize("shape", [[0, HUGE, HUGE], [1, 128, 0, HUGE, HUGE], [HUGE, 0], [0] * 32, [], [1, 8, 0, 16]])
def test_shapes_that_take_no_bytes(name, dtype, shape):
    size = math.prod(shape) * (4 if dtype == "F32" else 1)
    picture, state = VIDEO.numpy().tobytes(), STATE.numpy().tobytes()
    parts = {"latent_tensor": ("F32", list(VIDEO.shape), picture), "generator_state": ("U8", [len(state)], state)}
    parts[name] = dtype, shape, bytes(size)
    header, data = {"__metadata__": {"ltx_duo": info()}}, b""
    for key, (kind, sizes, content) in parts.items():
        header[key] = {"dtype": kind, "shape": sizes, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    written(header, data)
    with pytest.raises(CheckpointError):
        latent_files.load(NAME)


SIZES = st.sampled_from([0, 1, 2, 3, 8, 16, 128, 5056, HUGE])
SHAPES = st.one_of(
    st.lists(SIZES, max_size=6), st.sampled_from([[1, 128, 1, 1, 1], [1, 8, 2, 16], [1, 8, 9, 16], [5056], [16]])
)
DTYPES = st.sampled_from(["F32", "F16", "BF16", "F64", "U8", "I64", "C64", "BOOL", "F8_E4M3", "F8_E8M0", "F4", "U16"])
BYTES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I64": 8, "C64": 8, "U16": 2, "F4": 0.5}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
INFOS = st.one_of(
    st.text(max_size=40),
    JSON.map(json.dumps),
    st.fixed_dictionaries(
        {"fps": JSON | st.just(24.0), "generator_device": JSON | st.sampled_from(["cpu", "cuda"])}
    ).map(json.dumps),
)


@settings(max_examples=400, deadline=None)
@given(
    tensors=st.dictionaries(
        st.sampled_from(["latent_tensor", "audio_tensor", "generator_state", "latent_format_version_0"]),
        st.tuples(DTYPES, SHAPES),
        min_size=1,
    ),
    text=st.none() | INFOS,
    change=st.none() | st.tuples(st.integers(0, 2000), st.integers(0, 255)),
)
def test_any_file_is_opened_or_explained(tensors, text, change):
    header, end = {} if text is None else {"__metadata__": {"ltx_duo": text}}, 0
    for name, (dtype, shape) in tensors.items():
        size = int(math.prod(shape) * BYTES.get(dtype, 1))
        size = size if size < 10**6 else 10
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    written(header, bytes(end))
    if change is not None:
        with open(place(), "r+b") as file:
            file.seek(min(change[0], os.fstat(file.fileno()).st_size - 1))
            file.write(bytes([change[1]]))
    try:
        loaded = latent_files.load(NAME)
    except LTXError as error:
        assert str(error)
    else:
        video, _ = latents.take(loaded)
        assert video.shape[:2] == (1, 128) and video.dtype == torch.float32 and 1 <= latents.fps_of(loaded) <= 1000
