"""The report of a study: one HTML page that answers which network to take, and shows why.

Needs neither torch nor Optuna, since it is written from what the database holds.
"""
