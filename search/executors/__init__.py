"""Where jobs are done: one file an executor, one table in `table.py`.

An executor drives: it asks for a job whenever it has a place, and tells each evaluation.
`evaluate` catches everything a candidate can do wrong, so an evaluation that is `lost` means that
a worker died.
"""
