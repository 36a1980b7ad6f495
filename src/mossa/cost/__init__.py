"""What a study will cost, before it runs: tokens counted, operations computed, time from a stated or measured rate."""
