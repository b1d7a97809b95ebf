"""Lists of jobs: what a line may say, and what is said of one that is wrong."""

import json
from pathlib import Path

import pytest

from ltx_duo.scripts.batching.faults import BatchError, Faults
from ltx_duo.scripts.batching.jobs import ImageFile, Job, SoundFile, read_jobs

WRONG = {
    '{"prompt": "a star"': "it is not JSON",
    '["a star"]': "expected an object",
    "{}": "no prompt",
    '{"prompt": null}': "no prompt",
    '{"prompt": 3}': "prompt is 3, expected text",
    '{"prompt": "\\ud800"}': "half a character",
    '{"prompt": "a", "promt": "b"}': "has no 'promt'; it may have prompt, name",
    '{"prompt": "a", "prompt": "b"}': "prompt is said twice",
    '{"prompt": "a", "seed": 1.5}': "seed is 1.5, expected a whole number",
    '{"prompt": "a", "seed": true}': "seed is true, expected a whole number",
    '{"prompt": "a", "seed": "7"}': 'seed is "7", expected a whole number',
    '{"prompt": "a", "fps": NaN}': "NaN is no number",
    '{"prompt": "a", "fps": 1e999}': "expected a number",
    '{"prompt": "a", "fps": 1' + 400 * "0" + "}": "expected a number",
    '{"prompt": "a", "seed": 1' + 5000 * "0" + "}": "too many digits",
    '{"prompt": "a", "name": "../b"}': "expected a file's name",
    '{"prompt": "a", "name": ".b"}': "expected a file's name",
    '{"prompt": "a", "name": "b."}': "expected a file's name",
    '{"prompt": "a", "name": ""}': "expected a file's name",
    '{"prompt": "a", "name": "' + 121 * "b" + '"}': "expected a file's name",
    '{"prompt": "a", "image": 3}': "image is 3, expected an object",
    '{"prompt": "a", "image": {"frame": 3}}': 'image has no "path"',
    '{"prompt": "a", "image": {"path": "b.png", "frames": 3}}': "image has no 'frames'",
    '{"prompt": "a", "image": ["b.png", {"path": "c.png", "frame": "last"}]}': 'image frame is "last"',
    '{"prompt": "a", "sound": {"path": "b.wav", "start": "0"}}': 'sound start is "0", expected a number',
    '{"prompt": "a", "guidance": "off"}': 'guidance (or "none") is "off"',
    '{"prompt": "a", "guidance": {"cfg": 3}}': "guidance has no 'cfg'; it may have video_cfg",
    '{"prompt": "a", "guidance": {"video_cfg": "3"}}': 'guidance video_cfg is "3"',
    '{"prompt": "a", "guidance": {"stg_blocks": 28}}': "expected a list of block numbers",
    '{"prompt": "a", "stage_one_sound": 1}': "stage_one_sound is 1, expected true or false",
    '{"prompt": "a", "tiling": "auto"}': 'expected "whole" or "tiles"',
    '{"prompt": "a", "set": {"steps": 3}}': "expected NODE.INPUT",
    '{"prompt": "a", "set": {"A.b": [1, 2]}}': "expected text, a number",
    '{"prompt": "a", "set": {"A.b": 1e999}}': "expected text, a number",
    "[" * 100000: "nested too deeply",
}


def read(tmp_path: Path, *lines: str) -> list[Job]:
    path = tmp_path / "jobs.jsonl"
    path.write_text("\n".join(lines))
    return read_jobs(path)


@pytest.mark.parametrize("line", WRONG, ids=lambda line: WRONG[line])
def test_a_wrong_line_is_named(line, tmp_path):
    with pytest.raises(Faults) as raised:
        read(tmp_path, '{"prompt": "good"}', "", line)
    (fault,) = raised.value.found
    assert fault.startswith("line 3: ")
    assert WRONG[line] in fault


def test_all_faults_come_at_once(tmp_path):
    with pytest.raises(Faults) as raised:
        read(tmp_path, *WRONG, '{"prompt": "good"}')
    assert len(raised.value.found) == len(WRONG)
    assert "and 5 more" in str(raised.value)
    assert str(raised.value).startswith("Nothing was started:\nline 1: ")


def test_names_differ_by_more_than_case(tmp_path):
    with pytest.raises(Faults, match="line 2: line 1 has the name 'Sea' too"):
        read(tmp_path, '{"prompt": "a", "name": "Sea"}', '{"prompt": "b", "name": "sea"}')


def test_everything_that_a_job_may_say(tmp_path):
    line = {
        "prompt": "Ein Stern, 星",
        "name": "star 1",
        "negative_prompt": "",
        "width": 256,
        "height": 128,
        "frames": 17,
        "fps": 25,
        "steps": 4,
        "seed": 2**64 - 1,
        "image": ["a.png", {"path": "/b.png", "frame": -1, "strength": 0.5, "crf": 0}],
        "sound": {"path": "c.wav", "start": -1},
        "guidance": {"video_cfg": 2, "stg_blocks": [3, 1], "skip_step": 0, "reuse": True},
        "stage_one_sound": False,
        "tiling": "whole",
        "set": {"LTXDuoStageTwoSampler.noise": "new seed"},
    }
    (job,) = read(tmp_path, "\ufeff" + json.dumps(line, ensure_ascii=False))
    assert job == Job(
        line=1,
        prompt="Ein Stern, 星",
        name="star 1",
        negative_prompt="",
        width=256,
        height=128,
        frames=17,
        fps=25.0,
        steps=4,
        seed=2**64 - 1,
        images=(ImageFile(tmp_path / "a.png"), ImageFile(Path("/b.png"), -1, 0.5, 0)),
        sound=SoundFile(tmp_path / "c.wav", -1.0),
        guidance={"video_cfg": 2.0, "stg_blocks": (1, 3), "skip_step": 0, "reuse": True},
        stage_one_sound=False,
        tiling="whole",
        inputs={"LTXDuoStageTwoSampler.noise": "new seed"},
    )


def test_null_is_left_out(tmp_path):
    assert read(tmp_path, '{"prompt": "a", "seed": null, "image": null}\r') == [Job(1, "a")]


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_list_is_refused(content, tmp_path):
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(content)
    with pytest.raises(BatchError, match="holds no job"):
        read_jobs(path)


def test_a_list_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "jobs.jsonl"
    with pytest.raises(BatchError, match="cannot be read"):
        read_jobs(path)
    path.write_bytes(b'{"prompt": "\xff"}')
    with pytest.raises(BatchError, match="UTF-8"):
        read_jobs(path)
