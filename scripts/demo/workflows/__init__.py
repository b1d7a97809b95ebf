"""The shipped workflows, from one description each: canvas file, API file and card.

`catalogue` says what a workflow holds, made of `pieces`; `canvas` lays it out and writes both files, `cards` draws the
thumbnails, each on a `card`.
"""
