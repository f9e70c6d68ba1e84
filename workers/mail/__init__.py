"""From an event to SMTP: what is due, to whom, in which words, and the sending of it."""
