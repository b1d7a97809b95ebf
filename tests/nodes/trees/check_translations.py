"""The languages in locales/: complete, in their own words, and true to what is typed, chosen or shown elsewhere."""

import asyncio
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import ltx_duo

LOCALES = Path(ltx_duo.__file__).parent / "locales"
LANGUAGES = sorted(folder.name for folder in LOCALES.iterdir())
TRANSLATIONS = [language for language in LANGUAGES if language != "en"]

WORD = re.compile(r"-?\d[\w./+-]*|[a-z_][\w./+-]*", re.ASCII | re.IGNORECASE)
TRANSLATED = {"e.g", "VRAM", "GPUs"}  # look like names, and are words in some languages
NOT_PLAIN = set("{}@|")  # the front end's message format reads them as its own


@cache
def texts(language: str) -> dict:
    return json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))


def leaves(tree: dict, place: str = "") -> Iterator[tuple[str, str]]:
    """Each text with where it stands, such as `LTXDuoLoraLoader.inputs.lora.tooltip`."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{place}{key}.")
        else:
            yield place + key, value


def pairs(language: str) -> Iterator[tuple[str, str, str]]:
    """Where a text stands, the English one, and the translated one."""
    translated = dict(leaves(texts(language)))
    for place, english in leaves(texts("en")):
        yield place, english, translated[place]


def node_names(language: str) -> dict[str, str]:
    return {node_type: node["display_name"] for node_type, node in texts(language).items()}


def named_nodes(english: str) -> set[str]:
    return {node for node, name in node_names("en").items() if re.search(rf"{re.escape(name)}\b", english)}


@cache
def choices() -> frozenset[str]:
    """What can be chosen in the nodes' lists."""
    extension = asyncio.run(ltx_duo.comfy_entrypoint())
    schemas = [node.GET_SCHEMA() for node in asyncio.run(extension.get_node_list())]
    return frozenset(choice for schema in schemas for part in schema.inputs for choice in getattr(part, "options", []))


def words(text: str) -> set[str]:
    return {word.rstrip(".-/+") for word in WORD.findall(text)}


def literals(english: str) -> set[str]:
    """Numbers, names of files and folders, types and formats: words with more in them than small letters."""
    for name in node_names("en").values():
        english = re.sub(rf"{re.escape(name)}\b", "", english)
    return {word for word in words(english) if re.search(r"[\d_/]|\w\.\w|\w[A-Z]", word)} - TRANSLATED


def chosen(english: str) -> set[str]:
    """The choices that a text explains (`auto: ...`) or quotes ('same file')."""
    return {choice for choice in choices() if re.search(rf"(^|\. ){choice}:|'{choice}'", english)}


def test_what_has_to_stay_is_recognised():
    english = "From LTX Text Encode, e.g. dev-2.3.gguf in models/vae: -1, 8n+1. Saves VRAM as LoRA."
    assert literals(english) == {"dev-2.3.gguf", "models/vae", "-1", "8n+1", "LoRA"}
    assert words("аудио-VAE, 8스텝, LTX-2.3은 -2。") == {"VAE", "8", "LTX-2.3", "-2"}
    assert chosen("auto: as the file. Not bf16. stage one: 0. Or 'same file'.") == {"auto", "stage one", "same file"}
    assert named_nodes("From LTX Text Encoder Loader.") == {"LTXDuoTextEncoderLoader"}


def test_there_are_translations():
    assert {"zh", "ja"} <= set(TRANSLATIONS)


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_translations_are_complete(language):
    assert [place for place, _ in leaves(texts(language))] == [place for place, _ in leaves(texts("en"))]
    assert [place for place, text in leaves(texts(language)) if not text.strip()] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_of_nodes_begin_with_ltx_and_differ(language):
    names = list(node_names(language).values())
    assert all(name.startswith("LTX ") for name in names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_nothing_is_left_in_english(language):
    same = [place for place, english, text in pairs(language) if text == english and len(english.split()) > 3]
    assert same == []


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_what_is_typed_or_chosen_stays_as_it_is(language):
    lost = {}
    for place, english, text in pairs(language):
        kept = words(text)
        missing = literals(english) - kept
        missing |= {choice for choice in chosen(english) if choice not in (text if " " in choice else kept)}
        if missing:
            lost[place] = missing
    assert lost == {}


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_nodes_are_named_as_they_are_shown(language):
    shown = node_names(language)
    lost = {
        place: missing
        for place, english, text in pairs(language)
        if (missing := [shown[node] for node in named_nodes(english) if shown[node] not in text])
    }
    assert lost == {}


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_plain_to_the_front_end(language):
    assert [place for place, text in leaves(texts(language)) if NOT_PLAIN & set(text)] == []
