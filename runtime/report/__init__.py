"""A report on a trained model: one page of HTML that needs nothing else."""
