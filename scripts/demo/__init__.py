"""The demo, from file to film: prepares a ComfyUI with this pack, queues a workflow over its API, looks at the result.

`server` and `client` also serve the tests; `workflows` writes the shipped workflows.
"""
