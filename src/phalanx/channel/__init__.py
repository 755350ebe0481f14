"""Messages between coordinator and members: signed orders out, signed and sealed envelopes back."""
