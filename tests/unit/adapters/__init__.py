"""Adapters and what they are made of: tasks, statements, rates, languages, other people's answers."""
