"""Choosing settings: what a `tune` block names is tried, judged on rows held out, and the best is trained on all rows."""
