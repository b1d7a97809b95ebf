import comfy.sd, comfy.utils, pytest, torch
from ltx_duo.nodes.comfyui import latents
import nodes as core

@pytest.fixture(scope="module")
def native(names):
    return core.CheckpointLoaderSimple().load_checkpoint(names.checkpoint)[2]

def test_probe(native, vae, run, names):
    from ltx_duo.nodes.comfyui.core_vae import video_vae
    ours = video_vae(native)
    x = torch.randn(1, 128, 3, 2, 4)
    a = ours.video_decoder(); a.load()
    b = vae.video_decoder(); b.load()
    print((a.module(x) - b.module(x)).abs().max())
    p = torch.rand(1, 3, 1, 64, 128)
    a = ours.video_encoder(); a.load()
    b = vae.video_encoder(); b.load()
    print((a.module(p) - b.module(p)).abs().max())

def test_audio(vae, names):
    from comfy_extras import nodes_lt_audio
    from ltx_duo.nodes.comfyui.core_vae import audio_vae
    native = nodes_lt_audio.LTXVAudioVAELoader.execute(names.checkpoint).args[0]
    ours = audio_vae(native)
    x = torch.randn(1, 8, 10, 16)
    m = []
    for v in (ours, vae):
        d, o = v.audio_decoder(), v.vocoder()
        d.load(); o.load()
        m.append(o.module(d.module(x).float()))
    print((m[0] - m[1]).abs().max(), m[0].shape)
def test_up(names, vae, run):
    from comfy_extras.nodes_hunyuan import LatentUpscaleModelLoader
    from ltx_duo.nodes.comfyui.core_upsampler import latent_upsampler
    native = LatentUpscaleModelLoader.execute(names.upsampler).args[0]
    a = latent_upsampler(native).component(); a.load()
    b = run("UpsamplerLoader", upsampler=names.upsampler).component(); b.load()
    x = torch.randn(1, 128, 3, 2, 4)
    print((a.module(x) - b.module(x)).abs().max())
