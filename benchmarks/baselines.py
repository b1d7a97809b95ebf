"""The last accepted figures, and what became slower since."""

import json
from pathlib import Path

FILE = Path(__file__).with_name("baselines.json")
SLOWER = 1.05


def figures(report: dict) -> dict[str, float]:
    """Milliseconds of ours by "case, contender"."""
    result = {
        f"{case}, {name}": row["median_ms"]
        for case, rows in report["cases"].items()
        for name, row in rows.items()
        if name.startswith("ours")
    }
    for name, stages in report.get("denoise", {}).items():
        result |= {f"denoise {stage}, {name}": 1000 * seconds for stage, seconds in stages.items()}
    return result


def slower(report: dict) -> list[str]:
    """A line for every figure that is more than 5 % above its baseline on the same machine."""
    if not FILE.is_file():
        return []
    accepted = json.loads(FILE.read_text())
    if accepted["machine"] != report["machine"]:
        return [f"baselines are of {accepted['machine']}: nothing to compare on {report['machine']}"]
    old = accepted["milliseconds"]
    return [
        f"slower: {name} {value:.1f} ms, was {old[name]:.1f}"
        for name, value in figures(report).items()
        if name in old and value > SLOWER * old[name]
    ]


def accept(report: dict) -> None:
    """Makes the report's figures the baselines; cases that were not run keep theirs if the machine is the same."""
    kept = {key: report[key] for key in ("machine", "torch", "date", "command")}
    old = json.loads(FILE.read_text()) if FILE.is_file() else {"machine": None}
    others = old["milliseconds"] if old["machine"] == report["machine"] else {}
    kept["milliseconds"] = others | {name: round(value, 2) for name, value in figures(report).items()}
    FILE.write_text(json.dumps(kept, indent=1) + "\n")
