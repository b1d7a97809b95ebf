"""ComfyUI's own VAE objects where the nodes take a VAE: the engine's encoder, decoders and vocoder on their weights.

Load Checkpoint and Load VAE give LTX-2's video VAE, LTXVAudioVAELoader its audio VAE with the vocoder.  What a node
asks of either is what it asks of a VAEHandle.
"""

from functools import partial
from typing import Any

import torch
from torch import nn

from ...ltx_core.audio_vae import AudioDecoder, AudioEncoder, AudioVAEParams
from ...ltx_core.errors import LTXError, VariantError
from ...ltx_core.generation import Generation, guessed_generation
from ...ltx_core.video_vae import PerChannelStatistics, VideoDecoder, VideoEncoder, VideoVAEParams
from ...ltx_core.vocoder.model import build_vocoder
from ...ltx_core.vocoder.params import STEREO, VocoderParams
from .. import from_core
from . import dtypes
from .borrowed import BorrowedModule, borrow
from .components import Part
from .handles import VAEHandle

VIDEO_VAE = "comfy.ldm.lightricks.vae.causal_video_autoencoder.VideoVAE"
AUDIO_VAE = "comfy.ldm.lightricks.vae.audio_vae.AudioVAE"

_TAKE_VIDEO = "Connect LTX VAE Loader, or the VAE of Load Checkpoint or Load VAE with the model's file."
_TAKE_AUDIO = "Connect LTXVAudioVAELoader with the model's checkpoint, or LTX VAE Loader."
_DIMENSIONS = {1: "an audio VAE", 2: "an image VAE", 3: "a video VAE"}


class CoreVideoVAE:
    """ComfyUI's VAE object of LTX-2's picture.  VariantError for that of another model."""

    by_diffusion = False

    def __init__(self, vae, name: str):
        self._vae, self._model = vae, vae.first_stage_model
        self.params = _video_params(self._model, name)
        self.generation = _generation(Part.VIDEO_DECODER, self._model.decoder, name, _TAKE_VIDEO)
        self._choice = dtypes.as_loaded(vae.vae_dtype, vae.patcher.load_device)

    @property
    def note(self) -> str | None:
        """What is to be said of the dtype that it computes in."""
        return self._choice.note

    def video_encoder(self) -> BorrowedModule:
        return self._part(VideoEncoder, self._model.encoder, "encoder")

    def video_decoder(self) -> BorrowedModule:
        return self._part(VideoDecoder, self._model.decoder, "decoder")

    def audio_encoder(self) -> BorrowedModule:
        """LTXError: ComfyUI keeps what encodes sound in an object of its own."""
        raise LTXError(
            "A sound is given, and vae, which is ComfyUI's own, encodes the picture alone; expected an audio VAE in "
            f"audio_vae of the node that gives the sound or the film. {_TAKE_AUDIO}"
        )

    def statistics(self) -> PerChannelStatistics:
        """Means and deviations of the video latent's channels, copied to the CPU."""
        statistics = PerChannelStatistics(self.params.latent_channels)
        tensors = self._model.per_channel_statistics.state_dict()
        statistics.load_state_dict({name: tensor.cpu() for name, tensor in tensors.items()})
        return statistics

    def _part(self, kind: type[nn.Module], lender: nn.Module, side: str) -> BorrowedModule:
        beside = {"per_channel_statistics": self._model.per_channel_statistics}
        network = borrow(partial(kind, self.params), lender, beside, what=f"The {side} of ComfyUI's video VAE")
        return BorrowedModule(self._vae.patcher, network, self._choice.compute)


class CoreAudioVAE:
    """ComfyUI's VAE object of LTX-2's sound, with the vocoder.  VariantError for that of another model.

    Sound is computed in float32 whatever its weights are kept in.
    """

    def __init__(self, vae, name: str):
        self._vae, self._model = vae, vae.first_stage_model
        self.generation = _generation(Part.VOCODER, self._model.vocoder, name, _TAKE_AUDIO)
        config = _audio_config(self._model)
        self._params, self._vocoder_params = AudioVAEParams.from_config(config), VocoderParams.from_config(config)

    def audio_encoder(self) -> BorrowedModule:
        autoencoder = self._model.autoencoder
        beside = {"per_channel_statistics": autoencoder.per_channel_statistics}
        build = partial(AudioEncoder, self._params)
        return self._part(borrow(build, autoencoder.encoder, beside, what="The encoder of ComfyUI's audio VAE"))

    def audio_decoder(self) -> BorrowedModule:
        autoencoder = self._model.autoencoder
        beside = {"per_channel_statistics": autoencoder.per_channel_statistics}
        build = partial(AudioDecoder, self._params)
        return self._part(borrow(build, autoencoder.decoder, beside, what="The decoder of ComfyUI's audio VAE"))

    def vocoder(self) -> BorrowedModule:
        build = partial(build_vocoder, self._vocoder_params)
        return self._part(borrow(build, self._model.vocoder, what="The vocoder of ComfyUI's audio VAE"))

    def _part(self, network: nn.Module) -> BorrowedModule:
        return BorrowedModule(self._vae.patcher, network, torch.float32)


VideoVAE = VAEHandle | CoreVideoVAE
AudioVAE = VAEHandle | CoreAudioVAE


def video_vae(given: Any, name: str = "vae") -> VideoVAE:
    """What encodes and decodes pictures, from the input called `name`; LTXError for anything else, which says what."""
    if isinstance(given, VAEHandle):
        return given
    model = _model_of(given, name, _TAKE_VIDEO)
    if _is(model, AUDIO_VAE):
        raise LTXError(
            f"{name} is ComfyUI's audio VAE of LTX, which decodes sound alone; expected LTX-2's video VAE. The audio "
            f"VAE goes into audio_vae of LTX Audio-Video Decode or LTX Sound Condition. {_TAKE_VIDEO}"
        )
    if not _is(model, VIDEO_VAE):
        raise VariantError(f"{name} is {_words(given)}; expected LTX-2's video VAE. {_TAKE_VIDEO}")
    return CoreVideoVAE(given, name)


def audio_vae(given: Any, name: str = "audio_vae") -> AudioVAE:
    """What encodes and decodes sound, from the input called `name`; LTXError for anything else, which says what."""
    if isinstance(given, VAEHandle):
        return given
    model = _model_of(given, name, _TAKE_AUDIO)
    if _is(model, VIDEO_VAE):
        raise LTXError(
            f"{name} is ComfyUI's video VAE of LTX, which decodes the picture alone; expected LTX-2's audio VAE. "
            f"{_TAKE_AUDIO}"
        )
    if not _is(model, AUDIO_VAE):
        raise VariantError(f"{name} is {_words(given)}; expected LTX-2's audio VAE. {_TAKE_AUDIO}")
    return CoreAudioVAE(given, name)


def sound_of(vae: Any, audio: Any | None) -> AudioVAE:
    """What decodes the sound beside the picture of the input `vae`: the input `audio_vae`, or `vae` where it can.

    LTXError that names the node to add where there is none.
    """
    if audio is not None:
        return audio_vae(audio)
    if isinstance(vae, VAEHandle):
        return vae
    raise LTXError(
        "The latent has sound, and vae, which is ComfyUI's own, decodes the picture alone; expected an audio VAE in "
        f"audio_vae. {_TAKE_AUDIO}"
    )


def _model_of(given: Any, name: str, to_do: str) -> nn.Module:
    if not hasattr(given, "first_stage_model"):
        raise LTXError(f"{name} is a {type(given).__name__}; expected a VAE. {to_do}")
    if given.first_stage_model is None:
        raise LTXError(f"{name} is empty: ComfyUI's loader found no VAE in its file; expected LTX-2's. {to_do}")
    return given.first_stage_model


def _is(model: nn.Module, class_name: str) -> bool:
    """Whether the model is of a class of ComfyUI's, which not every version has."""
    return any(f"{kind.__module__}.{kind.__qualname__}" == class_name for kind in type(model).__mro__)


def _words(vae: Any) -> str:
    kind = type(vae.first_stage_model).__name__
    what = "a small decoder for previews" if kind.startswith("TAE") else _DIMENSIONS.get(vae.latent_dim, "a VAE")
    return f"of another model: ComfyUI's {kind}, {what} of {vae.latent_channels} channels"


def _video_params(model: nn.Module, name: str) -> VideoVAEParams:
    if not hasattr(model, "config"):
        raise LTXError(
            f"{name} is a video VAE of LTX that this version of ComfyUI keeps without its config, so that its sizes "
            "are not known; expected one with it. Connect LTX VAE Loader, or update ComfyUI."
        )
    try:
        return VideoVAEParams.from_config({"vae": model.config})
    except VariantError:
        raise VariantError(
            f"{name} is the VAE of an LTX-Video before LTX-2, or its file came without a config, and ComfyUI took it "
            f"for one; expected LTX-2's video VAE. {_TAKE_VIDEO}"
        ) from None


def _generation(part: Part, module: nn.Module, name: str, to_do: str) -> Generation | None:
    """By names of weights: ComfyUI's object keeps nothing else that tells.  VariantError for one that is not run."""
    tensors = module.state_dict()
    generation = guessed_generation({part: {key: key for key in tensors}}, tensors)
    if not from_core.is_taken(generation):
        raise VariantError(
            f"{name} is the {part.value} of {generation}, which {from_core.refusal(generation)}; expected one of "
            f"{from_core.NAMES}. "
            f"{to_do}"
        )
    return generation


def _audio_config(model: nn.Module) -> dict:
    """The `audio_vae` and `vocoder` sections of the file's config, which ComfyUI's module keeps as attributes only."""
    autoencoder, decoder, vocoder = model.autoencoder, model.autoencoder.decoder, model.vocoder
    ddconfig = {
        "in_channels": autoencoder.encoder.in_channels,
        "out_ch": decoder.out_ch,
        "ch": decoder.ch,
        "ch_mult": [level.block[0].out_channels // decoder.ch for level in decoder.up],
        "num_res_blocks": decoder.num_res_blocks,
        "z_channels": decoder.z_channels,
        "mel_bins": autoencoder.mel_bins,
        "causality_axis": autoencoder.causality_axis.value,
    }
    stft = {"hop_length": autoencoder.mel_hop_length, "filter_length": autoencoder.n_fft}
    return {
        "audio_vae": {
            "model": {"params": {"ddconfig": ddconfig, "sampling_rate": autoencoder.sampling_rate}},
            "preprocessing": {"stft": stft},
        },
        "vocoder": _vocoder_config(vocoder),
    }


def _vocoder_config(vocoder: nn.Module) -> dict:
    """Of one network in LTX-2.0, of two later."""
    if not hasattr(vocoder, "bwe_generator"):
        return _generator_config(vocoder)
    extension = {
        **_generator_config(vocoder.bwe_generator),
        "input_sampling_rate": vocoder.input_sample_rate,
        "output_sampling_rate": vocoder.output_sample_rate,
        "hop_length": vocoder.hop_length,
        "n_fft": vocoder.mel_stft.stft_fn.win_length,
        "num_mels": vocoder.mel_stft.mel_basis.shape[0],
    }
    return {"vocoder": _generator_config(vocoder.vocoder), "bwe": extension}


def _generator_config(network: nn.Module) -> dict:
    blocks = network.resblocks[: network.num_kernels]
    activated = {"activation": type(network.act_post.act).__name__.lower()} if network.resblock == "AMP1" else {}
    return {
        **activated,
        "upsample_initial_channel": network.conv_pre.out_channels,
        "upsample_rates": [layer.stride[0] for layer in network.ups],
        "upsample_kernel_sizes": [layer.kernel_size[0] for layer in network.ups],
        "resblock": network.resblock,
        "resblock_kernel_sizes": [block.convs1[0].kernel_size[0] for block in blocks],
        "resblock_dilation_sizes": [[layer.dilation[0] for layer in block.convs1] for block in blocks],
        "stereo": network.conv_post.out_channels == STEREO,
        "use_bias_at_final": network.conv_post.bias is not None,
        "use_tanh_at_final": network.use_tanh_at_final,
        "apply_final_activation": network.apply_final_activation,
    }
