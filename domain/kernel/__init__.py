"""The pure half of the engine: deciders, commands, events, process managers, refusals. The standard library alone."""
