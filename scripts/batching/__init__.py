"""Many films from one list of jobs, on GPUs through Ray or on ComfyUI servers; started by `scripts/batch.py`.

Data flows one way: jobs -> clips (filled, checked, hashed) -> foreman (who makes what, what is lost is made again)
-> a crew of engines or of servers -> the output folder.
"""
