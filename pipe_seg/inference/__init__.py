"""How a network is asked: the exported graph, its signatures, the runtimes, and counting its answers."""
