"""Rebuilds of read models that were asked for: the queue of wishes, and the process that fulfils one."""
