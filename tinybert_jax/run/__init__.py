"""What surrounds training: recipes, data and models made ready, checkpoints, tracking, evaluation, export."""
