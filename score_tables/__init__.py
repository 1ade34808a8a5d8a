"""Score tables: one row a weight, features and targets, in Parquet."""
