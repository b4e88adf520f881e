"""Files on disk: written whole or not at all, locked, named by digests."""
