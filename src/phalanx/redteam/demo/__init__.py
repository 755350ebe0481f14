"""The demonstration: ten organisations train on handwritten digits while three of them attack, and a report of it."""
