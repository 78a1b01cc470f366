"""Steps from one version of our tables to the next."""
