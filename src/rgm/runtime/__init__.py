"""The runtime: devices, processes, threads, progress."""
