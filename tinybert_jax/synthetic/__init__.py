"""The generated task of the quickstart: data, and untrained models."""
