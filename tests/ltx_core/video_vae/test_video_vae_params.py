import pytest
import torch

from ltx_duo.ltx_core.errors import CheckpointError, VariantError
from ltx_duo.ltx_core.video_vae import VideoDecoder, VideoEncoder, VideoVAEParams
from ltx_duo.ltx_core.video_vae.params import Resample, ResidualStage


def test_official_config(official_config):
    params = VideoVAEParams.from_config(official_config)
    assert params.encoder_blocks == (
        ResidualStage(4),
        Resample((1, 2, 2), 2, residual=True),
        ResidualStage(6),
        Resample((2, 1, 1), 2, residual=True),
        ResidualStage(4),
        Resample((2, 2, 2), 2, residual=True),
        ResidualStage(2),
        Resample((2, 2, 2), 1, residual=True),
        ResidualStage(2),
    )
    # The config lists the decoder backwards.
    assert params.decoder_blocks == (
        ResidualStage(2),
        Resample((2, 2, 2), 2),
        ResidualStage(2),
        Resample((2, 2, 2), 1),
        ResidualStage(4),
        Resample((2, 1, 1), 2),
        ResidualStage(6),
        Resample((1, 2, 2), 2),
        ResidualStage(4),
    )
    assert (params.encoder_padding, params.decoder_padding, params.causal_decoder) == ("zeros", "zeros", False)
    assert params.decoder_bottleneck_channels == 1024


@pytest.mark.parametrize("module", ["encoder", "decoder"])
def test_official_tensors(module, official_config, official_tensors):
    """At full size the code builds exactly the tensors that the official file holds."""
    params = VideoVAEParams.from_config(official_config)
    built = {"encoder": VideoEncoder, "decoder": VideoDecoder}[module](params, device="meta", dtype=torch.bfloat16)
    state = built.state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == official_tensors(f"vae_{module}")
    assert {tensor.dtype for tensor in state.values()} == {torch.bfloat16}
    assert sum(p.numel() for p in built.parameters()) == {"encoder": 318_936_897, "decoder": 407_169_072}[module]


def test_missing_keys_mean_what_they_mean_to_the_vendor(official_config):
    vae = official_config["vae"]
    for key in ("spatial_padding_mode", "causal_decoder", "latent_channels", "patch_size", "dims", "norm_layer"):
        del vae[key]
    del vae["encoder_base_channels"], vae["decoder_base_channels"], vae["latent_log_var"], vae["_class_name"]
    params = VideoVAEParams.from_config(official_config)
    assert (params.encoder_padding, params.decoder_padding) == ("zeros", "reflect")
    assert (params.latent_channels, params.encoder_base_channels, params.decoder_base_channels) == (128, 128, 128)
    assert (params.patch_size, params.causal_decoder) == (4, False)


def test_block_options_may_be_a_number_of_layers(official_config):
    official_config["vae"]["encoder_blocks"][0] = ["res_x", 3]
    assert VideoVAEParams.from_config(official_config).encoder_blocks[0] == ResidualStage(3)


def test_decoder_of_2_0(official_config):
    step = ["compress_all", {"residual": True, "multiplier": 2}]
    res = ["res_x", {"num_layers": 5, "inject_noise": False}]
    official_config["vae"]["decoder_blocks"] = [res, step, res, step, res, step, res]
    blocks = VideoVAEParams.from_config(official_config).decoder_blocks
    assert blocks[1] == Resample((2, 2, 2), 2, residual=True)


@pytest.mark.parametrize("nested", [True, False])
def test_the_diffusion_vaes_encoder_is_the_convolutional_ones(official_config, nested):
    """Its sizes stand in a table of their own, where blocks and the latent's channels are called otherwise, or not."""
    vae, expected = official_config["vae"], VideoVAEParams.from_config(official_config)
    names = {"encoder_blocks": "blocks", "latent_channels": "out_channels"}
    own = ("encoder_blocks", "latent_channels", "patch_size", "norm_layer", "latent_log_var", "spatial_padding_mode")
    table = {names.get(name, name) if nested else name: vae[name] for name in own}
    config = {"_class_name": "CausalDiffusionVAE", **({"encoder": table} if nested else table | {"out_channels": 3})}
    params = VideoVAEParams.from_config({"vae": config})
    assert params.decoder_blocks == ()
    for name in ("encoder_blocks", "latent_channels", "encoder_base_channels", "patch_size", "encoder_padding"):
        assert getattr(params, name) == getattr(expected, name)
    (table if nested else config)["patch_size"] = 2
    with pytest.raises(CheckpointError, match=r"\(8, 16, 16\)"):
        VideoVAEParams.from_config({"vae": config})


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"timestep_conditioning": True}, VariantError, "timestep_conditioning"),
        (
            {"timestep_conditioning": None},
            VariantError,
            "timestep_conditioning",
        ),  # absent: the vendor's default is true
        ({"_class_name": "AutoencoderKL"}, VariantError, "AutoencoderKL"),
        ({"norm_layer": "group_norm"}, CheckpointError, "norm_layer"),
        ({"latent_log_var": "per_channel"}, CheckpointError, "latent_log_var"),
        ({"dims": 2}, CheckpointError, "dims"),
        ({"out_channels": 4}, CheckpointError, "out_channels"),
        ({"spatial_padding_mode": "circular"}, CheckpointError, "circular"),
        ({"patch_size": 2}, CheckpointError, r"\(8, 16, 16\)"),
        ({"latent_channels": 0}, CheckpointError, "latent_channels"),
        ({"decoder_base_channels": "128"}, CheckpointError, "decoder_base_channels"),
        ({"encoder_blocks": None}, CheckpointError, "encoder_blocks"),
        ({"decoder_blocks": []}, CheckpointError, "decoder_blocks"),
        ({"decoder_blocks": ["res_x"]}, CheckpointError, "decoder_blocks"),
        ({"decoder_blocks": [["res_x_y", {}]]}, CheckpointError, "res_x_y"),
        ({"encoder_blocks": [["compress_all", {}]]}, CheckpointError, "compress_all"),
        ({"decoder_blocks": [["res_x", {"num_layers": 1, "inject_noise": True}]]}, VariantError, "inject_noise"),
        ({"decoder_blocks": [["res_x", {"num_layers": 1}]]}, CheckpointError, r"decoder_blocks = .*not by \(1, 4, 4\)"),
        ({"encoder_blocks": [["compress_all_res", {"multiplier": 2.5}]]}, CheckpointError, "multiplier"),
    ],
)
def test_unsupported_values(change, error, words, official_config):
    for key, value in change.items():
        if value is None:
            del official_config["vae"][key]
        else:
            official_config["vae"][key] = value
    with pytest.raises(error, match=words):
        VideoVAEParams.from_config(official_config)


def test_config_without_video_vae(official_config):
    del official_config["vae"]
    with pytest.raises(CheckpointError, match="'vae'"):
        VideoVAEParams.from_config(official_config)
