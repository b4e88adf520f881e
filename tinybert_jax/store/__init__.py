"""Files on disk: written whole or not at all, and what is kept of them between runs."""
