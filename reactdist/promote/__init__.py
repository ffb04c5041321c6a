"""Which checkpoint goes forward, why, and the way back."""
