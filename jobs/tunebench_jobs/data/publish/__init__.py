"""A finished dataset, brought to where others read it."""
