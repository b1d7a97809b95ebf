"""What a run does inside, for the tests of several folders to look at."""

from types import ModuleType

import pytest

from ltx_duo.ltx_core.sampling.stage import Stage


def watch_stages(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> list[Stage]:
    """The stages that `module` samples from here on, in their order."""
    stages, sample = [], module.sample_stage

    def watch(transformer, stage, *arguments, **settings):
        stages.append(stage)
        return sample(transformer, stage, *arguments, **settings)

    monkeypatch.setattr(module, "sample_stage", watch)
    return stages
