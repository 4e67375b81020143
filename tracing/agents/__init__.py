"""The command's answers as tools of the Model Context Protocol.

Each call runs the command in a process of its own, so that the code is as it stands now: an agent
edits receivers while its server runs. Nothing here writes to the store.
"""
