"""Alembic's environment for our tables; Optuna keeps a version table of its own."""
