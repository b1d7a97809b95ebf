"""Conditions that give a film: what of it is made anew, one node a kind, in the chain of conditions."""

import math

from comfy_api.latest import io

from .declared import declared
from .names import BOTH, EXTEND, FILM_SOUND, KEEP_SOUND, NEW_SOUND, PICTURE, REGION, RETAKE, SOUND
from .schema import CATEGORY, Conditions, earlier_conditions_input, size_outputs, sound_encoder_input
from .validation import Wrong, declared_only, validation

_LONGEST = 100000.0


def _video_input(tooltip: str) -> io.Input:
    return io.Video.Input("video", tooltip=f"{tooltip} From Load Video, or Create Video.")


def _seconds_input(name: str, default: float, tooltip: str) -> io.Input:
    return io.Float.Input(name, default=default, min=0.0, max=_LONGEST, step=0.01, tooltip=tooltip)


def _chain_inputs() -> list[io.Input]:
    return [earlier_conditions_input(), sound_encoder_input("the film's sound")]


def _outputs(name: str) -> list[io.Output]:
    return [
        Conditions.Output(display_name=name, tooltip="For both stage samplers."),
        *size_outputs("The film's", 64, "Frames (8n+1) of the new film"),
    ]


def _check_window(wrong: Wrong, start=None, end=None) -> None:
    if None not in (start, end) and 0 < end <= start:
        wrong.add(
            "end",
            f"The new part would end at {end:g} s and begin at {start:g} s. Set end above start, or to 0 for the end "
            "of the film.",
        )


def _window_inputs(start: float, end: float) -> list[io.Input]:
    return [
        _seconds_input("start", start, "The second at which the new part begins."),
        _seconds_input("end", end, "The second at which it ends; 0: at the end of the film."),
    ]


def _given(conditions, film, audio_vae) -> io.NodeOutput:
    from . import films
    from .comfyui import core_vae, report

    told = report.NodeReport()
    for remark in films.remarks(film):
        told.warn(remark)
    encoder = None if audio_vae is None else core_vae.audio_vae(audio_vae)
    film = films.cropped(film)
    given = films.add_film(conditions, film, encoder)
    return told.output(given, *films.final_size(film), film.total, film.fps)


class FilmSound(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=FILM_SOUND,
            display_name="LTX Film Sound",
            category=CATEGORY,
            description="Makes a new sound for a film that you give. The picture comes out as it is; stage one is "
            "enough.",
            inputs=[_video_input("The film that gets a sound."), *_chain_inputs()],
            outputs=_outputs("conditions with film"),
            hidden=[io.Hidden.unique_id],
        )

    validate_inputs = declared_only()

    @classmethod
    @declared
    def execute(cls, video, conditions=None, audio_vae=None) -> io.NodeOutput:
        from ..ltx_core.sampling.conditions import GivenFilm
        from .films import film_of

        return _given(conditions, GivenFilm(*film_of(video), new_picture=False), audio_vae)


class Retake(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=RETAKE,
            display_name="LTX Retake",
            category=CATEGORY,
            description="Makes a few seconds of a film anew: picture, sound or both. Everything else comes out as it "
            "is.",
            inputs=[
                _video_input("The film."),
                *_window_inputs(1.0, 2.0),
                io.Combo.Input(
                    "remake",
                    options=[BOTH, PICTURE, SOUND],
                    default=BOTH,
                    tooltip="What is made anew there. What stays is seen and heard by what is made.",
                ),
                *_chain_inputs(),
            ],
            outputs=_outputs("conditions with retake"),
            hidden=[io.Hidden.unique_id],
        )

    validate_inputs = validation(_check_window)

    @classmethod
    @declared
    def execute(cls, video, start: float, end: float, remake: str, conditions=None, audio_vae=None) -> io.NodeOutput:
        from ..ltx_core.sampling.conditions import GivenFilm
        from .films import film_of

        film = GivenFilm(
            *film_of(video),
            windows=((start, end or math.inf),),
            new_picture=remake in (BOTH, PICTURE),
            new_sound=remake in (BOTH, SOUND),
        )
        return _given(conditions, film, audio_vae)


class Extend(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=EXTEND,
            display_name="LTX Extend",
            category=CATEGORY,
            description="Lets a film go on, or begin earlier, with its sound. Everything but half a second at the "
            "seam comes out as it is.",
            inputs=[
                _video_input("The film."),
                _seconds_input("after", 2.0, "Seconds that are added behind it, rounded up to 8 frames."),
                _seconds_input("before", 0.0, "Seconds that are added in front of it, rounded up to 8 frames."),
                _seconds_input(
                    "overlap",
                    0.5,
                    "Seconds of the film that are made anew beside what is added, so that both meet.",
                ),
                _seconds_input(
                    "context",
                    0.0,
                    "Seconds at the film's end that the model sees; 0: all of it. What is before costs nothing and "
                    "comes out as it is: a long film grows in steps of the same cost. Only without before.",
                ),
                *_chain_inputs(),
            ],
            outputs=_outputs("conditions with extension"),
            hidden=[io.Hidden.unique_id],
        )

    @validation
    def validate_inputs(wrong: Wrong, after=None, before=None, context=None):
        if after == before == 0:
            wrong.add("after", "Nothing is added to the film. Set seconds after it, before it, or both.")
        if before and context:
            wrong.add(
                "context",
                "context is a part at the film's end, but frames are added in front of it too. Set it to 0, or add "
                "them in another run.",
            )

    @classmethod
    @declared
    def execute(
        cls, video, after: float, before: float, overlap: float, context: float, conditions=None, audio_vae=None
    ) -> io.NodeOutput:
        from ..ltx_core.sampling.conditions import GivenFilm
        from .films import film_of

        film = GivenFilm.added(*film_of(video), before=before, after=after, overlap=overlap, context=context)
        return _given(conditions, film, audio_vae)


class Region(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=REGION,
            display_name="LTX Region",
            category=CATEGORY,
            description="Makes a part of a film's picture anew, where a mask says. Everything outside comes out as it "
            "is.",
            inputs=[
                _video_input("The film."),
                io.Mask.Input(
                    "mask",
                    tooltip="White is made anew, black stays, grey changes less. One mask for the whole film, or one "
                    "for each frame.",
                ),
                *_window_inputs(0.0, 0.0),
                io.Combo.Input(
                    "sound",
                    options=[KEEP_SOUND, NEW_SOUND],
                    default=KEEP_SOUND,
                    tooltip="Whether the film keeps its sound, or gets a new one from start to end.",
                ),
                *_chain_inputs(),
            ],
            outputs=_outputs("conditions with region"),
            hidden=[io.Hidden.unique_id],
        )

    validate_inputs = validation(_check_window)

    @classmethod
    @declared
    def execute(
        cls, video, mask, start: float, end: float, sound: str, conditions=None, audio_vae=None
    ) -> io.NodeOutput:
        from ..ltx_core.sampling.conditions import GivenFilm
        from .films import film_of, mask_of

        frames, fps, heard = film_of(video)
        film = GivenFilm(
            frames,
            fps,
            heard,
            windows=((start, end or math.inf),),
            mask=mask_of(mask, frames),
            new_sound=sound == NEW_SOUND,
        )
        return _given(conditions, film, audio_vae)
