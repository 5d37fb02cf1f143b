"""From kernels to native code: LLVM text, the two generators, vector maths, threads, the object cache, linking."""
