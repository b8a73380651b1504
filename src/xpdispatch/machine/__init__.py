"""What the computer has: caches, processors, threads, memory."""
