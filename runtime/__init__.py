"""Runs what the compiler made: memory, threads, models, training, data files, saved models, the command line."""
