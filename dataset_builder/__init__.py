"""Score tables: the features of every prunable weight and what a slow regime made of it."""
