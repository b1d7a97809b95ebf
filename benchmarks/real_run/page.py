"""The page that shows a record: one HTML file beside its pictures and films."""

import html
from collections.abc import Iterable, Mapping
from pathlib import Path

COLUMNS = {
    "stage one video, L2": "stage one, picture latent",
    "stage one audio, L2": "stage one, sound latent",
    "stage two video, L2": "stage two, picture latent",
    "frames PSNR dB": "frames, PSNR dB",
    "worst frame PSNR dB": "worst frame, PSNR dB",
    "frames, largest level": "frames, largest",
    "sound SNR dB": "sound, SNR dB",
}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c28; max-width: 1820px; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; margin: 1em 0 } th, td { border: 1px solid #cfcfd8; padding: .3em .7em }
th { background: #f1f1f5; text-align: left } td { font-variant-numeric: tabular-nums }
img { max-width: 100%; display: block } video { width: 480px; max-width: 48% } .failed { color: #b00020 }
"""


def write(record: Mapping, target: Path) -> None:
    """`record` as real_weights.py writes it."""
    machine, job = record["machine"], record["job"]
    parts = [
        "<h1>LTX Duo with the model's own weights</h1>",
        f"<p>{_text(record['date'])}, {_text(machine['device'])}, PyTorch {_text(machine['torch'])}. "
        f"LTX Duo {_text(record['versions']['ours'])}, {_vendor(record)}. {job['width']}x{job['height']}, "
        f"{job['frames']} frames at {job['fps']:g} fps, {job['steps']} + 3 steps, decoded "
        f"{'in tiles' if job['tiles'] else 'whole'}.</p>",
        *(f'<p class="failed">{_text(side)}: <code>{_text(why)}</code></p>' for side, why in record["failed"].items()),
        "<h2>Files</h2>",
        _table(["file", "bytes", "SHA-256 of its header"], [_file(file) for file in record["files"]]),
        "<h2>How far apart</h2>",
        _apart(record),
        "<h2>Time and memory</h2>",
        _table(
            ["film", "side", "seconds", "stage one", "stage two", "on the GPU", "host, so far"],
            _figures(record["takes"]),
        ),
        f"<p>{_loading(record)}</p>",
        "<h2>Films</h2>",
        *(_film(take) for take in record["takes"]),
    ]
    body = "\n".join(parts)
    target.write_text(
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>LTX Duo: real weights</title>'
        f"<style>{STYLE}</style></head><body>\n{body}\n</body></html>\n",
        encoding="utf-8",
    )


def _vendor(record: Mapping) -> str:
    version = record["versions"].get("vendor")
    return "without the vendor's pipeline" if version is None else f"ltx-pipelines {_text(version)}"


def _apart(record: Mapping) -> str:
    rows = [[take["name"], *_row(take["differences"])] for take in record["takes"] if take.get("differences")]
    rows += [[f"ours: {pair}", *_row(values)] for pair, values in record["other_seeds"].items()]
    if not rows:
        return "<p>One film alone has nothing to be compared with.</p>"
    notes = (
        "Latents: relative L2 distance. PSNR and SNR in decibels, more is nearer; the largest difference of a pixel in "
        "levels of 255. Rows that begin with <i>ours</i> are two films of LTX Duo with one prompt and two seeds: what "
        "films score that have nothing in common but the prompt. In bfloat16 the two sides round differently, and each "
        "step starts from what the step before has rounded; on a CPU both compute in float32."
    )
    return f"{_table(['films', *COLUMNS.values()], rows)}<p>{notes}</p>"


def _row(differences: Mapping[str, float | None]) -> Iterable[str]:
    for name in COLUMNS:
        value = differences[name]
        yield "equal" if value is None else f"{value:.2g}" if name.endswith("L2") else f"{value:.1f}"


def _figures(takes: Iterable[Mapping]) -> Iterable[list[str]]:
    for take in takes:
        for side, made in take["sides"].items():
            gpu = "" if made["gpu_gib"] is None else f"{made['gpu_gib']:.1f} GiB"
            one, two = made["stages"]
            yield [take["name"], side, f"{made['seconds']:.1f}", f"{one:.1f} s", f"{two:.1f} s", gpu,
                   f"{made['host_gib']:.1f} GiB"]  # fmt: skip


def _loading(record: Mapping) -> str:
    seconds, inside = record["loading"]["seconds"], record["loading"]["in_vendors_stages"]
    text = "" if seconds is None else f"LTX Duo loads all files once, in {seconds:.1f} s, before its first film. "
    if inside is None:
        return text
    stages = "its stages count with it" if inside else "its stages count without it"
    return f"{text}The vendor's pipeline loads each part inside every film; {stages}."


def _film(take: Mapping) -> str:
    videos = "\n".join(
        f'<video controls loop src="{_text(made["film"])}" title="{_text(side)}"></video>'
        for side, made in take["sides"].items()
    )
    heard = "; ".join(f"{side}: the sound of {made['sound_of']}" for side, made in take["sides"].items())
    if len(take["sides"]) == 2:
        heard += ". The picture shows, and the table compares, the sound of the vendor's stage on both sides."
    return (
        f"<h3>{_text(take['name'])}</h3><p>{_text(take['prompt'])}</p>"
        f'<img src="{_text(take["sheet"])}" alt="frames and sounds of {_text(take["name"])}">\n{videos}'
        f"<p>{_text(heard)}</p>"
    )


def _file(file: Mapping) -> list[str]:
    return [file["name"], f"{file['bytes']:,}", file["header"]]


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = ["".join(f"<th>{_text(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{_text(cell)}</td>" for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _text(value: object) -> str:
    return html.escape(str(value))
