"""A generated REACT 2024 release: two people who talk and react, written in the published files."""
