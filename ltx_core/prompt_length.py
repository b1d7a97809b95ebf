"""How long a film its prompt asks for, by LTX-2.5's duration head."""

from .components import Components
from .duration_head.frames import LONGEST, SHORTEST, predicted_frames
from .errors import CheckpointError
from .generation import Generation
from .progress import SILENT, Reporter
from .two_stage import connect, encode_prompt
from .variants import Kind, variant_of


def prompt_frames(
    components: Components,
    prompt: str,
    fps: float,
    shortest: float = SHORTEST,
    longest: float = LONGEST,
    reporter: Reporter = SILENT,
) -> int:
    """The frame count (8n+1) of the film that a prompt asks for, by LTX-2.5's duration head, within two lengths in
    seconds.  CheckpointError where the components have none."""
    c = components
    if c.duration_head is None:
        raise CheckpointError(
            "The components have no duration head, which tells how long a film its prompt asks for. Load them with "
            f"{variant_of(Kind.DEV, Generation.V2_5).files.duration_head} among the parts, or say how many frames."
        )
    features = encode_prompt(c.tokenizer, c.text_encoder, prompt, c.device, reporter)
    contexts = connect(c.video_connector, c.audio_connector, features)
    return predicted_frames(c.duration_head, contexts.video, contexts.audio, fps, shortest, longest)
