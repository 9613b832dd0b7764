"""Where and how a program runs: devices, processes, threads, progress."""
