"""The report that people open: one HTML file with every number and every comparison.

`collect` reads what the stages left; all else is pure, from that to the text of the file.
"""
