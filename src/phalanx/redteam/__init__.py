"""Attacks on purpose: scenarios that play the parties, hostile ones among them, and reports of what happened."""
