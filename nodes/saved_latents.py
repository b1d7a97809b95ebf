"""Saving a latent with its sound, and going on from it another day."""

from comfy_api.latest import io

from .declared import declared
from .names import LOAD_LATENT, SAVE_LATENT
from .schema import CATEGORY, names_file
from .validation import Wrong, declared_only, validation


class SaveLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=SAVE_LATENT,
            display_name="LTX Save Latent",
            category=CATEGORY,
            description="Saves picture and sound in one file, with what stage two needs to continue from it.",
            is_output_node=True,
            inputs=[
                io.Latent.Input("latent", tooltip="The latent from LTX Stage One Sampler, or of any stage."),
                io.String.Input(
                    "filename_prefix",
                    default="latents/ltx-duo",
                    tooltip="Folder and beginning of the name, below ComfyUI's output folder; a number is added.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="same latent", tooltip="The latent as it came in.")],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo, io.Hidden.unique_id],
        )

    validate_inputs = declared_only()

    @classmethod
    @declared
    def execute(cls, latent, filename_prefix: str) -> io.NodeOutput:
        from .comfyui import latent_files, latents, report

        told = report.NodeReport()
        if latents.film_of(latent) is not None:
            told.warn(
                "The film that was given is not saved with the latent. To go on from the file, connect the same "
                "conditions to LTX Stage Two Sampler."
            )
        metadata = latent_files.workflow_metadata(cls.hidden.prompt, cls.hidden.extra_pnginfo)
        saved = latent_files.save(latent, filename_prefix, metadata)
        done = told.output(latent)
        done.ui = {"latents": [saved], **(done.ui or {})}
        return done


class LoadLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        from .comfyui import latent_files

        return io.Schema(
            node_id=LOAD_LATENT,
            display_name="LTX Load Latent",
            category=CATEGORY,
            description="Opens a latent that LTX Save Latent wrote: picture, sound, frame rate and noise.",
            inputs=[
                names_file(
                    io.Combo.Input(
                        "file",
                        options=latent_files.names(),
                        tooltip="Saved latents in ComfyUI's output and input folders, the newest first. Press r to "
                        "see new ones.",
                    )
                ),
            ],
            outputs=[io.Latent.Output(display_name="saved latent", tooltip="For LTX Latent Upsampler or a sampler.")],
            hidden=[io.Hidden.unique_id],
        )

    @validation
    def validate_inputs(wrong: Wrong, file=None):
        from .comfyui import latent_files

        if file is not None:
            wrong.attempt("file", latent_files.path, file)

    @classmethod
    def fingerprint_inputs(cls, file=None):
        from .comfyui import latent_files

        if file is None:  # comes through a link
            return None
        stat = latent_files.path(file).stat()
        return stat.st_mtime_ns, stat.st_size

    @classmethod
    @declared
    def execute(cls, file: str) -> io.NodeOutput:
        from .comfyui import latent_files

        return io.NodeOutput(latent_files.load(file))
