"""Sampling: from a size, contexts and a seed to clean video and audio latents.

A stage reads: `begin` (geometry, conditions, noise) -> `sample_euler` or `sample_res_2s` -> `AVState.latents`.
"""
