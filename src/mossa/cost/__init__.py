"""What a study will cost, before it runs: counted tokens, computed operations, time from a stated or measured rate."""
