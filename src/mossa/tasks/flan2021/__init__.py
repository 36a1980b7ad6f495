"""FLAN 2021 as a collection: what is in it, the copy on the hub, and the raw datasets with templates of our own."""
