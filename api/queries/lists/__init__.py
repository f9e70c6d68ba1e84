"""Lists: what is asked for, the statements that find a page of it within bounds, and how the page is answered."""
