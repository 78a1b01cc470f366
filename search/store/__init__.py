"""What is kept of a study: our tables beside Optuna's, in one database."""
