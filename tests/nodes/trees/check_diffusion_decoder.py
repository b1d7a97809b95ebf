"""LTX-2.5's diffusion decoder in the decode node: tiles, memory, noise, cancelling, and what is warned of.

That the whole film is the library's: check_ltx_2_5.
"""

import pytest
import torch

from ltx_duo.ltx_core.checkpoint import Component
from ltx_duo.ltx_core.errors import VariantError
from ltx_duo.ltx_core.generation import Generation
from ltx_duo.ltx_core.loading import load_component
from ltx_duo.ltx_core.video_vae.diffusion_tiling import decode_by_diffusion
from ltx_duo.ltx_core.video_vae.tiling import Tiling
from ltx_duo.nodes.comfyui import files, latents, picture_decoding, tiles
from ltx_duo.nodes.comfyui.latents import StageInfo
from ltx_duo.nodes.names import VAE_FOLDERS
from ltx_duo.scripts.small_model_parts.write_split import split_files

FILES = split_files("ltx-2.5-small")
AUDIO, DIFFUSION, CONV = (path.name for path in (FILES.audio_vae, FILES.diffusion_vae, FILES.video_vae))
CUSTOM = {"tile_size": 128, "tile_overlap": 32, "tile_frames": 32, "tile_frame_overlap": 8}
DEFAULTS = {"tile_size": 768, "tile_overlap": 64, "tile_frames": 80, "tile_frame_overlap": 24}
SEED = 31


@pytest.fixture(scope="module")
def diffusion_vae(run):
    with torch.inference_mode():
        return run("VAELoader", checkpoint=DIFFUSION, audio_file=AUDIO)


@pytest.fixture(scope="module")
def engine():
    """The decoder by the library, in float32."""
    checkpoint = files.open_checkpoint(DIFFUSION, VAE_FOLDERS)
    with torch.inference_mode():
        return load_component(checkpoint, Component.DIFFUSION_DECODER, dtype=torch.float32)


@pytest.fixture(scope="module")
def video():
    return torch.randn(1, 128, 5, 4, 6, generator=torch.Generator().manual_seed(4))


def generator() -> torch.Generator:
    made = torch.Generator().manual_seed(SEED)
    torch.randn(100, generator=made)  # somewhere behind its seed
    return made


@pytest.fixture
def latent(video):
    """As a stage leaves it, but for the sound."""
    info = StageInfo(24.0, "cpu", generator().get_state(), Generation.V2_5)
    return latents.make(video, None, info)


@pytest.fixture
def decoded(nodes, diffusion_vae):
    """Executes the decode node: its frames, and what it shows."""

    def execute(latent, tiling="auto", **changes):
        done = nodes["LTXDuoAVDecode"].execute(
            latent=latent, vae=diffusion_vae, tiling=tiling, **{**DEFAULTS, **changes}
        )
        return done.args[1], "\n".join((done.ui or {}).get("text", ()))

    return execute


@pytest.mark.parametrize("tiling", ["auto", "off"])
def test_in_one_piece_it_is_the_librarys(tiling, decoded, engine, latent, video, measured):
    frames, text = decoded(latent, tiling)
    theirs = decode_by_diffusion(engine, video, generator(), None)
    measured(f"diffusion decoder in the node, {tiling}", "the library", frames, theirs, 1e-5)
    assert not text


def test_in_tiles_it_is_the_librarys(decoded, engine, latent, video, measured):
    frames, text = decoded(latent, "custom", **CUSTOM)
    theirs = decode_by_diffusion(engine, video, generator(), Tiling(*CUSTOM.values()))
    measured("diffusion decoder in the node, tiles", "the library", frames, theirs, 1e-5)
    assert "sees 160 pixels and 40 frames around: with tile_overlap 32 and tile_frame_overlap 8" in text


def test_a_latent_without_a_record_gets_the_noise_of_seed_0(decoded, engine, video):
    frames, text = decoded({"samples": video})
    theirs = decode_by_diffusion(engine, video, torch.Generator().manual_seed(0), None)
    assert (frames - theirs).abs().max() < 1e-5
    assert "does not tell where the stages' random numbers stopped" in text


def test_the_other_decoder_says_nothing_of_noise(run, nodes, latent):
    vae = run("VAELoader", checkpoint=CONV, audio_file=AUDIO)
    done = nodes["LTXDuoAVDecode"].execute(latent={"samples": latent["samples"]}, vae=vae, tiling="off", **DEFAULTS)
    assert "random numbers" not in "".join((done.ui or {}).get("text", ()))


def test_where_memory_runs_out_the_next_tiles_begin_with_the_same_noise(decoded, engine, latent, video, monkeypatch):
    """The first way fails behind its first draw."""
    asked = []
    real = picture_decoding.decode_by_diffusion

    def decode(module, latent, own, way, reporter):
        asked.append(way)
        if len(asked) == 1:
            torch.randn(7, generator=own)
            raise torch.OutOfMemoryError("no room")
        return real(module, latent, own, way, reporter)

    monkeypatch.setattr(picture_decoding, "decode_by_diffusion", decode)
    frames, _ = decoded(latent)
    assert asked == [None, picture_decoding.DIFFUSION_TILING]
    theirs = decode_by_diffusion(engine, video, generator(), picture_decoding.DIFFUSION_TILING)
    assert (frames - theirs).abs().max() < 1e-5


def test_less_memory_means_smaller_tiles(decoded, latent, monkeypatch):
    asked = []
    monkeypatch.setattr(picture_decoding, "diffusion_decoder", lambda *args: 1.0 if args[4] == last else 10.0**15)
    monkeypatch.setattr(tiles, "available_memory", lambda component: 10.0**9)
    real = picture_decoding.decode_by_diffusion
    monkeypatch.setattr(picture_decoding, "decode_by_diffusion", lambda *args: (asked.append(args[3]), real(*args))[1])
    last = picture_decoding.DIFFUSION_TILINGS[-1]
    decoded(latent)
    assert asked == [last]


def test_the_noise_of_another_kind_of_device_is_not_gone_on_with(video):
    info = StageInfo(24.0, "cuda", torch.zeros(16, dtype=torch.uint8), Generation.V2_5)
    made, told = picture_decoding._generator(info, torch.device("cpu"))
    assert told == picture_decoding.NO_RECORD and made.initial_seed() == picture_decoding.SEED
    info = StageInfo(24.0, "cpu", generator().get_state(), Generation.V2_5)
    made, told = picture_decoding._generator(info, torch.device("cpu"))
    assert told is None and torch.equal(made.get_state(), info.generator_state)


def test_it_can_be_cancelled_and_counts_its_tiles(decoded, latent, monkeypatch):
    import comfy.model_management as mm

    steps = []
    real = picture_decoding.decode_by_diffusion

    def decode(module, latent, own, way, reporter):
        monkeypatch.setattr(type(reporter), "step", lambda self, done, total: steps.append((done, total)))
        return real(module, latent, own, way, reporter)

    monkeypatch.setattr(picture_decoding, "decode_by_diffusion", decode)
    decoded(latent, "custom", **CUSTOM)
    assert steps[-1][0] == steps[-1][1] > 1
    mm.interrupt_current_processing()
    with pytest.raises(mm.InterruptProcessingException):
        decoded(latent)


def test_latents_of_other_generations_are_refused(decoded, video):
    info = StageInfo(24.0, "cpu", generator().get_state(), Generation.V2_3)
    with pytest.raises(VariantError, match=r"latent is of LTX-2\.3, but vae is of LTX-2\.5"):
        decoded(latents.make(video, None, info))
