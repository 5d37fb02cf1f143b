"""Text to a checked program: parser, formatter, names, and the elaborator that turns a model into an op graph."""
