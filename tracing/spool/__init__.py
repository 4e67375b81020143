"""The spool: files that processes append to, for a collector to read.

A process appends to a file of its own, which no other process writes, and opens no database. One
collector for each folder reads all of them, diagnoses and exports. What was appended is exported
though either of them is killed; what cannot be read is kept and counted.
"""
