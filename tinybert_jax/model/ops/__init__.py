"""The networks' operations, each with the gradient that trains it fastest."""
