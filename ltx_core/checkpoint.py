"""What is in a model file: its components, its config, its generation, and the weights under the modules' names."""

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor

from .diffusion_keys import is_gate, with_gates_folded
from .errors import CheckpointError, VariantError
from .generation import (
    Generation,
    gemma_source,
    generation_by_look,
    guessed_generation,
    marked_generation,
    stated_version,
    version_tuple,
)
from .gguf_file import ENDING, GgufFile
from .key_maps import STATISTICS_ALIASES, STATISTICS_NAMES, Component, KeyMap, component_keys, unrecognised
from .other_forms import other_file
from .safetensors_file import SafetensorsFile, TensorInfo
from .stubs import read_json
from .unfinished import marks
from .weights import backfill_audio_statistics, check_finite, check_latent_statistics, check_written

__all__ = ["Checkpoint", "Component", "common_generation"]

# The section of a config that each component is built from.  An upsampler's config is one section, without a name.
UPSAMPLER = ""
SECTIONS = {
    Component.TRANSFORMER: "transformer",
    Component.VIDEO_CONNECTOR: "transformer",
    Component.AUDIO_CONNECTOR: "transformer",
    Component.VIDEO_ENCODER: "vae",
    Component.VIDEO_DECODER: "vae",
    Component.DIFFUSION_DECODER: "vae",
    Component.AUDIO_ENCODER: "audio_vae",
    Component.AUDIO_DECODER: "audio_vae",
    Component.VOCODER: "vocoder",
    Component.UPSAMPLER: UPSAMPLER,
}

_WITH_AUDIO_STATISTICS = (Component.AUDIO_ENCODER, Component.AUDIO_DECODER)

# What to do when a component is missing, beyond choosing a file that has it.
_ADVICE = {
    Component.VIDEO_CONNECTOR: "Choose the file that has it as connectors of LTX Model Loader (an advanced input), or "
    "the model's full checkpoint.",
    Component.AUDIO_CONNECTOR: "Choose the file that has it as connectors of LTX Model Loader (an advanced input), or "
    "the model's full checkpoint.",
    Component.TEXT_PROJECTION: "The text projection lies in the model's checkpoint (or in a text projection file), not "
    "in the Gemma-3 file: choose the checkpoint as the projection; LTX-2.5's lies in its text encoder file.",
    Component.VIDEO_DECODER: "Choose the model's full checkpoint, or the file with this part of it: of LTX-2.5 "
    "ltx-2.5-video-vae-conv-bf16.safetensors.",
    Component.AUDIO_DECODER: "Choose the model's full checkpoint, or an audio VAE file beside this one.",
    Component.VOCODER: "Choose the model's full checkpoint, or an audio VAE file that includes the vocoder.",
    Component.UPSAMPLER: "Choose ltx-2.3-spatial-upscaler-x2-1.1.safetensors from latent_upscale_models.",
    Component.GEMMA: "Choose a Gemma-3 12B file or folder from text_encoders, or for LTX-2.5 its Gemma-4 12B.",
    Component.TOKENIZER: "Choose a ComfyUI file of Gemma-3 12B, or a folder that has tokenizer.json.",
    Component.DURATION_HEAD: "Choose LTX-2.5's duration head file.",
    Component.LORA: "Choose a LoRA from loras.",
}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """An opened model file, or a Hugging Face folder of shards; weights are only read by `state_dict`.

    `key_maps` says for each component which tensor of the file is which tensor of the module; `unrecognised` lists the
    names that belong to no component.  `generation` is the generation that the file states, or else the one that its
    tensors look like; None where they do not tell, as in upsamplers and Gemma, and for LoRAs.
    """

    path: Path
    files: tuple[SafetensorsFile, ...] = field(repr=False)
    metadata: Mapping[str, str] = field(repr=False)
    key_maps: Mapping[Component, KeyMap] = field(repr=False)
    unrecognised: tuple[str, ...] = field(repr=False)
    generation: Generation | None
    _config: Mapping[str, Any] | str = field(repr=False)  # or why there is none
    _lacks: Mapping[str, str] = field(default_factory=dict, repr=False)  # of sections that are not there: why

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Checkpoint":
        """Reads headers only.  CheckpointError if a file is missing, damaged or holds nothing that is known;
        VariantError if its metadata contradicts itself or names a model before LTX-2."""
        path = Path(path)
        files = tuple(map(_open_file, _shards(path) if os.path.isdir(path) else [path]))
        metadata = {key: value for file in files for key, value in file.metadata.items()}
        tensors: dict[str, TensorInfo] = {}
        for file in files:
            twice = next((name for name in file.tensors if name in tensors), None)
            if twice is not None:
                raise CheckpointError(
                    f"{path} holds the tensor {twice} in two of its files; expected the files of one model. Remove "
                    "what does not belong to it."
                )
            tensors.update(file.tensors)
        maps = component_keys(tensors)
        if Component.GEMMA in maps and any(isinstance(file, GgufFile) and file.has_vocabulary() for file in files):
            maps[Component.TOKENIZER] = {}  # its metadata holds it, no tensor
        if not maps:
            raise _nothing_known(path, tensors, metadata)
        config = _read_config(path, metadata)
        generation = None
        # A LoRA's version is its own more often than not, and what it was made for is told by `LoRA.made_for`.
        if Component.LORA not in maps:
            try:
                generation = marked_generation(metadata, config if isinstance(config, Mapping) else {})
            except VariantError as error:
                raise VariantError(f"Cannot use {path}: {error}") from None
            generation = generation or generation_by_look(path.name, maps, tensors)
        return cls(
            path,
            files,
            MappingProxyType(metadata),
            MappingProxyType(maps),
            unrecognised(tensors, maps),
            generation,
            config,
        )

    @property
    def generation_name(self) -> str:
        """What messages call its generation: by the version that the file states, if it does."""
        version = stated_version(self.metadata)
        if version is None or self.generation is None:
            return str(self.generation)
        return "LTX-" + ".".join(map(str, version_tuple(version)[:2]))

    @property
    def look_of_tensors(self) -> Generation | None:
        """The generation by names and shapes alone, whatever the file says; see `guessed_generation`."""
        return guessed_generation(self.key_maps, {n: info for file in self.files for n, info in file.tensors.items()})

    @property
    def components(self) -> frozenset[Component]:
        return frozenset(self.key_maps)

    @property
    def config(self) -> dict[str, Any]:
        """The sizes of all components, for their params' `from_config`; CheckpointError when the file has none."""
        if isinstance(self._config, str):
            raise CheckpointError(self._config)
        return dict(self._config)

    @property
    def has_broken_config(self) -> bool:
        """Whether its metadata have a config that cannot be read."""
        return isinstance(self._config, str) and "config" in self.metadata

    @property
    def own_config(self) -> Mapping[str, Any]:
        """`config` by sections, empty when there is none; an upsampler's is the section UPSAMPLER."""
        if isinstance(self._config, str):
            return {}
        return {UPSAMPLER: self._config} if Component.UPSAMPLER in self.components else self._config

    def config_for(self, component: Component) -> dict[str, Any]:
        """`config`; CheckpointError when it lacks the component's section, and none was found elsewhere either."""
        if (section := SECTIONS.get(component)) in self._lacks:
            raise CheckpointError(self._lacks[section])
        return self.config

    def with_config(self, sections: Mapping[str, Any], lacks: Mapping[str, str] = MappingProxyType({})) -> "Checkpoint":
        """The same file with the config of another place; `lacks` is what to say of sections that are not there."""
        config = sections.get(UPSAMPLER, sections) if Component.UPSAMPLER in self.components else sections
        return replace(self, _config=config or next(iter(lacks.values()), {}), _lacks=lacks)

    def only(self, component: Component, wanted: Callable[[str], bool]) -> "Checkpoint":
        """The same file, as if the component had no more than the tensors whose module names are `wanted`."""
        keys = {key: name for key, name in self.key_maps[component].items() if wanted(name)}
        return replace(self, key_maps=MappingProxyType({**self.key_maps, component: keys}))

    def as_saved(self) -> "Checkpoint":
        """The same file with the config of its own metadata alone."""
        config = _read_config(self.path, self.metadata)
        return self if config == self._config and not self._lacks else replace(self, _config=config, _lacks={})

    @property
    def gemma_config(self) -> dict[str, Any] | None:
        """Gemma's Hugging Face config: `config.json` beside a folder's shards, `gemma_config` in a file's metadata.

        None for single files without, whose shapes must do.  CheckpointError for one that cannot be read.
        """
        if not self.path.is_dir():
            return _gemma_config(self.path, self.metadata)
        try:
            return read_json(self.path / "config.json", "the Hugging Face config of Gemma")
        except FileNotFoundError:
            return None

    @property
    def gemma_version(self) -> str | None:
        """The version of Gemma that a model was trained with, as it states it; see `gemma_source`."""
        version = gemma_source(self.metadata).get("gemma_version")
        return version if isinstance(version, str) else None

    def check_not_written_over(self) -> None:
        """CheckpointError if one of the files was; see `SafetensorsFile.check_not_written_over`."""
        for file in self.files:
            file.check_not_written_over()

    def tensors(self, component: Component) -> dict[str, TensorInfo]:
        """dtype and shape of a component's tensors by their module names, as `state_dict` will give them."""
        keys = self.key_maps.get(component, {})
        infos = {name: info for file in self.files for name, info in file.tensors.items()}
        tensors = {name: infos[key] for key, name in keys.items()}
        for name, alias in zip(STATISTICS_NAMES, STATISTICS_ALIASES, strict=True):
            if (info := tensors.pop(alias, None)) and component in _WITH_AUDIO_STATISTICS:
                tensors.setdefault(name, info)
        if component is Component.DIFFUSION_DECODER:
            return {name: info for name, info in tensors.items() if not is_gate(name)}
        return tensors

    def require(self, *components: Component) -> None:
        """CheckpointError naming the first of `components` that the file lacks, with what it holds instead."""
        for component in components:
            if component not in self.key_maps:
                advice = _ADVICE.get(component, "Choose the model's full checkpoint, or the file with this part of it.")
                holds = ", ".join(c.value for c in Component if c in self.key_maps)
                raise CheckpointError(f"{self.path} has no {component.value}: it holds {holds}. {advice}")

    def check_statistics(self, component: Component) -> None:
        """CheckpointError unless a VAE's latent statistics are there, finite, and deviations above zero."""
        kind, film = ("audio", "sound") if component in _WITH_AUDIO_STATISTICS else ("video", "picture")
        aliases = STATISTICS_ALIASES if kind == "audio" else STATISTICS_NAMES
        keys = self.key_maps.get(component, {})
        for name, alias in zip(STATISTICS_NAMES, aliases, strict=True):
            if name not in keys.values() and alias not in keys.values():
                raise CheckpointError(
                    f"The {kind} VAE in {self.path} has no latent statistics: expected a tensor {name}"
                    f"{f' or {alias}' if alias != name else ''}. Without them the {film} would be noise. Use the "
                    f"official checkpoint, or a {kind} VAE file that kept them."
                )
        statistics = {key: name for key, name in keys.items() if name in (*STATISTICS_NAMES, *aliases)}
        for file in self.files:
            for key, values in file.read([key for key in statistics if key in file.tensors]).items():
                check_latent_statistics(statistics[key], values, self.path)

    def check_finite(self, component: Component) -> None:
        """CheckpointError if a weight of the component holds NaN or infinity, or was never written.

        Looks at samples of one weight after another.
        """
        for key, name in self.key_maps[component].items():
            file = next(file for file in self.files if key in file.tensors)
            weight = {name: file.numbers(key)}
            check_finite(weight, self.path)
            check_written(weight, file)

    def state_dict(self, component: Component, tensors: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """A component's weights under the module's names.

        They are mapped from the file, or taken from `tensors`: the whole file's (or folder's) as its caller loaded it.
        The audio VAE's latent statistics are found under either of their names.  CheckpointError when the component or
        one of its tensors is not there.
        """
        self.require(component)
        keys = self.key_maps[component]
        if tensors is None:
            tensors = {}
            for file in self.files:
                tensors.update(file.read(key for key in keys if key in file.tensors))
        absent = [key for key in keys if key not in tensors]
        if absent:
            raise CheckpointError(
                f"{len(absent):,} tensors of the {component.value} in {self.path}, such as {absent[0]}, are not among "
                "those that were loaded. Was the file replaced meanwhile? Load it again."
            )
        state = {name: tensors[key] for key, name in keys.items()}
        if component in _WITH_AUDIO_STATISTICS:
            state = backfill_audio_statistics(state, self.path)
        if component is Component.DIFFUSION_DECODER:
            state = with_gates_folded(state)
        return {name: tensor for name, tensor in state.items() if name not in STATISTICS_ALIASES}


def common_generation(*checkpoints: Checkpoint) -> Generation:
    """The one generation of files that are used together; those that do not tell go with any.

    VariantError naming two files that differ, or when no file tells.
    """
    known = [checkpoint for checkpoint in checkpoints if checkpoint.generation is not None]
    if not known:
        raise VariantError(
            f"{', '.join(str(c.path) for c in checkpoints)}: neither metadata nor tensors say which generation of "
            "LTX-2 this is; expected LTX-2.3. Use an official file or one that kept its metadata."
        )
    first = known[0]
    for other in known[1:]:
        if other.generation is not first.generation:
            raise VariantError(
                f"{first.path} is of {first.generation_name}, but {other.path} is of {other.generation_name}; files of "
                "one generation belong together. Choose both of the same one."
            )
    return first.generation


def _open_file(path: Path) -> SafetensorsFile:
    return GgufFile.open(path) if path.suffix.lower() == ENDING else SafetensorsFile.open(path)


def _architecture(metadata: Mapping[str, str]) -> str:
    """What a GGUF file says of itself."""
    name = metadata.get("general.architecture")
    return f" of a {name[:40]!r}" if name else ""


def _nothing_known(path: Path, tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> CheckpointError:
    if found := other_file(tensors):
        what, to_do = found
        return CheckpointError(f"{path} is {what}, which LTX Duo does not read. {to_do}")
    if part := re.search(r"-(\d{5})-of-(\d{5})\.safetensors$", path.name):
        return CheckpointError(
            f"{path} is part {int(part[1])} of the {int(part[2])} that a model was cut into. Take the model's single "
            ".safetensors file, or for a text encoder the whole folder."
        )
    such = _architecture(metadata) + (f" such as {next(iter(tensors))}" if tensors else "")
    return CheckpointError(
        f"{path} is in a form that LTX Duo does not know: found {len(tensors):,} tensors{such}. Expected an LTX-2.3 "
        "checkpoint or a part of one, Gemma-3, a latent upsampler or a LoRA."
    )


def _read_config(path: Path, metadata: Mapping[str, str]) -> dict[str, Any] | str:
    to_do = "The sizes of the model stand there: use the official file, or one that was converted with its metadata."
    if "config" not in metadata:
        return f"{path} has no 'config' in its metadata. {to_do}"
    try:
        config = json.loads(metadata["config"])
    except (ValueError, RecursionError) as error:
        return f"The 'config' in the metadata of {path} is not valid JSON ({error}). {to_do}"
    if not isinstance(config, dict):
        return f"The 'config' in the metadata of {path} is not a JSON table. {to_do}"
    return config


def _gemma_config(path: Path, metadata: Mapping[str, str]) -> dict[str, Any] | None:
    if "gemma_config" not in metadata:
        return None
    try:
        config = json.loads(metadata["gemma_config"])
    except (ValueError, RecursionError) as error:
        config = f"no valid JSON ({error})"
    if not isinstance(config, dict):
        found = config if isinstance(config, str) else "no JSON table"
        raise CheckpointError(
            f"The 'gemma_config' in the metadata of {path} is {found}; expected Gemma's sizes. Use the text encoder as "
            "its publisher released it."
        )
    return config


def _shards(folder: Path) -> list[Path]:
    """The weight files of a Hugging Face folder, all of them; CheckpointError if one is missing."""
    if (folder / "model_index.json").is_file():
        raise CheckpointError(
            f"{folder} is a whole model in the layout of diffusers (it holds model_index.json), which LTX Duo does not "
            "read. Take the single .safetensors file of the model, as Lightricks publishes it."
        )
    present = {path.name for path in folder.glob("*.safetensors")}
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            wanted = set(read_json(index, "the list of a model's weight files")["weight_map"].values())
        except (KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{index} has no list of weight files ({error!r}). Use it as its publisher released it."
            ) from None
    else:
        wanted = set(present)
        for name in present:
            if found := re.fullmatch(r"(.*)-\d{5}-of-(\d{5})\.safetensors", name):
                total = int(found[2])
                wanted |= {f"{found[1]}-{number:05d}-of-{total:05d}.safetensors" for number in range(1, total + 1)}
    missing = sorted(wanted - present, key=str)
    if missing or not wanted:
        what = f"lacks {', '.join(map(str, missing[:4]))}" if missing else "has no .safetensors file"
        mark = next((mark for name in missing for mark in marks(folder / str(name))), None)
        to_do = f"Its download is not finished ({mark}): wait for it." if mark else "Download what is missing."
        raise CheckpointError(f"The folder {folder} {what}; expected all weight files of a Hugging Face model. {to_do}")
    return [folder / name for name in sorted(wanted)]
