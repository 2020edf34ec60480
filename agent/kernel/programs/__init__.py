"""BPF programs and their maps: compiled, loaded, on their hooks, from one generation of maps to the next."""
