"""Every node shows up in a real ComfyUI, the newest and the oldest supported, with what a user reads about it."""

import pytest

FILMS = ("LTXDuoFilmSound", "LTXDuoRetake", "LTXDuoExtend", "LTXDuoRegion")
OUTPUTS = {
    "LTXDuoModelLoader": ["LTXDUO_MODEL"],
    "LTXDuoLoraLoader": ["LTXDUO_MODEL"],
    "LTXDuoVAELoader": ["LTXDUO_VAE"],
    "LTXDuoTextEncoderLoader": ["LTXDUO_TEXT_ENCODER"],
    "LTXDuoTextEncode": ["CONDITIONING", "CONDITIONING"],
    "LTXDuoPromptLength": ["INT", "FLOAT", "FLOAT"],
    "LTXDuoImageCondition": ["LTXDUO_CONDITIONS"],
    "LTXDuoSoundCondition": ["LTXDUO_CONDITIONS", "INT"],
    **{name: ["LTXDUO_CONDITIONS", "INT", "INT", "INT", "FLOAT"] for name in FILMS},
    "LTXDuoReferenceVideo": ["LTXDUO_CONDITIONS", "INT", "INT", "INT", "FLOAT"],
    "LTXDuoReferenceVoice": ["LTXDUO_CONDITIONS"],
    "LTXDuoGuidance": ["LTXDUO_GUIDANCE"],
    "LTXDuoStageOneSampler": ["LATENT"],
    "LTXDuoUpsamplerLoader": ["LTXDUO_UPSAMPLER"],
    "LTXDuoLatentUpsampler": ["LATENT"],
    "LTXDuoStageTwoSampler": ["LATENT"],
    "LTXDuoAVDecode": ["VIDEO", "IMAGE", "AUDIO"],
    "LTXDuoSoundSampler": ["LATENT"],
    "LTXDuoSoundDecode": ["AUDIO"],
    "LTXDuoSaveLatent": ["LATENT"],
    "LTXDuoLoadLatent": ["LATENT"],
    "LTXDuoSeveralGPUs": ["LTXDUO_MODEL"],
}


def inputs_of(info: dict) -> dict:
    return {**info["input"]["required"], **info["input"].get("optional", {})}


@pytest.mark.parametrize("listing", ["object_info", "oldest_object_info"])
def test_lists_every_node(listing, request):
    listed = request.getfixturevalue(listing)
    ours = {name: info["output"] for name, info in listed.items() if name.startswith("LTXDuo")}
    assert ours == OUTPUTS


@pytest.mark.parametrize("listing", ["object_info", "oldest_object_info"])
def test_everything_a_user_meets_is_explained(listing, request):
    listed = request.getfixturevalue(listing)
    for name in OUTPUTS:
        info = listed[name]
        assert info["display_name"].startswith("LTX ")
        assert info["category"] == "LTX Duo"
        assert info["description"].endswith(".")
        for input_name, specification in inputs_of(info).items():
            assert len(specification[1].get("tooltip", "")) > 10, f"{name}.{input_name} has no tooltip"
        assert all(info["output_tooltips"]), f"{name} has outputs without tooltip"
        assert all(info["output_name"])


def test_both_versions_offer_the_same_inputs(object_info, oldest_object_info):
    for name in OUTPUTS:
        newest, oldest = inputs_of(object_info[name]), inputs_of(oldest_object_info[name])
        assert list(newest) == list(oldest)
        assert [spec[0] for spec in newest.values()] == [spec[0] for spec in oldest.values()]


def test_inputs_and_outputs_have_distinct_names(object_info):
    """A name on both sides of a node confuses the front end's matching of slots."""
    for name in OUTPUTS:
        info = object_info[name]
        assert len(set(info["output_name"])) == len(info["output_name"])
        assert not set(inputs_of(info)) & set(info["output_name"]), name
