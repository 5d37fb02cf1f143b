"""The standard library, in `.nn`: layers, activations, losses, metrics, optimizers, schedules, initialisers, preprocessing."""
