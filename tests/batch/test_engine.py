"""One engine in this process: what it refuses, and what it says of its work."""

from dataclasses import replace

import torch

from ltx_duo.scripts.batching.engine import Engine, ModelFiles
from ltx_duo.scripts.batching.foreman import Made, Refused
from ltx_duo.scripts.batching.jobs import ImageFile, Job, SoundFile
from ltx_duo.scripts.demo import media, photo
from ltx_duo.tests.servers import write_tone

JOB = Job(1, "a red star moving to the left", width=128, height=128, frames=9, fps=24.0, steps=1, seed=3)


def test_a_film_with_everything(engine, tmp_path):
    image = photo.draw(tmp_path / "lake.png", 96, 64)
    sound = write_tone(tmp_path / "tone.wav")
    job = replace(
        JOB, images=(ImageFile(image), ImageFile(image, -1, 0.5)), sound=SoundFile(sound, 0.1), tiling="whole"
    )
    made = engine.make(job, [image.read_bytes(), image.read_bytes(), sound.read_bytes()])
    assert isinstance(made, Made)
    (tmp_path / "film.mp4").write_bytes(made.film)
    info = media.probe(tmp_path / "film.mp4")
    assert (info.width, info.height, info.frames, info.sample_rate) == (128, 128, 9, 22050)
    assert made.seconds > 0


def test_what_is_wrong_with_a_job_is_an_answer(engine, tmp_path):
    whole = photo.draw(tmp_path / "lake.png", 96, 64).read_bytes()
    cut = engine.make(replace(JOB, images=(ImageFile("lake.png"),)), [whole[: len(whole) // 2]])
    assert isinstance(cut, Refused)
    assert "cannot be decoded" in cut.reason
    noise = engine.make(replace(JOB, sound=SoundFile("a.wav")), [b"no sound"])
    assert "sound cannot be decoded" in noise.reason
    blocks = engine.make(replace(JOB, guidance={"stg_blocks": (47,)}), [])
    assert "STG blocks [47] do not exist" in blocks.reason
    assert isinstance(engine.make(JOB, []), Made)


def test_warnings_come_with_the_film(engine, monkeypatch):
    from ltx_duo.scripts.batching import engine as module

    original = module.generate

    def warning(*arguments, **options):
        module.logging.getLogger("ltx_duo").warning("LTX Duo: %s does nothing.", "a LoRA")
        return original(*arguments, **options)

    monkeypatch.setattr(module, "generate", warning)
    assert engine.make(JOB, []).said == ("LTX Duo: a LoRA does nothing.",)
    monkeypatch.undo()
    assert engine.make(JOB, []).said == ()


def test_models_that_do_not_belong_together(model_files):
    wrong = Engine(replace(model_files, upsampler=model_files.checkpoint), torch.get_num_threads()).load()
    assert isinstance(wrong, Refused)
    gone = Engine(ModelFiles("/gone.safetensors", "/gemma", "/up.safetensors"), torch.get_num_threads()).load()
    assert "/gone.safetensors, /gemma, /up.safetensors is not there on " in gone.reason
