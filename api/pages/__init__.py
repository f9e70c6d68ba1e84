"""Pages for people: what the links in mails open, where a shop has no front end of its own for them."""
