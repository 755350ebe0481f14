"""The corridor: one straight page for each party. Nothing else opens the doors between rooms."""
