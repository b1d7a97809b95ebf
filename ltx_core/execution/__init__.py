"""How a model is run: recorded, on several streams, in pieces, compiled beforehand, and how much memory that takes.

The formula knows nothing of it: what is here is handed to a model's call (see `transformer.runner`).
"""
