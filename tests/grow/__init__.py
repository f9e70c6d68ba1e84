"""The journey, the faults and the audit of their books, over every topology in which the servers may be."""
