"""What the project claims of memory and speed, a command each: `python -m benchmarks.NAME --help`."""
