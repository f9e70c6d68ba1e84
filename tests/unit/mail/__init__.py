"""From an event to the words of a mail."""
