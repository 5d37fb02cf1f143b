"""Ahead of time: programs as one object file that C, C++ and Python call, with its header, its manifest and a guide."""
