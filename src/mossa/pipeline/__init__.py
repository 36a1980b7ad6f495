"""Study -> units, run on an engine, resumed; knows the steps and nothing of their insides."""
