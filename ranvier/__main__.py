"""`python -m ranvier`: the command line."""
