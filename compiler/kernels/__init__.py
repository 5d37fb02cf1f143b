"""The kernel level: where values live, loop nests with affine accesses, the memory plan, programs and their cost."""
