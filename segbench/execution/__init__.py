"""How a module runs: eager, compiled, as a CUDA graph, or by another runtime. One file for each."""
