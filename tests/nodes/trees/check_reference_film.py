"""A reference film in our samplers: which stage reads it and at which size, and what is said of it."""

import fractions

import comfy.latent_formats
import pytest
import torch
from safetensors.torch import load_file, save_file

from ltx_duo.ltx_core.errors import CheckpointError, ConditioningError, GeometryError, VariantError
from ltx_duo.ltx_core.kernels.attention import scaled_dot_product
from ltx_duo.ltx_core.sampling.conditions import FirstFrame, GivenSound, Reference
from ltx_duo.nodes.comfyui import attention, core_model, latents

SIZE = {"width": 256, "height": 128}  # stage one is 128x64, a reference of half the size 64x32
FACTOR = "reference_downscale_factor"


@pytest.fixture
def video():
    """A VIDEO, without ComfyUI's own class, which older ones do not have."""

    def make(frames: int = 9, height: int = 50, width: int = 90, fps: float = 25.0, sound: GivenSound | None = None):
        class Video:
            def get_components(self):
                from types import SimpleNamespace

                audio = None if sound is None else {"waveform": sound.waveform[None], "sample_rate": sound.sample_rate}
                rate = fractions.Fraction(fps).limit_denominator(1001)
                return SimpleNamespace(images=torch.rand(frames, height, width, 3), audio=audio, frame_rate=rate)

        return Video()

    return make


@pytest.fixture
def reference(run, video):
    def make(source=None, **inputs):
        given = {"strength": 1.0, "attention_strength": 1.0, "stage_two": "none"} | inputs
        return run("ReferenceVideo", video=source or video(), **given)

    return make


@pytest.fixture
def ic_lora(models, names, folder):
    """A file of the small model's LoRA with other metadata."""

    def write(name: str = "ic-lora.safetensors", **metadata: str) -> str:
        save_file(load_file(models / "loras" / names.lora), folder("loras") / name, metadata)
        return name

    return write


@pytest.fixture
def with_ic_lora(run, model, ic_lora):
    def add(one: float = 1.0, two: float = 0.0, base=None, name: str = "ic-lora.safetensors", **metadata: str):
        lora = ic_lora(name, **metadata)
        return run("LoraLoader", model=base or model, lora=lora, strength_stage_one=one, strength_stage_two=two)

    return add


@pytest.fixture
def told(nodes, vae, texts, names):
    """What LTX Stage One Sampler says on itself, below the line of figures."""

    def say(model, given, **changes) -> str:
        inputs = {"vae": vae, "positive": texts[0], "negative": texts[1], "seed": 1, "noise_device": "cpu"}
        size = {**names.size, **SIZE, **changes}
        done = nodes["LTXDuoStageOneSampler"].execute(model=model, conditions=given, **inputs, **size)
        return "\n".join(done.ui["text"][1:])

    return say


def test_stage_one_alone_reads_it(with_ic_lora, reference, conditions, stage_one, stage_two, enlarged, watched):
    model = with_ic_lora(**{FACTOR: "2"})
    given, *_ = reference(strength=0.8, conditions=conditions)
    second = stage_two(model, enlarged(stage_one(model, conditions=given, **SIZE)), conditions=given)
    image, seen = watched[0].video.conditions
    assert isinstance(image, FirstFrame) and isinstance(seen, Reference)
    assert seen.latent.shape == (1, 128, 2, 1, 2) and (seen.downscale_factor, seen.strength) == (2, 0.8)
    assert [type(condition) for condition in watched[1].video.conditions] == [FirstFrame]
    assert latents.take(second)[0].shape == (1, 128, 2, 4, 8)


def test_stage_two_reads_it_where_it_is_asked(with_ic_lora, reference, stage_one, stage_two, enlarged, watched):
    model = with_ic_lora(two=1.0, **{FACTOR: "2"})
    given, *_ = reference(stage_two="same")
    given, *_ = reference(conditions=given)
    stage_two(model, enlarged(stage_one(model, conditions=given, **SIZE)), conditions=given)
    assert [own.latent.shape[3:] for own in watched[0].video.conditions] == [(1, 2), (1, 2)]
    assert [own.latent.shape[3:] for own in watched[1].video.conditions] == [(2, 4)]


def test_the_node_says_a_factor_where_the_file_says_none(with_ic_lora, reference, stage_one, watched):
    for metadata, factor, expected in (({}, "2", 2), ({}, "auto", 1), ({FACTOR: "2"}, "1", 1), ({FACTOR: "x"}, "2", 2)):
        given, *_ = reference(downscale_factor=factor)
        stage_one(with_ic_lora(**metadata), conditions=given, **SIZE)
        assert watched[-1].video.conditions[0].downscale_factor == expected


def test_a_lora_that_is_off_has_no_say(with_ic_lora, reference, stage_one, watched):
    """Not even where the one that acts says another factor, and where it says nonsense."""
    for said in ("4", "x"):
        off = with_ic_lora(one=0.0, name="off.safetensors", **{FACTOR: said})
        stage_one(with_ic_lora(base=off, **{FACTOR: "2"}), conditions=reference()[0], **SIZE)
        assert watched[-1].video.conditions[0].downscale_factor == 2


def test_comfyuis_own_lora_loader_tells_the_factor(ic_lora, names, reference, stage_one, watched):
    """Where it keeps the metadata: in newer ones on the MODEL."""
    if not hasattr(comfy.latent_formats, "LTXAV"):
        pytest.skip("this ComfyUI has no audio-video model")
    import nodes as core

    theirs = core.CheckpointLoaderSimple().load_checkpoint(names.checkpoint)[0]
    patched = core.LoraLoaderModelOnly().load_lora_model_only(theirs, ic_lora(**{FACTOR: "2"}), 1.0)[0]
    if patched.get_attachment(core_model.LORA_METADATA) is None:
        pytest.skip("this ComfyUI keeps no metadata of LoRAs")
    given, *_ = reference()
    stage_one(patched, conditions=given, **SIZE)
    assert watched[-1].video.conditions[0].downscale_factor == 2


@pytest.mark.parametrize(
    "strengths", [{"attention_strength": 0.3}, {"mask": torch.zeros(1, 20, 20)}, {"strength": 0.2}]
)
def test_what_is_seen_of_it_changes_the_film(with_ic_lora, reference, video, stage_one, strengths, same):
    source, model = video(), with_ic_lora()
    frames = source.get_components().images

    def fixed():
        class Same:
            def get_components(self):
                from types import SimpleNamespace

                return SimpleNamespace(images=frames, audio=None, frame_rate=fractions.Fraction(25))

        return Same()

    full, again, less = (stage_one(model, conditions=reference(fixed(), **s)[0], **SIZE) for s in ({}, {}, strengths))
    assert same(full, again) and not same(full, less)


def test_chosen_attention_is_left_out_where_there_is_a_bias(monkeypatch, with_ic_lora, reference, told):
    """Kernels that a flag asks for may leave a mask out: with one it is PyTorch's that computes."""
    seen = []

    def kernel(q, k, v, heads, mask=None, **_):
        seen.append(mask)
        return scaled_dot_product(q, k, v)

    monkeypatch.setattr(attention.args, "use_sage_attention", True, raising=False)
    monkeypatch.setattr(attention.comfy.ldm.modules.attention, "optimized_attention", kernel)
    q, mask = torch.randn(1, 2, 5, 8), torch.randn(1, 1, 5, 5)
    assert torch.equal(attention.through_comfyui(q, q, q, mask), scaled_dot_product(q, q, q, mask)) and not seen
    assert torch.equal(attention.through_comfyui(q, q, q), scaled_dot_product(q, q, q)) and seen == [None]
    weaker, *_ = reference(attention_strength=0.5)
    assert "not by --use-sage-attention" in told(with_ic_lora(), weaker)
    full, *_ = reference()
    assert "sage" not in told(with_ic_lora(), full)


def test_what_computed_attention_because_it_is_installed_is_named(monkeypatch, with_ic_lora, reference, told):
    """With the number of tokens that it saw, the reference's among them; not where there is a bias, nor a flag."""
    monkeypatch.setattr(attention, "flash_name", lambda device, tokens: f"kernel for {tokens} on {device}")
    (full, *_), (weaker, *_) = reference(), reference(attention_strength=0.5)

    def named(given) -> int:
        (line,) = (line for line in told(with_ic_lora(), given).splitlines() if "kernel" in line)
        tokens = int(line.split(" for ")[1].split()[0])
        assert line == f"Attention of the video's {tokens} tokens: kernel for {tokens} on cpu"
        return tokens

    assert named(full) > named(None)
    assert "kernel" not in told(with_ic_lora(), weaker)
    monkeypatch.setattr(attention.args, "use_pytorch_cross_attention", True)
    assert "kernel" not in told(with_ic_lora(), full)


def test_an_override_on_the_model_is_named(names, reference, told):
    if not hasattr(comfy.latent_formats, "LTXAV"):
        pytest.skip("this ComfyUI has no audio-video model")
    import nodes as core

    theirs = core.CheckpointLoaderSimple().load_checkpoint(names.checkpoint)[0].clone()

    def their_kernel(function, *arguments, **options):
        assert options.get("mask") is None
        return function(*arguments, **options)

    theirs.model_options["transformer_options"]["optimized_attention_override"] = their_kernel
    weaker, *_ = reference(attention_strength=0.5)
    said = told(theirs, weaker)
    assert "optimized_attention_override" in said and "their_kernel" in said and "no IC-LoRA acts" in said


def test_what_is_said_of_it(with_ic_lora, model, reference, video, told):
    ic = with_ic_lora(**{FACTOR: "2"})
    assert told(ic, reference()[0]) == ""
    assert "no IC-LoRA acts in stage one" in told(model, reference()[0])
    assert "30 frames a second" in told(ic, reference(video(fps=30.0))[0])
    assert "last 4 are not read" in told(ic, reference(video(13))[0])
    assert "9 frames are read" in told(ic, reference(video(12))[0], frames=17)
    assert "strength is 0" in told(ic, reference(strength=0.0)[0])


def test_the_size_of_a_film_like_it(reference, video):
    assert reference(video(30, 700, 1300, 23.976))[1:] == (1280, 640, 25, pytest.approx(23.976, abs=1e-3))
    assert reference(video(1, 40, 90))[1:] == (128, 128, 1, 25.0)


def test_the_lora_loader_says_what_it_reads(nodes, model, ic_lora):
    import asyncio

    def said(**metadata) -> str:
        inputs = {"lora": ic_lora(**metadata), "strength_stage_one": 1.0, "strength_stage_two": 0.0}
        return asyncio.run(nodes["LTXDuoLoraLoader"].execute(model=model, **inputs)).ui["text"][0]

    assert "an IC-LoRA: a reference of 1/2 of the size" in said(**{FACTOR: "2"})
    assert "every 4th frame" in said(reference_temporal_scale_factor="4")
    assert "says reference_downscale_factor 'two'" in said(**{FACTOR: "two"})


def test_what_does_not_fit_is_refused_before_anything_is_loaded(with_ic_lora, reference, stage_one, watched):
    given, *_ = reference()
    two = with_ic_lora(base=with_ic_lora(**{FACTOR: "2"}), name="other.safetensors", **{FACTOR: "4"})
    with pytest.raises(VariantError, match="references of different size"):
        stage_one(two, conditions=given, **SIZE)
    with pytest.raises(GeometryError, match="1/2 of the size"):
        stage_one(with_ic_lora(**{FACTOR: "2"}), conditions=given, width=192, height=128)
    with pytest.raises(CheckpointError, match=f"says {FACTOR} 'x'"):
        stage_one(with_ic_lora(**{FACTOR: "x"}), conditions=given, **SIZE)
    assert not watched


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"source": "a film"}, "holds a str; expected VIDEO"),
        ({"mask": torch.rand(4, 8, 8)}, "attention mask has shape .4, 8, 8., expected .1 or 9"),
        ({"mask": torch.rand(2, 3, 4, 8)}, "attention mask is .2, 3, 4, 8.; expected MASK"),
    ],
)
def test_what_is_no_reference_is_refused(reference, inputs, words):
    with pytest.raises(ConditioningError, match=words):
        reference(**inputs)


def test_the_sources_sound_is_kept_on_request(run, with_ic_lora, reference, vae, names, stage_one):
    """LTX Sound Condition in the same chain, with the film's own sound."""
    own = {"waveform": torch.randn(1, 2, 16000) * 0.1, "sample_rate": 16000}
    chain, _ = run("SoundCondition", audio=own, start=0.0, fps=25.0)
    given, *_ = reference(conditions=chain)
    latent = stage_one(with_ic_lora(), conditions=given, **SIZE)
    out = run("AVDecode", latent=latent, vae=vae, tiling="off", **names.tiles)[2]
    assert torch.equal(out["waveform"], own["waveform"][..., : round(9 / 25 * 16000)])


def test_it_counts_in_the_estimates(with_ic_lora, reference, stage_one, monkeypatch):
    from ltx_duo.nodes.comfyui import stage_run

    asked, estimate = [], stage_run.memory_estimates.transformer

    def watch(params, geometry, rows, extra=0, *rest, **more):
        asked.append((extra * geometry.frame_tokens, more))
        return estimate(params, geometry, rows, extra, *rest, **more)

    monkeypatch.setattr(stage_run.memory_estimates, "transformer", watch)
    given, *_ = reference(attention_strength=0.5)
    stage_one(with_ic_lora(**{FACTOR: "2"}), conditions=given, **SIZE)
    assert asked[-1] == (2 * 1 * 2, {"extra_audio": 0, "biased": True})
