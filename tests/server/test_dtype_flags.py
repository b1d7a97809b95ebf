"""Another ComfyUI, started with flags which LTX-2.3 cannot follow: it makes the same films, and the nodes say so."""

import pytest

from ltx_duo.scripts.demo.client import Client, set_inputs
from ltx_duo.scripts.demo.server import ComfyServer, make_base

FLAGS = ["--fp16-vae", "--fp16-unet", "--fp16-text-enc", "--cache-none"]
SAID_BY = {
    "LTXDuoVAELoader": "--fp16-vae, but the LTX-2.3 VAE is computed in",
    "LTXDuoUpsamplerLoader": "--fp16-vae, but the LTX-2.3 upsampler is computed in",
    "LTXDuoModelLoader": "--fp16-unet, but the LTX-2.3 model is computed in",
    "LTXDuoTextEncoderLoader": "--fp16-text-enc, but the LTX-2.3 text encoder is computed in",
}


@pytest.fixture(scope="module")
def half_server(tmp_path_factory):
    with ComfyServer(make_base(tmp_path_factory.mktemp("half")), arguments=FLAGS) as server:
        yield server


def test_float16_for_every_part_gives_the_film_without_it(half_server, film_on, text_film, workflow, tmp_path):
    prompt = workflow("text-to-video")
    assert film_on(half_server, prompt, tmp_path).same_as(text_film)
    client = Client(half_server.url, half_server.check_alive)
    [run] = client.get("/history").values()
    notes = {prompt[node]["class_type"]: shown["text"][-1] for node, shown in run["outputs"].items() if "text" in shown}
    log = half_server.log()
    for node, words in SAID_BY.items():
        assert words in notes[node]
        assert log.count(notes[node]) == 1


def test_same_inputs_give_the_same_film_in_another_process(half_server, film, film_on, workflow, tmp_path):
    assert film_on(half_server, workflow("image-to-video"), tmp_path).same_as(film)


def test_a_prompt_cut_inside_an_emoji_and_weighted_is_a_film(half_server, film_on, workflow, tmp_path):
    prompt = workflow("text-to-video")
    set_inputs(prompt, "LTXDuoTextEncode", prompt="a (lake:1.3) \ud83d")
    film_on(half_server, prompt, tmp_path)
    assert "In the prompt: “(lake:1.3)” weights nothing" in half_server.log()
