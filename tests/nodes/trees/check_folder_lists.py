"""Lists of files: nothing that lies in a folder breaks a schema or holds it up."""

import json
import os
import time

import folder_paths
import pytest

from ltx_duo.nodes.comfyui import files, folder_lists, latent_files


@pytest.fixture
def output(tmp_path, monkeypatch):
    """An empty output folder; models lie there too."""
    folder = tmp_path / "output"
    folder.mkdir()
    monkeypatch.setattr(folder_paths, "output_directory", str(folder))
    for kind in ("loras", "checkpoints", "vae", "text_encoders", "diffusion_models", "latent_upscale_models"):
        monkeypatch.setitem(folder_paths.folder_names_and_paths, kind, ([str(folder)], {".safetensors"}))
    return folder


def dangling(folder):
    for ending in (".latent", ".safetensors"):
        (folder / f"gone{ending}").symlink_to(folder / "nowhere")


def link_to_itself(folder):
    for ending in (".latent", ".safetensors"):
        (folder / f"round{ending}").symlink_to(folder / f"round{ending}")


def folders_that_look_like_files(folder):
    for ending in (".latent", ".safetensors"):
        (folder / f"folder{ending}").mkdir()


def circles_of_links(folder):
    rooms = [folder / f"room{number}" for number in range(12)]
    for room in rooms:
        room.mkdir()
    for room in rooms:
        for other in rooms:
            (room / f"to-{other.name}").symlink_to(other)


def odd_names(folder):
    for ending in (b".latent", b".safetensors"):
        os.close(os.open(os.path.join(os.fsencode(folder), b"\xff\xfe\n'" + ending), os.O_CREAT))


def fifo(folder):
    for ending in (".latent", ".safetensors"):
        os.mkfifo(folder / f"pipe{ending}")


def hundred_thousand_files(folder):
    (folder / "many").mkdir()
    for number in range(100_000):
        os.close(os.open(folder / "many" / f"{number}.png", os.O_CREAT))


TROUBLES = [
    dangling,
    link_to_itself,
    folders_that_look_like_files,
    circles_of_links,
    odd_names,
    fifo,
    hundred_thousand_files,
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
def test_every_schema_stands_whatever_lies_in_the_folders(nodes, output, trouble):
    (output / "good.latent").touch()
    (output / "good.safetensors").touch()
    trouble(output)
    start = time.perf_counter()
    told = {name: node.GET_NODE_INFO_V1() for name, node in nodes.items()}
    assert time.perf_counter() - start < 10
    json.dumps(told)
    assert "good.latent [output]" in told["LTXDuoLoadLatent"]["input"]["required"]["file"][1]["options"]
    assert "good.safetensors" in told["LTXDuoLoraLoader"]["input"]["required"]["lora"][1]["options"]
    start = time.perf_counter()
    for node in nodes.values():
        node.INPUT_TYPES()
    assert time.perf_counter() - start < 5, "what did not change is read again and again"


@pytest.mark.parametrize("function", ["scandir", "stat"])
def test_folders_and_files_that_cannot_be_read(output, monkeypatch, function):
    """As root nothing is unreadable, so the system's answers are planted."""
    (output / "locked").mkdir()
    for place in (output, output / "locked"):
        (place / "x.latent").touch()
        (place / "x.safetensors").touch()
    real = getattr(os, function)

    def refuse(path, *args, **kwargs):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, function, refuse)
    assert latent_files.names() == ["x.latent [output]"]
    assert files.names("loras") == ["x.safetensors"]


def test_a_file_deleted_during_the_walk(output, monkeypatch):
    for name in ("a", "b", "c"):
        (output / f"{name}.latent").touch()

    class Deleting:
        """An entry whose file goes between its name and its date."""

        def __init__(self, entry):
            self.entry, self.name, self.path = entry, entry.name, entry.path

        def is_dir(self, **how):
            return self.entry.is_dir(**how)

        def is_file(self):
            found = self.entry.is_file()
            if self.name == "b.latent":
                os.unlink(self.path)
            return found

        def stat(self):
            return os.stat(self.path)

    real = os.scandir

    class Scan:
        def __init__(self, folder):
            self.folder = folder

        def __enter__(self):
            return map(Deleting, real(self.folder))

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(folder_lists.os, "scandir", Scan)
    assert sorted(latent_files.names()) == ["a.latent [output]", "c.latent [output]"]


def test_a_folder_reached_by_a_link_is_listed_under_both_names(output):
    (output / "real").mkdir()
    (output / "real" / "x.safetensors").touch()
    (output / "alias").symlink_to(output / "real")
    assert files.names("loras") == ["alias/x.safetensors", "real/x.safetensors"]


def test_what_changes_is_seen(output):
    assert files.names("loras") == []
    (output / "sub").mkdir()
    (output / "sub" / "x.safetensors").touch()
    for folder in (output / "sub", output):
        os.utime(folder, (1, 1))
    assert files.names("loras") == ["sub/x.safetensors"]
    (output / "sub" / "x.safetensors").unlink()
    assert files.names("loras") == []


def test_a_folder_that_is_not_there_yet(output, monkeypatch):
    monkeypatch.setattr(folder_paths, "output_directory", str(output / "later"))
    assert latent_files.names() == []
    (output / "later").mkdir()
    (output / "later" / "x.latent").touch()
    assert latent_files.names() == ["x.latent [output]"]
