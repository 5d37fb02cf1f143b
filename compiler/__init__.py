"""The compiler: text of a `.nn` file to native code. Knows nothing of data sets, files of weights, epochs."""
